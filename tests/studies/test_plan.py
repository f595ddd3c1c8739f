"""What a study's file may ask for, and what is said of one that asks for nonsense."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from distill.config.errors import ConfigError
from distill.studies.plan import load, plan, study_names

ARMS = {"task": {"preset": "tiny-ce"}, "response": {"preset": "tiny-response"}}


def study(**over):
    return {"name": "s", "arms": ARMS, **over}


def test_every_arm_is_run_with_every_seed_and_every_value_seeds_first():
    found = plan(study(seeds=[3, 5], ladder={"setting": "data.labelled", "values": [16, 64]}))
    assert [(cell.arm, cell.value, cell.seed) for cell in found.cells[:5]] == [
        ("task", 16, 3),
        ("response", 16, 3),
        ("task", 64, 3),
        ("response", 64, 3),
        ("task", 16, 5),
    ]
    assert {(c.config.data.labelled, c.config.seed) for c in found.cells} == {(16, 3), (64, 3), (16, 5), (64, 5)}
    assert [o.kind for o in found.cells[1].config.objectives] == ["response"]
    assert found.study.comparisons == [("response", "task")]


def test_settings_of_all_give_way_to_those_of_an_arm():
    arms = {"short": {"budget.steps": 5}, "long": {}}
    found = plan(study(base="tiny-ce", settings={"budget.steps": 7, "data.train": 64}, arms=arms))
    assert [cell.config.budget.steps for cell in found.cells[:2]] == [5, 7]
    assert {cell.config.data.train for cell in found.cells} == {64}


def test_a_base_may_be_a_file_beside_the_study(tmp_path):
    (tmp_path / "base.yaml").write_text("student: student-tiny\nobjectives: [task]\nbudget: {steps: 3}\n")
    content = study(base="base.yaml", arms={"a": {}, "b": {"budget.steps": 4}})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert [cell.config.budget.steps for cell in load(tmp_path / "mine.yaml").cells[:2]] == [3, 4]


def test_the_digest_follows_from_what_decides_the_results_alone():
    one = plan(study())
    assert plan(study(title="Another", description="words")).digest == one.digest
    for other in ({"seeds": [0, 1]}, {"settings": {"budget.steps": 91}}, {"splits": ["new_phrasing"]}):
        assert plan(study(**other)).digest != one.digest


@pytest.mark.parametrize(
    "over, said",
    [
        ({"arms": {"a": {}}}, "arms has fewer than two"),
        ({"arms": {"a": {}, "b": {}}}, "The arms 'a' and 'b' are the same run"),
        ({"arms": {"a": {}, "b": {"name": "x", "description": "y"}}}, "are the same run"),
        ({"arms": {"a": {}, "b": {"data.held_out": 100}}}, "not judged alike (data.held_out differs)"),
        ({"arms": {"a": {}, "b": {"evaluation.max_new_tokens": 8}}}, "(evaluation.max_new_tokens differs)"),
        ({"ladder": {"setting": "data.held_out", "values": [10, 20]}}, "not judged alike"),
        ({"arms": {"a": {}, "b": {"data.seed": 4}}}, "not judged alike (data.seed differs)"),
        ({"arms": {"a": {}, "b": {"preset": "tyni-ce"}}}, "begins with 'tyni-ce', which is no preset or file: did you"),
        ({"base": "nowhere.yaml"}, "nowhere.yaml"),
        ({"arms": {"a": {}, "b": {"budget.stepz": 4}}}, "The arm 'b' can't be run: budget.stepz is not a setting"),
        ({"arms": {"a": {}, "b": {"objectives.gkd.weight": 4}}}, "The arm 'b' can't be run"),
        ({"compare": [["response", "tusk"]]}, "compare names 'tusk', which is no arm: did you mean 'task'?"),
        ({"compare": [["task", "task"]]}, "compare holds 'task' with itself"),
        ({"controls": {"response": ["mirror"]}}, "controls names 'mirror', which is no arm"),
        ({"ladder": {"setting": "data.labelled", "values": [16, 16]}}, "holds the same value twice"),
        ({"ladder": {"setting": "data.labeled", "values": [16, 64]}}, "data.labeled is not a setting"),
        ({"ladder": {"setting": "data.labelled", "values": [16]}}, "ladder.values"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"seeds": list(range(600))}, "1,200 runs, more than 1,000"),
        ({"arm": {}}, "arm is not a setting"),
        ({"settings": {"student": date(2024, 1, 1)}}, "can't be run: student is"),
        ({"splits": ["visitors"]}, "splits"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(over, said):
    content = study(**over)
    if "base" in over:
        content["arms"] = {"a": {}, "b": {"budget.steps": 3}}
    with pytest.raises(ConfigError) as error:
        plan(content)
    assert said in str(error.value)
    assert str(error.value).count("\n") == 0


def test_fewer_than_two_seeds_are_allowed_and_said():
    assert not plan(study()).notes
    assert "One seed" in plan(study(seeds=[0])).notes[0]


def test_a_study_that_is_not_there_is_named_and_the_nearest_offered():
    with pytest.raises(ConfigError, match=r"no study 'few-label': .*did you mean 'few-labels'"):
        load("few-label")


@pytest.mark.parametrize("name", study_names())
def test_every_study_that_ships_can_be_carried_out(name):
    found = load(name)
    assert len(found.study.seeds) >= 3
    assert all(cell.config.data.held_out >= 480 for cell in found.cells)
    assert found.study.title and found.study.description


def test_the_study_in_the_documentation_can_be_carried_out():
    text = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
    found = plan(yaml.safe_load(text.split("<!-- study -->\n```yaml\n")[1].split("```")[0]))
    assert len(found.cells) == 18 and found.study.comparisons == [("fast", "slow"), ("taught", "fast")]
