"""How a loss that couples samples sees more of them than fit in one forward pass.

Gradient accumulation shrinks the batch such a loss is computed on, and with it changes its value and its gradient.
`carry_gradients` is the exact remedy (GradCache, Gao et al. 2021, arXiv 2101.06983): pool every micro-batch without
gradients, compute the loss and dL/dz once over all of them, and let each micro-batch's second forward pass carry its
part z . dL/dz. Where processes share a step, each computes that loss over the texts of all of them. `FifoBank` is the
cheap one: compare with the last samples seen, as they were then (stale and detached).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill.models import distributed
from distill.objectives.base import Batch, Signals

if TYPE_CHECKING:
    from distill.training.distiller import Distiller


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
    """The rows of every process, in the order of `together.joined`."""
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
