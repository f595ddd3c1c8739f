"""Line charts: thinned, honest about gaps, inert whatever the names, small enough to send at every tick."""

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from picture_cases import EVIL, TEACHERS, Parsed, frame_of, noisy, six

from distill.ui.charts.figure import slug
from distill.ui.charts.lines import Series, line_chart, thin
from distill.ui.charts.palette import AFTER, STUDENT, teacher_style

ROOT = Path(__file__).parents[2]
LABELS = {"title": "Agreement", "x_label": "step", "y_label": "CKA"}


def chart(*series, **more):
    return line_chart(series, **{**LABELS, **more})


def curves(html):
    return [path for path in Parsed(html).all("path") if "data-s" in path]


def data(html, index=0):
    """What a curve carries for the read-out and the CSV: {"x", "y", ...: list of floats}, None where missing."""
    path = curves(html)[index]
    return {
        key: [float(part) if part else None for part in path[f"data-{key}"].split(",")]
        for key in ("x", "y", "lo", "hi")
        if f"data-{key}" in path
    }


# ---- thinning


def test_thinning_keeps_the_ends_and_means_the_rest():
    xs, ys = thin(np.arange(1002), np.arange(1002) * 2.0, most=12)
    assert len(xs) == len(ys) == 12
    assert (xs[0], ys[0], xs[-1], ys[-1]) == (0, 0, 1001, 2002)
    assert xs[1] == pytest.approx(np.arange(1, 101).mean())
    assert np.allclose(ys, 2 * xs)


def test_thinning_uses_every_point_once():
    n = 997
    xs = np.arange(n)
    for start in range(0, n, 83):
        spike = (xs == start).astype(float)
        assert thin(xs, spike, most=50)[1].sum() > 0, start


def test_short_series_are_left_as_they_are():
    xs, ys = thin([1, 2, 3], [0.5, None, 0.7])
    assert xs.tolist() == [1, 2, 3]
    assert ys[0] == 0.5
    assert math.isnan(ys[1])


def test_missing_values_are_left_out_of_means_and_whole_gaps_stay_gaps():
    ys = np.ones(1000)
    ys[::7] = np.nan
    ys[400:600] = np.nan
    found = thin(np.arange(1000), ys, most=20)[1]
    assert np.isnan(found[9:11]).any()
    assert set(found[np.isfinite(found)]) == {1.0}


def test_series_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="as many xs as ys"):
        thin([1, 2], [1.0])


# ---- the picture


def test_a_picture_says_what_it_shows_in_words_and_numbers():
    html = chart(
        Series("loss", [1, 2, 3], [0.9, 0.5, 0.25], STUDENT), Series("task", [1, 2, 3], [0.6, 0.4, 0.2], AFTER)
    )
    parsed = Parsed(html)
    assert parsed.texts.count("Agreement") == 2  # heading and the SVG's title
    assert "Last values, at step 3: loss 0.250, task 0.200." in parsed.texts
    assert parsed.rows == [
        ["step", "loss", "task"],
        ["1", "0.900", "0.600"],
        ["2", "0.500", "0.400"],
        ["3", "0.250", "0.200"],
    ]
    legend = parsed.texts[parsed.texts.index("loss") :]
    assert legend[:4] == ["loss", "0.250", "task", "0.200"]


def test_the_svg_is_named_described_and_can_be_focused():
    parsed = Parsed(chart(*six()))
    (svg,) = parsed.all("svg", "picture-svg")
    assert svg["role"] == "img"
    assert svg["tabindex"] == "0"
    assert {svg["aria-labelledby"], svg["aria-describedby"]} <= set(parsed.ids())


def test_each_teacher_has_its_colour_and_dash_in_the_curve_and_in_the_legend():
    parsed = Parsed(chart(*six()))
    drawn = [path for path in parsed.all("path") if path.get("stroke")]
    for k in range(6):
        style = teacher_style(k)
        alike = [
            one for one in drawn if one["stroke"] == style.colour and one.get("stroke-dasharray", "") == style.dash
        ]
        assert len(alike) == 2, TEACHERS[k]


def test_the_points_ride_along_as_values():
    found = data(chart(Series("a", [0, 25, 50], [0.12345, None, -2.5e-5], STUDENT)))
    assert found == {"x": [0, 25, 50], "y": [0.1235, None, -2.5e-5]}


def test_xs_that_series_share_are_sent_once():
    html = chart(*six())
    assert html.count("data-x=") == 1
    assert chart(*six(), Series("b", [1, 2], [1.0, 2.0], AFTER)).count("data-x=") == 2


def test_a_missing_value_breaks_the_line():
    html = chart(Series("a", [0, 1, 2, 3, 4], [1.0, 2.0, float("nan"), 1.0, 2.0], STUDENT))
    (line,) = curves(html)
    assert line["d"].count("m") == 2
    assert not Parsed(html).all("path", "picture-dots")


def test_a_single_point_and_points_between_gaps_are_dots():
    alone = Parsed(chart(Series("a", [5], [0.5], STUDENT))).all("path", "picture-dots")
    assert alone[0]["d"].count("h0") == 1
    apart = Parsed(chart(Series("a", [0, 1, 2], [0.5, None, 0.5], STUDENT))).all("path", "picture-dots")
    assert apart[0]["d"].count("h0") == 2
    marked = Parsed(chart(Series("a", [0, 1, 2], [0.5, 0.6, 0.5], STUDENT), markers=True)).all("path", "picture-dots")
    assert marked[0]["d"].count("h0") == 3


def test_coordinates_are_tenths_of_a_pixel_and_stay_inside():
    html = chart(*six(1000), height=180)
    assert Parsed(html).all("svg", "picture-plot")[0]["viewbox"] == "0 0 6000 1800"
    for path in curves(html):
        numbers = [int(number) for number in re.findall(r"-?\d+", path["d"])]
        assert re.fullmatch(r"m[-\d ]+", path["d"])
        xs, ys = np.cumsum(numbers[::2]), np.cumsum(numbers[1::2])
        assert (xs[0], xs[-1]) == (0, 6000)
        assert ys.min() >= 0
        assert ys.max() <= 1800


def test_a_band_is_an_area_and_its_ends_are_in_the_table():
    band = ([0.1, 0.5], [0.3, 0.7])
    html = chart(Series("a", [0, 50], [0.2, 0.6], AFTER, band=band), percent=True)
    assert len(Parsed(html).all("path", "picture-band")) == 1
    assert Parsed(html).rows[-1] == ["50", "60.0% (50.0% to 70.0%)"]
    assert data(html)["lo"] == band[0]
    assert data(html)["hi"] == band[1]


def test_the_null_line_is_named_drawn_and_always_in_view():
    html = chart(Series("a", [0, 1], [0.5, 0.6], STUDENT), null_line=(0.05, "chance (95%)"))
    assert "chance (95%)" in Parsed(html).texts
    assert any("chance (95%): 0.050." in text for text in Parsed(html).texts)
    low = float(Parsed(html).all("figure")[0]["data-scale"].split()[2])
    assert low <= 0.05


def test_percent_charts_go_from_0_to_100():
    parsed = Parsed(chart(Series("a", [0, 1], [0.4, 0.6], STUDENT), percent=True))
    assert {"0%", "100%", "60.0%"} <= set(parsed.texts)


def test_the_x_axis_is_what_was_asked_for():
    scale = Parsed(chart(*six(60), x_range=(0, 140))).all("figure")[0]["data-scale"].split()
    assert scale[:2] == ["0", "140"]


def test_a_logarithmic_chart_breaks_where_there_is_no_logarithm():
    html = chart(Series("rate", [0, 1, 2], [0.0, 1e-3, 1e-4], STUDENT), log_y=True)
    (line,) = curves(html)
    assert len(re.findall(r"-?[\d.]+", line["d"])) == 4
    assert data(html)["y"][0] == 0  # the value is still there


# ---- empty


@pytest.mark.parametrize("ys", [[], [None, float("nan"), float("inf")]])
def test_with_nothing_to_show_it_says_what_will_be_here_and_has_the_same_size(ys):
    nothing = [Series(name, range(len(ys)), ys, teacher_style(k)) for k, name in enumerate(TEACHERS)]
    html = chart(*nothing, empty="The curves come with the first probe.")
    parsed = Parsed(html)
    assert parsed.texts.count("The curves come with the first probe.") == 2  # seen, and read aloud
    assert all("disabled" in button for button in parsed.all("button"))
    assert "tabindex" not in parsed.all("svg", "picture-svg")[0]
    assert frame_of(html) == frame_of(chart(*six()))
    assert set(TEACHERS) <= set(parsed.texts)  # the legend is there from the start: nothing jumps


def test_no_series_at_all_is_empty_too():
    assert "come" in chart(empty="The curves come later.")


# ---- the table


def test_the_table_has_at_most_twelve_rows_from_first_to_last():
    rows = Parsed(chart(*six(1000))).rows[1:]
    assert len(rows) == 12
    assert (rows[0][0], rows[-1][0]) == ("1", "1,000")
    assert all(len(row) == 7 for row in rows)


def test_a_series_with_other_steps_shows_what_was_last_known_and_the_table_says_so():
    html = chart(Series("long", [0, 10, 20], [1.0, 2.0, 3.0], STUDENT), Series("short", [5, 12], [7.0, 8.0], AFTER))
    assert Parsed(html).rows[1:] == [
        ["0", "1.00", "–"],
        ["5", "1.00", "7.00"],
        ["10", "2.00", "7.00"],
        ["12", "2.00", "8.00"],
        ["20", "3.00", "–"],
    ]
    assert "Each value is the last one known by that step." in Parsed(html).texts


# ---- bytes and safety


def test_six_teachers_of_120_points_fit_in_14_kilobytes():
    assert len(chart(*six(100_000), x_range=(0, 100_000)).encode()) <= 14_000
    assert len(chart(*six(120)).encode()) <= 14_000


def test_fewer_points_can_be_asked_for():
    assert len(data(chart(*six(1000), points=40))["y"]) == 40


def test_a_series_adds_at_most_two_kilobytes():
    assert len(chart(*six(5000)).encode()) - len(chart(*six(5000)[:5]).encode()) <= 2000


def test_names_cannot_inject_anything():
    html = line_chart(
        [Series(EVIL, *noisy(10), STUDENT)], title=EVIL, x_label=EVIL, y_label=EVIL, null_line=(0.1, EVIL), name=EVIL
    )
    parsed = Parsed(html)
    assert not parsed.all("script")
    assert not parsed.all("img")
    assert not any(key.startswith("on") for _, attributes in parsed.elements for key in attributes)
    assert parsed.all("figure")[0]["data-x-label"] == EVIL  # what was said is said, as text
    assert EVIL in chart(empty=EVIL).replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    assert not Parsed(chart(empty=EVIL)).all("script")


def test_ids_are_of_the_name_and_differ_between_pictures():
    both = Parsed(chart(*six(), name="cka") + chart(*six(), name="gate")).ids()
    assert len(both) == len(set(both))
    assert all(one.startswith(("cka-", "gate-")) for one in both)
    assert slug("CKA by step") == "cka-by-step"
    assert slug("теория") != slug("практика")
    assert re.fullmatch(r"[a-z0-9-]+", slug(EVIL))


def test_pictures_need_neither_gradio_nor_torch_nor_pandas():
    modules = ", ".join(f"distill.ui.charts.{name}" for name in ("bars", "heatmap", "lines"))
    code = f"import sys, {modules}; print(*({{'gradio', 'torch', 'pandas'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("\n", "")
