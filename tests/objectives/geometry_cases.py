"""Made-up teachers and students for the tests of geometry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill.objectives.geometry import GeometryObjective

WIDTHS = {"qwen2.5": 10, "smol": 16, "phi": 24}  # narrower, equal and wider than the student; a dot in a name
STUDENT = 16
MODES = ("kernel", "deku", "deku_frozen")
every_mode = pytest.mark.parametrize("mode", MODES)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def make(mode: str = "kernel", gate: str | dict = "prior", **settings) -> GeometryObjective:
    gate = {"kind": gate} if isinstance(gate, str) else gate
    widths = settings.pop("teacher_widths", WIDTHS)
    return GeometryObjective(
        teacher_widths=widths, student_width=STUDENT, student_layers=4, mode=mode, gate=gate, **settings
    )


def make_signals(n: int, dtype: torch.dtype = torch.float32) -> dict[str, dict[str, Tensor]]:
    """Teachers that share some structure, each with its own accent, and their likelihoods."""
    shared = normal(n, 8, seed=99, dtype=dtype)
    pooled = {
        name: 3 + shared @ normal(8, width, seed=i, dtype=dtype) + normal(n, width, seed=50 + i, dtype=dtype)
        for i, (name, width) in enumerate(WIDTHS.items())
    }
    nll = {name: 0.7 + 0.1 * normal(n, seed=70 + i, dtype=dtype) for i, name in enumerate(WIDTHS)}
    return {"pooled": pooled, "nll_per_byte": nll}


def geometry_loss(objective: GeometryObjective, z: Tensor, signals: dict) -> Tensor:
    return objective.couple(z, signals).terms["geometry"]


def one_hot_signals(signals: dict, chosen: str) -> dict:
    """Likelihoods under which a prior gate without epsilon listens to `chosen` alone."""
    nll = {
        name: torch.full_like(values, 0.0 if name == chosen else 1e3)
        for name, values in signals["nll_per_byte"].items()
    }
    return {"pooled": signals["pooled"], "nll_per_byte": nll}
