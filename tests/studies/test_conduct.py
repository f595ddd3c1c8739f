"""A study of real runs: carried out, stopped, killed, and gone on with, with the same results."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from distill.config.errors import ConfigError
from distill.runs import store
from distill.studies import conduct
from distill.studies.plan import plan

ROOT = Path(__file__).parents[2]
SETTINGS = {"data.train": 32, "data.held_out": 12, "data.new_phrasing": 8, "data.validation": 4, "budget.steps": 2}
SETTINGS |= {"budget.batch_size": 8, "probe.problems": 0, "probe.samples": 0, "evaluation.max_new_tokens": 8}
CONTENT = {
    "name": "two-rates",
    "base": "tiny-ce",
    "settings": SETTINGS,
    "arms": {"slow": {"budget.learning_rate": 1e-4}, "fast": {"budget.learning_rate": 2e-3}},
    "seeds": [0],
}


def command(home, *arguments):
    environment = {**os.environ, "DISTILL_HOME": str(home)}
    line = [sys.executable, "-m", "distill", "study", *map(str, arguments)]
    return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def wait_for(condition, seconds=240):
    ends = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(home, file, results) of the study, carried out without a pause."""
    home = tmp_path_factory.mktemp("whole")
    file = home / "two-rates.yaml"
    file.write_text(yaml.safe_dump(CONTENT, sort_keys=False))
    status, out, err = finish(command(home, file, "--json"))
    assert status == 0, err
    return home, file, json.loads(out.splitlines()[-1])


def test_it_ends_with_a_verdict_an_arm_to_take_and_its_config(whole):
    home, _, found = whole
    assert [cell["state"] for cell in found["cells"]] == ["done", "done"]
    (verdict,) = found["verdicts"]
    assert verdict.startswith("fast and slow: no difference larger than") and "12 problems" in verdict
    assert found["take"]["arm"] == "slow"
    (study,) = conduct.list_studies(home / "runs")
    text = (study.path / "README.md").read_text()
    assert text.splitlines()[-1].endswith(f"python -m distill run {study.path / 'take.yaml'}")
    taken = yaml.safe_load((study.path / "take.yaml").read_text())
    assert taken["budget"]["learning_rate"] == 1e-4
    assert json.loads((study.path / "study.json").read_text()) == found
    runs = [store.view(study.run_of(cell)) for cell in study.plan.cells]
    assert [run.name for run in runs] == ["two-rates: slow, seed 0", "two-rates: fast, seed 0"]


def test_killed_it_goes_on_and_finds_the_same(whole, tmp_path):
    """The command is killed -9 while its second run goes on, and that run too; then it is asked again."""
    _, file, expected = whole
    process = command(tmp_path, file)

    def second():
        return [
            folder
            for folder in (tmp_path / "runs").glob("*/config.yaml")
            if "fast" in folder.read_text() and store.alive(folder.parent)
        ]

    folder = wait_for(second)[0].parent
    process.kill()
    process.communicate()
    os.kill(store.live_process(folder).pid, signal.SIGKILL)
    (study,) = conduct.list_studies(tmp_path / "runs")
    assert not study.done
    status, out, err = finish(command(tmp_path, file, "--json"))
    assert status == 0, err
    assert json.loads(out.splitlines()[-1]) == expected
    assert len(conduct.list_studies(tmp_path / "runs")) == 1
    assert len(list((tmp_path / "runs").glob("*/config.yaml"))) == 2


def test_stopped_it_saves_the_run_and_says_how_to_go_on(whole, tmp_path):
    _, file, expected = whole
    process = command(tmp_path, file)
    wait_for(lambda: list((tmp_path / "runs").glob("*/process.json")))
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    (study,) = conduct.list_studies(tmp_path / "runs")
    assert status == 130 and f"python -m distill study {study.id} continues it" in err
    assert study.state(study.plan.cells[0]) in ("stopped", "done", "crashed")
    status, out, err = finish(command(tmp_path, study.id[:6], "--json"))
    assert status == 0, err
    assert json.loads(out.splitlines()[-1]) == expected


def test_a_run_that_fails_is_said_and_the_others_go_on(tmp_path):
    content = {**CONTENT, "arms": {"slow": {}, "too_long": {"budget.max_length": 16}}}
    file = tmp_path / "failing.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    status, out, _ = finish(command(tmp_path, file))
    assert status == 1
    (study,) = conduct.list_studies(tmp_path / "runs")
    assert [study.state(cell) for cell in study.plan.cells] == ["done", "failed"]
    assert "1 of 2 runs are not done: too_long, seed 0 (failed)." in out


def test_what_is_opened_is_what_was_begun(tmp_path):
    begun = conduct.begin(plan({**CONTENT, "ladder": {"setting": "budget.batch_size", "values": [4, 8]}}), tmp_path)
    opened = conduct.open_study(begun.path)
    assert (opened.runs, opened.plan.cells, opened.plan.digest) == (begun.runs, begun.plan.cells, begun.plan.digest)
    assert set(opened.states.values()) == {"waiting"} and not opened.done


def test_a_study_changed_under_way_is_refused(tmp_path):
    begun = conduct.begin(plan(CONTENT), tmp_path)
    assert conduct.begin(plan(CONTENT), tmp_path).id == begun.id
    with pytest.raises(ConfigError, match=f"has changed since it was begun as {begun.id}"):
        conduct.begin(plan({**CONTENT, "seeds": [0, 1]}), tmp_path)
    assert conduct.begin(plan({**CONTENT, "seeds": [0, 1], "name": "other"}), tmp_path).id != begun.id


def test_dry_says_runs_time_and_disk_and_starts_nothing(tmp_path):
    status, out, _ = finish(command(tmp_path, "few-labels", "--dry"))
    assert status == 0 and not (tmp_path / "runs" / "studies").exists()
    assert "72 runs" in out and "Time: " in out and "Disk: " in out
