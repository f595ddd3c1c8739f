"""What runs inside a Job: it tells every event of the worker in its log, stops in time, and finds the user's file."""

import signal

import pytest
from test_jobs import TINY

from distill import config as configs
from distill import remote, runs
from distill.events import Status, read
from distill.logged import Reader


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
    folder = runs.create(configs.parse(TINY), tmp_path)
    (folder / "config.yaml").write_text("student: nobody/at/all\n")
    assert remote.Watch(folder, lambda: False, ends=1e12).see_through() == 2
    lines = (folder / "events.jsonl").read_text().splitlines()
    assert told(capfd) == list(enumerate(lines)) and len(lines) > 1
    assert read(folder / "events.jsonl")[0][-1].state == "failed"


def test_it_stops_in_time(tmp_path, capfd):
    folder = runs.create(configs.parse(TINY), tmp_path)
    assert remote.Watch(folder, lambda: False, ends=0.0).see_through() == 130
    assert "distill: stopping" in capfd.readouterr().out
    last = [event for event in read(folder / "events.jsonl")[0] if isinstance(event, Status)][-1]
    assert last.state == "stopped"


def test_the_time_it_has_leaves_some_to_keep_what_there_is(monkeypatch):
    monkeypatch.setenv("DISTILL_BEGAN", "1000")
    for seconds, ends in (("600", 1540.0), ("14400", 15100.0)):
        monkeypatch.setenv("DISTILL_SECONDS", seconds)
        assert remote._ends() == ends


def test_a_file_that_was_sent_along_is_found_wherever_the_job_is(tmp_path):
    config = configs.parse({**TINY, "data": {"source": "file", "path": "given/mine.csv", "train": 4, "held_out": 2}})
    (tmp_path / "config.yaml").write_text(configs.to_yaml(config))
    remote._place_data(tmp_path)
    assert configs.load(tmp_path / "config.yaml").data.path == str(tmp_path / "given" / "mine.csv")
