"""Colours and dash patterns: who is drawn how, everywhere on the page.

Teachers have the Okabe-Ito colours in a fixed order, each with a dash pattern of its own for those who cannot tell the
colours apart. The student, before and after are CSS variables, so that they follow light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Okabe and Ito's palette ("Color universal design", 2008), without yellow and black.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
DASHES = ("", "8 4", "2 3", "10 3 2 3", "16 4", "6 3 2 3 2 3")  # lengths of strokes and gaps in pixels; "" is solid

HEAT_LEVELS = 16  # steps of the heat maps' ramp: the classes h0 to h15 in assets/pictures.css, paler to stronger


@dataclass(frozen=True)
class Style:
    """How a line is drawn: a CSS colour and an SVG dash pattern in pixels ("" is a solid line)."""

    colour: str
    dash: str = ""


STUDENT = Style("var(--ink)")
BEFORE = Style("var(--before)")
AFTER = Style("var(--accent)")


def teacher_style(index: int) -> Style:
    """The style of the teacher at `index` of its run's list. No two of the first 36 are alike."""
    round_, place = divmod(index, len(OKABE_ITO))
    return Style(OKABE_ITO[place], DASHES[(place + round_) % len(DASHES)])


def styles(names: Sequence[str]) -> dict[str, Style]:
    """{teacher: its style}, by the order of the run's teachers."""
    return {name: teacher_style(index) for index, name in enumerate(names)}


def heat_level(value: float | None, low: float, high: float) -> int | None:
    """Which step of the ramp shows `value` on a scale from `low` to `high`; None where it is missing."""
    if value is None or not math.isfinite(value):
        return None
    share = (value - low) / (high - low)
    return min(max(int(share * HEAT_LEVELS), 0), HEAT_LEVELS - 1)
