"""Problems to judge a run's student by that need not be those of the run: which, and that it was trained on none.

Splits by questions never overlap, nor do those of generated problems; but the two kinds know nothing of each other, so
between them every question the run has seen is left out. This module knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.config import run_config as configs
from distill.config.errors import ConfigError
from distill.config.overrides import apply, split
from distill.config.run_config import DataConfig, RunConfig
from distill.data.problems import Problem
from distill.data.sources import Warn, problems_for
from distill.data.splits import key_of

_OURS = ("data", "evaluation")  # groups of settings that say what a student is asked, and how


def judged_on(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """The run's config with other problems: `overrides` of data.* and evaluation.* ("data.source=reasoning_gym").

    Where the source is another, nothing of the old one is kept but the seed. Raises ConfigError.
    """
    asked = config.model_dump(mode="json")
    for override in overrides:
        keys, value = split(override)
        if keys[0] not in _OURS or len(keys) < 2:
            raise ConfigError(
                f"--set {override} can't be had here: only data.* and evaluation.* say what a student is asked, and "
                "the rest is as it was in training."
            )
        if keys == ["data", "source"] and value != config.data.source:
            asked["data"] = {"seed": config.data.seed}
    for override in overrides:
        apply(asked, override)
    return configs.parse(asked)


def unseen(config: RunConfig, judged: RunConfig, n: int, warn: Warn) -> list[Problem]:
    """The first `n` held-out problems of `judged` that the run of `config` has not seen. Raises as `problems_for`."""
    seen: set[str] = set()
    if (config.data.source == "problems") != (judged.data.source == "problems"):
        used = {"train": config.data.train, "validation": config.data.validation, "probe": config.probe.texts}
        found = problems_for(config, lambda code, text: None, used)
        seen = {key_of(problem.question) for problems in found.values() for problem in problems}
    asked = n
    while True:
        problems = problems_for(judged, warn, {"held_out": asked})["held_out"]
        kept = [problem for problem in problems if key_of(problem.question) not in seen]
        if len(kept) >= n:
            if len(problems) > len(kept):
                left = len(problems) - len(kept)
                warn("already_seen", f"{left:,} problems that the student has seen in training are left out.")
            return kept[:n]
        asked += n - len(kept)


def about(data: DataConfig) -> dict[str, Any]:
    """What a report says of the problems: `called` in words, and the settings that name them."""
    names = ("source", "path", "dataset", "subset", "split", "families", "seed")
    told = {name: getattr(data, name) for name in names if getattr(data, name) not in (None, [])}
    if data.source == "file":
        told["path"] = Path(data.path).name  # where it lay is nobody's business
    parts = ", ".join(filter(None, [data.subset, data.split, *data.families]))
    called = {"problems": "generated problems", "reasoning_gym": "reasoning-gym", "file": told.get("path")}
    return {"called": f"{called.get(data.source) or data.dataset}{f' ({parts})' if parts else ''}", **told}
