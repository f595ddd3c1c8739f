"""Curves over steps: one line a series, in its colour and dash pattern. Numbers in, HTML with an SVG out.

The curve's coordinates are stretched to whatever width the page has, texts and line widths are not, so a picture is as
legible on a phone as on a wall. The points' values are in data-x and data-y, for the read-out and the CSV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from distill.ui.charts.axes import Axis, axis, compact, missing, step_text, tick_text, value_text
from distill.ui.charts.figure import Frame, figure
from distill.ui.charts.palette import Style
from distill.ui.charts.svg_paths import Points, area, dots, line, lonely
from distill.ui.html import table, table_row, words

WIDTH = 600  # pixels across the plot as it is drawn, in tenths; the page stretches it
POINTS = 120  # drawn a series; more can't be told apart and cost bytes at every update
_ROWS = 12  # of the table


@dataclass(frozen=True)
class Series:
    """A line: `ys` over `xs` (finite, rising); None or NaN breaks it. `band`: (lower ends, upper ends) of intervals."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    style: Style
    band: tuple[Sequence[float | None], Sequence[float | None]] | None = None


def thin(xs: Sequence[float], ys: Sequence[float | None], most: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """(xs, ys) as float64 arrays of at most `most` (>= 3) points: first and last kept, between them bucket means.

    Missing values are left out of a bucket's mean; a bucket of nothing else is NaN. Cost grows with n alone.
    """
    xs, ys = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
    if xs.shape != ys.shape or xs.ndim != 1:
        raise ValueError(f"a series needs as many xs as ys, not {xs.shape} and {ys.shape}")
    if len(xs) <= most:
        return xs, ys
    starts = np.linspace(1, len(xs) - 1, most - 1).astype(np.intp)[:-1]
    inner_x, inner_y, starts = xs[1:-1], ys[1:-1], starts - 1
    sizes = np.diff(starts, append=len(inner_x))
    known = np.isfinite(inner_y)
    counts = np.add.reduceat(known, starts, dtype=np.int64)
    sums = np.add.reduceat(np.where(known, inner_y, 0.0), starts)
    means = np.divide(sums, counts, out=np.full(len(starts), np.nan), where=counts > 0)
    middles = np.add.reduceat(inner_x, starts) / sizes
    return np.concatenate([xs[:1], middles, xs[-1:]]), np.concatenate([ys[:1], means, ys[-1:]])


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    null_line: tuple[float, str] | None = None,
    log_y: bool = False,
    empty: str = "The curve appears here when training begins.",
    height: int = 200,
    markers: bool = False,
    percent: bool = False,
    points: int = POINTS,
    name: str = "",
) -> str:
    """A picture of `series`, each thinned to `points`; its size is the same whatever is in it.

    x_range, y_range: what the axes span, widened where a value lies outside (percent: 0 to 1 unless given). null_line:
    (value, what it is), as chance. percent: values are shares of 1. height: of the plot in pixels. name: what the ids
    and the downloads' file names derive from, the title if empty; unique on a page.
    """
    drawn = [_thinned(one, points) for one in series]
    shown = [value for one in drawn for values in (one.ys, *(one.band or ())) for value in values]
    is_empty = all(missing(value) for value in shown)
    if null_line and not is_empty:
        shown.append(null_line[0])
    if percent and y_range is None:
        y_range = (0.0, 1.0)
    across = _across(drawn, x_range)
    up = axis(shown, y_range, most=5 if height >= 160 else 3, log=log_y)
    body = _grid(across, up, height, x_label, y_label, percent) + (
        "" if is_empty else _curves(drawn, across, up, height, markers) + _null(null_line, up, height)
    )
    scale = " ".join(compact(end, 8) for end in (across.low, across.high, up.low, up.high))
    flags = (' data-percent="1"' if percent else "") + (' data-log="1"' if log_y else "")
    return figure(
        name or title,
        title,
        "lines",
        [Frame(body, _in_words(drawn, x_label, null_line, percent), height)],
        below=_legend(drawn, percent),
        numbers="" if is_empty else _numbers(drawn, x_label, percent),
        empty=empty if is_empty else None,
        attributes=f' data-scale="{scale}" data-x-label="{words(x_label)}"{flags}',
    )


def _thinned(one: Series, points: int) -> Series:
    xs, ys = thin(one.xs, one.ys, points)
    band = None
    if one.band:
        band = tuple(thin(one.xs, ends, points)[1].tolist() for ends in one.band)
    return replace(one, xs=xs.tolist(), ys=ys.tolist(), band=band)


def _across(drawn: Sequence[Series], x_range: tuple[float, float] | None) -> Axis:
    """The x axis: as asked for, else from the first point to the last."""
    xs = [x for one in drawn for x in one.xs]
    if x_range is None and xs and min(xs) < max(xs):
        x_range = min(xs), max(xs)
    return axis(xs, x_range, most=6)


def _grid(across: Axis, up: Axis, height: int, x_label: str, y_label: str, percent: bool) -> str:
    """Horizontal lines, labels on both axes, and what the axes are."""
    parts = []
    for tick in up.ticks:
        y = compact(round(height * (1 - up.place(tick)), 1))
        parts.append(
            f'<line x2="100%" y1="{y}" y2="{y}"/><text x="-8" y="{y}">{tick_text(tick, up.ticks, percent)}</text>'
        )
    rows = "".join(parts)
    columns = "".join(
        f'<text x="{compact(100 * across.place(tick))}%" y="{height + 18}">{tick_text(tick, across.ticks)}</text>'
        for tick in across.ticks
    )
    return (
        f'<g class="picture-rows">{rows}</g>'
        f'<g class="picture-columns">{columns}<text x="50%" y="{height + 36}">{words(x_label)}</text></g>'
        f'<text class="picture-unit" x="-48" y="-14">{words(y_label)}</text>'
    )


def _curves(drawn: Sequence[Series], across: Axis, up: Axis, height: int, markers: bool) -> str:
    paths, last_xs = [], None
    for index, one in enumerate(drawn):
        points = _points(one.xs, one.ys, across, up, height)
        if one.band:
            paths.append(_band(one, across, up, height))
        data = f' data-s="{index}" data-y="{_values(one.ys)}"'
        if one.band:
            data += f' data-lo="{_values(one.band[0])}" data-hi="{_values(one.band[1])}"'
        if one.xs != last_xs:  # most series share their xs: sent once
            data += f' data-x="{",".join(compact(x, 6) for x in one.xs)}"'
            last_xs = one.xs
        dash = f' stroke-dasharray="{one.style.dash}"' if one.style.dash else ""
        paths.append(f'<path stroke="{one.style.colour}"{dash} d="{line(points)}"{data}/>')
        dotted = points if markers else lonely(points)
        if any(dotted):
            paths.append(f'<path class="picture-dots" stroke="{one.style.colour}" d="{dots(dotted)}"/>')
    box = f'viewBox="0 0 {10 * WIDTH} {10 * height}" preserveAspectRatio="none"'
    return f'<svg class="picture-plot" {box}>{"".join(paths)}</svg>'


def _points(xs: Sequence[float], ys: Sequence[float | None], across: Axis, up: Axis, height: int) -> Points:
    places = ((across.place(x), up.place(y)) for x, y in zip(xs, ys, strict=True))
    return [
        None if x is None or y is None else (round(10 * WIDTH * x), round(10 * height * (1 - y))) for x, y in places
    ]


def _band(one: Series, across: Axis, up: Axis, height: int) -> str:
    lower, upper = (_points(one.xs, ends, across, up, height) for ends in one.band)
    colour = one.style.colour
    return f'<path class="picture-band" fill="{colour}" stroke="{colour}" d="{area(lower, upper)}"/>'


def _null(null_line: tuple[float, str] | None, up: Axis, height: int) -> str:
    place = up.place(null_line[0]) if null_line else None
    if place is None:
        return ""
    y = round(height * (1 - place))
    return (
        f'<g class="picture-null"><line x2="100%" y1="{y}" y2="{y}"/>'
        f'<text x="100%" y="{y - 5 if y > 20 else y + 14}">{words(null_line[1])}</text></g>'
    )


def _values(values: Sequence[float | None]) -> str:
    return ",".join(compact(value) for value in values)


def _latest(one: Series) -> tuple[float, float] | None:
    """The last point that has a value."""
    return next(((x, y) for x, y in zip(reversed(one.xs), reversed(one.ys), strict=True) if not missing(y)), None)


def swatch(style: Style) -> str:
    """A short piece of the line, for the legend."""
    dash = f' stroke-dasharray="{style.dash}"' if style.dash else ""
    return f'<svg class="picture-swatch" aria-hidden="true"><path d="M0 6h24" stroke="{style.colour}"{dash}/></svg>'


def _legend(drawn: Sequence[Series], percent: bool) -> str:
    items = ""
    for one in drawn:
        last = _latest(one)
        items += f"<li>{swatch(one.style)}<span>{words(one.name)}</span> <b>{value_text(last and last[1], percent)}</b>"
    return f'<ul class="picture-legend">{items}</ul>'


def _in_words(drawn: Sequence[Series], x_label: str, null_line: tuple[float, str] | None, percent: bool) -> str:
    """The last values, as a sentence."""
    ends = [(one.name, *last) for one in drawn if (last := _latest(one))]
    steps = {x for _, x, _ in ends}
    if len(steps) == 1:
        at = f"Last values, at {x_label} {step_text(*steps)}: "
        text = at + ", ".join(f"{name} {value_text(y, percent)}" for name, _, y in ends)
    else:
        text = "Last values: " + ", ".join(
            f"{name} {value_text(y, percent)} at {x_label} {step_text(x)}" for name, x, y in ends
        )
    return f"{text}." + (f" {null_line[1]}: {value_text(null_line[0], percent)}." if null_line else "")


def _numbers(drawn: Sequence[Series], x_label: str, percent: bool) -> str:
    """At most 12 rows, evenly chosen from all steps; each cell is the value last known by then."""
    xs = np.array(sorted({x for one in drawn for x, y in zip(one.xs, one.ys, strict=True) if not missing(y)}))
    rows = xs[np.unique(np.linspace(0, len(xs) - 1, min(len(xs), _ROWS)).round().astype(int))]
    columns = [_known_by(one, rows, percent) for one in drawn]
    together = all(one.xs == drawn[0].xs for one in drawn)
    note = "" if together else f"Each value is the last one known by that {x_label}."
    return table(
        map(words, [x_label, *(one.name for one in drawn)]),
        (table_row(step_text(x), *(column[k] for column in columns)) for k, x in enumerate(rows.tolist())),
        caption=words(note),
    )


def _known_by(one: Series, rows: np.ndarray, percent: bool) -> list[str]:
    """The series' value at each x of `rows`, or at its last x before; "–" before its first and after its last."""
    cells = []
    for x in rows.tolist():
        place = int(np.searchsorted(one.xs, x, side="right")) - 1
        inside = place >= 0 and x <= one.xs[-1]
        text = value_text(one.ys[place], percent) if inside else "–"
        if inside and one.band and not missing(one.band[0][place]):
            text += f" ({value_text(one.band[0][place], percent)} to {value_text(one.band[1][place], percent)})"
        cells.append(text)
    return cells
