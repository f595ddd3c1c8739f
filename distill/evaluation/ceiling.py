"""How far there was to go: what the teachers get right of the very problems that the student is judged by.

Kept like all their answers, so that asking again costs nothing. What a teacher is worth is then

    gap closed = (after - before) / (best teacher - before)

over the problems that all have answered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.config.files import write_atomically
from distill.config.paths import home
from distill.config.requirements import heard
from distill.data.grading import grade
from distill.data.problems import Problem
from distill.evaluation.during import spread
from distill.evaluation.exams import vote
from distill.evaluation.score import Score
from distill.models.distributed import is_main, main_first
from distill.models.references import model_path
from distill.teachers.ask import Asking
from distill.teachers.response_cache import ResponseBank, ResponseRequest

FILE = "teachers.json"  # in the run's folder: {teacher: [{id, family, text, right}, ...]}
_DRAWS = 2000  # of the bootstrap


def ask_teachers(asking: Asking, problems: Sequence[Problem], folder: Path) -> None:
    """Have every teacher that is listened to answer `evaluation.teachers` of the problems, families in turns."""
    config = asking.config
    asked = spread(problems, config.evaluation.teachers)
    if not asked:
        return
    bank = ResponseBank(home().cache / "responses", on_warning=asking.warn)
    request, said = ResponseRequest(max_new_tokens=config.evaluation.max_new_tokens), {}
    for teacher in heard(config):
        how = asking.how(teacher, "is answering the problems the student is judged by")
        with main_first():
            answers = bank.ask(teacher.name, model_path(teacher), [p.question for p in asked], request, **how)
        said[teacher.name] = [
            {"id": p.id, "family": p.family, "text": one.text, "right": grade(one.text, p.answer).right}
            for p, (one, *_) in zip(asked, answers, strict=True)
        ]
    if said and is_main():
        write_atomically(folder / FILE, json.dumps(said, ensure_ascii=False))


def ceiling(folder: Path, answers: Mapping[str, str], before: Score, after: Score) -> dict[str, Any] | None:
    """What report.json says of the teachers beside the student; None where they were not asked.

    {n, before, after, teachers: {name: score}, mean, best, vote, gap_closed: {share, ci95} or None}; before and after
    are the student's on the same problems. `answers`: the right answer of each problem, by its id.
    """
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    asked = [(one["id"], one["family"]) for one in next(iter(said.values()))]
    scores = {name: Score.of((one["id"], one["family"], one["right"]) for one in rows) for name, rows in said.items()}
    voted = vote([[one["text"] for one in rows] for rows in said.values()])
    best = max(scores, key=lambda name: scores[name].accuracy)
    own = [_only(score, asked) for score in (before, after)]
    return {
        "n": len(asked),
        "before": own[0].to_dict(),
        "after": own[1].to_dict(),
        "teachers": {name: score.to_dict() for name, score in scores.items()},
        "mean": sum(score.accuracy for score in scores.values()) / len(scores),
        "best": best,
        "vote": Score.of(
            (key, family, grade(text, answers[key]).right) for (key, family), text in zip(asked, voted, strict=True)
        ).to_dict(),
        "gap_closed": gap_closed(own[0].right, own[1].right, scores[best].right),
    }


def _only(score: Score, asked: Sequence[tuple[str, str]]) -> Score:
    right = dict(zip(score.ids, score.right, strict=True))
    return Score.of((key, family, right[key]) for key, family in asked)


def gap_closed(before: Sequence[bool], after: Sequence[bool], best: Sequence[bool]) -> dict[str, Any] | None:
    """{share, ci95} of the way from before to the best teacher; None where the teacher is not better than before.

    The interval is a bootstrap's over problems (Efron 1979), all three answers to a problem drawn together.
    """
    rights = np.array([before, after, best], dtype=float)
    start, end, goal = rights.mean(1)
    if goal <= start:
        return None
    n = rights.shape[1]
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=_DRAWS) @ rights.T / n  # [draws, 3]
    ways = drawn[:, 2] - drawn[:, 0]
    shares = (drawn[:, 1] - drawn[:, 0])[ways > 0] / ways[ways > 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    return {"share": float((end - start) / (goal - start)), "ci95": [float(low), float(high)]}
