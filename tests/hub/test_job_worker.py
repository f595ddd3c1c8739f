"""What runs inside a Job: it tells every event of the worker in its log, stops in time, and finds the user's file."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from end_to_end_cases import ROOT
from hub_stand_in import TOKEN, _refusal
from hub_writes import OWNER, HubWrites
from huggingface_hub import HfApi, constants
from jobs_cases import TINY

from distill.config import run_config as configs
from distill.hub import job_worker
from distill.hub.job_log import Reader
from distill.runs import store
from distill.runs.events import Status, read


@pytest.fixture(autouse=True)
def handler():
    """Watch takes SIGTERM over."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def told(capfd):
    reader = Reader()
    return [line for text in capfd.readouterr().out.splitlines() if (line := reader.feed(text))]


def test_every_event_is_told_and_why_it_ended(tmp_path, capfd):
    folder = store.create(configs.parse(TINY), tmp_path)
    (folder / "config.yaml").write_text("student: nobody/at/all\n")
    assert job_worker.Watch(folder, lambda: False, ends=1e12).see_through() == 2
    lines = (folder / "events.jsonl").read_text().splitlines()
    assert told(capfd) == list(enumerate(lines)) and len(lines) > 1
    assert read(folder / "events.jsonl")[0][-1].state == "failed"


def test_it_stops_in_time(tmp_path, capfd):
    folder = store.create(configs.parse(TINY), tmp_path)
    assert job_worker.Watch(folder, lambda: False, ends=0.0).see_through() == 130
    assert "distill: stopping" in capfd.readouterr().out
    last = [event for event in read(folder / "events.jsonl")[0] if isinstance(event, Status)][-1]
    assert last.state == "stopped"


def test_the_time_it_has_leaves_some_to_keep_what_there_is(monkeypatch):
    monkeypatch.setenv("DISTILL_BEGAN", "1000")
    for seconds, ends in (("600", 1540.0), ("14400", 15100.0)):
        monkeypatch.setenv("DISTILL_SECONDS", seconds)
        assert job_worker._ends() == ends


def test_a_file_that_was_sent_along_is_found_wherever_the_job_is(tmp_path):
    config = configs.parse({**TINY, "data": {"source": "file", "path": "given/mine.csv", "train": 4, "held_out": 2}})
    (tmp_path / "config.yaml").write_text(configs.to_yaml(config))
    job_worker._place_data(tmp_path)
    assert configs.load(tmp_path / "config.yaml").data.path == str(tmp_path / "given" / "mine.csv")


def test_a_line_of_the_workers_never_lands_within_an_event(tmp_path):
    """Both print to one place: an event is whole, with its end, in one write, in a Job (PYTHONUNBUFFERED) too."""
    (tmp_path / "events.jsonl").write_text('{"kind":"status"}\n{"kind":"metric"}\n')
    text = (
        f"from pathlib import Path; from distill.hub.job_worker import Watch\n"
        f"Watch(Path({str(tmp_path)!r}), None, 0)._tell()"
    )
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    here.settimeout(10)
    with here, there:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        subprocess.run([sys.executable, "-c", text], stdout=there, cwd=ROOT, env=environment, check=True)
        writes = [here.recv(1 << 16).decode() for _ in range(2)]
    assert writes == ['@distill 0 1/1 |{"kind":"status"}|\n', '@distill 1 1/1 |{"kind":"metric"}|\n']


def test_what_was_made_is_kept_though_the_hub_fails_for_a_while(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(job_worker, "_AGAIN", (0.0, 0.0))
    with HubWrites(tmp_path / "hub") as hub:
        api, repo, times = HfApi(hub.url, TOKEN), f"{OWNER}/distill-jobs", [503, 503]
        api.create_repo(repo, private=True)
        commit = hub._commit
        failing = lambda request, *found: _refusal(times.pop(), "", "Busy") if times else commit(request, *found)  # noqa: E731
        hub.on("POST", r"/api/models/([\w.-]+/[\w.-]+)/commit/([^/]+)", failing)
        hub.routes.insert(0, hub.routes.pop())
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "report.json").write_text("{}")
        job_worker._keep(api, repo, "run", folder)
        assert (hub.folder / repo / "run" / "made" / "report.json").read_text() == "{}"
        assert times == [] and capfd.readouterr().out.count("trying again") == 2
