"""Run folders, with real processes: who is at a run, what state it is in, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from distill.config import paths
from distill.config.errors import UserError
from distill.config.run_config import ConfigError, load
from distill.runs import store
from distill.runs.events import EventWriter, Metric, Status
from distill.runs.process import claim, live_process, release, remember

ROOT = Path(__file__).parents[2]
CLAIM = (
    "import sys, time; from distill.runs.process import claim\n"
    "claim(sys.argv[1]); print('mine', flush=True); time.sleep(float(sys.argv[2]))"
)


@pytest.fixture
def folder(tmp_path):
    return store.create(load("tiny", ["budget.steps=10"]), tmp_path / "runs")


@pytest.fixture
def worker(folder):
    """Another process that has claimed the run."""
    process = claimant(folder)
    yield process
    process.kill()
    process.wait()


def claimant(folder, seconds=60):
    process = subprocess.Popen([sys.executable, "-c", CLAIM, folder, str(seconds)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"mine\n"
    return process


def say(folder, *events):
    with EventWriter(folder / "events.jsonl") as writer:
        for event in events:
            writer.write(event)


def record(folder, pid, create_time):
    (folder / "process.json").write_text(json.dumps({"pid": pid, "create_time": create_time}))


def gone(folder):
    """As if a worker had been at the run and died."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record(folder, process.pid, psutil.Process(process.pid).create_time())
    process.communicate(b"\n")


def refused(call, *args, error=UserError, **kwargs):
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert str(caught.value).endswith((".", "?")) and "\n" not in str(caught.value)
    return str(caught.value)


def until(condition):
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.02)


# --- where runs live, and making them ---


def test_where_runs_and_caches_live(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    assert paths.home() == (tmp_path / "runs", tmp_path / "cache")
    assert store.create(load("tiny")).parent == tmp_path / "runs"
    monkeypatch.delenv("DISTILL_HOME")
    assert paths.home() == (Path("runs"), Path.home() / ".cache" / "distill")


def test_a_new_run_is_queued_with_its_config(folder):
    assert len(folder.name) == 12 and int(folder.name, 16) >= 0
    seen = store.view(folder)
    assert (seen.state, seen.name, seen.step, seen.steps, seen.report) == ("queued", "tiny", 0, 10, None)
    assert load(folder / "config.yaml") == seen.config == load("tiny", ["budget.steps=10"])
    assert not seen.final and not store.alive(folder)


def test_relative_model_folders_are_kept_absolute(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = store.create(load("tiny-ce", ["student=mine"]), tmp_path / "runs")
    assert load(folder / "config.yaml").student.model == str(tmp_path / "mine")


def test_an_unwritable_folder_and_a_full_disk(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "choose another folder with --runs" in refused(
        store.create, load("tiny"), tmp_path / "file" / "runs", error=ConfigError
    )
    monkeypatch.setattr(store, "NEEDED_MB", 10**12)
    assert "MB free" in refused(store.create, load("tiny"), tmp_path / "runs", error=ConfigError)
    assert not list((tmp_path / "runs").iterdir())


# --- who is at a run ---


def test_alive_means_that_very_process(folder):
    own = psutil.Process()
    record(folder, own.pid, own.create_time())
    assert store.alive(folder)
    record(folder, own.pid, own.create_time() - 100)  # the pid of a process before this one
    assert not store.alive(folder)
    gone(folder)
    assert not store.alive(folder)
    (folder / "process.json").write_text("{")
    assert not store.alive(folder)


def test_a_run_has_one_worker_until_a_kill(folder, worker):
    assert store.alive(folder)
    assert f"already being trained by process {worker.pid}" in refused(claim, folder)
    assert f"by process {worker.pid}" in refused(store.start, folder)
    assert f"by process {worker.pid}" in refused(store.resume, folder)
    assert f"by process {worker.pid}" in refused(store.delete, folder)
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: not store.alive(folder))  # not waited for: a zombie is gone too
    assert psutil.Process(worker.pid).status() == psutil.STATUS_ZOMBIE
    second = claimant(folder)
    assert json.loads((folder / "process.json").read_text())["pid"] == second.pid
    second.kill()
    second.wait()


def test_a_run_that_is_over_is_not_started_again(folder):
    say(folder, Status(state="stopped"))
    assert "is stopped already" in refused(store.start, folder)


# --- what state it is in ---


def test_states_follow_the_worker(folder, worker):
    say(folder, Status(state="training"), Metric(step=3, steps=10, loss=1.0))
    seen = store.view(folder)
    assert (seen.state, seen.step, seen.steps) == ("training", 3, 10)
    (folder / "STOP").touch()
    assert store.view(folder).state == "stopping"
    worker.kill()
    worker.wait()
    seen = store.view(folder)
    assert seen.state == "crashed" and seen.final and seen.resumable
    assert "ended without a message" in seen.reason
    (folder / "stdout.log").write_text("Traceback\nMemoryError: no more\n\n")
    assert store.view(folder).reason.endswith("stdout.log is: MemoryError: no more")


@pytest.mark.parametrize("state", ["done", "stopped", "failed"])
def test_a_last_word_outlives_the_worker(folder, state):
    say(folder, Status(state="training"), Status(state=state, reason="because"))
    gone(folder)
    assert (store.view(folder).state, store.view(folder).reason) == (state, "because")


def test_a_worker_that_died_before_its_first_word_has_crashed(folder):
    gone(folder)
    assert store.view(folder).state == "crashed"


def test_a_view_reads_on_and_changes_its_mark(folder):
    first = store.view(folder)
    assert store.view(folder).mark == first.mark
    assert store.view(folder).events is first.events  # one parsed copy, shared
    say(folder, Status(state="done"))
    second = store.view(folder)
    assert second.mark != first.mark and second.events[: len(first.events)] == first.events
    assert second.last(Status).state == "done"
    (folder / "report.json").write_text('{"steps": 10}')
    third = store.view(folder)
    assert third.report == {"steps": 10} and third.mark != second.mark
    (folder / "report.json").write_text('{"steps"')
    assert store.view(folder).report is None


def test_another_events_file_is_read_from_its_start(folder):
    say(folder, *(Metric(step=step, steps=10, loss=1.0) for step in range(1, 6)))
    assert store.view(folder).step == 5
    (folder / "events.jsonl").unlink()
    say(folder, Metric(step=2, steps=10, loss=1.0))
    assert [event.step for event in store.view(folder).events] == [2]


def test_after_a_resume_the_step_is_where_it_went_on(folder):
    say(folder, Metric(step=7, steps=10, loss=1.0), Status(state="training", resumed_from=5))
    assert store.view(folder).step == 5


def test_no_run_there(tmp_path):
    assert "There is no run" in refused(store.view, tmp_path, error=ConfigError)


# --- stop, resume ---


def test_stop_asks_first_and_sends_a_signal_later(folder, worker):
    store.stop(folder, grace=None)
    assert (folder / "STOP").exists() and worker.poll() is None
    store.stop(folder, grace=0, wait=True)
    assert worker.wait() == -signal.SIGTERM


def test_what_is_not_running_cannot_be_stopped(folder):
    assert "is not running: it is queued" in refused(store.stop, folder)
    assert not (folder / "STOP").exists()


def test_a_done_run_is_not_resumed(folder):
    say(folder, Status(state="done"))
    assert "is done" in refused(store.resume, folder)


def test_resume_changes_the_budget_only_and_never_goes_back(folder):
    say(folder, Metric(step=7, steps=10, loss=1.0), Status(state="stopped"))
    (folder / "STOP").touch()
    before = (folder / "config.yaml").read_text()
    assert "budget only" in refused(store.resume, folder, ["seed=1"], error=ConfigError)
    assert "did you mean budget.steps" in refused(store.resume, folder, ["budget.step=9"], error=ConfigError)
    assert "at step 7 already" in refused(store.resume, folder, ["budget.steps=6"], error=ConfigError)
    assert (folder / "config.yaml").read_text() == before and (folder / "STOP").exists()


# --- deleted, and seen off ---


def test_only_runs_are_deleted(tmp_path, folder):
    (tmp_path / "thesis").mkdir()
    assert "no run folder" in refused(store.delete, tmp_path / "thesis")
    store.delete(folder)
    assert not folder.exists()


def test_who_is_just_leaving_is_waited_for(tmp_path):
    folder = store.create(load("tiny"), tmp_path)
    leaving = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1.5)"])
    remember(folder, leaving.pid)
    with EventWriter(folder / "events.jsonl") as events:
        events.write(Status(state="stopped"))
    store.delete(folder)
    assert leaving.wait() == 0 and not folder.exists()


def test_a_worker_that_hears_nothing_is_killed_in_the_end(tmp_path):
    folder = store.create(load("tiny"), tmp_path)
    deaf = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(99)",
        ],
        stdout=subprocess.PIPE,
    )
    deaf.stdout.readline()
    remember(folder, deaf.pid)
    store.stop(folder, grace=0.3, wait=True)
    assert deaf.wait(5) == -signal.SIGKILL
    assert store.view(folder).resumable


# --- nothing is lost where something fails ---------------------------------------------------------------------------


def test_a_clash_of_ids_harms_no_run(tmp_path, monkeypatch):
    there = store.create(load("tiny"), tmp_path)
    before = contents(there)
    drawn = iter([there.name, there.name, "0123456789ab"])
    monkeypatch.setattr(store.secrets, "token_hex", lambda _: next(drawn))
    assert store.create(load("tiny"), tmp_path).name == "0123456789ab"
    monkeypatch.setattr(store.secrets, "token_hex", lambda _: there.name)
    with pytest.raises(ConfigError, match="20 ids in a row are taken"):
        store.create(load("tiny"), tmp_path)
    assert contents(there) == before


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def fails(error):
    def begin(folder, in_turn):
        raise error

    return begin


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "can't be written to"),
        (OSError(11, "Resource temporarily unavailable"), "can't be written to"),
        (UserError("no"), "no"),
        (None, "MB free, and a run needs"),
    ],
)
@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_resume_that_is_refused_leaves_the_run_as_it_was(tmp_path, monkeypatch, error, said, state):
    folder = store.create(load("tiny"), tmp_path)
    with EventWriter(folder / "events.jsonl") as writer:
        writer.write(Status(state=state, reason="on request"))
    (folder / "STOP").touch()
    (folder / "process.json").write_text('{"pid": 1, "create_time": 0}')
    before = contents(folder)
    if error is None:
        usage = store.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(UserError, match=said):
        store.resume(folder, ["budget.steps=999"], begin=fails(error))
    assert contents(folder) == before
    seen = store.view(folder)
    assert (seen.state, seen.reason, seen.resumable) == (state, "on request", True)
    assert seen.config.budget.steps != 999


# --- the clock may be set --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-24, -1, 1, 24 * 365])
def test_a_clock_that_jumps_loses_no_worker(tmp_path, hours):
    if not Path("/proc/self/stat").exists():
        pytest.skip("this system tells no ticks")
    folder = store.create(load("tiny"), tmp_path)
    claim(folder)
    said = json.loads((folder / "process.json").read_text())
    said["create_time"] += 3600 * hours  # what psutil would give after the clock was set
    (folder / "process.json").write_text(json.dumps(said))
    assert live_process(folder).pid == os.getpid()
    for other in (f"{said['ticks']}0", "another-boot:" + said["ticks"].partition(":")[2]):
        (folder / "process.json").write_text(json.dumps(said | {"ticks": other}))
        assert live_process(folder) is None  # another process with its id, or from before a restart
    release(folder)


def test_a_process_that_an_older_version_wrote_down_is_known_by_its_time(tmp_path):
    folder = store.create(load("tiny"), tmp_path)
    claim(folder)
    said = json.loads((folder / "process.json").read_text())
    del said["ticks"]
    (folder / "process.json").write_text(json.dumps(said))
    assert store.alive(folder)
    (folder / "process.json").write_text(json.dumps(said | {"create_time": said["create_time"] - 60}))
    assert not store.alive(folder)
    release(folder)


# --- a visitor's run may work so long --------------------------------------------------------------------------------


def test_a_run_that_takes_too_long_is_saved_and_stopped_and_says_why(tmp_path):
    folder = store.create(load("tiny-ce", ["budget.steps=5000", "data.held_out=12"]), tmp_path)
    worker = store.start(folder, begin=lambda place, in_turn: store.spawn(place, in_turn, hours=1 / 3600))
    assert worker.wait(timeout=600) == 130
    seen = store.view(folder)
    assert seen.state == "stopped" and seen.resumable
    assert seen.reason.startswith("saved and stopped after 1 s, the longest that a visitor's run may take at a time")
