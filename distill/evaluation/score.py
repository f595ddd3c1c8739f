"""What may be concluded from n graded answers: intervals, flips, significance. Pure arithmetic: no model, no torch.

Wilson's interval is in its place at 0 of n and n of n, where the textbook interval has width zero. McNemar's test asks
whether the answers that changed changed for the better, which is far sharper than comparing two accuracies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.data.problems import Problem

_Z95 = 1.959963984540054  # the normal distribution's 97.5% point


def wilson(correct: int, n: int) -> tuple[float, float]:
    """The 95% interval of a proportion of `correct` in `n` (Wilson 1927). Nothing known (n = 0) is (0, 1)."""
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n} can't be")
    if n == 0:
        return 0.0, 1.0
    z2 = _Z95**2
    share = correct / n
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (0.0 if correct == 0 else middle - half), (1.0 if correct == n else middle + half)


def mcnemar_exact(fixed: int, broken: int) -> float:
    """The two-sided exact p of McNemar's test: how often fair coins fall that far apart. 1 if nothing changed."""
    changed = fixed + broken
    tail = sum(math.comb(changed, k) for k in range(min(fixed, broken) + 1))
    return min(1.0, 2 * tail / 2**changed)


@dataclass(frozen=True)
class Score:
    """Graded answers, one entry a problem, in the order they were asked."""

    ids: tuple[str, ...]
    families: tuple[str, ...]
    right: tuple[bool, ...]

    @classmethod
    def of(cls, results: Iterable[tuple[str, str, bool]]) -> Score:
        """From (problem id, family, right?) triples."""
        rows = list(results)
        return cls(*(tuple(row[k] for row in rows) for k in range(3)))

    @classmethod
    def of_problems(cls, problems: Iterable[Problem], right: Iterable[bool]) -> Score:
        """Whether the answer to each of these problems was right."""
        return cls.of((problem.id, problem.family, is_right) for problem, is_right in zip(problems, right, strict=True))

    @property
    def n(self) -> int:
        return len(self.right)

    @property
    def correct(self) -> int:
        return sum(self.right)

    @property
    def accuracy(self) -> float:
        """The share that is right; 0 of nothing is 0, and its interval says that nothing is known."""
        return self.correct / self.n if self.n else 0.0

    @property
    def ci95(self) -> tuple[float, float]:
        return wilson(self.correct, self.n)

    def by_family(self) -> dict[str, Score]:
        """A score for each family, in the order of first appearance."""
        parts: dict[str, list[tuple[str, str, bool]]] = {}
        for row in zip(self.ids, self.families, self.right, strict=True):
            parts.setdefault(row[1], []).append(row)
        return {family: Score.of(rows) for family, rows in parts.items()}

    def to_dict(self) -> dict[str, Any]:
        """{n, correct, accuracy, ci95}, as report.json holds it."""
        return {"n": self.n, "correct": self.correct, "accuracy": self.accuracy, "ci95": list(self.ci95)}


def compare(before: Score, after: Score) -> dict[str, Any]:
    """What changed: {flips: {fixed, broken}, mcnemar_p, by_family: {family: {n, before, after}}}.

    `before` and `after` of a family are accuracies. Raises ValueError unless both scores are of the same problems in
    the same order, for only then is an answer paired with its own.
    """
    if before.ids != after.ids:
        raise ValueError("before and after are scores of different problems, or in another order")
    pairs = list(zip(before.right, after.right, strict=True))
    fixed, broken = pairs.count((False, True)), pairs.count((True, False))
    later = after.by_family()
    return {
        "flips": {"fixed": fixed, "broken": broken},
        "mcnemar_p": mcnemar_exact(fixed, broken),
        "by_family": {
            family: {"n": part.n, "before": part.accuracy, "after": later[family].accuracy}
            for family, part in before.by_family().items()
        },
    }
