"""Trackers that a run can report to, and whether they are installed. It imports none of them, and no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Literal, get_args

Tracker = Literal["trackio", "tensorboard", "wandb"]
TRACKERS = get_args(Tracker)


def missing(names: Sequence[str]) -> str:
    """What is wrong with reporting to these, one sentence that begins with the setting; "" where all are there."""
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    return f"report_to names {absent[0]!r}, which is not installed here: pip install {absent[0]}, or leave it out."
