"""Judge a run's student again, on as many held-out problems as asked for: the same weights, the adapter off and on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from distill import config as configs
from distill.data.sources import problems_for
from distill.errors import ConfigError
from distill.evaluation.generate import answer_problems, score
from distill.evaluation.score import Score, compare
from distill.hardware import detect
from distill.training.student import load_adapter, load_student
from distill.views import has_adapter, kept_epochs
from distill.wording import listed


def evaluate_run(folder: Path, problems: int, as_json: bool = False, adapter: str = "adapter") -> dict[str, Any]:
    """{before, after, flips, mcnemar_p, by_family} on `problems` held-out problems. Raises ConfigError without an
    adapter.

    `adapter`: which of the run's, such as epochs/2. The first problems are those of the run's own report: the stream of problems is the same, only longer.
    """
    weights = adapter_of(folder, adapter)
    config = configs.load(folder / "config.yaml")
    asked = problems_for(config, _say, {"held_out": problems})["held_out"]
    student, tokenizer = load_student(config.student, config.lora, detect(), config.seed)
    load_adapter(student, weights)
    end_as_trained(student, weights)

    def judge() -> Score:
        evaluation = config.evaluation
        return score(answer_problems(student, tokenizer, asked, evaluation.max_new_tokens, evaluation.batch_size))

    if not as_json:
        print(f"answering {problems} problems twice", file=sys.stderr)
    with student.disable_adapter():
        before = judge()
    after = judge()
    return {"before": before.to_dict(), "after": after.to_dict(), **compare(before, after)}


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
