"""What models made here are judged by beside their own held-out problems, and how each exam went.

held_out      new numbers, in wordings that training uses
new_phrasing  new numbers and wordings
new_names     new numbers, names and things
impossible    new numbers and wordings, all without an answer
visitors      written one by one by somebody who had not seen the wordings
mawps_asdiv, svamp  public ones (MIT), where their file is there: it is not ours to ship
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from distill.config.paths import ROOT
from distill.data.families import IMPOSSIBLE
from distill.data.grading import extract, grade
from distill.data.problems import Problem, generate, visitors
from distill.evaluation.score import Score

COUNTS = {"held_out": 480, "new_phrasing": 480, "new_names": 480}
IMPOSSIBLE_ONES = 160
PUBLIC = ROOT.parent / "shared" / "data" / "word_problems.json"


def exams(public: Path = PUBLIC) -> dict[str, list[Problem]]:
    """The problems of every exam."""
    found = {split: generate(split, n) for split, n in COUNTS.items()}
    found["impossible"] = generate("new_phrasing", IMPOSSIBLE_ONES, seed=1, families=[IMPOSSIBLE])
    found["visitors"] = list(visitors())
    if public.is_file():
        for name, entries in json.loads(public.read_text(encoding="utf-8")).items():
            found[name] = [
                Problem(f"{name}:{number}", kind, question, f"#### {answer}", str(answer), name)
                for number, (kind, question, answer) in enumerate(entries)
            ]
    return found


def right(problems: Sequence[Problem], texts: Sequence[str]) -> Score:
    """The texts of answers to these problems as a Score."""
    graded = (grade(text, problem.answer).right for problem, text in zip(problems, texts, strict=True))
    return Score.of_problems(problems, graded)


def called_impossible(problems: Sequence[Problem], texts: Sequence[str]) -> Score:
    """Of the problems that have an answer, the share that was called impossible (here "right" means: called so)."""
    asked = [(problem, text) for problem, text in zip(problems, texts, strict=True) if problem.answer != IMPOSSIBLE]
    return Score.of_problems((problem for problem, _ in asked), (extract(text) == IMPOSSIBLE for _, text in asked))


def vote(texts: Sequence[Sequence[str]]) -> list[str]:
    """What most of several models conclude of each problem, of equals the first; "" where none concludes anything.

    texts: one list a model.
    """
    concluded = [[said for text in of_one if (said := extract(text))] for of_one in zip(*texts, strict=True)]
    return [f"#### {max(said, key=said.count)}" if said else "" for said in concluded]
