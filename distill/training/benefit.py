"""What listening to each teacher does for the task: the signal that the `meta` gate is trained on.

A step of size eta down teacher t's geometry loss changes the task loss on validation texts by -eta <grad CE, grad
L_t>, to first order (meta multi-teacher distillation, arXiv 2306.06634). So r_t = <grad CE_val, grad L_geo,t>, over the
adapter's parameters, is positive where the teacher helps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill.models import distributed
from distill.models.generation import evaluating
from distill.objectives.base import Batch
from distill.objectives.geometry import GeometryObjective
from distill.objectives.task import completion_cross_entropy
from distill.training.distiller import Distiller, signals_of_all


def measure_benefit(
    distiller: Distiller, geometry: GeometryObjective, validation: Batch, batch: Batch, texts: int | None = None
) -> Tensor:
    """r [T], float32 on the CPU; `validation` gives the task gradient, `batch` the teachers'. `.grad` is left alone.

    Of the batches of all processes together the first `texts` are looked at (None: all).
    """
    with evaluating(distiller):  # no dropout: a measurement, and nothing drawn that a resumed run would not draw
        return _measure(distiller, geometry, validation, batch, texts)


def _measure(
    distiller: Distiller, geometry: GeometryObjective, validation: Batch, batch: Batch, texts: int | None
) -> Tensor:
    parameters = [p for p in distiller.student.parameters() if p.requires_grad]
    loss = completion_cross_entropy(distiller.read(validation), validation["labels"])
    task = torch.autograd.grad(loss, parameters, allow_unused=True)
    z_nD = distributed.joined(geometry.represent(distiller.read(batch), batch))[:texts]
    signals = signals_of_all(geometry.signals_of(batch))
    losses = geometry.per_teacher(
        z_nD, {name: {teacher: rows[:texts] for teacher, rows in by.items()} for name, by in signals.items()}
    )
    benefits = []
    for loss in losses.values():
        gradient = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(task, gradient, strict=True)
        benefits.append(sum((a * b).sum() for a, b in pairs if a is not None and b is not None))
    # Each process has what its own texts contribute, multiplied by the number of processes: see `distributed.joined`.
    return torch.stack(distributed.everyones(torch.stack(benefits).float().cpu())).mean(0)
