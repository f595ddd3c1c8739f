"""Runs as Jobs of Hugging Face, end to end against a stand-in that really runs them: the mirror is the run's own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from end_to_end_cases import MINI, ROOT, only_run
from hub_stand_in import TOKEN, _refusal
from hub_writes import OWNER
from huggingface_hub import JobHardware, constants
from jobs_stand_in import JobsStandIn

from distill import config as configs
from distill import jobs, runs
from distill.__main__ import main
from distill.config import ConfigError
from distill.errors import UserError
from distill.events import Status, Warning, read
from distill.processes import live_process

TINY = {
    **MINI,
    "teachers": [],
    "objectives": [{"kind": "task"}],
    "data": {"train": 16, "held_out": 8, "new_phrasing": 4, "validation": 4},
    "budget": {"steps": 4, "batch_size": 4, "save_every": 2, "learning_rate": 0.002},
    "probe": {"texts": 8, "every": 2, "samples": 1},
    "evaluation": {"max_new_tokens": 8},
}
# A Job that says what it is told to, a word at a time, and then ends as it is told.
TALKS = """
import json, sys, time
from distill.events import *
from distill.logged import marked
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
    until(lambda: any(event.kind == "status" and event.state == "training" for event in runs.view(folder).events))
    psutil.Process(live_process(folder).pid).kill()
    until(lambda: runs.view(folder).state == "crashed")
    assert runs.view(folder).resumable  # it is followed no more, but it goes on
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
    seen = runs.view(folder)
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
        runs.resume(folder)


@pytest.mark.parametrize(
    ("text", "reason", "lost"),
    [
        (FAILS, "The Job ended without the run's last word: Job failed with exit code: 3; its output ends", None),
        (REFUSES, "the loss is not a number: lower it.", "2 of the Job's events were lost in its log"),
    ],
)
def test_a_job_that_fails_says_why(here, hub, text, reason, lost):
    hub.begin = talks(text)
    folder = here.submit()
    done = here.distill("follow", folder.name)
    assert done.returncode == 1 and reason in done.stderr
    assert runs.view(folder).state == "failed" and runs.view(folder).reason.startswith(reason)
    said = (folder / "stdout.log").read_text()
    assert "[secret] is a secret" in said and "@distill" not in said
    warning = runs.view(folder).last(Warning)
    assert warning is None if lost is None else warning.text.startswith(lost)


def test_stop_cancels_a_job_that_waits_or_does_not_listen(here, hub):
    hub.wait = 600
    folder = here.submit()
    until(lambda: (folder / "events.jsonl").read_text().count("waiting for a machine: t4-small"))
    stopped = here.distill("stop", folder.name)
    assert stopped.returncode == 0, stopped.stderr
    (job,) = hub.jobs.values()
    assert job.stage == "CANCELED" and runs.view(folder).state == "stopped"
    assert sum(request.path.endswith("/cancel") for request in hub.requests) == 1


def test_stop_is_heard_though_nobody_follows_any_more(here, hub):
    hub.begin = talks(ENDLESS)
    folder = here.submit()
    until(lambda: runs.view(folder).step > 3)
    follower = live_process(folder)
    follower.terminate()  # as when this machine is shut down: the Job goes on
    until(lambda: live_process(folder) is None)
    (job,) = hub.jobs.values()
    assert job.stage == "RUNNING" and runs.view(folder).state == "crashed"
    stop = subprocess.Popen(
        [sys.executable, "-m", "distill", "stop", folder.name], cwd=ROOT, env=here.env, stdout=subprocess.PIPE
    )
    repository = hub.folder / OWNER / "distill-jobs"
    until(lambda: (repository / folder.name / "STOP").exists())  # it is asked first
    live_process(folder).terminate()  # as stop does where that takes too long: then it is cancelled
    assert stop.wait(60) == 0 and job.stage == "CANCELED"
    seen = runs.view(folder)
    assert not seen.resumable and seen.elsewhere
    steps = [event.step for event in seen.events if event.kind == "metric"]
    assert seen.state == "stopped" and steps == list(range(1, len(steps) + 1))


def test_the_network_may_fail_meanwhile(here, hub):
    hub.begin = talks(ENDLESS)
    folder = here.submit()
    until(lambda: runs.view(folder).step > 1)
    (job,) = hub.jobs.values()
    routes = list(hub.routes)
    hub.routes.insert(0, ("GET", __import__("re").compile(".*"), lambda request: _refusal(503, "", "Down")))
    os.killpg(job.process.pid, signal.SIGKILL)
    until(lambda: any(isinstance(event, Warning) for event in runs.view(folder).events))
    hub.routes[:] = routes
    until(lambda: runs.view(folder).final)
    assert runs.view(folder).state == "failed"
    assert "The Job goes on; trying again." in runs.view(folder).last(Warning).text


# --- what is asked wrongly, and what the Hub refuses ---


@pytest.fixture
def elsewhere(hub, tmp_path, monkeypatch):
    """This process knows the stand-in as the Hub. What it gives sets one more of the Hub's library's settings."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "here"))
    for name, value in (("ENDPOINT", hub.url), ("HF_HUB_DISABLE_XET", True), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", False)):
        monkeypatch.setattr(constants, name, value)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)  # made of ENDPOINT at import
    return lambda name, value: monkeypatch.setattr(constants, name, value)


SUBMIT = ["submit", "tiny-ce", "--flavor", "t4-small"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*SUBMIT, "--flavor", "a10"], "There is no flavour 'a10': take one of cpu-basic, t4-small, a10g-small."),
        ([*SUBMIT, "--timeout", "soon"], "--timeout is 'soon': give a minute to a week, such as 90m, 4h or 1d."),
        (["submit", "tiny-ce"], "--flavor cpu-basic is the cheapest that can (2 cores, about "),
        (
            ["submit", "tiny-ce", "--set", "student=openbmb/MiniCPM-2B-sft-bf16"],
            "none is known to do (even the largest: openbmb/MiniCPM-2B-sft-bf16 can't be used",
        ),
        ([*SUBMIT, "--set", "report_to=tensorboard"], "add --set report_to=[]"),
        ([*SUBMIT, "--set", "student=org/none"], "The student 'none' can't be used: there is no model org/none"),
        (["submit", "tny"], "There is no preset 'tny': did you mean 'tiny'?"),
    ],
)
def test_what_is_asked_wrongly(hub, elsewhere, capsys, arguments, said):
    refused(hub, capsys, said, arguments)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((402, "Pre-paid credit balance is insufficient"), "the account has no credit (Pre-paid credit balance"),
        ((403, "missing permission: job.write"), "the token may not (missing permission: job.write)"),
        ((500, "Oops"), "the Hub answered with 500 (Oops)"),
    ],
)
def test_what_the_hub_refuses(hub, elsewhere, capsys, refusal, said):
    hub.refusal = _refusal(refusal[0], "", refusal[1])
    refused(hub, capsys, said)


def test_no_token_a_wrong_one_and_no_network(hub, elsewhere, capsys, monkeypatch):
    elsewhere("HF_HUB_OFFLINE", True)
    refused(hub, capsys, "HF_HUB_OFFLINE keeps this machine off the network")
    elsewhere("HF_HUB_OFFLINE", False)
    elsewhere("ENDPOINT", "http://127.0.0.1:9")
    refused(hub, capsys, "the Hub can't be reached")
    elsewhere("ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", "hf_SomebodyElse0123456789")
    refused(hub, capsys, "the Hub does not know that token")
    elsewhere("HF_HUB_DISABLE_IMPLICIT_TOKEN", True)  # as on a public server
    refused(hub, capsys, "Jobs need a token of Hugging Face")


def test_a_job_that_nobody_here_would_know_of_is_cancelled(hub, elsewhere, capsys, monkeypatch):
    hub.wait = 600
    monkeypatch.setattr(jobs, "TICKET", "nowhere/job.json")  # can't be written
    assert main(SUBMIT) == 2
    said = capsys.readouterr().err
    assert "job.json can't be written (No such file or directory), so it was cancelled" in said
    assert said.count("\n") == 1 and not list(runs.home().runs.glob("*"))
    (job,) = hub.jobs.values()
    assert job.stage == "CANCELED"


def refused(hub, capsys, said, arguments=SUBMIT):
    """One sentence on stderr, exit status 2, and nothing is left behind."""
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and told.out == ""
    assert not list((runs.home().runs).glob("*")) and not hub.jobs


def test_a_model_that_lies_here_can_not_be_had_there(tmp_path, tiny_folder):
    config = configs.parse({**TINY, "student": str(tiny_folder("student-tiny"))})
    with pytest.raises(ConfigError, match="is a folder of this machine, which a Job can't see"):
        jobs.submit(config, "t4-small", runs_dir=tmp_path)


def test_the_smallest_flavour_that_can():
    assert jobs.smallest(configs.load("tiny"))[0].name == "cpu-basic"
    large = configs.load("tiny-ce", ["student=nvidia/Nemotron-Mini-4B-Instruct", "budget.batch_size=8"])
    flavor, cost = jobs.smallest(large)
    assert flavor.gpu and 15 < cost.gpu_gb <= flavor.machine.gpu_gb
    assert jobs.smallest(large.model_copy(update={"student": configs.ModelRef(model="nobody/knows")})) is None
    names = [one.name for one in jobs.FLAVORS]
    assert set(names) <= {one.value for one in JobHardware}


def test_what_is_sent_along_is_the_same_for_the_same_files():
    import io
    import zipfile

    first = jobs.packed()
    assert first == jobs.packed()
    names = zipfile.ZipFile(io.BytesIO(first)).namelist()
    assert {"requirements.txt", "distill/remote.py", "assets/presets/tiny.yaml"} <= set(names)
    assert any(name.startswith("assets/zoo/student-tiny/") for name in names)
    assert not any("__pycache__" in name or name.startswith(("runs", "tests", "assets/images")) for name in names)
    assert (Path(ROOT) / "requirements.txt").read_bytes() == zipfile.ZipFile(io.BytesIO(first)).read("requirements.txt")


def test_a_mirror_is_a_run_whose_last_word_counts(tmp_path):
    folder = runs.create(configs.load("tiny"), tmp_path)
    assert jobs.ticket(folder) is None
    with pytest.raises(Exception, match="is no Job of Hugging Face"):
        runs.follow(folder)
    (folder / "job.json").write_text("{}")
    assert jobs.ticket(folder) is None  # damaged
    assert isinstance(runs.view(folder).last(Status), Status)
