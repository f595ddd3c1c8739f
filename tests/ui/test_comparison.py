"""Runs side by side: what is drawn together must be comparable, and what is not is said."""

import html
import re

import pytest
from run_cases import TEACHERS, evaluation, made, metric, probe

from distill.config import run_config as configs
from distill.ui import actions
from distill.ui.runs import comparison


def plain(text):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


def trained(preset="tiny", *more, overrides=()):
    return made(preset, metric(1, terms={"task": 0.9}), metric(2, terms={"task": 0.5}), *more, overrides=overrides)


@pytest.fixture
def two():
    a = trained(
        "tiny", evaluation("before", 10), evaluation("after", 90, step=140), evaluation("during", 5, 48, "validation")
    )
    b = trained("tiny", evaluation("before", 10), overrides=["seed=1"])
    return [a, b]


def test_fewer_than_two_say_what_will_be_here():
    assert "Tick two runs or more" in plain(comparison.results([]))
    assert "Tick another run" in plain(comparison.results([made("tiny")]))
    assert comparison.settings([made("tiny")]) == ""


def test_accuracies_carry_interval_and_n(two):
    text = plain(comparison.results(two))
    assert "90.0% (80.0 to 100.0) of 100" in text and "10.0% (0.0 to 20.0) of 100" in text
    assert "Intervals that overlap leave open which run is better" in text


def test_other_problems_are_a_caution(two):
    assert "not asked the same problems" not in plain(comparison.results(two))
    other = trained("tiny", overrides=["data.seed=5"])
    assert "not asked the same problems" in plain(comparison.results([*two, other]))


def test_runs_alike_compare_their_whole_loss_others_the_part_they_share(two):
    assert '<h3 class="picture-title">Loss</h3>' in comparison.loss(two)
    mixed = comparison.loss([two[0], trained("tiny-ce")])
    assert "Loss: worked solutions" in mixed and 'data-y=".9,.5"' in mixed
    assert "whole losses can't be compared" in plain(mixed)


def of(kind, *overrides, preset="tiny-features"):
    return made(preset, metric(1, terms={kind: 0.9}), metric(2, terms={kind: 0.5}), overrides=overrides)


def test_a_part_that_is_set_alike_is_compared_whatever_its_weight():
    changed = of("features", "objectives.features.weight=2", "objectives.task.weight=3")
    assert "Loss: teachers&#x27; hidden states" in comparison.loss([of("features"), changed])


@pytest.mark.parametrize("changed", ["objectives.features.loss=cosine", "objectives.features.teachers=[phi3-tiny]"])
def test_a_part_that_is_set_otherwise_is_another_loss(changed):
    assert '<h3 class="picture-title">Loss</h3>' in comparison.loss([of("features"), of("features", changed)])


def test_settings_say_yes_and_no_and_all():
    found = comparison.flat(configs.load("tiny-gkd"))
    assert (found["objectives.gkd.seq_kd"], found["objectives.gkd.teachers"]) == ("no", "all")


def test_losses_of_different_things_are_called_that(two):
    alone = made("tiny-ce", metric(1, loss=3.0), metric(2, loss=2.0))  # of some other objective: no term in common
    assert "compare the shapes, not the heights" in plain(comparison.loss([two[0], alone]))


def test_accuracy_while_training_says_of_how_many(two):
    assert "Right while training, of 48" in plain(comparison.during(two))
    assert "none of these has been asked yet" in plain(comparison.during([trained(), trained()]))


def test_mean_agreement_is_the_mean_and_runs_without_teachers_are_named():
    looks = [probe(0, dict.fromkeys(TEACHERS, 0.5)), probe(35, {**dict.fromkeys(TEACHERS, 0.5), TEACHERS[0]: 0.8})]
    alone = trained("tiny-ce")
    text = comparison.agreement([trained("tiny", *looks), alone])
    assert 'data-y=".5,.55"' in text
    assert f"Without teachers to compare with: {alone.id[:6]} tiny-ce" in plain(text)


def test_at_most_six_are_drawn_and_that_is_said():
    several = [made("tiny") for _ in range(7)]
    text = comparison.results(several)
    assert (
        "6 runs compared" in plain(text) and "Only the first 6" in plain(text) and several[6].id[:6] not in plain(text)
    )


def differing(text):
    """{setting: [cells]} of the table of what differs, and the settings folded away."""
    shown, _, folded = text.partition("<details>")
    rows = [row.partition("</table>")[0].split("<td>") for row in shown.split("<tr><th scope=row>")[1:]]
    return {key: cells for key, *cells in rows}, re.findall(r"row>(.*?)<td>", folded)


def test_settings_that_differ_are_shown_and_the_equal_ones_folded(two):
    shown, folded = differing(comparison.settings(two))
    assert shown == {"seed": ["0", "<b>1</b>"]}
    assert "budget.steps" in folded and "seed" not in folded


def test_an_objective_that_one_lacks_is_one_line_not_twelve():
    shown, folded = differing(comparison.settings([trained("tiny"), trained("tiny-ce")]))
    assert shown["objectives"] == ["task, response, geometry", "<b>task</b>"]
    assert not any(key.startswith("objectives.geometry") for key in shown)
    assert "objectives.geometry.mode" in folded


def test_two_that_differ_in_nothing_say_so():
    assert "Every setting is the same" in plain(comparison.settings([made("tiny"), made("tiny")]))


def test_a_setting_is_named_as_set_names_it():
    config = configs.load("tiny", ["budget.steps=60", "lora.targets=[q_proj, v_proj]"])
    found = comparison.flat(config)
    assert found["budget.steps"] == "60" and found["objectives.geometry.gate.kind"] == "prior"
    assert found["lora.targets"] == "q_proj, v_proj" and found["teachers"].startswith("qwen2-tiny, ")


def test_nobody_sees_where_an_upload_lies():
    stored = actions.uploads() / f"{'ab' * 32}.csv"
    runs = [made("tiny"), made("tiny", overrides=["data.source=file", f"data.path={stored}"])]
    text = comparison.settings(runs)
    assert "<b>upload abababab.csv</b>" in text and str(stored.parent) not in text


def test_names_are_inert():
    bad = [made("tiny", overrides=[f"name='<script>{k}'"]) for k in range(2)]
    text = comparison.results(bad) + comparison.settings(bad)
    assert "<script>" not in text and "&lt;script&gt;0" in text
