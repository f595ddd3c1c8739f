"""One run trains at a time: others wait, first come, first served, whatever happens to those before them."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from distill.config import run_config as configs
from distill.config.errors import Stopped
from distill.runs import queue, store
from distill.runs.process import claim

PLAYER = """
    import sys, time
    from pathlib import Path
    from distill.runs import queue as turns
    from distill.runs.process import claim
    folder = Path(sys.argv[1])
    claim(folder)
    turns.take(folder, wait=True, should_stop=lambda: (folder / "STOP").exists(), look_every=0.05)
    (folder / "TURN").write_text(str(time.time()))
    while not (folder / "END").exists():
        time.sleep(0.02)
    print("had its turn")
"""


@pytest.fixture
def play():
    """Start a process that waits for a run's turn, has it, and leaves when told to."""
    started = []

    def begin():
        folder = store.create(configs.load("tiny"))
        command = [sys.executable, "-c", textwrap.dedent(PLAYER), str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        until(lambda: (folder / "turn.json").exists() or (folder / "TURN").exists())
        return folder, process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def until(true, seconds=20):
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it never came to be"
        time.sleep(0.02)


def has_turn(folder):
    return (folder / "TURN").exists()


def test_first_come_first_served(play):
    first, one = play()
    until(lambda: has_turn(first))
    second, _ = play()
    third, _ = play()
    assert queue.waiting(first.parent) == [second.name, third.name]
    assert not has_turn(second) and not has_turn(third)
    (first / "END").touch()
    assert one.wait(20) == 0
    until(lambda: has_turn(second))
    assert queue.waiting(first.parent) == [third.name] and not has_turn(third)


def test_a_kill_9_frees_the_turn_and_the_place_in_the_queue(play):
    first, one = play()
    until(lambda: has_turn(first))
    second, two = play()
    third, _ = play()
    os.kill(two.pid, signal.SIGKILL)
    two.wait()
    assert queue.waiting(first.parent) == [third.name]
    os.kill(one.pid, signal.SIGKILL)
    until(lambda: has_turn(third))
    assert not has_turn(second)


def test_who_waits_can_be_stopped(play):
    first, _ = play()
    until(lambda: has_turn(first))
    folder = store.create(configs.load("tiny"))
    claim(folder)
    with pytest.raises(Stopped):
        queue.take(folder, wait=True, should_stop=lambda: True, look_every=0.01)
    assert queue.waiting(folder.parent) == []


def test_a_run_from_the_command_line_goes_at_once_and_others_wait_for_it(play):
    here = store.create(configs.load("tiny"))
    queue.take(here, wait=False, should_stop=lambda: False)  # this process holds the turn from now on
    try:
        other, _ = play()
        time.sleep(0.3)
        assert not has_turn(other)
        queue.take(other, wait=False, should_stop=lambda: False)  # returns, though the turn is taken
    finally:
        for lock in queue._held:
            lock.release()
    until(lambda: has_turn(other))
