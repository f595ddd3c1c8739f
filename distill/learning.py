"""Which texts a run learns from: the data's own solutions, its teachers' answers to the problems, or both.

The teachers answer one after another, each in memory only while it answers; what they say is kept for the next run.
This module knows nothing of tokens or of training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from distill.config import model_path, teachers_of
from distill.data.chosen import Chosen, choose, deal, spread
from distill.data.problems import Problem
from distill.demands import wants_answers, wants_solutions
from distill.errors import UserError
from distill.gather import Asking, Texts
from distill.methods import ResponseConfig
from distill.objectives.task import ANSWER, SOLUTION
from distill.runs import home
from distill.teachers.responses import ResponseBank, ResponseRequest

Counts = dict[str, Any]  # {teacher: {"asked", "finished", "empty", "right", "kept"}}


def learning_texts(asking: Asking, problems: Sequence[Problem], families: Mapping[str, int]) -> tuple[Texts, Counts]:
    """The training texts, and how many answers of each teacher were asked for, finished, right and kept.

    Raises UserError where no text is left to learn from.
    """
    config, response = asking.config, wants_answers(asking.config)
    about: list[Problem] = []
    solutions: list[str] = []
    if wants_solutions(config):
        about, solutions = list(problems), [problem.solution for problem in problems]
    origins, counts = [SOLUTION] * len(about), {}
    if response is not None:
        chosen = _answers(asking, response, problems)
        asking.progress("answers", chosen.summary())(1, 1)
        _warn_of_unfinished(asking, response, chosen)
        counts = {teacher: asdict(of_one) for teacher, of_one in chosen.counts.items()}
        about += [problems[row.problem] for row in chosen.rows]
        solutions += [row.text for row in chosen.rows]
        origins += [ANSWER] * len(chosen.rows)
    if not about:
        raise UserError(
            "None of the teachers' answers is left to learn from: set objectives.response.keep to 'all', raise its "
            "max_new_tokens, or choose teachers that can do these problems."
        )
    pairs = [(problem.question, solution) for problem, solution in zip(about, solutions, strict=True)]
    numbers = [families[problem.family] for problem in about]
    return Texts("train", pairs, numbers, origins if response is not None else None), counts


def _answers(asking: Asking, response: ResponseConfig, problems: Sequence[Problem]) -> Chosen:
    teachers = teachers_of(response, asking.config)
    everything = [list(range(len(problems)))] * len(teachers)
    shares = deal(problems, len(teachers)) if response.problems == "share" else everything
    bank = ResponseBank(home().cache / "responses", on_warning=asking.warn)
    request = ResponseRequest(
        samples=response.samples,
        temperature=response.temperature,
        top_p=response.top_p,
        max_new_tokens=response.max_new_tokens,
        seed=asking.config.seed,
    )
    answers = {}
    for teacher, indices in zip(teachers, shares, strict=True):
        questions = [problems[index].question for index in indices]
        how = asking.how(teacher, f"who answers {len(questions):,} problems")
        said = bank.ask(teacher.name, model_path(teacher), questions, request, **how)
        answers[teacher.name] = spread(len(problems), indices, said)
    return choose(answers, problems, response.keep)


def _warn_of_unfinished(asking: Asking, response: ResponseConfig, chosen: Chosen) -> None:
    asked = sum(counts.asked for counts in chosen.counts.values())
    lost = asked - sum(counts.finished for counts in chosen.counts.values())
    if lost:
        asking.warn(
            "answers_unfinished",
            f"{lost:,} of {asked:,} answers of teachers had not ended after {response.max_new_tokens} tokens and are "
            "left out: raise objectives.response.max_new_tokens.",
        )
