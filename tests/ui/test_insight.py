"""The Insight tab's words and pictures: what is said of a run must be what its probes say, and no more."""

import html
import re

import pytest
from run_cases import TEACHERS, gate, made, metric, probe

from distill.data.families import FAMILIES
from distill.models.pooling import layer_at
from distill.runs.events import Warning
from distill.ui.insight import gate as insight_gate
from distill.ui.insight import tab as insight
from distill.ui.insight import text as say


def plain(text):
    """HTML as it is read."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text)))


def table(value, rows=3, columns=4):
    return [[value] * columns for _ in range(rows)]


# --- when there is nothing to see -----------------------------------------------------------------------------------


def test_without_a_run_every_part_says_what_will_be_there():
    for draw in (
        insight_gate.gate,
        insight_gate.families,
        insight.agreement,
        insight.layers,
        insight.width,
        insight_gate.heads,
    ):
        assert "appears here when a run trains" in plain(draw(None))
    assert "No run yet" in plain(insight.lead(None))
    assert insight.shows(None)["visible"] is False


def test_a_run_without_teachers_says_why_there_is_nothing():
    run = made("tiny-ce")
    assert "no teacher" in plain(insight.lead(run)) and "worked solutions alone" in plain(insight.lead(run))
    assert insight.shows(run)["visible"] is False


def test_teachers_without_geometry_are_not_called_no_teachers():
    run = made("tiny", overrides=["objectives=[task]", "data.labelled=null"])
    assert "no method that listens" in plain(insight.lead(run))


def test_solving_what_had_no_solution_is_learning_from_teachers_too():
    solved = "6 teachers shape student-tiny here: it learns to write their solutions of problems that had none"
    assert f"{solved}. The" in plain(insight.lead(made("tiny", overrides=["objectives=[task]"])))
    geometry = made("tiny", overrides=["objectives=[task, geometry]"])
    assert f"{solved} and it learns which problems they find similar. The" in plain(insight.lead(geometry))
    assert "solutions of" not in plain(insight.lead(made("tiny")))  # there all they answer is learnt


def test_before_the_first_look_it_says_when_that_comes():
    run = made("tiny", state=None, overrides=["probe.every=20"])
    assert insight.shows(run)["visible"] is True
    assert "measured at step 0, then every 20 steps" in plain(insight.agreement(run))


def test_a_run_that_ended_before_its_first_look_promises_nothing():
    assert "ended before its student was measured" in plain(insight.agreement(made("tiny", state="failed")))


# --- agreement ------------------------------------------------------------------------------------------------------


def sentences(first, last, **more):
    return plain(" ".join(say.agreement([probe(0, first, **more), probe(50, last, **more)])))


def test_the_most_moved_teacher_is_named_with_n_and_chance():
    text = sentences({"a": 0.31, "b": 0.40}, {"a": 0.52, "b": 0.50})
    assert text.startswith(
        "The student now agrees more with a on which problems are similar than before "
        "(CKA .31 → .52, n = 128; chance level .02); likewise b (.40 → .50)."
    )


def test_falls_and_those_that_stayed_are_said_as_such():
    text = sentences({"a": 0.3, "b": 0.7, "c": 0.5}, {"a": 0.6, "b": 0.4, "c": 0.51})
    assert "agrees more with a" in text
    assert "It now agrees less with b on which problems are similar than before (.70 → .40)" in text
    assert "It agrees with c about as much as before (.50 → .51)" in text


def test_what_chance_could_do_is_not_called_agreement():
    assert "agrees with a no more than by chance (CKA .01 → .01" in sentences({"a": 0.005}, {"a": 0.015})
    assert "agrees more" not in sentences({"a": -0.03}, {"a": 0.015})


def test_a_change_smaller_than_chance_is_no_change():
    assert "about as much as before" in sentences({"a": 0.5}, {"a": 0.518})
    assert "agrees more" in sentences({"a": 0.5}, {"a": 0.53})


def test_the_first_look_claims_no_change():
    (only,) = say.agreement([probe(0, {"a": 0.3, "b": 0.6})])
    assert plain(only).startswith("Before training the student agrees most with b (CKA .60) and least with a (.30")


def test_missing_values_and_a_missing_chance_line_are_lived_with():
    assert say.agreement([]) == []
    assert say.agreement([probe(0, {"a": None}), probe(5, {"a": 0.2})]) == []
    text = sentences({"a": 0.1}, {"a": 0.2}, null95=None)
    assert "(CKA .10 → .20, n = 128)" in text


def test_teachers_names_are_inert():
    text = " ".join(say.agreement([probe(0, {"<script>": 0.1}), probe(9, {"<script>": 0.9})]))
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_the_head_of_the_tab_sums_up_rises_and_falls():
    run = made(
        "tiny",
        probe(0, dict.fromkeys(TEACHERS, 0.5)),
        probe(40, {**dict.fromkeys(TEACHERS, 0.7), "phi3-tiny": 0.3}),
    )
    assert "rose with 5 of 6 and fell with 1 of 6 teachers (mean CKA .50 → .63, n = 128)" in plain(insight.lead(run))


def test_the_picture_has_a_line_for_each_teacher_and_the_null_line():
    run = made("tiny", probe(0, dict.fromkeys(TEACHERS, 0.5)), probe(40, dict.fromkeys(TEACHERS, 0.7)))
    picture = insight.agreement(run)
    assert picture.count(" data-s=") == len(TEACHERS)
    assert "chance level" in plain(picture)
    assert "How to read this" in picture and "If nothing were learned" in picture


# --- gate -----------------------------------------------------------------------------------------------------------


def gated(mean, by_family=None, overrides=(), **more):
    cka = dict.fromkeys(TEACHERS, 0.5)
    return made("tiny", probe(0, cka, gate=gate(mean, by_family, **more)), overrides=overrides)


def test_the_gate_says_who_is_listened_to_most_and_how_many_count():
    mean = {**dict.fromkeys(TEACHERS, 0.12), "phi3-tiny": 0.36, "qwen2-tiny": 0.04}
    text = plain(insight_gate.gate(gated(mean, entropy=1.0986)))
    assert "listens most to phi3-tiny (36%) and least to qwen2-tiny (4%)" in text
    assert "the equivalent of 3.0 of 6 teachers" in text


def test_a_uniform_gate_has_no_favourite():
    text = plain(
        insight_gate.gate(gated(dict.fromkeys(TEACHERS, 1 / 6), overrides=["objectives.geometry.gate=uniform"]))
    )
    assert "every teacher weighs the same, on purpose" in text and "listens most" not in text


def test_the_gate_curve_is_of_every_step_with_equal_shares_as_the_line():
    weights = {f"gate/{name}": 1 / 6 for name in TEACHERS}
    run = made("tiny", *[metric(step, metrics=weights) for step in range(1, 6)], state=None)
    picture = insight_gate.gate(run)
    assert picture.count(" data-s=") == len(TEACHERS)
    assert "equal weights: 1/6" in picture and 'data-x="1,2,3,4,5"' in picture


def test_families_have_their_titles_and_the_clearest_favourite_is_named():
    table = {
        "left_over": {**dict.fromkeys(TEACHERS, 0.1), "phi3-tiny": 0.5},
        "mine": dict.fromkeys(TEACHERS, 1 / 6),
    }
    text = plain(insight_gate.families(gated(dict.fromkeys(TEACHERS, 1 / 6), table)))
    assert "for Boxes, some given away it listens to phi3-tiny (50%)" in text
    assert "mine" in text  # a family of the user's own data


def labels(picture):
    return re.findall(r">([^<]+)</text>", re.search(r'picture-beside">(.*?)</g>', picture)[1])


def test_families_keep_their_rows_from_before_the_first_look():
    table = {family: dict.fromkeys(TEACHERS, 0.1) for family in ("average", "mine", "left_over")}  # as probes name them
    rows = labels(insight_gate.families(gated(dict.fromkeys(TEACHERS, 1 / 6), table)))
    assert rows == ["Boxes, some given away", "Average of three", "mine"]
    before = labels(insight_gate.families(made("tiny", state=None)))
    assert len(before) == len(FAMILIES) and before.index(rows[0]) < before.index(rows[1])


def test_equal_families_have_no_favourite():
    table = {family: dict.fromkeys(TEACHERS, 1 / 6) for family in ("rate", "share")}
    assert "the same weights" in plain(insight_gate.families(gated(dict.fromkeys(TEACHERS, 1 / 6), table)))


# --- layers ---------------------------------------------------------------------------------------------------------


def layered(*tables):
    cka = dict.fromkeys(TEACHERS, 0.5)
    looks = [probe(10 * k, cka, layers={"phi3-tiny": one} if one else None) for k, one in enumerate(tables)]
    return made("tiny", *looks)


def test_layers_compare_the_chosen_teacher_before_and_after():
    after = table(0.2)
    after[2][3] = 0.8
    text = plain(insight.layers(layered(table(0.2), None, after), "phi3-tiny"))
    assert "the student and phi3-tiny" in text and "at step 20" in text
    assert "now, layer 3 (.80)" in text


def test_one_look_at_layers_has_no_after():
    text = plain(insight.layers(layered(table(0.2)), "phi3-tiny"))
    assert "after: when training ends" in text and "now, layer" not in text


def test_a_run_that_never_looked_at_layers_says_so():
    assert "did not compare its layers" in plain(insight.layers(layered(None, None), "phi3-tiny"))


def test_another_teacher_than_the_runs_is_answered_not_raised():
    assert "is no teacher of this run" in plain(insight.layers(layered(table(0.2)), "gpt-9 <b>"))


def test_the_choice_follows_the_run():
    run = made("tiny")
    assert insight.choices(run, "phi3-tiny") == {"__type__": "update", "choices": list(TEACHERS)}
    assert insight.choices(run, "another run's")["value"] == TEACHERS[0]
    assert insight.choices(None, None)["choices"] == []


@pytest.mark.parametrize("layers", [1, 2, 4, 7, 24, 32])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.75, 1.0])
def test_the_trained_layer_is_the_one_that_geometry_trains(fraction, layers):
    assert say.trained_layer(fraction, layers) == layer_at(fraction, layers)


# --- width and heads ------------------------------------------------------------------------------------------------


def test_a_narrowed_student_is_a_warning_with_its_numbers():
    cka = dict.fromkeys(TEACHERS, 0.5)
    warning = Warning(code="narrowed", text="...")
    run = made("tiny", probe(0, cka, ratio=15.0), probe(35, cka, ratio=1.9), warning)
    text = insight.width(run)
    assert "15.0 directions before training and over 1.9 now: narrower" in plain(text)
    assert "insight-warning" in text and "a lower weight of geometry" in plain(text)
    calm = insight.width(made("tiny", probe(0, cka, ratio=15.0), probe(35, cka, ratio=14.5)))
    assert "insight-warning" not in calm and "about as wide as before" in plain(calm)


def deku(haf, cka=(0.5, 0.5), loss=(0.3, 0.01), *more):
    first, last = (dict.fromkeys(TEACHERS, value) for value in cka)
    return made("tiny-deku", probe(0, first, loss=loss[0]), probe(35, last, loss=loss[1], haf=haf), *more)


@pytest.mark.parametrize(
    ("haf", "said"),
    [
        (0.86, "About 86% of the fall of the geometry loss (0.300 → 0.010) is the heads'"),
        (1.2, "All of the fall"),
        (-0.1, "None of the fall"),
        (None, "hardly fallen yet"),
    ],
)
def test_the_heads_share_is_said_in_plain_words(haf, said):
    assert said in plain(insight_gate.heads(deku(haf)))


def test_agreement_that_fell_behind_the_heads_is_said():
    assert "its agreement fell with 6 of 6 teachers" in plain(insight_gate.heads(deku(0.86, cka=(0.6, 0.3))))
    assert "agreement fell" not in plain(insight_gate.heads(deku(0.86)))


def test_heads_that_absorb_are_a_warning():
    said = insight_gate.heads(deku(0.86, (0.5, 0.5), (0.3, 0.01), Warning(code="heads_absorb", text="...")))
    assert "insight-warning" in said and "measured without heads" in plain(said)


def test_a_mode_without_trained_heads_says_that_there_is_nothing_to_absorb():
    run = made("tiny", probe(0, dict.fromkeys(TEACHERS, 0.5)))
    assert "has no projection heads" in plain(insight_gate.heads(run)) and "figure" not in insight_gate.heads(run)


def test_warnings_stand_where_they_belong_and_each_once():
    cka = dict.fromkeys(TEACHERS, 0.95)
    warnings = [
        Warning(code=f"no_headroom:{name}", text=f"The student agreed with {name} <i>") for name in TEACHERS[:2]
    ]
    run = made("tiny", probe(0, cka), *warnings, warnings[0])
    text = insight.agreement(run)
    assert text.count("insight-warning") == 2 and "&lt;i&gt;" in text
    assert "insight-warning" not in insight_gate.gate(run)
