"""Student and objectives as one module, so that Trainer, accelerate and the optimiser see everything that is trained.

It knows neither configs nor files: it is given a student and a list of objectives, reads a batch once, and adds up what
the objectives make of it. Objectives that couple the samples of a batch (geometry) are computed over the whole
optimiser step, see `window.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from peft import PeftModel
from torch import Tensor, nn

from distill.models import distributed
from distill.models.lm_head import head_of, read_states, refreshed
from distill.objectives.base import Batch, CoupledObjective, Objective, ObjectiveOutput, StudentOutputs
from distill.training.window import FifoBank, signals_of_all


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
