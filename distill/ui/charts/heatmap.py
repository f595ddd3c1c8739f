"""Heat maps: a cell for each row and column, stronger blue for more, with its number in it where that fits.

Numbers in, HTML with an SVG out. The ramp's colours are classes (h0 to h15) of assets/pictures.css, which has one ramp
for light and one for dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from distill.ui.charts.axes import compact, missing, value_text
from distill.ui.charts.figure import Frame, clip, figure, slug
from distill.ui.charts.palette import HEAT_LEVELS, heat_level
from distill.ui.charts.svg_paths import cells, mesh
from distill.ui.html import table, table_row, words

Values = Sequence[Sequence[float | None]]

_CHARACTER = 7  # pixels, about, of the labels' 12 px type
_LABEL = 22  # characters of a label; the table has all of it
_NUMBERED = 14  # columns: with more, a number doesn't fit its cell
_TALLEST = 320  # pixels of a map of many rows
_READABLE = 14  # pixels of a row that has room for its label and its numbers


@dataclass(frozen=True)
class _Map:
    """What the maps of one picture share."""

    rows: Sequence[str]
    columns: Sequence[str]
    title: str
    low: float
    high: float
    row_label: str
    column_label: str
    decimals: int
    key: str
    every_row: bool = False


def heatmap(
    *maps: Values | None,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    low: float,
    high: float,
    row_label: str,
    column_label: str,
    decimals: int = 2,
    captions: Sequence[str] = ("",),
    empty: str = "The map appears here when there is something to show.",
    name: str = "",
    every_row: bool = False,
) -> str:
    """Maps of values [rows][columns] side by side, each with its caption, on one scale from `low` to `high` (what lies
    outside has the end's colour).

    None and NaN are hatched. All of it None or missing: the same frame with the sentence `empty`. Numbers are in the
    cells up to 14 columns, in the read-out and the table always. With many rows only every second or so has its label
    and there are no numbers, unless the map is for `every_row`, and taller. Raises ValueError where the sizes don't
    agree.
    """
    shared = _Map(rows, columns, title, low, high, row_label, column_label, decimals, slug(name or title), every_row)
    return _picture(list(zip(maps, captions, strict=True)), shared, empty)


def _picture(maps: Sequence[tuple[Values | None, str]], shared: _Map, empty: str) -> str:
    rows, columns = shared.rows, shared.columns
    if not shared.low < shared.high:
        raise ValueError(f"{shared.title!r} goes from {shared.low} to {shared.high}: low must be below high")
    grids = [(values or [[None] * len(columns) for _ in rows], caption) for values, caption in maps]
    if any(len(grid) != len(rows) or any(len(row) != len(columns) for row in grid) for grid, _ in grids):
        raise ValueError(f"{shared.title!r} needs {len(rows)} rows of {len(columns)} values")
    gaps = [missing(value) for grid, _ in grids for row in grid for value in row]
    is_empty = all(gaps)
    head = [f"{shared.row_label} / {shared.column_label}", *columns]
    tables = (
        table(
            map(words, head),
            (
                table_row(words(label), *(_number(value, shared.decimals + 2) for value in line))
                for label, line in zip(rows, grid, strict=True)
            ),
            caption=words(caption),
        )
        for grid, caption in grids
    )
    return figure(
        shared.key,
        shared.title,
        "heat",
        [_frame(k, grid, caption, shared, is_empty) for k, (grid, caption) in enumerate(grids)],
        below=_scale(shared.low, shared.high, any(gaps) and not is_empty),
        numbers="" if is_empty else "".join(tables),
        empty=empty if is_empty else None,
    )


def _frame(place: int, grid: Values, caption: str, shared: _Map, is_empty: bool) -> Frame:
    rows, columns = shared.rows, shared.columns
    side = max(_READABLE if shared.every_row else 7, min(28, _TALLEST // max(len(rows), 1)))
    height = side * len(rows) or 200
    slanted = _longest(columns) > 3
    below = 34 + (round(_longest(columns) * _CHARACTER * math.sin(math.radians(40))) if slanted else 14)
    blank = f'<rect class="picture-blank" width="100%" height="{height}"/>'
    body = blank if is_empty else _cells(f"{shared.key}-{place}-none", grid, shared, side)
    left = max(28, _longest(rows) * _CHARACTER + 12)
    return Frame(
        f"{body}{_labels(rows, columns, side, height, slanted)}"
        f'<text class="picture-unit" x="-{left}" y="-12">{words(shared.row_label)}</text>'
        f'<text class="picture-across" x="50%" y="{height + below - 8}">{words(shared.column_label)}</text>',
        _in_words(grid, rows, columns),
        height,
        left=left,
        bottom=below,
        top=26,
        right=4,
        caption=caption,
        # Eight numbers fit side by side on a telephone; pictures.css hides more there.
        attributes=f' data-rows="{len(rows)}" data-columns="{len(columns)}"' + " data-wide" * (len(columns) > 8),
    )


def _longest(labels: Sequence[str]) -> int:
    """The characters of the longest label, as far as it is shown."""
    return max((len(clip(label, _LABEL)) for label in labels), default=0)


def _cells(hatch: str, grid: Values, shared: _Map, side: int) -> str:
    """The cells, those of one colour in one path; above them the hatched ones and the numbers. `hatch` is an id."""
    by_level: dict[int, list[tuple[int, int]]] = {}
    above = []
    width = 100 / len(shared.columns)
    numbered = len(shared.columns) <= _NUMBERED and side >= _READABLE
    for r, row in enumerate(grid):
        above.append(f'<g transform="translate(0 {side * r + side // 2})">')
        for c, value in enumerate(row):
            level = heat_level(value, shared.low, shared.high)
            if level is None:
                box = f'x="{compact(width * c)}%" y="-{side // 2}" width="{compact(width)}%" height="{side}"'
                above.append(f'<rect {box} fill="url(#{hatch})"/>')
                continue
            by_level.setdefault(level, []).append((c, r))
            if numbered:
                x = compact(width * (c + 0.5), 3)
                above.append(f"<text class=h{level} x={x}%>{_number(value, shared.decimals)}</text>")
        above.append("</g>")
    paths = "".join(f'<path class="h{level}" d="{cells(places)}"/>' for level, places in sorted(by_level.items()))
    gaps = f'<path class="picture-mesh" d="{mesh(len(shared.columns), len(grid))}"/>' if numbered else ""
    return (
        f'<defs><pattern id="{hatch}" width="6" height="6" patternUnits="userSpaceOnUse"'
        ' patternTransform="rotate(45)"><path class="picture-hatch" d="M0 0v6"/></pattern></defs>'
        f'<svg class="picture-plot" viewBox="0 0 {len(shared.columns)} {len(grid)}"'
        f' preserveAspectRatio="none"><g class="picture-cells" transform="translate(0 .5)">{paths}</g>{gaps}</svg>'
        f'<g class="picture-cell-numbers">{"".join(above)}</g>'
    )


def _number(value: float | None, decimals: int) -> str:
    """As it stands in a cell: no zero before the point, no minus before a zero, "" where it is missing."""
    if missing(value):
        return ""
    text = f"{value:.{decimals}f}"
    if not float(text):
        text = text.lstrip("-")
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _labels(rows: Sequence[str], columns: Sequence[str], side: int, height: int, slanted: bool) -> str:
    """The rows' names left, the columns' below; slanted where they are long, every second or so where they are many."""
    row_gap = max(1, math.ceil(13 / side))
    column_gap = max(1, math.ceil(len(columns) / _NUMBERED))
    beside = "".join(
        f'<text x="-8" y="{side * r + side // 2}">{words(clip(label, _LABEL))}</text>'
        for r, label in enumerate(rows)
        if r % row_gap == 0
    )
    below = ""
    for c, label in enumerate(columns):
        if c % column_gap:
            continue
        x, text = compact(100 * (c + 0.5) / len(columns)), words(clip(label, _LABEL))
        # A rotation turns around the origin: a nested svg puts that where the label hangs.
        below += (
            f'<svg x="{x}%" y="{height + 12}"><text>{text}</text></svg>'
            if slanted
            else f'<text x="{x}%" y="{height + 18}">{text}</text>'
        )
    return f'<g class="picture-beside">{beside}</g><g class="picture-{"slanted" if slanted else "columns"}">{below}</g>'


def _scale(low: float, high: float, has_gaps: bool) -> str:
    steps = "".join(f'<rect class="h{k}" x="{k}" width="1" height="1"/>' for k in range(HEAT_LEVELS))
    note = "<span>hatched: no value</span>" if has_gaps else ""
    return (
        f'<div class="picture-scale"><span>{compact(low)}</span><svg viewBox="0 0 {HEAT_LEVELS} 1"'
        f' preserveAspectRatio="none" aria-hidden="true">{steps}</svg><span>{compact(high)}</span>{note}</div>'
    )


def _in_words(grid: Values, rows: Sequence[str], columns: Sequence[str]) -> str:
    """The size, the highest and the lowest cell, as sentences."""
    known = [
        (value, f"{rows[r]}, {columns[c]}")
        for r, row in enumerate(grid)
        for c, value in enumerate(row)
        if not missing(value)
    ]
    if not known:
        return "No values yet."
    (most, top), (least, bottom) = max(known), min(known)
    size = f"{len(rows)} rows by {len(columns)} columns."
    return f"{size} Highest {value_text(most)} ({top}), lowest {value_text(least)} ({bottom})."
