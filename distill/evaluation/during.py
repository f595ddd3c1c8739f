"""What the student is asked while it trains: a few samples that people read, and problems whose answers are counted.

The counted ones are of the validation split: nothing that a run is judged by in the end is looked at in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from distill.config.settings import DataConfig, ProbeConfig
from distill.data.problems import Problem, showcase
from distill.evaluation.answering import Answer, score
from distill.evaluation.score import Score
from distill.runs.events import Evaluation, Event, Sample


@dataclass(frozen=True)
class Questions:
    """The `samples` and the `counted` problems, the same at every look, so that looks can be compared."""

    samples: Sequence[Problem]
    counted: Sequence[Problem]

    @property
    def problems(self) -> list[Problem]:
        """All of them, each once, to be asked together: batched, many answers cost little more than one."""
        return list(dict.fromkeys([*self.samples, *self.counted]))

    def events(self, step: int, answers: Sequence[Answer]) -> list[Event]:
        """What there is to say of the answers to `problems` at a step; no evaluation where none is counted."""
        said = dict(zip(self.problems, answers, strict=True))
        found: list[Event] = [
            Sample(
                step=step,
                problem=problem.id,
                text=said[problem].completion.text,
                right=said[problem].grade.right,
                question=problem.question,
                answer=problem.answer,
            )
            for problem in self.samples
        ]
        if self.counted:
            found.append(evaluated("during", "validation", step, score([said[one] for one in self.counted])))
        return found


def during(data: DataConfig, probe: ProbeConfig, validation: Sequence[Problem]) -> Questions:
    """What a run asks: as samples the showcase, or, where the problems are others, the first that are counted."""
    samples = showcase() if data.source == "problems" else spread(validation, probe.samples)
    return Questions(samples[: probe.samples], spread(validation, probe.problems))


def evaluated(phase: str, split: str, step: int, result: Score) -> Evaluation:
    """A score as an event."""
    by_family = {family: part.to_dict() for family, part in result.by_family().items()}
    return Evaluation(phase=phase, split=split, step=step, by_family=by_family, **result.to_dict())


def spread(problems: Sequence[Problem], n: int) -> list[Problem]:
    """The first `n` of `problems` when families take turns, or all where there are fewer."""
    families: dict[str, list[Problem]] = {}
    for problem in problems:
        families.setdefault(problem.family, []).append(problem)
    turns = (problem for turn in zip_longest(*families.values()) for problem in turn if problem is not None)
    return list(turns)[:n]
