"""Runs that are killed, stopped, or go wrong: nothing recorded is lost, and what is resumed ends in the same bytes."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from end_to_end_cases import (
    MINI,
    ON_POLICY,
    ROOT,
    STATEFUL,
    TIMEOUT,
    begin,
    distill,
    kill_worker,
    only_run,
    wait_for_step,
    weights,
    write,
)
from safetensors.torch import load_file

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.models.hardware import detect
from distill.runs import store
from distill.runs.events import EventWriter, Metric, Stage, Status, Warning, latest_by_step, read
from distill.training.artifacts import report_failure
from distill.training.pipeline import Pipeline
from distill.training.trainer import DIGESTS, STATE_FILE, is_whole


def metrics(folder):
    return {e.step: e.loss for e in latest_by_step(read(folder / "events.jsonl")[0], Metric)}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = distill("run", write(STATEFUL, folder), "--runs", folder / "runs", "--json")
    assert done.returncode == 0, done.stderr
    return only_run(folder / "runs")


def test_a_killed_run_loses_no_event_and_resumes_to_the_same_bytes(uninterrupted, tmp_path):
    first = begin("run", write(STATEFUL, tmp_path), "--runs", tmp_path / "runs", "--json")
    folder = wait_for_step(tmp_path / "runs", 5)  # checkpoints are at 3 and 6: steps are lost and done again
    intruder = subprocess.run(
        [sys.executable, "-m", "distill.training.worker", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert intruder.returncode == 1
    assert "already being trained by process" in intruder.stderr
    kill_worker(folder)
    recorded = (folder / "events.jsonl").read_bytes()
    assert first.wait(timeout=30) == 1
    assert store.view(folder).state == "crashed"

    done = distill("resume", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert (folder / "events.jsonl").read_bytes().startswith(recorded.rpartition(b"\n")[0])
    assert {name.split("/")[0] for name in weights(folder)} == {"adapter", "gate", "heads"}
    assert weights(folder) == weights(uninterrupted)
    assert metrics(folder) == metrics(uninterrupted)
    report, other = (json.loads((f / "report.json").read_text()) for f in (folder, uninterrupted))
    for key in ("before", "after", "flips", "cka", "gate", "haf", "participation_ratio", "warnings", "steps", "tokens"):
        assert report[key] == other[key], key


def test_a_run_on_its_own_answers_that_was_killed_resumes_to_the_same_bytes(tmp_path):
    """Checkpoints are at 3 and 6: from there on the same answers are drawn, and the projectors are as they were."""
    done = distill("run", write(ON_POLICY, tmp_path), "--runs", tmp_path / "whole", "--json")
    assert done.returncode == 0, done.stderr
    whole = only_run(tmp_path / "whole")
    first = begin("run", write(ON_POLICY, tmp_path), "--runs", tmp_path / "killed", "--json")
    folder = wait_for_step(tmp_path / "killed", 5)
    kill_worker(folder)
    assert first.wait(timeout=30) == 1
    done = distill("resume", folder, "--json")
    assert done.returncode == 0, done.stderr
    said = [
        {e.step: (e.loss, e.terms, e.metrics, e.tokens) for e in latest_by_step(read(f / "events.jsonl")[0], Metric)}
        for f in (folder, whole)
    ]
    assert said[0] == said[1]
    assert {metrics["gkd/own"] for _, _, metrics, _ in said[0].values()} == {0.0, 1.0}
    assert weights(folder) == weights(whole)
    beside = [load_file(f / "checkpoints" / "checkpoint-8" / STATE_FILE) for f in (folder, whole)]
    assert any("projectors" in name for name in beside[0])
    assert not any("live" in name or "sibling" in name for name in beside[0])
    assert beside[0].keys() == beside[1].keys()
    assert all(torch.equal(beside[0][name], beside[1][name]) for name in beside[0])


def test_ctrl_c_saves_and_leaves_and_resume_ends_in_the_same_bytes(uninterrupted, tmp_path):
    first = begin("run", write(STATEFUL, tmp_path), "--runs", tmp_path / "runs", "--json")
    folder = wait_for_step(tmp_path / "runs", 2)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=TIMEOUT)
    assert first.returncode == 130
    view = store.view(folder)
    assert view.state == "stopped"
    assert 2 <= view.step < 8
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    done = distill("resume", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert weights(folder) == weights(uninterrupted)


def test_sigterm_while_teachers_are_asked_stops_the_worker_and_keeps_what_was_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "home"))
    folder = store.create(configs.load(write(MINI, tmp_path)), tmp_path / "runs")
    worker = store.start(folder)
    bank = tmp_path / "home" / "cache" / "signals"
    while not list(bank.rglob("*.safetensors")):  # the first teacher has answered; the second is next
        assert worker.poll() is None
        time.sleep(0.02)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=TIMEOUT) == 130
    assert store.view(folder).state == "stopped"
    assert not metrics(folder)
    kept = {path: path.stat().st_mtime_ns for path in bank.rglob("*.safetensors")}
    assert distill("resume", folder, "--json").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize("moment", ["evaluate-before", "evaluate-after"])
def test_a_run_killed_between_its_stages_is_finished_by_resume(tmp_path, moment):
    folder = store.create(configs.load(write(MINI, tmp_path)), tmp_path / "runs")
    worker = store.start(folder)
    while not any(isinstance(e, Stage) and e.name == moment for e in read(folder / "events.jsonl")[0]):
        assert worker.poll() is None
        time.sleep(0.02)
    kill_worker(folder)
    worker.wait()
    steps = metrics(folder)
    assert distill("resume", folder, "--json").returncode == 0
    assert metrics(folder).items() >= steps.items()
    report = json.loads((folder / "report.json").read_text())
    assert report["steps"] == 6
    assert report["seconds"]["total"] > report["seconds"]["train"]


def test_a_resume_with_an_edited_budget_trains_at_the_new_rate(tmp_path):
    first = begin("run", write(MINI, tmp_path), "--runs", tmp_path / "runs", "--set", "budget.schedule=constant")
    folder = wait_for_step(tmp_path / "runs", 2)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=TIMEOUT)
    reached = store.view(folder).step
    done = distill("resume", folder, "--set", "budget.learning_rate=0.0005", "budget.steps=9")
    assert done.returncode == 0, done.stderr
    rates = {e.step: e.learning_rate for e in latest_by_step(read(folder / "events.jsonl")[0], Metric)}
    assert rates.keys() == set(range(1, 10))
    assert all(rate == pytest.approx(0.002 if step <= reached else 0.0005) for step, rate in rates.items() if step > 1)


def test_a_full_disk_fails_with_a_sentence_and_keeps_the_events(tmp_path):
    folder = store.create(configs.load(write(MINI, tmp_path)), tmp_path / "runs")

    def small_files():  # what a full disk does to a writer, for one process
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    worker = subprocess.run(
        [sys.executable, "-m", "distill.training.worker", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=small_files,
        check=False,
    )
    assert worker.returncode == 1, worker.stderr
    view = store.view(folder)
    assert view.state == "failed"
    assert "disk is full" in view.reason
    assert metrics(folder).keys() >= {1, 2}
    done = distill("resume", folder, "--json")
    assert done.returncode == 0, done.stderr


def test_a_loss_that_is_not_a_number_stops_keeps_the_last_good_checkpoint_and_says_what_to_lower(tmp_path):
    folder = store.create(configs.load(write(MINI, tmp_path), ["teachers=[]", "objectives=[task]"]), tmp_path / "runs")
    calls = {"training": 0}
    with EventWriter(folder / "events.jsonl") as writer:

        def sabotage():  # asked at every step: after the third, one weight of the adapter is spoilt
            if pipeline.distiller is not None and metrics(folder).get(3):
                parameter = next(p for n, p in pipeline.student.named_parameters() if "lora_A" in n)
                calls["training"] += 1
                with torch.no_grad():
                    parameter.fill_(float("inf"))
            return False

        pipeline = Pipeline(folder, configs.load(folder / "config.yaml"), detect(), writer, sabotage)
        with pytest.raises(UserError, match=r"not a number at step 4; .*checkpoint-2.*learning_rate \(now 0\.002\)"):
            pipeline.run()
    assert calls["training"] == 1
    assert max(metrics(folder)) == 3
    report_failure(pipeline)
    kept = load_file(folder / "adapter" / "adapter_model.safetensors")
    good = load_file(folder / "checkpoints" / "checkpoint-2" / "adapter_model.safetensors")
    assert kept.keys() == good.keys()
    assert all(torch.equal(kept[name], good[name]) for name in kept)
    adapter = [p for n, p in pipeline.student.named_parameters() if "lora" in n]
    assert all(torch.isfinite(p).all() for p in adapter)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["checkpoint-2"]


def test_a_worker_with_a_wrong_config_exits_2_and_says_why(tmp_path):
    folder = store.create(configs.load(write(MINI, tmp_path)), tmp_path / "runs")
    text = (folder / "config.yaml").read_text().replace("steps: 6", "steps: 0")
    (folder / "config.yaml").write_text(text)
    worker = subprocess.run(
        [sys.executable, "-m", "distill.training.worker", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert worker.returncode == 2
    assert store.view(folder).reason == "budget.steps is 0: it must be at least 1."


# --- damaged checkpoints ---------------------------------------------------------------------------------------------


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)


DAMAGE = {
    "cut": lambda folder: cut(folder / "adapter_model.safetensors"),
    "flipped": lambda folder: flip(folder / STATE_FILE),
    "emptied": lambda folder: (folder / "optimizer.pt").write_bytes(b""),
    "gone": lambda folder: (folder / "scheduler.pt").unlink(),
    "no numbers": lambda folder: (folder / "trainer_state.json").write_text("{"),
    "no digests": lambda folder: (folder / DIGESTS).write_text("[]"),
}
OLDER = {  # of checkpoints that were saved without digests
    "cut": DAMAGE["cut"],
    "flipped": lambda folder: flip_inside(folder / "optimizer.pt"),
    "gone": lambda folder: (folder / STATE_FILE).unlink(),
    "no numbers": DAMAGE["no numbers"],
}


def flip_inside(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("kind", [*DAMAGE, *(f"older: {kind}" for kind in OLDER)])
def test_a_damaged_checkpoint_is_not_whole(uninterrupted, tmp_path, kind):
    checkpoint = tmp_path / "checkpoint-8"
    shutil.copytree(uninterrupted / "checkpoints" / "checkpoint-8", checkpoint)
    assert is_whole(checkpoint)
    if kind.startswith("older"):
        (checkpoint / DIGESTS).unlink()
        assert is_whole(checkpoint)
    {**DAMAGE, **{f"older: {name}": hurt for name, hurt in OLDER.items()}}[kind](checkpoint)
    assert not is_whole(checkpoint)


@pytest.mark.parametrize("damaged", [("checkpoint-8",), ("checkpoint-8", "checkpoint-6")])
def test_a_run_goes_on_from_the_newest_whole_checkpoint_and_says_so(uninterrupted, tmp_path, damaged):
    folder = tmp_path / "runs" / "0123456789ab"
    shutil.copytree(uninterrupted, folder)
    shutil.rmtree(folder / "adapter")
    with EventWriter(folder / "events.jsonl") as writer:
        writer.write(Status(state="stopped"))
    for name in damaged:
        cut(folder / "checkpoints" / name / "adapter_model.safetensors")
    done = distill("resume", folder, "--json")
    assert done.returncode == 0, done.stderr
    events, _ = read(folder / "events.jsonl")
    warned = [event.text for event in events if isinstance(event, Warning) and event.code == "checkpoint_damaged"]
    then = "training goes on from checkpoint-6" if len(damaged) == 1 else "training begins anew"
    assert len(warned) == 1 and warned[0].endswith(f"set aside: {then}.") and "checkpoint-8" in warned[0]
    assert weights(folder) == weights(uninterrupted)
    assert is_whole(folder / "checkpoints" / "checkpoint-8")
