"""Judge a run's student again, on as many held-out problems as asked for, its own or others: the adapter off and on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.config import run_config as configs
from distill.config.errors import ConfigError
from distill.config.messages import listed
from distill.config.overrides import apply, split
from distill.config.run_config import RunConfig
from distill.data.problems import Problem
from distill.data.sources import Warn, about, problems_for
from distill.data.splits import key_of
from distill.evaluation.answering import answer_problems, score
from distill.evaluation.score import Score, compare
from distill.models.hardware import detect
from distill.models.student import end_as_trained, load_adapter, load_student
from distill.runs.views import has_adapter, kept_epochs

_OURS = ("data", "evaluation")  # groups of settings that say what a student is asked, and how


def evaluate_run(
    folder: Path, problems: int, as_json: bool = False, adapter: str = "adapter", overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """{data, before, after, flips, mcnemar_p, by_family} on `problems` held-out problems; `data` says of what.

    `adapter`: which of the run's, such as epochs/2. `overrides`, such as "data.source=reasoning_gym", name other
    problems; without them the first are those of the run's own report: the stream is the same, only longer. What the
    run has seen in training is never among them. Raises ConfigError without an adapter or for other overrides.
    """
    weights = adapter_of(folder, adapter)
    own = configs.load(folder / "config.yaml")
    config = judged_on(own, overrides)
    asked = unseen(own, config, problems, _say)
    student, tokenizer = load_student(config.student, config.lora, detect(), config.seed)
    load_adapter(student, weights)
    end_as_trained(student, weights)

    def judge() -> Score:
        evaluation = config.evaluation
        return score(answer_problems(student, tokenizer, asked, evaluation.max_new_tokens, evaluation.batch_size))

    if not as_json:
        print(f"answering {problems} problems of {about(config.data)['called']} twice", file=sys.stderr)
    with student.disable_adapter():
        before = judge()
    after = judge()
    return {
        "data": about(config.data),
        "before": before.to_dict(),
        "after": after.to_dict(),
        **compare(before, after),
    }


def adapter_of(folder: Path, name: str = "adapter") -> Path:
    """The folder of a run's adapter, or of the one kept after an epoch (epochs/2). Raises ConfigError without it."""
    if name != "adapter":
        kept = [f"epochs/{path.name}" for path in kept_epochs(folder)]
        if name not in kept:
            there = (
                f"it has {listed(['adapter', *kept])}" if kept else "only runs with budget.epochs keep more than one"
            )
            raise ConfigError(f"Run {folder.name} has no adapter {name!r}: {there}.")
    elif not has_adapter(folder):
        raise ConfigError(f"Run {folder.name} has no adapter yet: let it train, or stop it, which keeps what it has.")
    return folder / name


def _say(code: str, text: str) -> None:
    print(text, file=sys.stderr)


# --- other problems --------------------------------------------------------------------------------------------------
# Splits by questions never overlap, nor do those of generated problems; but the two kinds know nothing of each other,
# so between them every question the run has seen is left out.


def judged_on(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """The run's config with other problems: `overrides` of data.* and evaluation.* ("data.source=reasoning_gym").

    Where the source is another, nothing of the old one is kept but the seed. Raises ConfigError.
    """
    asked = config.model_dump(mode="json")
    for override in overrides:
        keys, value = split(override)
        if keys[0] not in _OURS or len(keys) < 2:
            raise ConfigError(
                f"--set {override} is not available here: only data.* and evaluation.* can be changed after training."
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
