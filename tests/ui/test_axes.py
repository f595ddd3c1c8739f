"""Scales and numbers."""

import math

import pytest

from distill.ui.charts.axes import axis, compact, step_of, step_text, tick_text, value_text


@pytest.mark.parametrize(
    ("span", "most", "step"), [(1, 5, 0.2), (100, 5, 20), (140, 6, 50), (7, 5, 2), (0.05, 5, 0.01), (1e5, 6, 2e4)]
)
def test_steps_are_1_2_or_5(span, most, step):
    assert step_of(span, most) == pytest.approx(step)


def test_an_axis_of_its_own_choice_ends_on_ticks_around_the_values():
    found = axis([0.42, 0.77, None, math.nan, math.inf])
    assert found.low <= 0.42 < 0.77 <= found.high
    assert found.ticks[0] == pytest.approx(found.low)
    assert found.ticks[-1] == pytest.approx(found.high)


def test_an_axis_that_is_near_zero_begins_there():
    assert axis([0.2, 2.4]).low == 0
    assert axis([2.2, 2.4]).low > 2


def test_a_given_range_is_kept_and_widened_only_for_what_lies_outside():
    assert (axis([0.3], (0, 1)).low, axis([0.3], (0, 1)).high) == (0, 1)
    wide = axis([-0.05, 0.3], (0, 1))
    assert wide.low <= -0.05
    assert wide.high == 1


@pytest.mark.parametrize("values", [[], [0.0], [3.0, 3.0], [-2.0], [None], [1e-300], [1e300]])
def test_any_values_make_an_axis(values):
    found = axis(values)
    assert found.low < found.high
    assert 2 <= len(found.ticks) <= 7
    assert all(0 <= found.place(value) <= 1 for value in values if value is not None)


def test_a_logarithmic_axis_has_whole_decades_and_shows_nothing_at_or_below_zero():
    found = axis([2e-3, 4e-6, 0.0, -1.0], log=True)
    assert found.ticks == pytest.approx((1e-6, 1e-5, 1e-4, 1e-3, 1e-2))
    assert found.place(1e-4) == pytest.approx(0.5)
    assert found.place(0.0) is None
    assert found.place(-1.0) is None
    assert 5.0 in axis([1.5, 8], log=True).ticks


def test_tick_labels():
    assert [tick_text(tick, (0, 0.5, 1)) for tick in (0, 0.5, 1)] == ["0", "0.5", "1"]
    assert tick_text(0.2 + 0.1, (0, 0.3)) == "0.3"
    assert [tick_text(tick, (0, 20000, 100000)) for tick in (0, 20000, 100000)] == ["0", "20k", "100k"]
    assert tick_text(1.5e6, (0, 3e6)) == "1.5M"
    assert tick_text(0.25, (0, 1), percent=True) == "25%"
    assert tick_text(1e-5, (1e-5, 1e-2)) == "1e-5"
    assert tick_text(2000, (0, 2000)) == "2,000"


def test_values_in_words():
    assert [value_text(value) for value in (0.12345, 1.2345, 12.345, 1234.5, 2e-5, 0, None, math.nan)] == [
        "0.123", "1.23", "12.3", "1,234", "2.0e-5", "0.000", "–", "–",
    ]  # fmt: skip
    assert value_text(0.8604, percent=True) == "86.0%"
    assert [step_text(step) for step in (100, 100000, 45.5, 267.5)] == ["100", "100,000", "45.5", "268"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.61234, ".6123"), (-0.5, "-.5"), (2e-5, "2e-5"), (-1.5e-7, "-1.5e-7"), (12345, "12345"), (100000.5, "100000.5"),
     (0.0, "0"), (None, ""), (math.nan, ""), (math.inf, ""), (10.05, "10.05"), (1.5e20, "1.5e20"), (-0.0, "0")],
)  # fmt: skip
def test_compact_numbers(value, text):
    assert compact(value) == text


def test_compact_numbers_can_be_read_back():
    for value in (0.1, 123.456, 7, 1e-9, 99999.5, -3.25):
        assert float(compact(value, 6)) == pytest.approx(value, rel=1e-5)
