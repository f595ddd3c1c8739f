"""Scales, ticks and numbers as pictures show them: pure arithmetic and text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high` with its ticks, in data units; logarithmic where `log`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float | None) -> float | None:
        """Where `value` lies: 0 at `low`, 1 at `high`. None where it can't be shown."""
        if missing(value) or (self.log and value <= 0):
            return None
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def missing(value: float | None) -> bool:
    """Whether there is no number to show."""
    return value is None or not math.isfinite(value)


def step_of(span: float, most: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that cuts `span` into `most` parts or fewer."""
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(nice * power for nice in (1, 2, 5, 10) if nice * power >= rough * (1 - 1e-9))


def axis(
    values: Iterable[float | None], given: tuple[float, float] | None = None, *, most: int = 5, log: bool = False
) -> Axis:
    """A scale that holds every one of `values`, with at most `most` + 1 ticks.

    Without `given` it ends on ticks; with it, it ends there, wider only where a value lies outside.
    """
    shown = [value for value in values if not missing(value) and not (log and value <= 0)]
    if log:
        return _log_axis([*shown, *(given or ())])
    low, high = min([*shown, *(given or ())], default=0.0), max([*shown, *(given or ())], default=1.0)
    if low == high:
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
    # Near enough to zero: then from zero, so that heights can be compared.
    if given is None and 0 < low < 0.35 * high:
        low = 0.0
    step = step_of(high - low, most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if given is None or low < given[0]:
        low = first * step
    if given is None or high > given[1]:
        high = last * step
    slack = (high - low) * 1e-9
    ticks = tuple(k * step for k in range(first, last + 1) if low - slack <= k * step <= high + slack)
    return Axis(low, high, ticks)


def _log_axis(values: Sequence[float]) -> Axis:
    """Whole decades; 2 and 5 between them where there are few."""
    positive = [value for value in values if value > 0] or [0.1, 1.0]
    first, last = math.floor(math.log10(min(positive)) + 1e-9), math.ceil(math.log10(max(positive)) - 1e-9)
    last = max(last, first + 1)
    every = max(1, math.ceil((last - first) / 5))
    between = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [nice * 10.0**power for power in range(first, last, every) for nice in between]
    return Axis(10.0**first, 10.0**last, (*ticks, 10.0**last), log=True)


def tick_text(value: float, ticks: Sequence[float], percent: bool = False) -> str:
    """A tick's label: as many decimals as its neighbours need; thousands and millions as k and M."""
    if percent:
        return f"{_plain(value * 100)}%"
    largest = max((abs(tick) for tick in ticks), default=0.0)
    for size, suffix in ((1e6, "M"), (1e4, "k")):
        if largest >= size:
            unit = 1e6 if suffix == "M" else 1e3
            return f"{_plain(value / unit)}{suffix}" if value else "0"
    return _plain(value)


def _plain(value: float) -> str:
    rounded = float(f"{value:.6g}")
    if rounded == 0:
        return "0"
    if abs(rounded) < 1e-3:
        return f"{rounded:.0e}".replace("e-0", "e-")
    return f"{rounded:,.10f}".rstrip("0").rstrip(".")


def value_text(value: float | None, percent: bool = False) -> str:
    """A value with about three digits, a percentage with one decimal, "–" where there is none."""
    if missing(value):
        return "–"
    if percent:
        return f"{value:.1%}"
    size = abs(value)
    if size and size < 1e-3:
        return f"{value:.1e}".replace("e-0", "e-")
    if size >= 1e15:
        return f"{value:.2e}"
    return f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"


def step_text(value: float) -> str:
    """A place on the x axis, as the read-out shows it: thousands separated, a fraction only below 100."""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 100 else f"{value:,.1f}"


def compact(value: float | None, digits: int = 4) -> str:
    """A value for programs, in as few characters as `digits` significant digits need; "" where there is none.

    Whole numbers keep all their digits. Python and JavaScript both read it: ".61", "-2e-5", "100000.5".
    """
    if missing(value):
        return ""
    if value == round(value) and abs(value) < 1e15:
        return str(round(value))
    whole = len(str(int(abs(value)))) if abs(value) < 1e15 else 0
    text = f"{value:.{max(digits, whole + 1)}g}"
    if "e" in text:
        front, power = text.split("e")
        return f"{front}e{int(power)}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
