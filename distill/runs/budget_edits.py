"""The budget of a run that has begun, changed before it is resumed: it may be made longer, and nothing else.

This module knows nothing of how a run is started, stopped or resumed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from distill.config import run_config as configs
from distill.config.files import write_atomically
from distill.config.overrides import split
from distill.config.run_config import BudgetConfig, ConfigError, RunConfig
from distill.runs.views import RunView


def edited(folder: str | os.PathLike[str], overrides: Sequence[str]) -> RunConfig:
    """The run's config with overrides of its budget. Raises ConfigError for one that is wrong or not of the budget."""
    for override in overrides:
        keys, _ = split(override)
        if keys[0] != "budget" or len(keys) < 2:
            raise ConfigError(
                f"{'.'.join(keys)} can't be changed in a run that has begun: resume can change budget only."
            )
    return configs.load(str(Path(folder) / "config.yaml"), list(overrides))


def edit(folder: Path, overrides: Sequence[str], seen: RunView) -> None:
    """Write the run's config anew with overrides of its budget. Raises as `edited`, or where `seen` is further on."""
    changed = edited(folder, overrides)
    _check_goal(changed.budget, seen)
    write_atomically(folder / "config.yaml", configs.to_yaml(changed))


def _check_goal(budget: BudgetConfig, seen: RunView) -> None:
    """Raise ConfigError where a run has done more already than `budget` asks for."""
    before = seen.config.budget.epochs if seen.config else None
    if budget.epochs is None and budget.steps < seen.step:
        raise ConfigError(f"budget.steps is {budget.steps}, but the run is at step {seen.step} already: give more.")
    if budget.epochs is not None and before and budget.epochs * seen.steps < before * seen.step:
        raise ConfigError(
            f"budget.epochs is {budget.epochs}, but the run is at step {seen.step}, in a later one: give more."
        )
