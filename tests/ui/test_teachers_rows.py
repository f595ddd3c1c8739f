"""The list of teachers: add, move, remove, and what its rows say."""

import re

import pytest

from distill.config.run_config import ConfigError
from distill.runs.estimate import describe_model
from distill.ui.charts.palette import teacher_style
from distill.ui.configure.draft import initial_state
from distill.ui.configure.teachers import act, add, facts_line, rows_html, size

SIX = initial_state("tiny")["teachers"]


def names(teachers):
    return [teacher["name"] for teacher in teachers]


def test_move_and_remove():
    assert names(act(SIX, "up", "smollm2-tiny"))[:2] == ["smollm2-tiny", "qwen2-tiny"]
    assert names(act(SIX, "down", "qwen2-tiny"))[:2] == ["smollm2-tiny", "qwen2-tiny"]
    assert names(act(SIX, "remove", "phi3-tiny")) == [name for name in names(SIX) if name != "phi3-tiny"]
    for what, name in (
        ("up", "qwen2-tiny"),
        ("down", "nemotron-tiny"),
        ("remove", "nobody"),
        ("nonsense", "phi3-tiny"),
    ):
        assert act(SIX, what, name) == SIX


def test_add():
    assert names(add(SIX[1:], " qwen2-tiny ", public=True))[-1] == "qwen2-tiny"
    both = add(add([], "one/model", public=True), "two/model", public=True)
    assert [(t["model"], t["name"]) for t in both] == [("one/model", "model"), ("two/model", "two-model")]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("", "nothing to add"),
        ("qwen2-tiny", "already"),
        ("nonsense", "Not found: 'nonsense'. Enter owner/name or pick a bundled model"),
        ("phi3-tinny", "did you mean 'phi3-tiny'?"),
        ("/etc", "no folders"),
        ("x" * 201, "too long"),
        ("openbmb/MiniCPM-2B-sft-bf16", "code of its own"),
    ],
)
def test_what_can_not_be_added_is_said(model, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        add(SIX, model, public=True)


def test_rows_have_number_colour_facts_and_buttons_with_names():
    html = rows_html(SIX)
    assert html.count("<li ") == 6
    for index, name in enumerate(names(SIX)):
        row = html.split("<li ")[index + 1]
        assert teacher_style(index).colour in row and f'"number">{index + 1}<' in row
        for what in (f"Move {name} up", f"Move {name} down", f"Remove {name}"):
            assert f'aria-label="{what}"' in row
    first, last = html.split("<li ")[1], html.split("<li ")[6]
    assert first.count(" disabled") == 1 and last.count(" disabled") == 1
    assert "width 144 · qwen-bpe, 1,792 tokens · 1.26 million parameters" in html


def test_names_can_not_inject():
    html = rows_html([{"model": "a/b", "name": "<img src=x onerror=alert(1)>", "revision": None}], fault="<script>")
    assert "<img" not in html and "<script>" not in html and "&lt;script&gt;" in html


def test_what_is_not_known_is_not_said():
    assert facts_line(describe_model("nobody/nothing")) == "not fetched yet: its size isn't known"
    assert facts_line(describe_model("google/gemma-2-2b-it")).startswith(
        "width 2,304 · bpe, 256,000 tokens · 2.61 bill"
    )
    assert (size(None), size(999), size(487_008), size(3_821_079_552)) == (
        "",
        "999 parameters",
        "0.487 million parameters",
        "3.82 billion parameters",
    )
