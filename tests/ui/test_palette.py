"""Who is drawn how; and the heat maps' colours as the style sheet has them."""

import re
from pathlib import Path

import pytest

from distill.ui.charts.palette import HEAT_LEVELS, OKABE_ITO, heat_level, styles, teacher_style

CSS = (Path(__file__).parents[2] / "assets" / "pictures.css").read_text(encoding="utf-8")
NUMBERS_FLIP = 10  # from this level on, a cell's number has the opposite ink


def test_the_six_teachers_have_okabe_and_itos_colours_in_order():
    assert [teacher_style(k).colour for k in range(6)] == list(OKABE_ITO)
    assert OKABE_ITO == ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def test_no_two_teachers_share_a_dash_among_six_nor_a_style_among_36():
    assert len({teacher_style(k).dash for k in range(6)}) == 6
    assert len({teacher_style(k) for k in range(36)}) == 36


def test_styles_follow_the_order_of_the_runs_teachers():
    assert styles(["b", "a"]) == {"b": teacher_style(0), "a": teacher_style(1)}


def test_heat_levels_span_the_scale_and_hold_what_lies_outside():
    assert [heat_level(value, 0, 2) for value in (-1, 0, 1, 2, 3)] == [0, 0, HEAT_LEVELS // 2, 15, 15]
    assert heat_level(None, 0, 1) is None
    assert heat_level(float("nan"), 0, 1) is None


def ramps():
    """{"light" | "dark": (level colours, ink, opposite ink)} of the style sheet."""
    found = {}
    for name, selector in (("light", ":root"), ("dark", ".dark")):
        blocks = "".join(re.findall(rf":where\({re.escape(selector)}\) {{(.*?)}}", CSS, re.S))
        variables = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks))
        colours = [variables[f"h{level}"] for level in range(HEAT_LEVELS)]
        found[name] = colours, variables["heat-ink"], variables["heat-opposite"]
    return found


def luminance(colour):
    """WCAG's relative luminance."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("look", ["light", "dark"])
def test_numbers_in_cells_can_be_read_on_every_level(look):
    colours, ink, opposite = ramps()[look]
    for level, colour in enumerate(colours):
        assert contrast(colour, opposite if level >= NUMBERS_FLIP else ink) >= 4.5, (look, level)


def test_the_style_sheet_flips_the_numbers_where_the_test_above_thinks():
    rule = re.search(r"([^{}]*){ fill: var\(--heat-opposite\); }", CSS)[1]
    assert re.findall(r"\.h(\d+)", rule) == [str(level) for level in range(NUMBERS_FLIP, HEAT_LEVELS)]


@pytest.mark.parametrize(("look", "rising"), [("light", False), ("dark", True)])
def test_the_ramp_goes_one_way_so_that_grey_shows_it_too(look, rising):
    brightness = [luminance(colour) for colour in ramps()[look][0]]
    assert brightness == sorted(brightness, reverse=not rising)
    assert len(set(brightness)) == HEAT_LEVELS
