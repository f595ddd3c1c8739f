"""Paired bars: before and after with n and the interval that n allows."""

import pytest
from picture_cases import EVIL, Parsed

from distill.evaluation.score import wilson
from distill.ui.charts.bars import paired_bars


def test_bars_are_as_long_as_the_shares_before_grey_after_accent():
    parsed = Parsed(paired_bars([("saving", 40, 0.125, 0.95)], title="By family"))
    lengths = [(bar["fill"], bar["width"]) for bar in parsed.all("rect") if bar["width"].endswith("%")]
    assert lengths == [("var(--before)", "12.5%"), ("var(--accent)", "95%")]


def test_each_row_says_its_n_and_the_interval_it_allows():
    parsed = Parsed(paired_bars([("saving", 1240, 0.25, 1.0)], title="By family"))
    assert {"saving", "n = 1,240", "25%", "100%"} <= set(parsed.texts)
    low, high = wilson(310, 1240)
    ends = f"{wilson(1240, 1240)[0]:.1%} to 100.0%"
    assert parsed.rows[1] == ["saving", "1,240", "25.0%", f"{low:.1%} to {high:.1%}", "100.0%", ends]
    whiskers = [line for line in parsed.all("line") if line.get("x1", "").startswith(f"{100 * low:.1f}")]
    assert whiskers
    assert whiskers[0]["x2"] == f"{100 * high:.1f}%"


def test_the_csv_takes_exact_values():
    parsed = Parsed(paired_bars([("saving", 1240, 0.25, 1.0)], title="t"))
    spans = [span["data-v"] for span in parsed.all("span") if "data-v" in span]
    assert spans == ["1240", ".25", "1"]


@pytest.mark.parametrize("share", [None, float("nan")])
def test_what_is_unknown_is_a_dash_not_a_zero(share):
    parsed = Parsed(paired_bars([("saving", 40, 0.5, share)], title="t"))
    assert parsed.rows[1][4:] == ["–", "–"]
    assert len([rect for rect in parsed.all("rect") if rect.get("width", "").endswith("%")]) == 1


@pytest.mark.parametrize("rows", [[], [("saving", 0, None, None)]])
def test_without_answers_it_says_what_comes(rows):
    html = paired_bars(rows, title="t", empty="Comes at the end.")
    assert Parsed(html).texts.count("Comes at the end.") == 2


def test_labels_cannot_inject_anything():
    assert not Parsed(paired_bars([(EVIL, 4, 0.5, 0.5)], title=EVIL, row_label=EVIL)).all("script")
