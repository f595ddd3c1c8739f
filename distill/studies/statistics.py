"""What several seeds and problems, paired, say of the difference between two arms. Pure arithmetic.

Seeds and problems are crossed: every seed answers the same problems. Each is a sample of those there might have been,
so both widen an interval: of d [S, P], with d_s and d_p the means of a seed and of a problem,

    Var(mean d) = var(d_s) / S + var(d_p) / P

and the degrees of freedom of Satterthwaite (1946). (The noise of single answers is in both terms, so the interval is
rather too wide than too narrow.) Of one seed only the problems are a sample, and nothing is known of other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from distill.evaluation.score import mcnemar_exact

LEVEL, POWER = 0.05, 0.8


@dataclass(frozen=True)
class Mean:
    """A mean over `seeds` x `n` problems. `se`: its standard error; `df`: degrees of freedom; `p`: two-sided, of 0."""

    estimate: float
    ci95: tuple[float, float]
    se: float
    df: float
    p: float
    seeds: int
    n: int

    @property
    def smallest(self) -> float:
        """The difference that so many seeds and problems would have shown four times in five (two-sided, 5%)."""
        return (t_quantile(1 - LEVEL / 2, self.df) + t_quantile(POWER, self.df)) * self.se

    @property
    def largest(self) -> float:
        """No difference larger than this, in either direction, fits what was seen."""
        return max(abs(bound) for bound in self.ci95)


def mean(d_SP: Sequence[Sequence[float]] | np.ndarray) -> Mean:
    """The mean of d [S, P] (say: right in one arm minus right in the other) with its 95% interval.

    Raises ValueError for fewer than two problems.
    """
    d_SP = np.asarray(d_SP, dtype=float)
    S, P = d_SP.shape
    if P < 2:
        raise ValueError("an interval needs at least two problems")
    estimate = float(d_SP.mean())
    variance, df = _variance(d_SP)
    # Where no mean varies, the rule of three: what was never seen in n happens in at most 3 of n.
    se = variance**0.5 or 3 / P / t_quantile(1 - LEVEL / 2, df)
    half = t_quantile(1 - LEVEL / 2, df) * se
    p = 2 * (1 - t_cdf(abs(estimate) / se, df))
    return Mean(estimate, (estimate - half, estimate + half), se, df, min(1.0, p), S, P)


def _variance(d_SP: np.ndarray) -> tuple[float, float]:
    """(variance of the mean, degrees of freedom)."""
    parts = [
        (means.var(ddof=1) / len(means), len(means) - 1) for means in (d_SP.mean(1), d_SP.mean(0)) if len(means) > 1
    ]
    total = sum(part for part, _ in parts)
    if total < 1e-20:  # nothing but rounding
        return 0.0, d_SP.shape[1] - 1
    df = float(total**2 / sum(part**2 / df for part, df in parts))
    return float(total), round(df, 1 if df < 30 else None)  # rounded, so that quantiles are looked up


def holm(p_values: Sequence[float]) -> list[float]:
    """The same p values, raised for how many were asked (Holm 1979): one below 0.05 may be believed."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def flips(one_P: Sequence[bool], other_P: Sequence[bool]) -> dict[str, float]:
    """Within one seed: problems that only the first arm has right, only the other, and McNemar's exact p."""
    pairs = list(zip(one_P, other_P, strict=True))
    gained, lost = pairs.count((True, False)), pairs.count((False, True))
    return {"gained": gained, "lost": lost, "mcnemar_p": mcnemar_exact(gained, lost)}


@cache
def t_cdf(t: float, df: float) -> float:
    """Student's t distribution."""
    import mpmath  # comes with torch, which needs sympy

    tail = float(mpmath.betainc(df / 2, 0.5, 0, df / (df + t * t), regularized=True)) / 2
    return 1 - tail if t > 0 else tail


@cache
def t_quantile(share: float, df: float) -> float:
    """The value below which a `share` (above one half) of Student's t distribution lies; by halving."""
    low, high = 0.0, 1e4
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, df) < share else (low, middle)
    return (low + high) / 2
