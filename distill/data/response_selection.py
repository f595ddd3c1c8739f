"""Which of the teachers' answers become texts to learn from, and who answers what. Pure: no model, no file.

An answer that did not come to its end, or says nothing, is never learned from, whatever is kept. Equal answers of
several samples all stay where all may stay: how often a teacher says something is part of what it teaches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from distill.config.requirements import ONE_A_PROBLEM
from distill.data.grading import extract, grade
from distill.data.problems import Problem

KEEP = ("all", "right", *ONE_A_PROBLEM)


class Response(NamedTuple):
    """What a teacher wrote: its text, whether it came to an end of its own, and how many tokens (its end not among
    them) it took."""

    text: str
    finished: bool
    tokens: int


class Row(NamedTuple):
    """A text to learn from: the problem's index, the teacher that wrote it, and the text."""

    problem: int
    teacher: str
    text: str


@dataclass
class Counts:
    """What became of one teacher's answers: `asked` for, of those `finished`, of those `empty` and `right`, `kept`.

    `too_long`: would have been kept, were they not longer than the student may read; `choose` knows of none.
    """

    asked: int = 0
    finished: int = 0
    empty: int = 0
    right: int = 0
    kept: int = 0
    too_long: int = 0


@dataclass(frozen=True)
class Chosen:
    """`rows` in the order of the problems, then of the teachers, then of their samples; `counts` by teacher.

    `problems`: how many were asked about; `without`: of those, how many have no row. `unjudged`: how many have no
    known answer, so that nothing said about them counts as right.
    """

    rows: list[Row]
    counts: dict[str, Counts]
    problems: int
    without: int
    unjudged: int

    def summary(self) -> str:
        """What was asked for, finished, right and kept, in all and by teacher, in plain words."""
        total = Counts(*(sum(getattr(c, name) for c in self.counts.values()) for name in Counts.__dataclass_fields__))
        parts = [
            f"Of {_many(total.asked, 'answer')} to {_many(self.problems, 'problem')} {total.finished:,} came to an "
            f"end, {total.right:,} {_are(total.right)} right and {total.kept:,} {_are(total.kept)} kept"
        ]
        if total.empty:
            parts.append(f"{total.empty:,} {'says' if total.empty == 1 else 'say'} nothing")
        if self.without:
            parts.append(f"nothing is learned about {_many(self.without, 'problem')}")
        if self.unjudged:
            parts.append(f"no answer to judge by is known for {_many(self.unjudged, 'problem')}")
        if len(self.counts) > 1:
            parts += [
                f"{name}: {c.asked:,} asked for, {c.finished:,} finished, {c.right:,} right, {c.kept:,} kept"
                for name, c in self.counts.items()
            ]
        return "; ".join(parts) + "."


class _Answer(NamedTuple):
    """A finished answer that says something."""

    teacher: str
    text: str
    right: bool


def deal(problems: Sequence[Problem], teachers: int) -> list[list[int]]:
    """The indices of the problems that each of so many teachers answers, where they share them.

    Round robin, family by family: each family is spread over all teachers, and no teacher has more than one problem
    more than another, of a family or in all.
    """
    families = list(dict.fromkeys(problem.family for problem in problems))
    place = {family: number for number, family in enumerate(families)}
    order = sorted(range(len(problems)), key=lambda index: place[problems[index].family])
    return [sorted(order[teacher::teachers]) for teacher in range(teachers)]


def spread(n: int, indices: Sequence[int], answers: Sequence[Sequence[Response]]) -> list[Sequence[Response]]:
    """Answers to the problems at `indices` as a list of n: what `choose` reads. Nothing where nothing was asked."""
    by_index = dict(zip(indices, answers, strict=True))
    return [by_index.get(index, ()) for index in range(n)]


def choose(
    answers: Mapping[str, Sequence[Sequence[Response]]], problems: Sequence[Problem], keep: str = "right"
) -> Chosen:
    """The texts to learn from: of each teacher (in order) its answers to each of the problems, none if it wasn't asked.

    `keep`: "all" finished answers that say anything; the "right" ones, by data/grading.py; the "shortest" right one of
    a problem, whoever wrote it; or, by "majority", the shortest of those that conclude with what most conclude with.
    All teachers and samples vote, those without a conclusion not, and the known answer plays no part (Wang et al. 2022,
    2203.11171). Lengths are in characters, as teachers count tokens differently. Of equals, in votes or in length, the
    first counts, in the order of the teachers and then of their samples.
    """
    if keep not in KEEP:
        raise ValueError(f"There is no keep {keep!r}: choose one of {', '.join(KEEP)}.")
    counts = {teacher: Counts() for teacher in answers}
    asked = [0] * len(problems)
    rows: list[Row] = []
    without = 0
    for index, problem in enumerate(problems):
        said: list[_Answer] = []
        for teacher, given in answers.items():
            asked[index] += len(given[index])
            said += _usable(teacher, given[index], problem, counts[teacher])
        kept = _kept(said, keep)
        without += bool(asked[index] and not kept)
        for answer in kept:
            counts[answer.teacher].kept += 1
            rows.append(Row(index, answer.teacher, answer.text))
    about = [problem for problem, times in zip(problems, asked, strict=True) if times]
    return Chosen(rows, counts, len(about), without, sum(not problem.answer.strip() for problem in about))


def _usable(teacher: str, given: Sequence[Response], problem: Problem, counts: Counts) -> list[_Answer]:
    """The finished answers that say something; all are counted."""
    counts.asked += len(given)
    finished = [response for response in given if response.finished]
    counts.finished += len(finished)
    texts = [response.text for response in finished if response.text.strip()]
    counts.empty += len(finished) - len(texts)
    found = [_Answer(teacher, text, grade(text, problem.answer).right) for text in texts]
    counts.right += sum(answer.right for answer in found)
    return found


def _kept(said: list[_Answer], keep: str) -> list[_Answer]:
    if keep == "all":
        return said
    among = _majority(said) if keep == "majority" else [answer for answer in said if answer.right]
    if keep in ONE_A_PROBLEM and among:
        return [min(among, key=lambda answer: len(answer.text))]  # of equals the first
    return among


def _majority(said: list[_Answer]) -> list[_Answer]:
    """Those who conclude with what most conclude with: "1/2" and "0.5" are one conclusion."""
    camps: list[tuple[str, list[_Answer]]] = []
    for answer in said:
        concluded = extract(answer.text)
        if concluded is None:
            continue
        camp = next((camp for first, camp in camps if grade(answer.text, first).right), None)
        if camp is None:
            camps.append((concluded, [answer]))
        else:
            camp.append(answer)
    return max((camp for _, camp in camps), key=len, default=[])  # max takes the first of equals


def _many(n: int, thing: str) -> str:
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"
