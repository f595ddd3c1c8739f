"""Paired bars: a share before and after for each row, each with its 95% interval. Numbers in, HTML with an SVG out."""

from __future__ import annotations

from collections.abc import Sequence

from distill.evaluation.score import wilson
from distill.ui.charts.axes import compact, missing, value_text
from distill.ui.charts.figure import Frame, clip, figure
from distill.ui.charts.palette import AFTER, BEFORE, Style
from distill.ui.html import table, table_row, words

Row = tuple[str, int, float | None, float | None]  # label, n, share before, share after

_ROW = 44  # pixels a row
_BAR = 13  # pixels a bar
_LABEL = 18  # characters of a label; the table has all of it
_LEFT = 138  # pixels for labels


def paired_bars(
    rows: Sequence[Row],
    *,
    title: str,
    row_label: str = "family",
    empty: str = "The bars appear here when the problems were answered before and after.",
    name: str = "",
) -> str:
    """Before (grey) and after (accent) for each (label, n, before, after): shares of 1 in n answers, None if unknown.

    A thin line on each bar is its 95% interval (Wilson), from n.
    """
    is_empty = all(missing(share) for _, _, *shares in rows for share in shares)
    height = _ROW * max(len(rows), 3)
    gaps = "".join(f'<line x1="{x}%" x2="{x}%" y2="{height}"/>' for x in (0, 25, 50, 75, 100))
    marks = "".join(f'<text x="{x}%" y="{height + 16}">{x}%</text>' for x in (0, 50, 100))
    body = f'<g class="picture-rows">{gaps}</g><g class="picture-columns">{marks}</g>'
    body += "".join(_pair(one, _ROW * place) for place, one in enumerate(rows))
    frame = Frame(body, _in_words(rows), height, left=_LEFT, bottom=24, top=4, right=48, reads=False)
    return figure(
        name or title,
        title,
        "bars",
        [frame],
        below=f'<ul class="picture-legend picture-key"><li>{_swatch(BEFORE)}before<li>{_swatch(AFTER)}after'
        '<li class="picture-muted">thin line: 95% interval</ul>',
        numbers="" if is_empty else _numbers(rows, row_label),
        empty=empty if is_empty else None,
    )


def _pair(one: Row, y: int) -> str:
    label, n, *shares = one
    parts = [
        f'<g class="picture-beside"><text x="-10" y="{y + 15}">{words(clip(label, _LABEL))}</text>'
        f'<text class="picture-muted" x="-10" y="{y + 31}">n = {n:,}</text></g>'
    ]
    for k, (share, style) in enumerate(zip(shares, (BEFORE, AFTER), strict=True)):
        top = y + 8 + k * (_BAR + 2)
        middle = top + _BAR / 2
        if missing(share):
            parts.append(f'<text class="picture-share" x="6" y="{middle}">–</text>')
            continue
        low, high = (compact(round(100 * end, 1)) for end in _interval(share, n))
        wide = compact(round(100 * share, 1))
        parts.append(
            f'<rect fill="{style.colour}" y="{top}" width="{wide}%" height="{_BAR}"/>'
            f'<g class="picture-interval"><line x1="{low}%" x2="{high}%" y1="{middle}" y2="{middle}"/>'
            f'<line x1="{low}%" x2="{high}%" y1="{middle}" y2="{middle}"/></g>'
            f'<svg x="{high}%" y="{middle}"><text class="picture-share" x="6">{share:.0%}</text></svg>'
        )
    return "".join(parts)


def _interval(share: float, n: int) -> tuple[float, float]:
    return wilson(min(max(round(share * n), 0), n), n)


def _swatch(style: Style) -> str:
    return (
        '<svg class="picture-swatch picture-square" aria-hidden="true">'
        f'<rect y="1" width="14" height="10" rx="2" fill="{style.colour}"/></svg>'
    )


def _numbers(rows: Sequence[Row], row_label: str) -> str:
    """Shares as text; the values for the CSV are in data-v."""
    lines = []
    for label, n, *shares in rows:
        line = [words(label), f'<span data-v="{n}">{n:,}</span>']
        for share in shares:
            low, high = (None, None) if missing(share) else _interval(share, n)
            ends = "–" if low is None else f"{low:.1%} to {high:.1%}"
            line += [f'<span data-v="{compact(share)}">{value_text(share, percent=True)}</span>', ends]
        lines.append(table_row(*line))
    return table([words(row_label), "n", "before", "95% interval", "after", "95% interval"], lines)


def _in_words(rows: Sequence[Row]) -> str:
    return " ".join(
        f"{label}: {value_text(before, percent=True)} before, {value_text(after, percent=True)} after, of {n:,}."
        for label, n, before, after in rows
    )
