"""What is made of a study's answers, whatever its ladder holds and whoever answered what."""

import json

import pytest

from distill.runs import store
from distill.runs.events import EventWriter, Status
from distill.studies import conduct, results
from distill.studies.plan import plan

ARMS = {"a": {}, "b": {"budget.steps": 5}}


def answered(tmp_path, right, **over):
    """A study whose runs are done; `right(cell)`: {problem: right or not}."""
    study = conduct.begin(plan({"name": "s", "base": "tiny-ce", "arms": ARMS, "seeds": [0], **over}), tmp_path)
    for cell in study.plan.cells:
        folder = store.create(cell.config, tmp_path, study.runs[cell.key])
        rows = [{"id": one, "split": "held_out", "right": good} for one, good in right(cell).items()]
        (folder / "answers.json").write_text(json.dumps({"after": rows}))
        EventWriter(folder / "events.jsonl").write(Status(state="done"))
    return study


def test_problems_are_paired_by_what_they_are_not_by_where_they_stand(tmp_path):
    right = {f"p{k}": k % 2 == 0 for k in range(40)}
    backwards = dict(reversed(right.items()))
    study = answered(tmp_path, lambda cell: right if cell.arm == "a" else backwards)
    (one,) = results.write(study)["differences"]
    assert one["within_seeds"] == [{"gained": 0, "lost": 0, "mcnemar_p": 1.0}]


def test_runs_of_other_problems_are_compared_by_those_of_both_and_it_is_said(tmp_path):
    study = answered(tmp_path, lambda cell: {f"p{k}": True for k in range(9 if cell.arm == "a" else 5)})
    found = results.write(study)
    assert found["differences"][0]["n"] == 5
    assert "judged by different held-out problems: only the 5 that all answered count" in found["notes"][-1]
    assert found["notes"][-1] in (study.path / "README.md").read_text()


@pytest.mark.parametrize("right", [{}, {"p": True}])
def test_of_one_problem_nothing_is_concluded(tmp_path, right):
    found = results.write(answered(tmp_path, lambda cell: right))
    assert (found["verdicts"], found["take"]) == ([], None)


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("teachers", [["qwen2-tiny"], ["qwen2-tiny", "gemma2-tiny"]]),
        ("data.labelled", [16, None]),
        ("name", ["<b>", "x" * 70]),
    ],
)
def test_a_ladder_may_hold_any_value(tmp_path, setting, values):
    study = answered(
        tmp_path,
        lambda cell: {f"p{k}": k % 3 > 0 for k in range(30)},
        base="tiny",
        ladder={"setting": setting, "values": values},
    )
    assert conduct.open_study(study.path).plan.digest == study.plan.digest
    found = results.write(study)
    picture = (study.path / "ladder_held_out.svg").read_text()
    assert "<b>" not in picture and len(found["means"]) == 4 and found["take"]["value"] == values[-1]
