"""Insight of methods other than geometry: whoever is heard is shown, and what a run has nothing of takes no room."""

import html
import json
import re

import pytest
from run_cases import TEACHERS, made, metric, probe

from distill.runs.views import view
from distill.ui.insight import gate, methods
from distill.ui.insight import tab as insight
from distill.ui.insight.parts import teachers

MOVED = {"qwen2-tiny": (2.0, 0.5), "phi3-tiny": (1.0, 0.9)}


def plain(text):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


def far(kind, preset, moved=None, **more):
    events = [
        metric(step, metrics={f"{kind}/{name}": values[step - 1] for name, values in (moved or MOVED).items()})
        for step in (1, 2)
    ]
    return made(preset, *events, **more)


@pytest.mark.parametrize(
    ("kind", "preset"), [("features", "tiny-features"), ("cross_tokenizer", "tiny-cross-tokenizer")]
)
def test_each_teacher_has_a_line_and_who_moved_is_said(kind, preset):
    drawn = methods.distances(kind)(far(kind, preset))
    assert drawn.count(" data-s=") == len(MOVED)
    text = re.sub(r"\s+\)", ")", plain(drawn))
    assert "Its loss fell most with qwen2-tiny (2 → 0.5) and least with phi3-tiny (1 → 0.9)" in text
    assert "If nothing were learned" in text


def test_one_teacher_and_other_methods_have_no_such_picture():
    one = far("gkd", "tiny-gkd", {"sibling-tiny": (2.0, 1.0)})
    assert methods.distances("gkd")(one) == ""
    assert methods.distances("logits")(made("tiny")) == ""
    for draw in (methods.distances("logits"), methods.own, methods.answers):
        assert draw(None) == ""


def test_a_run_without_geometry_has_no_gate_but_agreement():
    looks = [probe(step, dict.fromkeys(TEACHERS, 0.3 + step / 100)) for step in (0, 20)]
    run = made("tiny-features", *looks)
    for draw in (gate.gate, gate.families, gate.heads):
        assert draw(run) == ""
    assert insight.agreement(run).count(" data-s=") == len(TEACHERS)
    assert insight.shows(run)["visible"] is True
    text = plain(insight.lead(run))
    assert "match their hidden states, layer by layer" in text and "rose with 6 of 6 teachers" in text
    assert "similar" not in text


def test_one_teacher_is_spoken_of_as_one():
    run = made("tiny-gkd", *[probe(step, {"sibling-tiny": 0.3 + step / 100}) for step in (0, 20)])
    text = plain(insight.lead(run))
    solved = "it learns to write their solutions of problems that had none"
    assert f"One teacher shapes student-tiny here: {solved} and they correct its own answers" in text
    assert "So far its agreement rose with 1 teacher (mean CKA" in text


def test_before_the_layers_of_a_run_without_geometry_nothing_is_said_to_be_trained():
    table = [[0.1 * (row + column) for column in range(5)] for row in range(5)]
    run = made("tiny-gkd", probe(0, {"sibling-tiny": 0.3}, layers={"sibling-tiny": table}))
    text = plain(insight.layers(run, "sibling-tiny"))
    assert "The measurements above use the student's layer 3" in text and "Geometry trains" not in text


def test_teachers_keep_their_colours_when_only_some_are_heard():
    overrides = [f"objectives.{kind}.teachers=[phi3-tiny, nemotron-tiny]" for kind in ("geometry", "response")]
    run = made("tiny", overrides=overrides)
    everyone = teachers(made("tiny"))
    assert teachers(run) == {name: everyone[name] for name in ("phi3-tiny", "nemotron-tiny")}
    assert list(teachers(run, "geometry")) == ["phi3-tiny", "nemotron-tiny"] and teachers(run, "gkd") == {}
    assert insight.choices(run, None)["choices"] == ["phi3-tiny", "nemotron-tiny"]


def gkd(*steps, overrides=()):
    return made("tiny-gkd", *[metric(step, metrics=found) for step, found in enumerate(steps, 1)], overrides=overrides)


def test_its_own_answers_are_counted_and_those_without_an_end_said():
    own = {"gkd/own": 1.0}
    run = gkd({**own, "gkd/unfinished": 0.8}, {"gkd/own": 0.0}, {**own, "gkd/unfinished": 0.2}, {"gkd/own": 0.0})
    drawn = methods.own(run)
    assert "2 of 4 steps so far learnt from the student's own answers (50%; " in plain(drawn)
    assert "80% were unfinished at first, 50% in the latest 2 such steps" in plain(drawn)
    assert 'data-y=".8,.2"' in drawn  # no gap where a step learnt from the data
    assert "were unfinished at first" not in plain(methods.own(gkd({"gkd/own": 0.0})))
    assert methods.own(gkd(overrides=["objectives.gkd.lmbda=0"])) == ""


def answered(responses, **more):
    run = made("tiny-response", **more)
    (run.folder / "report.json").write_text(json.dumps({"responses": responses}))
    return view(run.folder)


def test_what_became_of_the_teachers_answers():
    counts = {"asked": 320, "finished": 318, "right": None, "kept": 240}
    text = plain(methods.answers(answered({"<b>x": counts, "phi3-tiny": {**counts, "kept": 80}})))
    assert "<b>x 320 318 – 240" in text
    assert "The student learnt from 320 of 640 answers (50%)" in text
    assert "<b>x" not in methods.answers(answered({"<b>x": counts}))


@pytest.mark.parametrize("nothing", [{}, None, [], {"phi3-tiny": 3}])
def test_a_report_without_counts_is_lived_with(nothing):
    assert "answers" in plain(methods.answers(answered(nothing)))


def test_answers_are_announced_until_the_end():
    assert "appears here at the end" in plain(methods.answers(made("tiny-response", state=None)))
