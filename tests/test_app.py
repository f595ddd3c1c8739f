"""The page opens, shows the latest run, and survives there being none."""

import urllib.request

import pytest

from distill import config as configs
from distill import runs
from distill.events import EventWriter, Metric, Status
from distill.ui.latest import HOW_TO_START, latest, numbers, sentence


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    return tmp_path


def test_no_run_yet(home):
    assert sentence(latest()) == HOW_TO_START
    assert "appear here" in numbers(latest())


def test_the_newest_run_in_a_sentence(home):
    folder = runs.create(configs.load("tiny"))
    runs.claim(folder)  # this process plays the worker, so that the run counts as alive
    with EventWriter(folder / "events.jsonl") as writer:
        writer.write(Status(state="training"))
        writer.write(Metric(step=61, steps=140, loss=0.1, seconds_left=34))
    said = sentence(latest())
    assert folder.name in said
    assert "step 61 of 140" in said
    assert "34 s left" in said


def test_the_page_opens(home):
    from app import build

    page = build()
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.status == 200
            assert b"Distill" in answer.read()
    finally:
        page.close()
