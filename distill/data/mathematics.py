"""Whether two pieces of mathematics are equal, asked of math_verify in a small process of its own.

What a stranger writes may keep sympy busy for hours, or take all memory, and nothing can interrupt it in a thread. So
the first comparison starts a child that has imported math_verify, and waits for it. Where there is `fork`, the child
forks once a comparison, and the kernel ends the fork when its time is up; elsewhere the child itself is killed and
started anew. It ends with its parent: its input ends then, however the parent died.

This file is also what the child runs, as a script: it imports nothing of distill.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from typing import IO, Any

LIMIT = 1.0  # seconds for a comparison
_MEMORY = 512 * 2**20  # bytes of address space; with math_verify imported it has 65 MB
_START = 120.0  # seconds in which the child must be ready; it takes 2 where nothing else runs
_STARVED, _AGAIN = 0.25, 4.0  # who had less of the processor's seconds by then is given so many more, once
_GRACE = 10.0  # seconds beyond LIMIT after which a child that should have answered is killed
_READY, _EQUAL, _OTHER = b"!", b"=", b"/"
# All of the parent's environment that a child needs; tokens and keys stay here.
_PASSED = ("PATH", "PYTHONPATH", "PYTHONHOME", "HOME", "LD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")


def same_mathematics(gold: str, answer: str) -> bool | None:
    """Whether two statements in LaTeX or plain signs (x^2 + 1, sqrt(8), 3 <= x) are equal. Never raises.

    False, too, where that is not decided within LIMIT seconds (some more on an overloaded machine) or within the
    child's memory. None where the child can't be started (said once, on stderr) or was killed: ask again later.
    Comparisons of several threads take turns; the time of a start counts for none.
    """
    return _child.same(gold, answer)


class _Child:
    """The process that compares, from this one's point of view. One a process; threads share it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._failed: float | None = None  # when a start failed

    def same(self, gold: str, answer: str) -> bool | None:
        with self._turn:
            for _ in range(2):  # somebody may have killed it since the last comparison
                if not self._started():
                    return None
                try:
                    self._process.stdin.write(json.dumps([gold, answer]).encode() + b"\n")
                    found = self._answers.get(timeout=LIMIT + (_GRACE if hasattr(os, "fork") else 0))
                except queue.Empty:
                    self.end()
                    return False
                except OSError:
                    found = b""
                if found:
                    return found == _EQUAL
                self.end()
            return None

    def _started(self) -> bool:
        if self._process is not None and self._process.poll() is None:
            return True
        self.end()
        if self._failed is not None and time.monotonic() - self._failed < _START:
            return False
        try:
            self._process = subprocess.Popen(
                [sys.executable, os.path.abspath(__file__)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={name: os.environ[name] for name in _PASSED if name in os.environ},
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
            self._answers = queue.SimpleQueue()
            threading.Thread(target=_listen, args=(self._process.stdout, self._answers), daemon=True).start()
            ready = self._answers.get(timeout=_START) == _READY
            why = "it ended at once: is math-verify installed?"
        except (OSError, ValueError, RuntimeError, queue.Empty) as error:
            ready, why = False, str(error) or f"it was not ready after {_START:.0f} seconds"
        if not ready:
            self.end()
            if self._failed is None:
                print(
                    f"Formulas can't be compared, so those not written alike count as wrong ({why}).", file=sys.stderr
                )
            self._failed = time.monotonic()
        return ready

    def end(self) -> None:
        """Kill the process and forget it, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.kill()
            process.wait()

    def leave(self) -> None:
        """After a fork the child belongs to the parent: close this copy of its pipes, and start one's own if needed."""
        if self._process is not None:
            self._process.returncode = 0  # not ours to wait for
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()
        self.__init__()


def _listen(pipe: IO[bytes], answers: queue.SimpleQueue[bytes]) -> None:
    """Hand on each byte that the child writes, and an empty one when it has ended."""
    with contextlib.suppress(OSError, ValueError), pipe:
        while said := pipe.read(1):
            answers.put(said)
    answers.put(b"")


_child = _Child()
atexit.register(lambda: _child.end())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_child.leave)


# --- in the child ----------------------------------------------------------------------------------------------------

_POWER = re.compile(r"\^\s*(?:\(\s*([-+]?\d+)\s*\)|([-+]?\d+))")
_ROOT = re.compile(r"(?<!\\)sqrt\s*\(([^()]*)\)|\u221a\s*(?:\(([^()]*)\)|(\d+|[a-z]))")
_FUNCTION = re.compile(r"(?<![\\a-zA-Z])(sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln|exp|pi)(?![a-zA-Z])")
_SIGNS = {
    "**": "^", "\u00d7": "\\times ", "\u22c5": "\\cdot ", "\u00b7": "\\cdot ", "\u00f7": "/", "\u03c0": "\\pi ",
    "\u221e": "\\infty ", "\u2264": "\\le ", "\u2265": "\\ge ", "<=": "\\le ", ">=": "\\ge ", "\u2260": "\\ne ",
    "\u00b1": "\\pm ", "\u222a": "\\cup ", "\u2208": "\\in ", "$": " ",
}  # fmt: skip


# Some of everything: what is loaded and kept on first use is there in each fork, which would need a second for it.
_WARM_UP = (
    ("\\frac{1}{2}x + \\sqrt{2} \\cdot 3^{10}", "3^{10}\\sqrt{2} + \\frac{x}{2}"),
    ("(x + 1)^2", "x^2 + 2x + 1"),
    ("\\sin^2 x + \\cos^2 x", "1"),
    ("x \\le \\ln(\\pi)", "x < 0.5"),
    ("[0, 1) \\cup (2, 3)", "\\{1, 2\\}"),
)


def _latex(text: str) -> str:
    """A statement as LaTeX: math_verify finds a part of anything else, and takes that for the answer."""
    for sign, written in _SIGNS.items():
        text = text.replace(sign, written)
    text = re.sub(r"\b(?:and|or)\b", ",", text)
    text = _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2] or match[3]}}}", text)
    return _FUNCTION.sub(r"\\\1 ", _POWER.sub(lambda match: f"^{{{match[1] or match[2]}}}", text))


def _compare(gold: str, answer: str) -> bool:
    import math_verify

    config = [math_verify.LatexExtractionConfig()]
    parsed = [
        math_verify.parse(f"${_latex(text)}$", config, fallback_mode="no_fallback", parsing_timeout=None)
        for text in (gold, answer)
    ]
    return bool(math_verify.verify(*parsed, timeout_seconds=None))


def _decided(gold: str, answer: str) -> bytes:
    try:
        return _EQUAL if _compare(gold, answer) else _OTHER
    except Exception:  # whatever sympy makes of a garbled answer, it is not the right one
        return _OTHER


def _decided_in_forks(gold: str, answer: str) -> bytes:
    """`_decided`, in a process that the kernel ends after LIMIT seconds, whatever it does.

    One that was ended having had hardly any of the processor's time, on a machine that is overloaded, gets another go.
    """
    for seconds in (LIMIT, _AGAIN):
        code, used = _forked(gold, answer, seconds)
        if code != -signal.SIGALRM or used > _STARVED:
            break
    return _EQUAL if code == 0 else _OTHER


def _forked(gold: str, answer: str, seconds: float) -> tuple[int, float]:
    """(the exit code, 0 for equal; the seconds of the processor that were used)"""
    fork = os.fork()
    if not fork:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends a process that has no handler
            os._exit(0 if _decided(gold, answer) == _EQUAL else 1)
        finally:
            os._exit(2)
    _, status, usage = os.wait4(fork, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def _bounded() -> None:
    """Limit this process's memory, where that is possible; leave Ctrl+C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        for limit, most in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CORE, 0)):
            hard = resource.getrlimit(limit)[1]
            resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _serve(asked: IO[bytes], say: Any) -> None:
    """Answer a line ["gold", "answer"] with one byte, until there are no more."""
    _bounded()
    for pair in _WARM_UP:
        _decided(*pair)
    gc.freeze()  # so that a fork copies no page for the collector's sake
    decide = _decided_in_forks if hasattr(os, "fork") else _decided
    say(_READY)
    for line in asked:
        say(decide(*json.loads(line)))


def _main() -> None:
    sys.path.pop(0)  # this folder's modules are distill's, not to be found by their bare names
    out = os.dup(sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whatever a library prints is no answer
    with contextlib.suppress(BrokenPipeError):
        _serve(sys.stdin.buffer, lambda said: os.write(out, said))


if __name__ == "__main__":
    _main()
