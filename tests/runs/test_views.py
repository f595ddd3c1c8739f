"""Views of runs: however long a run is a look at it costs the same, and any number of threads may look."""

import gc
import json
import os
import sys
import threading

import psutil
import pytest

from distill.config.run_config import load
from distill.runs import store, views
from distill.runs.events import EventWriter, Metric, Status, latest_by_step
from distill.runs.process import remember
from distill.runs.views import tail, view


@pytest.fixture
def folder(tmp_path):
    return store.create(load("tiny"), tmp_path / "runs")


def say(folder, *events):
    with EventWriter(folder / "events.jsonl") as writer:
        for event in events:
            writer.write(event)


def metrics(first, last):
    return (Metric(step=step, steps=10**6, loss=1 / step, terms={"task": 1.0}) for step in range(first, last + 1))


def calls(function):
    """How many calls, of C functions too, `function` makes."""
    count = 0

    def seen(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # what it finalises may call something too
    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def ask(folder):
    """What a tick of the page asks of a view."""
    seen = view(folder)
    return seen.last(Metric), seen.series(Metric), seen.timeline.columns("loss"), seen.events[-100:], seen.step


def test_a_look_at_a_long_run_makes_no_more_calls_than_at_a_short_one(folder):
    say(folder, *metrics(1, 200))
    ask(folder)
    short = calls(lambda: ask(folder))
    say(folder, *metrics(201, 201))
    short_with_one_more = calls(lambda: ask(folder))
    say(folder, *metrics(202, 5000))
    ask(folder)
    assert calls(lambda: ask(folder)) == short
    say(folder, *metrics(5001, 5001))
    assert calls(lambda: ask(folder)) == short_with_one_more
    assert view(folder).step == 5001


def test_a_view_made_earlier_does_not_change(folder):
    say(folder, *metrics(1, 50))
    first = view(folder)
    say(folder, Status(state="training", resumed_from=20), *metrics(21, 22))
    second = view(folder)
    assert (first.step, len(first.events), len(first.series(Metric))) == (50, 51, 50)
    assert (second.step, len(second.events), len(second.series(Metric))) == (22, 54, 22)
    assert list(first.timeline.columns("loss")[0]) == list(range(1, 51))
    assert list(second.timeline.columns("loss")[0]) == list(range(1, 23))


def test_threads_look_while_a_worker_writes(folder):
    over, failures = threading.Event(), []

    def look():
        try:
            while not over.is_set():
                seen = view(folder)
                kept = latest_by_step(list(seen.events), Metric)
                assert seen.series(Metric) == kept
                assert [len(part) for part in seen.timeline.columns("term:task")] == [len(kept)] * 2
        except Exception as error:
            failures.append(error)

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    for at in (0, 60, 30, 90):
        say(folder, Status(state="training", resumed_from=at), *metrics(at + 1, at + 70))
    over.set()
    for looker in lookers:
        looker.join()
    assert failures == [] and len(view(folder).series(Metric)) == 160


def test_a_run_that_is_over_comes_to_life_again_when_it_is_resumed(folder):
    remember(folder, os.getpid())
    say(folder, Status(state="stopped"))
    assert (view(folder).state, view(folder).resumable) == ("stopped", True)
    say(folder, Status(state="queued", reason="resumed"), Status(state="training", resumed_from=3))
    assert (view(folder).state, view(folder).step) == ("training", 3)
    own = psutil.Process()
    (folder / "process.json").write_text(json.dumps({"pid": own.pid, "create_time": own.create_time() - 100}))
    assert view(folder).state == "crashed"


def test_what_a_worker_writes_as_it_leaves_is_not_taken_for_a_crash(folder, monkeypatch):
    """A resumed run's worker that says done and leaves between two looks."""
    remember(folder, os.getpid())
    say(folder, Status(state="stopped"))
    assert view(folder).state == "stopped"
    say(folder, Status(state="training", resumed_from=3))
    look = views.live_process

    def leaves(folder):
        say(folder, Status(state="done"))
        (folder / "process.json").unlink()
        return look(folder)

    monkeypatch.setattr(views, "live_process", leaves)
    assert view(folder).state == "done"


# --- the end of stdout.log ---


def test_the_tail_of_what_a_run_said(folder):
    assert tail(folder) == []
    (folder / "stdout.log").write_bytes(b"one\ntwo \xff\xe5\xb0\n\nlast, unfinished")
    assert tail(folder) == ["one", "two ��", "", "last, unfinished"]
    assert tail(folder, lines=2) == ["", "last, unfinished"]
    assert tail(folder, lines=0) == []


def test_the_tail_of_a_long_log_is_short_and_of_whole_lines(folder):
    (folder / "stdout.log").write_text("".join(f"line {number} é\n" for number in range(50_000)))
    said = tail(folder, lines=100_000)
    assert said[-1] == "line 49999 é" and said == [f"line {n} é" for n in range(50_000 - len(said), 50_000)]
    assert 2**16 - 20 < sum(len(line.encode()) + 1 for line in said) <= 2**16
    assert tail(str(folder)) == said[-200:]
    (folder / "stdout.log").write_text("x" * 10**6)
    assert tail(folder) == ["x" * 2**16]
