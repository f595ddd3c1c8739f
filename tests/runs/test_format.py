"""Numbers as the page shows them."""

import pytest

from distill.config.messages import listed
from distill.runs.format import decimals, moment_iso, percent, score


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.314, ".31"),
        (-0.02, "-.02"),
        (1.0, "1.00"),
        (-0.001, ".00"),
        (None, "–"),
        (float("nan"), "–"),
        (10.5, "10.50"),
    ],
)
def test_decimals(value, said):
    assert decimals(value) == said


def test_percent_and_score():
    assert (percent(0.5), percent(0.1234, 1), percent(None)) == ("50%", "12.3%", "–")
    assert score({"accuracy": 0.952, "ci95": [0.929, 0.968]}) == "95.2% (92.9 to 96.8)"
    assert score({"accuracy": 0.5, "ci95": None}) == "50.0%" and score(None) == "–"


def test_lists():
    assert [listed(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_moments_are_in_utc_for_programs():
    assert moment_iso(0) == "1970-01-01T00:00:00Z"
