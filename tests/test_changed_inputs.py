"""A run whose file of problems changes between stop and resume: it never goes on with other problems."""

import csv
import json
import shutil

import datasets
import pytest

from distill.config import run_config as configs
from distill.config.errors import ConfigError, UserError
from distill.data.problems import generate
from distill.runs import store
from distill.runs.events import Error, Metric, read
from distill.runs.inputs import ROWS
from distill.training.worker import work

LEARNT = {"train": 24, "held_out": 4, "validation": 0}


def rows():
    return [{"question": p.question, "solution": p.solution, "final": p.answer} for p in generate("train", 120, seed=3)]


def write(path, some):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["question", "solution", "final"])
        writer.writeheader()
        writer.writerows(some)


def begun(folder, data):
    """The folder of a run that was stopped after two of its four steps."""
    settings = {
        "student": "student-tiny",
        "objectives": ["task"],
        "data": {**LEARNT, **data},
        "budget": {"steps": 4, "batch_size": 4, "save_every": 1},
        "probe": {"texts": 4, "every": 4, "samples": 0},
        "evaluation": {"max_new_tokens": 4},
    }
    run = store.create(configs.parse(settings), folder / "runs")

    def two_steps():
        return any(isinstance(event, Metric) and event.step >= 2 for event in read(run / "events.jsonl")[0])

    assert work(run, two_steps) == 130 and store.view(run).state == "stopped"
    return run


def resume(run):
    """The exit status of the worker of a run that is resumed, in this process."""
    return store.resume(run, begin=lambda folder, in_turn: work(folder, lambda: False))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """(the folder of a stopped run, its file)"""
    folder = tmp_path_factory.mktemp("changed")
    write(folder / "rows.csv", rows())
    return begun(folder, {"source": "file", "path": str(folder / "rows.csv")}), folder / "rows.csv"


@pytest.fixture
def case(stopped, tmp_path):
    """A copy of such a run, and its file as it was."""
    run, path = stopped
    write(path, rows())
    copy = tmp_path / "runs" / run.name
    shutil.copytree(run, copy)
    return copy, path


def reword(some, at=0, **changed):
    return [{**row, **changed} if number == at else row for number, row in enumerate(some)]


@pytest.mark.parametrize(
    "change",
    [
        lambda some: reword(some, 7, question="In other words: how many?"),
        lambda some: reword(some, 7, solution="It is #### 3"),
        lambda some: [{**row, "question": row["question"] + " Explain."} for row in some],
        lambda some: some[:-1],
        lambda some: [*some, {"question": "One more?", "solution": "#### 1", "final": "1"}],
        lambda some: some[::-1],
    ],
    ids=["a question", "a solution", "all questions", "one less", "one more", "another order"],
)
def test_a_changed_file_is_refused_at_resume_and_the_run_stays_as_it_was(case, change):
    run, path = case
    write(path, change(rows()))
    before = (run / "events.jsonl").read_bytes()
    with pytest.raises(UserError) as caught:
        resume(run)
    assert str(caught.value) == (
        f"rows.csv has other rows, or the same on other lines, than when run {run.name} began, so the run can't go on: "
        "put it back as it was and resume, or start a new run."
    )
    assert (run / "events.jsonl").read_bytes() == before and store.view(run).state == "stopped"


def test_a_file_that_is_gone_or_broken_is_named_and_the_run_stays_as_it_was(case):
    run, path = case
    path.unlink()
    with pytest.raises(ConfigError, match="There is no file"):
        resume(run)
    path.write_text("question,solution,final\na,b\n")
    with pytest.raises(UserError, match=r"Line 2 of rows.csv has 2 fields"):
        resume(run)
    assert store.view(run).state == "stopped"


def test_a_file_with_too_few_rows_may_be_corrected(tmp_path):
    write(tmp_path / "rows.csv", rows()[:6])
    data = {"source": "file", "path": str(tmp_path / "rows.csv"), **LEARNT, "held_out": 10}
    settings = {"student": "student-tiny", "objectives": ["task"], "data": data}
    run = store.create(configs.parse(settings), tmp_path / "runs")
    assert work(run, lambda: False) == 1 and "give more rows" in store.view(run).reason
    write(tmp_path / "rows.csv", rows())
    assert store.resume(run, begin=lambda folder, in_turn: "begun") == "begun"


def test_other_columns_are_refused_too(case):
    run, _ = case
    settings = (run / "config.yaml").read_text()
    assert "solution: solution" in settings
    (run / "config.yaml").write_text(settings.replace("solution: solution", "solution: final"))
    assert resume(run) == 1  # the file is the same, so its worker finds it
    assert "other rows" in [event for event in read(run / "events.jsonl")[0] if isinstance(event, Error)][-1].text


@pytest.mark.parametrize("older", [False, True], ids=["", "of before there was a digest"])
def test_the_same_rows_go_on(case, older):
    """Written anew, with other line breaks, they are another file."""
    run, path = case
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
    if older:
        (run / ROWS).unlink()
    assert resume(run) == 0
    assert json.loads((run / "report.json").read_text())["steps"] == 4
    assert json.loads((run / ROWS).read_text()).keys() == {"table", "rows", "file"}


def test_a_changed_data_set_is_refused_by_the_worker_and_goes_on_when_it_is_put_back(tmp_path):
    (tmp_path / "set").mkdir()

    def fill(some):
        datasets.Dataset.from_list(some).to_parquet(tmp_path / "set" / "train.parquet")

    fill(rows())
    run = begun(tmp_path, {"source": "hub", "dataset": str(tmp_path / "set")})
    fill(reword(rows(), 7, solution="It is #### 3"))
    assert resume(run) == 1 and "other rows" in store.view(run).reason
    fill(rows())
    assert resume(run) == 0
