"""A study as pictures: differences with their intervals (a forest plot), and curves over the ladder.

Numbers in, SVG out. The pictures stand alone as files; in the page they take its colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

# Okabe and Ito's palette ("Color universal design", 2008), without yellow; grey for a seventh.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#888888")
_INK, _FAINT = "var(--ink, #1c2127)", "var(--grid, #d9dee4)"
_WIDTH = 760
_ROW = 30
_LETTER = 6.6  # pixels of a letter of the font, about
_LONGEST = 26  # letters of an arm's or a value's name; the page and README.md have the whole


def forest(found: dict[str, Any]) -> str:
    """Every difference of the split that verdicts are about: a dot, its 95% interval, and zero."""
    rows = [one for one in found["differences"] if "verdict" in one]
    names = [_compared(one, found) for one in rows]
    left = 20 + _LETTER * max(map(len, names), default=10)
    right = _WIDTH - 150
    ends = [100 * end for one in rows for end in one["ci95"]] + [0.0]
    ticks = _ticks(min(ends), max(ends))
    bottom = 20 + _ROW * max(1, len(rows))

    def x(value: float) -> float:
        return left + (right - left) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    parts = [_line(x(tick), 12, x(tick), bottom, _INK if tick == 0 else _FAINT) for tick in ticks]
    parts += [_text(x(tick), bottom + 18, f"{tick:+g}" if tick else "0", "middle") for tick in ticks]
    parts.append(_text((left + right) / 2, bottom + 38, "difference in accuracy (points), 95% interval", "middle"))
    for place, (one, name) in enumerate(zip(rows, names, strict=True)):
        y, (low, high) = 27 + _ROW * place, (100 * end for end in one["ci95"])
        colour = {"better": COLOURS[2], "worse": COLOURS[5]}.get(one["verdict"], _INK)
        parts.append(_text(left - 10, y + 4, name, "end"))
        parts.append(_line(x(low), y, x(high), y, colour, 2))
        parts.append(f'<circle cx="{x(100 * one["estimate"]):.1f}" cy="{y}" r="4.5" fill="{colour}"/>')
        parts.append(_text(right + 12, y + 4, f"{100 * one['estimate']:+.1f} ({low:+.1f} to {high:+.1f})", "start"))
    return _svg(parts, bottom + 50, f"Differences between arms: {'. '.join(found['verdicts'])}")


def ladder(found: dict[str, Any], split: str) -> str:
    """Accuracy in each arm over the ladder's values, with 95% intervals as bands; "" where there is no ladder."""
    means = [one for one in found["means"] if one["split"] == split]
    values: list[Any] = []  # they may be lists, as of teachers
    for one in means:
        values += [one["value"]] if one["value"] not in values else []
    if found["ladder"] is None or len(values) < 2:
        return ""
    arms = list(dict.fromkeys(one["arm"] for one in means))
    left, right, top, bottom = 60, _WIDTH - 20 - _LETTER * max(len(_cut(arm)) for arm in arms), 20, 330

    def x(value: Any) -> float:
        return left + (right - left) * values.index(value) / (len(values) - 1)

    def y(share: float) -> float:
        return bottom - (bottom - top) * min(1.0, max(0.0, share))

    parts = [_line(left, y(share / 4), right, y(share / 4), _FAINT) for share in range(5)]
    parts += [_text(left - 8, y(share / 4) + 4, f"{25 * share}%", "end") for share in range(5)]
    parts += [_text(x(value), bottom + 18, _cut(value), "middle") for value in values]
    parts.append(_text((left + right) / 2, bottom + 38, found["ladder"], "middle"))
    last: list[tuple[float, str, str]] = []
    for arm, colour in zip(arms, _colours(len(arms)), strict=True):
        points = [one for one in means if one["arm"] == arm]
        upper = [f"{x(one['value']):.1f},{y(one['ci95'][1]):.1f}" for one in points]
        lower = [f"{x(one['value']):.1f},{y(one['ci95'][0]):.1f}" for one in points]
        parts.append(f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{colour}" opacity=".15"/>')
        line = " ".join(f"{x(one['value']):.1f},{y(one['estimate']):.1f}" for one in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x(one["value"]):.1f}" cy="{y(one["estimate"]):.1f}" r="3.5" fill="{colour}"/>'
            for one in points
        ]
        last.append((y(points[-1]["estimate"]), arm, colour))
    parts += [
        _text(right + 10, height + 4, _cut(arm), "start", colour)
        for height, arm, colour in _apart(last, 15, top, bottom)
    ]
    said = ", ".join(f"{one['arm']} at {one['value']}: {100 * one['estimate']:.1f}%" for one in means)
    return _svg(parts, bottom + 50, f"Accuracy over {found['ladder']}: {said}")


def _compared(one: dict[str, Any], found: dict[str, Any]) -> str:
    return f"{_cut(one['arm'])} − {_cut(one['with'])}" + (f", {_cut(one['value'])}" if found["ladder"] else "")


def _cut(name: Any) -> str:
    text = str(name)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from below `low` to above `high`, zero among them."""
    rough = max(high - low, 1.0) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in (1, 2, 5, 10) if nice * power >= rough)
    return [step * k for k in range(math.floor(low / step), max(1, math.ceil(high / step)) + 1)]


def _apart(labels: Sequence[tuple[float, str, str]], gap: float, top: float, bottom: float) -> list:
    """The labels at heights that don't overlap, in the same order."""
    ordered, height = [], top - gap
    for wanted, *rest in sorted(labels):
        height = max(wanted, height + gap)
        ordered.append((height, *rest))
    over = ordered[-1][0] - bottom if ordered else 0
    return [(height - max(0.0, over), *rest) for height, *rest in ordered]


def _colours(count: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(count)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    where = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {where} stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = _INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: float, described: str) -> str:
    box = f'viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" height="{height:.0f}"'
    style = 'style="max-width:100%;height:auto" font-family="system-ui, sans-serif" font-size="13"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {box} {style}>'
    return f"{head}<title>{escape(described)}</title>{''.join(parts)}</svg>\n"
