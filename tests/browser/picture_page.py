"""A page with pictures of every kind on it, and with names that mean harm."""

from pathlib import Path

from distill.ui.charts.bars import paired_bars
from distill.ui.charts.heatmap import heatmap
from distill.ui.charts.lines import Series, line_chart
from distill.ui.charts.palette import AFTER, STUDENT, styles

ASSETS = Path(__file__).parents[2] / "assets"
TEACHERS = ["qwen2-tiny", "gemma2-tiny"]
EVIL = "=cmd|'/c calc'!A1, \"<img src=x onerror=document.title='owned'>"
HEAT = {"low": 0, "high": 1, "row_label": "family", "column_label": "teacher"}


def cka(shift=0.0, steps=5):
    xs = [25 * k for k in range(steps)]
    series = [
        Series(name, xs, [0.1 + shift + 0.1 * index + 0.02 * k for k in range(steps)], style)
        for index, (name, style) in enumerate(styles(TEACHERS).items())
    ]
    return line_chart(series, title="CKA", x_label="step", y_label="CKA on 128 texts", x_range=(0, 100), y_range=(0, 1))


def accuracy():
    band = ([0.05, None, 0.6], [0.3, None, 0.9])
    right = Series("right, of 50", [0, 50, 100], [0.14, None, 0.8], AFTER, band=band)
    evil = Series(EVIL, [0, 100], [0.5, 0.25], STUDENT)
    return line_chart([right, evil], title="Accuracy", x_label="step", y_label="right", percent=True, markers=True)


def gates():
    return heatmap([[0.25, 0.75], [None, 0.5]], rows=["saving", "speed"], columns=TEACHERS, title="Gates", **HEAT)


def layers():
    grid = [[((r + c) % 10) / 10 for c in range(20)] for r in range(20)]
    names = [str(k) for k in range(20)]
    return heatmap(grid, grid[::-1], rows=names, columns=names, title="Layers", **HEAT, captions=("before", "after"))


def families():
    return paired_bars(
        [("saving", 40, 0.1, 0.95), ("a very long name of a family", 1240, 0.25, None)], title="By family"
    )


def empty():
    return line_chart([], title="Nothing yet", x_label="step", y_label="loss", empty="The loss appears here.")


def page_of(*pictures, dark=False):
    style = "".join((ASSETS / name).read_text(encoding="utf-8") for name in ("page.css", "pictures.css"))
    script = "".join(
        f"<script>{(ASSETS / name).read_text(encoding='utf-8')}</script>"
        for name in ("pictures.js", "picture-files.js")
    )
    body = "".join(f"<div>{one}</div>" for one in pictures)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>t</title><style>{style} body {{ margin: 16px; "
        f"background: var(--surface); color: var(--ink); font-family: sans-serif }}</style>{script}"
        f"<body class='{'dark' if dark else ''}'><main><h1>Pictures</h1><h2>All</h2>{body}</main>"
    )
