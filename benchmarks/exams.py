"""How runs' students do in every exam, before and after, beside their teachers: `python -m benchmarks.exams RUN ...`.

Exams: distill/evaluation/exams.py. The teachers' mean, the best of them and their majority vote stand beside; `--json`
keeps all of it in results/exams_PRESET.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import report
from distill.config import run_config as configs
from distill.data.problems import Problem
from distill.evaluation.answering import answer_problems
from distill.evaluation.exams import called_impossible, exams, right, vote
from distill.evaluation.reevaluate import adapter_of
from distill.evaluation.score import Score
from distill.models.hardware import detect
from distill.models.loading import load_model, load_tokenizer
from distill.models.references import model_path
from distill.models.student import end_as_trained, load_adapter, load_student
from distill.runs import index

Texts = dict[str, list[str]]  # exam -> answers


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", nargs="+", help="a run's id or folder")
    arguments.add_argument("--runs", help="where runs are kept")
    arguments.add_argument("--no-teachers", action="store_true", help="leave the teachers out")
    asked, problems = arguments.parse_args(), exams()
    said: dict[str, Texts] = {}  # by students untaught, and by teachers: each is asked once
    for name in asked.run:
        folder = index.find(name, asked.runs)
        config = configs.load(folder / "config.yaml")
        student, tokenizer = load_student(config.student, config.lora, detect(), config.seed)
        load_adapter(student, adapter_of(folder))
        end_as_trained(student, adapter_of(folder))
        if config.student.model not in said:
            with student.disable_adapter():
                said[config.student.model] = _answers(student, tokenizer, problems)
        after = _answers(student, tokenizer, problems)
        for teacher in () if asked.no_teachers else config.teachers:
            if teacher.name not in said:
                said[teacher.name] = _of_teacher(model_path(teacher), problems)
        teachers = {} if asked.no_teachers else {t.name: said[t.name] for t in config.teachers}
        figures = {exam: _row(exam, problems, said[config.student.model], after, teachers) for exam in problems}
        print(config.name)
        for exam, row in figures.items():
            print(f"  {exam:14}", *(f"{key} {_said(value)}" for key, value in row.items()), sep="  ", flush=True)
        report(f"exams_{config.name.replace('-', '_')}", run=folder.name, exams=figures)


def _answers(model, tokenizer, problems: dict[str, list[Problem]]) -> Texts:
    return {
        name: [answer.completion.text for answer in answer_problems(model, tokenizer, asked)]
        for name, asked in problems.items()
    }


def _of_teacher(path: Path | str, problems: dict[str, list[Problem]]) -> Texts:
    return _answers(load_model(path), load_tokenizer(path), problems)


def _row(name: str, problems: dict[str, list[Problem]], before: Texts, after: Texts, teachers: dict[str, Texts]):
    asked = problems[name]
    row = {"before": right(asked, before[name]).to_dict(), "after": right(asked, after[name]).to_dict()}
    if (called := called_impossible(asked, after[name])).n:
        row["called_impossible"] = called.to_dict()
    if teachers:
        scores: Sequence[Score] = [right(asked, said[name]) for said in teachers.values()]
        row["teachers_mean"] = sum(score.accuracy for score in scores) / len(scores)
        row["teachers_best"] = max(scores, key=lambda score: score.accuracy).to_dict()
        row["teachers_vote"] = right(asked, vote([said[name] for said in teachers.values()])).to_dict()
    return row


def _said(value: float | dict) -> str:
    if isinstance(value, float):
        return f"{value:.1%}"
    low, high = value["ci95"]
    return f"{value['accuracy']:.1%} ({100 * low:.1f} to {100 * high:.1f}, n {value['n']})"


if __name__ == "__main__":
    main()
