"""Student and objectives as one module, so that Trainer, accelerate and the optimiser see everything that is trained.

It is given a student and a list of objectives, reads a batch once, and adds up what the objectives make of it.

Objectives that couple the samples of a batch (geometry) are computed over the whole optimiser step: gradient
accumulation shrinks the batch such a loss is computed on, and with it changes its value and its gradient.
`carry_gradients` is the exact remedy (GradCache, Gao et al. 2021, arXiv 2101.06983): pool every micro-batch without
gradients, compute the loss and dL/dz once over all of them, and let each micro-batch's second forward pass carry its
part z . dL/dz. Where processes share a step, each computes that loss over the texts of all of them. `FifoBank` is the
cheap one: compare with the last samples seen, as they were then (stale and detached).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from peft import PeftModel
from torch import Tensor, nn

from distill.models import distributed
from distill.models.lm_head import head_of, read_states, refreshed
from distill.objectives.base import Batch, CoupledObjective, Objective, ObjectiveOutput, Signals, StudentOutputs


class Distiller(nn.Module):
    """`forward(**batch)` -> {"loss": scalar, "terms": {name: scalar}, "metrics": {name: float}}; terms are detached.

    `bank_sizes` gives, by objective kind, how many past samples a coupled objective compares with (0: none).
    """

    def __init__(self, student: PeftModel, objectives: Iterable[Objective], bank_sizes: dict[str, int] | None = None):
        super().__init__()
        self.student = student
        self.objectives = nn.ModuleDict({objective.kind: objective for objective in objectives})
        sizes = bank_sizes or {}
        self.banks = {kind: FifoBank(sizes[kind]) for kind in self.coupled if sizes.get(kind)}
        self.reads_hidden = any(objective.reads_hidden for objective in self.objectives.values())
        self._head = head_of(student, "the student")

    @property
    def coupled(self) -> dict[str, CoupledObjective]:
        """The objectives whose loss depends on all samples of a step together."""
        return {kind: o for kind, o in self.objectives.items() if isinstance(o, CoupledObjective)}

    @property
    def averaging(self) -> list[str]:
        """The objectives whose loss is a mean over a micro-batch: of a step in several parts, each counts one part."""
        return [kind for kind, o in self.objectives.items() if kind in self.banks or o.averages]

    def read(self, batch: Batch, hidden: bool = False) -> StudentOutputs:
        """One forward pass of the student over a batch; it makes no logits. `hidden`: all hidden states are wanted."""
        states_BLD, out = read_states(
            self.student,
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            output_hidden_states=hidden or self.reads_hidden,
            use_cache=False,
        )
        return StudentOutputs(states_BLD, refreshed(self._head, self.student), out.hidden_states or ())

    def forward(self, **batch) -> dict:
        """The batch may hold `own`, a batch of texts by the student itself: objectives that want it read it instead."""
        read: dict[int, StudentOutputs] = {}
        total = 0.0
        terms: dict[str, Tensor] = {}
        metrics: dict[str, float] = {}
        shares = batch.get("share", {})
        if "carried" in batch:  # first, as it was when its gradient was found: dropout is drawn in this order
            read[id(batch)] = self.read(batch)
        for kind, objective in self.objectives.items():
            texts = objective.texts_of(batch)
            if id(texts) not in read:  # each is read once, and only if somebody wants it
                read[id(texts)] = self.read(texts)
            outputs = read[id(texts)]
            share = shares.get(kind, 1.0)
            carried = batch.get("carried", {}).get(kind)
            if carried is not None:  # its loss over the whole step is known: only its gradient is still to be passed on
                total = total + (objective.represent(outputs, texts) * carried).sum() * share
                continue
            result = self._result(kind, objective, outputs, texts)
            total = total + objective.weight * result.total() * share
            terms |= {name: value.detach() * share for name, value in result.terms.items()}
            metrics |= result.metrics
        return {"loss": total, "terms": terms, "metrics": metrics}

    def _result(self, kind: str, objective: Objective, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        bank = self.banks.get(kind)
        if bank is None and isinstance(objective, CoupledObjective):
            z_nD = distributed.joined(objective.represent(outputs, batch))
            return objective.couple(z_nD, signals_of_all(objective.signals_of(batch)))
        if bank is None:
            return objective(outputs, batch)
        z_BD = objective.represent(outputs, batch)
        own = objective.signals_of(batch)
        z_nD, signals = bank.extended(z_BD, own)
        result = objective.couple(z_nD, signals)
        bank.push(z_BD.detach(), own)
        return result

    def training_state(self) -> dict[str, Tensor]:
        """What a checkpoint holds beside the adapter: gates, heads, their buffers, and the banks of past samples."""
        state = {f"objectives.{key}": value for key, value in self.objectives.state_dict().items()}
        for kind, bank in self.banks.items():
            state |= {f"banks.{kind}.{key}": value for key, value in bank.state().items()}
        return {key: value.detach().cpu().contiguous() for key, value in state.items()}

    def load_training_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `training_state` gave."""
        own = {key.removeprefix("objectives."): v for key, v in state.items() if key.startswith("objectives.")}
        self.objectives.load_state_dict(own)
        for kind, bank in self.banks.items():
            prefix = f"banks.{kind}."
            bank.load({key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)})


# --- what sees more samples than one forward pass --------------------------------------------------------------------


def carry_gradients(distiller: Distiller, batches: Sequence[Batch]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Coupled losses over the whole window: sets `carried` and `rng` in each batch, returns (terms, metrics).

    The gradients of gates and heads are left in `.grad` here; the student's follow from the micro-batches.
    """
    parts: dict[str, list[Tensor]] = {kind: [] for kind in distiller.coupled if kind not in distiller.banks}
    if not parts:
        return {}, {}
    with torch.no_grad():
        for batch in batches:
            batch["rng"] = rng_state()  # the second pass draws the same dropout
            outputs = distiller.read(batch)
            for kind, zs in parts.items():
                zs.append(distiller.objectives[kind].represent(outputs, batch))
    terms: dict[str, Tensor] = {}
    metrics: dict[str, float] = {}
    for kind, zs in parts.items():
        objective = distiller.objectives[kind]
        own_nD = torch.cat(zs).requires_grad_()
        signals = signals_of_all(_joined([objective.signals_of(batch) for batch in batches]))
        result = objective.couple(distributed.joined(own_nD), signals)
        (objective.weight * result.total()).backward()
        for batch, dz_BD in zip(batches, own_nD.grad.split([len(z) for z in zs]), strict=True):
            batch.setdefault("carried", {})[kind] = dz_BD
        terms |= {name: value.detach() for name, value in result.terms.items()}
        metrics |= result.metrics
    return terms, metrics


def signals_of_all(signals: Signals) -> Signals:
    """The rows of every process, in the order of `distributed.joined`."""
    if distributed.size() == 1:
        return signals
    return {
        name: {teacher: torch.cat(distributed.rows_of_all(rows)) for teacher, rows in by_teacher.items()}
        for name, by_teacher in signals.items()
    }


def rng_state() -> dict[str, Tensor]:
    """The state of the generators that dropout draws from."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    elif torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_rng_state(state: dict[str, Tensor]) -> None:
    """Undo what was drawn since `rng_state`."""
    torch.set_rng_state(state["cpu"].cpu())  # it may have travelled to the device with the batch
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu())
    if "mps" in state:
        torch.mps.set_rng_state(state["mps"].cpu())


class FifoBank:
    """The last `size` samples' pooled vectors and signals, newest first."""

    def __init__(self, size: int):
        self.size = size
        self.entries: dict[str, Tensor] = {}  # "z" and "signal/teacher" -> [m, ...]

    def extended(self, z_BD: Tensor, signals: Signals) -> tuple[Tensor, Signals]:
        """This batch followed by the bank: [B + m, D] and the signals of the same rows."""
        if not self.entries:
            return z_BD, signals
        z_nD = torch.cat([z_BD, self.entries["z"].to(z_BD)])
        longer = {
            name: {t: torch.cat([value, self.entries[f"{name}/{t}"].to(value)]) for t, value in by_teacher.items()}
            for name, by_teacher in signals.items()
        }
        return z_nD, longer

    def push(self, z_BD: Tensor, signals: Signals) -> None:
        """Remember this batch, forget the oldest."""
        new = {"z": z_BD} | {f"{name}/{t}": value for name, by in signals.items() for t, value in by.items()}
        for key, value in new.items():
            kept = self.entries.get(key)
            self.entries[key] = (value if kept is None else torch.cat([value, kept]))[: self.size].detach()

    def state(self) -> dict[str, Tensor]:
        return dict(self.entries)

    def load(self, state: dict[str, Tensor]) -> None:
        self.entries = dict(state)


def _joined(parts: Sequence[Signals]) -> Signals:
    return {
        name: {teacher: torch.cat([part[name][teacher] for part in parts]) for teacher in by_teacher}
        for name, by_teacher in parts[0].items()
    }
