"""Runs from before the rooms and the wider world (tests/runs/kept: `tiny` and `tiny-deku` of 20 steps) can be read."""

import json
import shutil
from pathlib import Path

import pytest

from distill.__main__ import main
from distill.runs.events import Metric, Probe
from distill.runs.index import list_runs
from distill.ui.runs import comparison

KEPT = Path(__file__).with_name("kept")
TINY, DEKU = "e42f12eda344", "9e825181cd44"


@pytest.fixture
def runs(tmp_path):
    """{id: view} of copies of the kept runs."""
    shutil.copytree(KEPT, tmp_path / "runs")
    return {run.id: run for run in list_runs(tmp_path / "runs")}


def test_they_open_as_they_were(runs):
    assert {run.config.name for run in runs.values()} == {"tiny", "tiny-deku"}
    for run in runs.values():
        assert (run.state, run.step, run.steps, run.config.budget.steps) == ("done", 20, 20, 20)
        assert len(run.timeline.series(Metric)) == 20 and run.timeline.series(Probe)
        steps, loss = run.timeline.columns("loss")
        assert list(steps) == list(range(1, 21)) and all(0 < value < 20 for value in loss)
        assert run.report == json.loads((run.folder / "report.json").read_text())


def test_they_are_compared(runs):
    pair = [runs[TINY], runs[DEKU]]
    table = comparison.results(pair)
    for run in pair:
        assert run.config.name in table and f"{run.report['after']['accuracy']:.1%}" in table
    assert "deku" in comparison.settings(pair) and "<svg" in comparison.loss(pair)


def test_they_are_shown(runs, capsys):
    for run in runs.values():
        assert main(["show", str(run.folder)]) == 0
        assert f"{run.report['after']['accuracy']:.1%}" in capsys.readouterr().out
