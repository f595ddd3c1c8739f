"""Studies under Runs: what a stranger may not ask, what the form says, and a page that outlives a damaged study."""

import json

import pytest
from run_cases import made

from distill.config.errors import ConfigError, UserError
from distill.config.paths import home
from distill.studies import conduct, worker
from distill.studies.plan import plan
from distill.ui.auth import new_token, visitor
from distill.ui.runs import studies, study_html
from distill.ui.session import Drawings, LivePart, recent_runs


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))


FORM = (["tiny-ce", "tiny-response"], 1, None, "", "")


def begun(**over):
    content = {"name": "s", "base": "tiny-ce", "arms": {"a<b>": {}, "b": {"budget.steps": 5}}, "seeds": [0], **over}
    return conduct.begin(plan(content))


@pytest.mark.parametrize("damage", ["no study.yaml", "no cells", "other cells", "half a line"])
def test_a_study_that_is_damaged_or_being_made_hides_itself_alone(damage):
    whole, broken = begun(), begun(name="other")
    cells = broken.path / "cells.json"
    match damage:
        case "no study.yaml":
            (broken.path / "study.yaml").unlink()
        case "no cells":
            cells.unlink()
        case "other cells":
            cells.write_text(json.dumps([{"arm": "a"}]))
        case "half a line":
            cells.write_text("[{")
    assert [one.id for one in studies._all()] == [whole.id]
    assert len(studies._marks()) == 1 and studies._find("").id == whole.id and studies._find(broken.id) is None
    assert "a&lt;b&gt;" in study_html.view(whole) and "<b>" not in study_html.view(whole)


def test_a_part_whose_key_cannot_be_told_leaves_the_others():
    def damaged():
        raise KeyError("run")

    parts = [LivePart("one", "x", lambda run: "drawn", key=damaged), LivePart("two", "y", lambda run: "drawn too")]
    updates, _ = Drawings().updates(parts, None, "runs", {}, {})
    assert updates[1] == "drawn too"


@pytest.mark.parametrize("ask", [lambda who: studies._begin(who, *FORM), lambda who: studies._own(who, "")])
def test_strangers_begin_and_stop_none(ask):
    with pytest.raises(UserError, match="on a public server none can be begun or stopped in the page"):
        ask(visitor(new_token(), local=False))
    assert studies._all() == []


@pytest.mark.parametrize(
    ("setting", "values", "said"),
    [
        ("budget.steps", "5", "two to 20 values"),
        ("budget.steps", "1," * 100_000, "two to 20 values"),
        ("budget.steps", "[ 1", "can't be read"),
        ("budget.steps", "*a &b", "can't be read"),
        ("budget.stepz", "1 2", "budget.stepz is not a setting"),
    ],
)
def test_a_ladder_that_is_none_is_one_sentence(setting, values, said):
    with pytest.raises(ConfigError, match=said):
        studies._plan(FORM[0], 1, setting, values, "")


def test_runs_of_the_same_long_name_are_arms_of_their_own():
    runs = [made("tiny-ce", overrides=["name=" + "x" * 80, f"budget.steps={steps}"]) for steps in (5, 6)]
    recent_runs(fresh=True)
    asked = studies._plan([run.id for run in runs], 1, None, "", "two")
    assert [cell.config.budget.steps for cell in asked.cells] == [5, 6]
    assert all(run.id[:6] in arm for run, arm in zip(runs, asked.study.arms, strict=True))


def test_a_study_on_the_command_line_is_known_to_be_at_work_and_hears_a_stop_from_the_page():
    study = begun()
    assert not worker.working(study)
    with conduct._alone(study.path):
        assert worker.working(study)
        worker.stop(study)
    with pytest.raises(conduct.Stopped):
        conduct.conduct(study, lambda: False)
    assert home().runs.resolve() == study.path.parent.parent
