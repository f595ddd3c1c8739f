"""Mathematics is compared in a process of its own: bounded, shared, started anew, and gone with its parent."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hostile_answers import QUICK, SLOW

from distill.data import mathematics
from distill.data.grading import grade
from distill.data.mathematics import same_mathematics

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and signalled")


@pytest.fixture(autouse=True)
def warm():
    """The time of a start counts for no comparison."""
    assert same_mathematics("\\sqrt{8}", "2\\sqrt{2}")


def most():
    """Seconds that a comparison may take; on an overloaded machine a starved one is given another go."""
    calm = not hasattr(os, "getloadavg") or os.getloadavg()[0] < (os.cpu_count() or 1)
    return 1.2 if calm else 1.2 + 3 * mathematics._AGAIN


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("(x+1)^2", "x^2 + 2x + 1", True),
        ("(x+1)^2", "x^2 + 1", False),
        ("2\\ln 3", "\\ln 9", True),
        ("\\sqrt{8}", "2√2", True),
        ("\\sqrt{8}", "2*sqrt(2)", True),
        ("2^{10}", "2**10", True),
        ("[0, 1)", "0 \\le x < 2", False),
        ("3 < x", "x > 3", True),
        ("\\frac{\\pi}{2}", "π/2", True),
        ("5", "4", False),
        ("\\{1, 2\\}", "\\{2, 1\\}", True),
        ("x", "\\frac{", False),
        ("", "", False),
        ("\ud800", "\x00\n", False),
    ],
)
def test_what_is_equal(gold, answer, equal):
    assert same_mathematics(gold, answer) == equal


def test_a_hundred_hostile_answers_are_wrong_soon_and_nobody_waits():
    """None takes longer than it may, and a thread that ticks meanwhile is never silent, as the GIL is not held."""
    assert len(SLOW) + len(QUICK) >= 100
    silence, last, done = 0.0, time.monotonic(), threading.Event()

    def tick():
        nonlocal silence, last
        while not done.wait(0.01):
            silence, last = max(silence, time.monotonic() - last), time.monotonic()

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        for answer in [*SLOW, *QUICK]:
            began = time.monotonic()
            assert not grade(f"#### {answer}", "62").right, answer[:60]
            assert time.monotonic() - began < most(), answer[:60]
    finally:
        done.set()
        ticking.join()
    assert silence < 0.5 * most() / 1.2


@pytest.mark.parametrize("answer", SLOW)
def test_a_slow_right_answer_is_not_called_right_either_way(answer):
    assert not grade("#### 62", answer).right


def test_numbers_are_graded_at_once_while_a_formula_waits():
    waiting = threading.Thread(target=same_mathematics, args=("7", SLOW[2] + "+7"))
    waiting.start()
    time.sleep(0.1)
    began = time.process_time(), time.monotonic()
    assert all(grade(f"It is {n} apples. #### {n} apples", str(n)).right for n in range(100))
    assert waiting.is_alive() or time.monotonic() - began[1] > 1
    assert time.process_time() - began[0] < 0.5
    waiting.join()


def test_threads_share_one_process():
    found = []
    threads = [
        threading.Thread(
            target=lambda n=n: found.append((n, same_mathematics(f"\\sqrt{{{n * n * 2}}}", f"{n}\\sqrt{{2}}")))
        )
        for n in range(1, 9)
    ]
    process = mathematics._child._process
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(n, True) for n in range(1, 9)] and mathematics._child._process is process


def test_a_killed_process_is_started_anew():
    first = mathematics._child._process
    first.kill()
    first.wait()
    assert same_mathematics("\\sqrt{12}", "2\\sqrt{3}") and mathematics._child._process.pid != first.pid


def test_it_cannot_be_started(monkeypatch, capsys):
    """Wrong, said once, and numbers are graded as ever."""
    monkeypatch.setattr(mathematics, "_child", mathematics._Child())
    monkeypatch.setattr(sys, "executable", sys.executable + "-not-there")
    assert not same_mathematics("\\sqrt{8}", "2\\sqrt{2}") and not same_mathematics("\\sqrt{8}", "2\\sqrt{2}")
    assert not grade("#### \\sqrt{18}", "3\\sqrt{2}").right
    assert capsys.readouterr().err.count("can't be compared") == 1
    assert grade("#### 62", "62").right
    monkeypatch.undo()
    assert grade("#### \\sqrt{18}", "3\\sqrt{2}").right  # what could not be decided then was not kept


@posix
def test_memory_is_limited():
    """A number of 10^10 digits would take 4 GB: refused by the limit, and the next comparison is as ever."""
    assert not same_mathematics("7", "10^{10^{10}}")
    assert same_mathematics("\\sqrt{8}", "2\\sqrt{2}")
    limits = Path(f"/proc/{mathematics._child._process.pid}/limits")
    if limits.exists():
        assert f"{mathematics._MEMORY}" in next(
            line for line in limits.read_text().splitlines() if "address space" in line
        )


@posix
@pytest.mark.parametrize("end", ["return", "os.kill(os.getpid(), 9)", "os._exit(3)"])
def test_it_ends_with_its_parent_and_says_nothing(end):
    body = "print(m._child._process.pid, flush=True)" + ("" if end == "return" else f"; {end}")
    code = f"import os; from distill.data import mathematics as m; m.same_mathematics('x', 'y'); {body}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    child = int(done.stdout)
    for _ in range(200):
        if not alive(child):
            return
        time.sleep(0.05)
    raise AssertionError("the process outlived its parent")


def alive(pid):
    """Whether a process runs: one that nobody waited for has ended, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return not Path("/proc/self").exists()


@posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_the_parent_has_a_process_of_its_own():
    """As ZeroGPU's workers are forked: two processes on one pair of pipes would read each other's answers."""
    ours = mathematics._child._process
    fork = os.fork()
    if not fork:
        try:
            fine = mathematics._child._process is None and same_mathematics("\\sqrt{18}", "3\\sqrt{2}")
            mathematics._child.end()
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 0
    assert mathematics._child._process is ours and same_mathematics("\\sqrt{50}", "5\\sqrt{2}")


def test_it_imports_nothing_heavy_and_gets_no_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    child = mathematics._Child()
    try:
        assert child.same("\\sqrt{8}", "2\\sqrt{2}")
        environment = Path(f"/proc/{child._process.pid}/environ")
        if environment.exists():
            assert b"hf_secret" not in environment.read_bytes()
            assert b"torch" not in Path(f"/proc/{child._process.pid}/maps").read_bytes()
    finally:
        child.end()


def test_without_fork_a_slow_comparison_ends_the_process(monkeypatch):
    """What Windows does: the process itself is killed when time is up, and the next comparison starts another."""
    monkeypatch.delattr(os, "fork", raising=False)
    child = mathematics._Child()
    try:
        assert child._started()
        began, first = time.monotonic(), child._process
        child._process.send_signal(19) if os.name == "posix" else None  # it no longer answers
        assert not child.same("62", SLOW[2])
        assert time.monotonic() - began < most() and first.poll() is not None
        assert child._started() and child._process is not first
    finally:
        child.end()
