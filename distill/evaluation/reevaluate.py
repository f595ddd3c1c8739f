"""Judge a run's student again, on as many held-out problems as asked for, its own or others: the adapter off and on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from distill.config import run_config as configs
from distill.config.errors import ConfigError
from distill.config.messages import listed
from distill.evaluation.answering import answer_problems, score
from distill.evaluation.others import about, judged_on, unseen
from distill.evaluation.score import Score, compare
from distill.models.hardware import detect
from distill.models.student import load_adapter, load_student
from distill.runs.views import has_adapter, kept_epochs


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


def end_as_trained(student: PeftModel, adapter: Path) -> None:
    """Answers of `student` end at all that they ended at while it was trained: at its teachers' end too, say."""
    if (adapter / GENERATION_CONFIG_NAME).exists():  # adapters from before it was kept have none
        ends = GenerationConfig.from_pretrained(adapter, local_files_only=True).eos_token_id
        student.generation_config.eos_token_id = ends


def _say(code: str, text: str) -> None:
    print(text, file=sys.stderr)
