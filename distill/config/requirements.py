"""What a config's methods ask of each teacher: to read the texts, to write answers, to stay loaded while it trains.

Plain facts of the config, for whoever plans a run or tells people what it costs; which signals exactly, requests.py
says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distill.config.messages import listed
from distill.config.method import Method
from distill.config.run_config import ModelRef, RunConfig, teachers_of

ONE_A_PROBLEM = ("shortest", "majority")  # the kinds of `keep` that keep at most one answer to each problem


@dataclass(frozen=True)
class Demand:
    """What one teacher is asked, at most. `read`, `written`: training texts and answers; `live`: it stays loaded.

    `tokens`: whether something is kept of each token that it read; `top_k` and `layers`: the likeliest tokens of these,
    and the hidden states.
    """

    read: int = 0
    written: int = 0
    live: bool = False
    tokens: bool = False
    top_k: int = 0
    layers: int = 0


def listening(config: RunConfig, name: str) -> list[Method]:
    """The methods that listen to the teacher of this name, the solving of problems without a solution included."""
    methods = [*config.objectives, *([wants_answers(config)] if fills_in(config) else [])]
    return [one for one in methods if name in (teacher.name for teacher in teachers_of(one, config))]


def heard(config: RunConfig) -> list[ModelRef]:
    """The teachers that some method listens to, in the order of the run's list."""
    return [teacher for teacher in config.teachers if listening(config, teacher.name)]


def asks_for_answers(config: RunConfig) -> Method | None:
    """The method that says how teachers are asked for answers: `response` before one that also can; None: nobody."""
    wanting = [one for one in config.objectives if one.answers is not None]
    return next((one for one in wanting if one.answers is one), wanting[0] if wanting else None)


def wants_answers(config: RunConfig) -> Any:
    """How teachers are asked for answers to the training problems, a ResponseConfig; None where nobody wants any."""
    asking = asks_for_answers(config)
    if asking is not None:
        return asking.answers
    if fills_in(config):
        longest = config.evaluation.max_new_tokens
        return config.methods["response"](problems="share", keep="majority", max_new_tokens=longest)
    return None


def fills_in(config: RunConfig) -> bool:
    """Whether teachers solve the problems that come without a solution, and only those."""
    return bool(config.teachers) and config.data.solved < config.data.train and asks_for_answers(config) is None


def answers_itself(config: RunConfig) -> Method | None:
    """The method for which the student answers problems while it trains (`rollout`); None where there is none."""
    return next((one for one in config.objectives if one.rollout), None)


def wants_solutions(config: RunConfig) -> bool:
    """Whether the data's own solutions are among the texts to learn from: where `task` is, or nobody's answers are."""
    task = not all(one.needs_teachers for one in config.objectives)
    return wants_answers(config) is None or task or fills_in(config)


def demand(config: RunConfig, name: str) -> Demand:
    """What the teacher of this name is asked to do; how many of its answers are kept is not known before."""
    methods = listening(config, name)
    signals = frozenset().union(*(one.signals(len(teachers_of(one, config))) for one in methods))
    answers = wants_answers(config)
    writes = answers is not None and name in (teacher.name for teacher in teachers_of(answers, config))
    return Demand(
        read=_texts(config) if signals else 0,
        written=_written(config, answers) if writes else 0,
        live=any(one.live for one in methods),
        tokens="tokens" in signals,
        top_k=max((one.lists for one in methods), default=0),
        layers=max((one.layers_kept for one in methods), default=0),
    )


# What a teacher says that it can only say of a text that it has not seen the rest of.
_LIKELIHOODS = frozenset({"nll_per_byte", "token_logprobs", "topk"})


def continues(config: RunConfig, name: str) -> bool:
    """Whether the teacher of this name has to continue texts: to write answers, or to say how likely they are."""
    asked, methods = demand(config, name), listening(config, name)
    signals = (one.signals(len(teachers_of(one, config))) for one in methods)
    judged = methods and config.evaluation.teachers  # by the problems that the student is judged by
    return bool(asked.written or asked.live or judged or any(_LIKELIHOODS & said for said in signals))


def notes(config: RunConfig) -> list[str]:
    """What is asked of the teachers, each a sentence without a full stop."""
    asked = {teacher.name: demand(config, teacher.name) for teacher in heard(config)}
    readers = [name for name, one in asked.items() if one.read]
    writers = [name for name, one in asked.items() if one.written]
    live = [name for name, one in asked.items() if one.live]
    found = []
    if writers:
        between, write = (" between them", "write") if len(writers) > 1 else ("", "writes")
        count = _answers(config, wants_answers(config))
        found.append(f"{_who(writers)} {write} {count:,} answers to the training problems{between}, once")
    if readers:
        who = f"each of {len(readers)} teachers" if len(readers) > 1 else _who(readers)
        found.append(f"{who} reads {asked[readers[0]].read:,} training texts, once")
    if live:
        stay = "stay" if len(live) > 1 else "stays"
        found.append(f"{_who(live)} {stay} in memory while the student trains")
    return found


def planned_steps(config: RunConfig) -> int:
    """The optimiser steps there will be; with `budget.epochs`, as many as the texts that there may be make."""
    return max(1, config.budget.total(_texts(config)))


def _texts(config: RunConfig) -> int:
    """The training texts there may be: the solutions, where they are learnt from, and the teachers' answers."""
    answers = wants_answers(config)
    solutions = config.data.solved if wants_solutions(config) else 0
    if answers is None:
        return solutions
    one_each = answers.keep in ONE_A_PROBLEM
    return solutions + (_problems_asked(config) if one_each else _answers(config, answers))


def _answers(config: RunConfig, answers: Any) -> int:
    """The answers that the teachers are asked for, in all."""
    each = answers.samples * (1 if answers.problems == "share" else len(teachers_of(answers, config)))
    return _problems_asked(config) * each


def _problems_asked(config: RunConfig) -> int:
    """The problems that teachers are asked to solve."""
    return config.data.train - (config.data.solved if fills_in(config) else 0)


def _written(config: RunConfig, answers: Any) -> int:
    """The answers that each teacher is asked for, at most."""
    return -(-_answers(config, answers) // max(len(teachers_of(answers, config)), 1))


def _who(names: list[str]) -> str:
    if len(names) > 2:
        return f"{len(names)} teachers"
    return f"the {'teacher' if len(names) == 1 else 'teachers'} {listed(names)}"
