"""Heat maps: every value in its cell and in the table, what is missing hatched, two maps on one scale."""

import re

import pytest
from picture_cases import EVIL, Parsed, frame_of

from distill.ui.charts.heatmap import heatmap
from distill.ui.charts.palette import heat_level

LABELS = {"title": "Teacher weights", "low": 0, "high": 1, "row_label": "family", "column_label": "teacher"}


def drawn(html):
    """{level: number of cells} of what is filled."""
    found = {}
    for path in Parsed(html).all("path"):
        level = re.fullmatch(r"h(\d+)", path.get("class") or "")
        if level:
            found[int(level[1])] = sum(int(width) for width in re.findall(r"h(\d+)", path["d"]))
    return found


def test_every_value_is_in_its_cell_in_its_colour_and_in_the_table():
    html = heatmap([[0.0, 0.5], [0.97, 0.123456]], rows=["saving", "speed"], columns=["a", "b"], **LABELS)
    assert drawn(html) == {heat_level(value, 0, 1): 1 for value in (0.0, 0.5, 0.97, 0.123456)}
    cells = Parsed(html).texts
    assert [cells.count(text) for text in (".00", ".50", ".97", ".12")] == [1, 1, 1, 1]
    assert Parsed(html).rows == [
        ["family / teacher", "a", "b"],
        ["saving", ".0000", ".5000"],
        ["speed", ".9700", ".1235"],
    ]
    assert any("Highest 0.970 (speed, a), lowest 0.000 (saving, a)." in text for text in cells)


def test_decimals_and_no_minus_before_a_zero():
    html = heatmap([[-0.001, -0.25, 12.0]], rows=["r"], columns=["a", "b", "c"], **{**LABELS, "high": 12}, decimals=1)
    texts = Parsed(html).texts
    assert {".0", "-.2", "12.0"} <= set(texts)
    assert "-.0" not in texts


def test_missing_values_are_hatched_and_the_legend_says_what_that_is():
    html = heatmap([[0.1, None], [float("nan"), 0.2]], rows=["r", "s"], columns=["a", "b"], **LABELS)
    hatched = [rect for rect in Parsed(html).all("rect") if (rect.get("fill") or "").startswith("url(#")]
    assert len(hatched) == 2
    assert {rect["fill"] for rect in hatched} == {f"url(#{Parsed(html).all('pattern')[0]['id']})"}
    assert "hatched: no value" in Parsed(html).texts
    assert sum(drawn(html).values()) == 2
    assert "hatched" not in heatmap([[0.1]], rows=["r"], columns=["a"], **LABELS)


def test_numbers_are_shown_while_they_fit():
    names = [str(k) for k in range(40)]
    grid = [[k / 40] * 40 for k in range(40)]
    big = heatmap(grid, rows=names, columns=names, **LABELS)
    assert ".50" not in Parsed(big).texts
    assert sum(drawn(big).values()) == 1600
    assert len(Parsed(big).rows) == 41
    assert ".50" in Parsed(heatmap([[0.5] * 14], rows=["r"], columns=names[:14], **LABELS)).texts
    assert ".50" not in Parsed(heatmap([[0.5] * 15], rows=["r"], columns=names[:15], **LABELS)).texts


def test_many_columns_have_a_label_here_and_there():
    names = [f"layer {k}" for k in range(40)]
    texts = Parsed(heatmap([[0.5] * 40], rows=["only"], columns=names, **LABELS)).texts
    labels = texts[: texts.index("teacher")]
    assert 5 <= sum(text.startswith("layer") for text in labels) <= 14


@pytest.mark.parametrize("values", [None, [[None, float("nan")], [None, None]]])
def test_an_empty_map_has_the_same_frame_and_says_what_comes(values):
    rows, columns = ["saving", "speed"], ["a", "b"]
    html = heatmap(values, rows=rows, columns=columns, **LABELS, empty="The map comes with the first probe.")
    assert Parsed(html).texts.count("The map comes with the first probe.") == 2
    assert frame_of(html) == frame_of(heatmap([[0.1, 0.2], [0.3, 0.4]], rows=rows, columns=columns, **LABELS))
    assert {"saving", "speed", "a", "b"} <= set(Parsed(html).texts)
    assert all("disabled" in button for button in Parsed(html).all("button"))


def test_no_rows_yet_is_empty_too():
    assert "picture-empty" in heatmap(None, rows=[], columns=[], **LABELS)


def test_a_pair_shares_scale_and_figure_and_keeps_its_ids_apart():
    html = heatmap(
        [[0.1, 0.9]],
        [[0.4, None]],
        rows=["r"],
        columns=["a", "b"],
        **LABELS,
        name="layers",
        captions=("before", "after"),
    )
    parsed = Parsed(html)
    assert len(parsed.all("figure")) == 1
    assert len(parsed.all("svg", "picture-svg")) == 2
    assert len(parsed.all("table")) == 2
    assert len(parsed.ids()) == len(set(parsed.ids()))
    assert parsed.texts.count("before") == 2  # above its map and above its table
    assert len(parsed.all("div", "picture-scale")) == 1


def test_a_pair_of_which_one_is_missing_shows_the_other():
    html = heatmap([[0.1]], None, rows=["r"], columns=["a"], **LABELS, captions=("before", "after"))
    assert "picture-empty" not in html
    assert drawn(html) == {heat_level(0.1, 0, 1): 1}


def test_sizes_and_scales_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="needs 1 rows of 2 values"):
        heatmap([[1.0]], rows=["r"], columns=["a", "b"], **LABELS)
    with pytest.raises(ValueError, match="low must be below high"):
        heatmap([[1.0]], rows=["r"], columns=["a"], **{**LABELS, "high": 0})


def test_a_map_of_40_layers_stays_below_36_kilobytes():
    names = [str(k) for k in range(40)]
    grid = [[((7 * r + 11 * c) % 40) / 40 for c in range(40)] for r in range(40)]
    assert len(heatmap(grid, rows=names, columns=names, **LABELS).encode()) <= 36_000


def test_names_cannot_inject_anything():
    labels = {**LABELS, "title": EVIL, "row_label": EVIL, "column_label": EVIL}
    for html in (
        heatmap([[0.1]], rows=[EVIL], columns=[EVIL], **labels),
        heatmap(None, rows=[EVIL], columns=[EVIL], **labels, empty=EVIL),
    ):
        assert not Parsed(html).all("script")
        assert not Parsed(html).all("img")
