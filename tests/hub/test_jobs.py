"""Runs as Jobs of Hugging Face, end to end against a stand-in that really runs them: the mirror is the run's own."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from end_to_end_cases import ROOT, only_run
from hub_stand_in import TOKEN, _refusal
from hub_writes import OWNER
from jobs_cases import TINY
from jobs_stand_in import JobsStandIn

from distill.__main__ import main
from distill.config.errors import UserError
from distill.runs import store
from distill.runs.events import Warning, read
from distill.runs.process import live_process

# A Job that says what it is told to, a word at a time, and then ends as it is told.
TALKS = """
import json, sys, time
from distill.runs.events import *
from distill.hub.job_log import marked
number = 0
def say(event):
    global number
    line = to_json({"t": event.t, "kind": event.kind, **{k: v for k, v in vars(event).items() if k != "t"}})
    for piece in marked(number, line, piece=40):
        print(piece, flush=True)
    number += 1
say(Status(state="preparing"))
print("hf_abcdefghijklmnopqrstuvwxyz123456 is a secret", flush=True)
say(Status(state="training"))
"""
FAILS = TALKS + 'print("MemoryError: all gone", flush=True); sys.exit(3)'
REFUSES = TALKS + 'number += 2; say(Status(state="failed", reason="the loss is not a number: lower it.")); sys.exit(1)'
ENDLESS = (
    TALKS
    + "step = 0\nwhile True:\n    step += 1\n    say(Metric(step=step, steps=10**6, loss=1.0))\n    time.sleep(0.02)"
)


@pytest.fixture
def hub(tmp_path):
    with JobsStandIn(tmp_path / "service") as service:
        yield service


@pytest.fixture
def here(tmp_path, hub):
    """This machine: a command line that knows the stand-in as the Hub; each follower left is ended."""
    folder = tmp_path / "here"
    folder.mkdir()
    yield Here(folder, hub.url)
    for run in (folder / "runs").glob("*"):
        process = live_process(run)
        if process:
            psutil.Process(process.pid).kill()


class Here:
    def __init__(self, folder, url):
        self.folder, self.runs = folder, folder / "runs"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        self.env |= {"HF_ENDPOINT": url, "HF_TOKEN": TOKEN, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
        self.env |= {"DISTILL_HOME": str(folder)}

    def distill(self, *arguments, **env):
        return subprocess.run(
            [sys.executable, "-m", "distill", *map(str, arguments)],
            cwd=ROOT,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def submit(self, config=TINY, *arguments):
        file = self.folder / "asked.yaml"
        file.write_text(yaml.safe_dump(config))
        done = self.distill("submit", file, "--flavor", "t4-small", "--timeout", "30m", *arguments)
        assert done.returncode == 0, done.stderr
        return only_run(self.runs)


def talks(text):
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{text}"]


def until(true, seconds=60.0):
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.05)


def lines(file):
    return file.read_text().splitlines()


def everything(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".zip")


def test_a_run_elsewhere_is_here_as_if_it_had_been_here(here, hub, capsys):
    """Killed in the middle and cut off, nothing is doubled or lost; adapter, report and answers are the Job's own."""
    hub.wait, hub.cut_after = 0.3, 4
    folder = here.submit()
    until(lambda: any(event.kind == "status" and event.state == "training" for event in store.view(folder).events))
    psutil.Process(live_process(folder).pid).kill()
    until(lambda: store.view(folder).state == "crashed")
    assert store.view(folder).resumable  # it is followed no more, but it goes on
    with (folder / "events.jsonl").open("ab") as torn:  # what a kill may leave behind
        torn.write(b'{"t": 1.0, "kind": "met')
    done = here.distill("follow", folder.name[:8], "--json")
    assert done.returncode == 0, done.stderr
    (job,) = hub.jobs.values()
    (theirs,) = hub.place.glob(f"*/distill-*/runs/{folder.name}")
    said, mirrored = lines(theirs / "events.jsonl"), lines(folder / "events.jsonl")
    assert [line for line in mirrored if line in set(said)] == said
    assert len(read(folder / "events.jsonl")[0]) < len(said) + 6  # and a few words of its own, of where it waits
    for name in ("report.json", "README.md", "answers.json", "adapter/adapter_model.safetensors"):
        assert (folder / name).read_bytes() == (theirs / name).read_bytes(), name
    seen = store.view(folder)
    assert seen.state == "done" and seen.step == 4 and seen.report == json.loads(done.stdout)
    assert hub.connections > 2 and job.stage == "COMPLETED"

    # What was asked: the token goes as a secret alone; the repository is private; the config is the one asked for.
    asked = job.asked
    assert asked["secrets"] == {"HF_TOKEN": TOKEN} and asked["flavor"] == "t4-small"
    assert asked["timeoutSeconds"] == 1800 and asked["command"][:2] == ["uv", "run"]
    assert TOKEN not in json.dumps({key: value for key, value in asked.items() if key != "secrets"})
    assert hub.visibility == {f"{OWNER}/distill-jobs": "private"}
    assert TOKEN.encode() not in everything(here.folder) + everything(hub.folder)
    assert main(["list", "--runs", str(here.runs)]) == main(["show", folder.name, "--runs", str(here.runs)]) == 0
    shown = capsys.readouterr().out
    assert folder.name in shown and "done at step 4 of 4" in shown
    with pytest.raises(UserError, match=f"python -m distill submit {folder.name} makes a new one of it"):
        store.resume(folder)


@pytest.mark.parametrize(
    ("text", "reason", "lost"),
    [
        (
            FAILS,
            "The Job ended without a final message: Job failed with exit code: 3; its output ends",
            None,
        ),
        (REFUSES, "the loss is not a number: lower it.", "2 of the Job's events were lost in its log"),
    ],
)
def test_a_job_that_fails_says_why(here, hub, text, reason, lost):
    hub.begin = talks(text)
    folder = here.submit()
    done = here.distill("follow", folder.name)
    assert done.returncode == 1 and reason in done.stderr
    assert store.view(folder).state == "failed" and store.view(folder).reason.startswith(reason)
    said = (folder / "stdout.log").read_text()
    assert "[secret] is a secret" in said and "@distill" not in said
    warning = store.view(folder).last(Warning)
    assert warning is None if lost is None else warning.text.startswith(lost)


def test_stop_cancels_a_job_that_waits_or_does_not_listen(here, hub):
    hub.wait = 600
    folder = here.submit()
    until(lambda: (folder / "events.jsonl").read_text().count("waiting for a machine: t4-small"))
    stopped = here.distill("stop", folder.name)
    assert stopped.returncode == 0, stopped.stderr
    (job,) = hub.jobs.values()
    assert job.stage == "CANCELED" and store.view(folder).state == "stopped"
    assert sum(request.path.endswith("/cancel") for request in hub.requests) == 1


def test_stop_is_heard_though_nobody_follows_any_more(here, hub):
    hub.begin = talks(ENDLESS)
    folder = here.submit()
    until(lambda: store.view(folder).step > 3)
    follower = live_process(folder)
    follower.terminate()  # as when this machine is shut down: the Job goes on
    until(lambda: live_process(folder) is None)
    (job,) = hub.jobs.values()
    assert job.stage == "RUNNING" and store.view(folder).state == "crashed"
    stop = subprocess.Popen(
        [sys.executable, "-m", "distill", "stop", folder.name], cwd=ROOT, env=here.env, stdout=subprocess.PIPE
    )
    repository = hub.folder / OWNER / "distill-jobs"
    until(lambda: (repository / folder.name / "STOP").exists())  # it is asked first
    live_process(folder).terminate()  # as stop does where that takes too long: then it is cancelled
    assert stop.wait(60) == 0 and job.stage == "CANCELED"
    seen = store.view(folder)
    assert not seen.resumable and seen.elsewhere
    steps = [event.step for event in seen.events if event.kind == "metric"]
    assert seen.state == "stopped" and steps == list(range(1, len(steps) + 1))


def test_the_network_may_fail_meanwhile(here, hub):
    hub.begin = talks(ENDLESS)
    folder = here.submit()
    until(lambda: store.view(folder).step > 1)
    (job,) = hub.jobs.values()
    routes = list(hub.routes)
    hub.routes.insert(0, ("GET", __import__("re").compile(".*"), lambda request: _refusal(503, "", "Down")))
    os.killpg(job.process.pid, signal.SIGKILL)
    until(lambda: any(isinstance(event, Warning) for event in store.view(folder).events))
    hub.routes[:] = routes
    until(lambda: store.view(folder).final)
    assert store.view(folder).state == "failed"
    assert "The Job continues; trying again." in store.view(folder).last(Warning).text
