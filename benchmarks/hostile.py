"""What a visitor notices while others attack the page: `python benchmarks/hostile.py [ATTACK ...]`.

The page is started as strangers reach it, on loopback. One visitor looks at a run, asks for Status and presses Stop,
all the time; meanwhile each of ATTACKS does its worst for some seconds, bounded in count and time. Goals: the visitor's
slowest look 1 s, their slowest Stop and Status 2 s, the page's memory +300 MB, and nothing left behind: no process, no
upload, no run that the owner could not stop and delete. Another attack is one more function with `@attack`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import filelock
import psutil

from benchmarks.common import report
from benchmarks.tabs import ROOT, Tab, serve
from benchmarks.tick import long_run
from distill.runs import store

GOALS = {"look_s": 1.0, "stop_or_status_s": 2.0, "memory_mb": 300, "left": []}
SECONDS = 15.0  # that an attack may take
SECRET = "the-owners-secret-of-this-benchmark"
VISITOR, ATTACKER = "198.51.100.7", "203.0.113.9"  # network addresses, as a proxy on this machine would say them
SMALL = ["data.train=64", "data.held_out=12", "data.new_phrasing=0", "budget.batch_size=8", "budget.steps=2"]
SMALL += ["probe.texts=24", "probe.every=2", "probe.problems=0", "teachers=[gemma2-tiny]"]

ATTACKS: dict[str, Callable[[Page], None]] = {}


def attack(function: Callable[[Page], None]) -> Callable[[Page], None]:
    """Add an attack, by the name of its function."""
    ATTACKS[function.__name__] = function
    return function


@dataclass
class Page:
    """The page under attack. `done`: a run with an adapter; `going`: one that seems to train."""

    url: str
    process: psutil.Process
    done: str
    going: str
    config: dict[str, Any] = field(default_factory=dict)  # the page's
    refused: dict[str, int] = field(default_factory=dict)  # what was answered -> how often
    ends: float = 0.0

    def post(self, path: str, body: Any, address: str = ATTACKER, kind: str = "application/json") -> Any:
        """The answer to a request as JSON; None where it is refused, which is counted."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": kind, "X-Forwarded-For": address}
        request = urllib.request.Request(f"{self.url}/gradio_api/{path}", data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.read(300).decode(errors='replace')}"
            self.refused[said[:160]] = self.refused.get(said[:160], 0) + 1
        except OSError as error:
            self.refused[type(error).__name__] = self.refused.get(type(error).__name__, 0) + 1
        return None

    def call(self, name: str, *values: Any, address: str = ATTACKER) -> Any:
        """A named endpoint called directly."""
        answer = self.post(f"run/{name}", {"data": list(values)}, address)
        return answer["data"][0] if answer else None

    def many(self, requests: Iterator[Callable[[], Any]], at_once: int = 24) -> None:
        """These requests, so many at once, until the attack's time is up."""
        with ThreadPoolExecutor(at_once) as pool:
            waiting = [pool.submit(lambda one=one: one() if time.monotonic() < self.ends else None) for one in requests]
            wait(waiting, timeout=SECONDS + 60)


# --- attacks ---------------------------------------------------------------------------------------------------------


@attack
def nothing(page: Page) -> None:
    """What the visitor notices without an attack."""
    time.sleep(SECONDS / 2)


@attack
def full_queue(page: Page) -> None:
    """More questions than fit, long ones too."""
    asked = ({"data": [page.done, "How many? " * (number % 900), ""]} for number in range(200))
    page.many(lambda body=body: page.post("call/generate", body) for body in asked)


@attack
def starts(page: Page) -> None:
    """Runs by visitors who are new at each start, from one address and then from many."""
    many = (ATTACKER if number < 40 else f"203.0.113.{number}" for number in range(100))
    page.many(lambda a=address: page.call("start", "tiny", [], "", address=a) for address in many)


@attack
def forged(page: Page) -> None:
    """Ids, tokens and values of every wrong kind."""
    wrong = ["../../etc/passwd", 5, None, ["x"], {"path": "/etc/passwd"}, "x" * 100_000, True, "é\u0000", page.going]
    names = ("status", "stop", "resume", "delete", "report")
    many = [(name, one) for name in names for one in wrong] + [("start", one) for one in wrong]
    more = {"status": 0, "report": 0, "resume": 2, "start": 2}
    page.many(lambda n=n, one=one: page.call(n, *[one] * (1 + more.get(n, 1))) for n, one in many)
    page.many(
        lambda n=n: page.post("queue/join", {"data": [], "fn_index": n, "session_hash": "x"}) for n in range(-9, 99)
    )


@attack
def sessions(page: Page) -> None:
    """200 browser tabs opened and left."""

    def opened(number: int) -> None:
        with contextlib.suppress(OSError):
            Tab(page.url, page.going, ("train", "insight", "runs")[number % 3], f"203.0.113.{number}", page.config)

    page.ends += 45
    page.many((lambda number=number: opened(number)) for number in range(200))


@attack
def watchers(page: Page) -> None:
    """40 tabs that watch, each as often as the page asks it to."""

    def watch(number: int) -> None:
        with contextlib.suppress(OSError):
            tab = Tab(page.url, page.going, ("train", "insight")[number % 2], f"203.0.113.{number}", page.config)
            while time.monotonic() + tab.seconds < page.ends:
                time.sleep(tab.seconds)
                tab.tick()

    page.ends += 20
    page.many(((lambda number=number: watch(number)) for number in range(40)), at_once=40)


@attack
def uploads(page: Page) -> None:
    """Files of 5 MB, 300 MB of them, and one that is said to be larger than it may be."""
    content = b"question,answer\n" + b"What is 1 + 1?,2\n" * 300_000
    border = b"x-border"
    parts = b'--%s\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\n%s\r\n--%s--\r\n'
    kind = f"multipart/form-data; boundary={border.decode()}"
    body = parts % (border, content, border)
    page.many((lambda: page.post("upload", body, kind=kind) for _ in range(60)), at_once=6)
    page.many(iter([lambda: page.post("upload", body * 6, kind=kind)]))


@attack
def large_bodies(page: Page) -> None:
    """JSON of 20 MB in small objects, and deep."""
    many = b'{"data": [' + b",".join([b"{}"] * 6_000_000) + b"]}"
    deep = b'{"data": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    page.many((lambda body=body: page.post("run/status", body) for body in (many, deep, many)), at_once=3)


@attack
def hostile_answers(page: Page) -> None:
    """Right answers that are hard to compare or to parse, one after another in the queue of questions."""
    answers = [r"99999999999999999999\ln 3", r"a/7 \ln 3", r"10^{99}\ln 3", "1<x<2<y<3<z", "#### " + ":" * 190]
    page.many(lambda one=one: page.post("call/generate", {"data": [page.done, "1 + 1?", one]}) for one in answers)
    answered(page)


def answered(page: Page) -> None:
    """Wait until a question of our own is answered, as /generate answers programs."""
    asked = page.post("call/generate", {"data": [page.done, "1 + 1?", "2"]}, VISITOR)
    with contextlib.suppress(OSError, TypeError):
        urllib.request.urlopen(f"{page.url}/gradio_api/call/generate/{asked['event_id']}", timeout=120).read()


# --- the visitor -----------------------------------------------------------------------------------------------------


class Visitor(threading.Thread):
    """Looks at the run that trains, asks for its Status and to stop it; the seconds of each, and the page's memory."""

    def __init__(self, page: Page):
        super().__init__(daemon=True)
        self.page, self.leaves = page, threading.Event()
        self.tab = Tab(page.url, page.going, "train", VISITOR, page.config)  # open before it begins
        self.looks: list[float] = []
        self.asked: list[float] = []
        self.memory_mb: list[float] = []

    def run(self) -> None:
        stranger = {"data": [self.page.going, "not the owner's"]}
        while not self.leaves.is_set():
            self.looks.append(_seconds(self.tab.tick))
            for path, body in (("run/status", {"data": [self.page.going]}), ("run/stop", stranger)):
                self.asked.append(_seconds(lambda path=path, body=body: self.page.post(path, body, VISITOR)))
            self.memory_mb.append(self.page.process.memory_info().rss / 2**20)
            time.sleep(0.5)


def _seconds(ask: Callable[[], Any]) -> float:
    """How long it takes to be answered, or to give up."""
    began = time.perf_counter()
    with contextlib.suppress(OSError):
        ask()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", choices=[*ATTACKS, []], help="default: all")
    chosen = parser.parse_args().attacks or list(ATTACKS)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, contextlib.ExitStack() as leaving:
        home = Path(name)
        done, going = prepared(home), long_run(home)
        leaving.enter_context(filelock.FileLock(home / "runs" / "turn.lock"))  # what is started waits: nothing trains
        (home / "tmp").mkdir()
        server, url = serve(home, True, DISTILL_OWNER_SECRET=SECRET, GRADIO_TEMP_DIR=str(home / "tmp"))
        leaving.callback(server.kill)
        config = json.load(urllib.request.urlopen(f"{url}/config", timeout=60))
        page = Page(url, psutil.Process(server.pid), done.name, going.name, config)
        answered(page)  # torch and the student are loaded once, by whoever asks first: that is no attack
        before = page.process.memory_info().rss / 2**20
        figures = {one: under(page, ATTACKS[one]) for one in chosen}
        left = cleaned(page, home, {done.name, going.name})
    worst = {key: max(each[key] for each in figures.values()) for key in ("look_s", "stop_or_status_s")}
    grown = round(max(each["memory_mb"] for each in figures.values()) - before)
    report("hostile", **worst, memory_mb=grown, left=left, goals=GOALS, by_attack=figures)


def prepared(home: Path) -> Path:
    """A run that is done, with an adapter to ask."""
    sets = [part for one in SMALL for part in ("--set", one)]
    command = [sys.executable, "-m", "distill", "run", "tiny", *sets, "--runs", str(home / "runs")]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return next(folder for folder in (home / "runs").iterdir() if store.is_run(folder))


def under(page: Page, hurt: Callable[[Page], None]) -> dict[str, Any]:
    """What the visitor notices meanwhile, and what the attackers were told."""
    page.refused = {}
    visitor = Visitor(page)
    visitor.start()
    page.ends = time.monotonic() + SECONDS
    began = time.monotonic()
    hurt(page)
    time.sleep(2)
    visitor.leaves.set()
    visitor.join(timeout=120)
    found = {
        "look_s": round(max(visitor.looks, default=float("inf")), 2),
        "stop_or_status_s": round(max(visitor.asked, default=float("inf")), 2),
        "memory_mb": round(max(visitor.memory_mb, default=0)),
        "seconds": round(time.monotonic() - began, 1),
        "looks": len(visitor.looks),
        "told": dict(sorted(page.refused.items(), key=lambda item: -item[1])[:4]),
    }
    print(hurt.__name__, found, file=sys.stderr, flush=True)
    return found


def cleaned(page: Page, home: Path, ours: set[str]) -> list[str]:
    """What is left once the owner has stopped and deleted what strangers started."""
    strangers = {folder.name for folder in (home / "runs").iterdir() if store.is_run(folder)} - ours
    for act in ("stop", "delete"):
        ends = time.monotonic() + 90
        while time.monotonic() < ends and not all(
            page.call(act, run, SECRET, address=VISITOR) for run in sorted(strangers) if (home / "runs" / run).exists()
        ):
            time.sleep(1)
            if act == "stop":
                break
    ends = time.monotonic() + 30
    while (children := page.process.children(recursive=True)) and time.monotonic() < ends:
        time.sleep(0.5)
    with contextlib.suppress(FileNotFoundError):
        kept = [f"upload {file.name}" for file in (home / "cache" / "uploads").iterdir()]
        return kept + _left(home, ours, children)
    return _left(home, ours, children)


def _left(home: Path, ours: set[str], children: list[psutil.Process]) -> list[str]:
    runs = [f"run {folder.name}" for folder in (home / "runs").iterdir() if store.is_run(folder)]
    alive = [f"process {one.pid}" for one in children if one.status() != psutil.STATUS_ZOMBIE]
    temporary = sum(file.stat().st_size for file in (home / "tmp").rglob("*") if file.is_file()) / 1e6
    most = 200  # MB of Gradio's own copies, which it deletes in ten minutes
    return [run for run in runs if run.split()[1] not in ours] + alive + [f"{temporary:.0f} MB"] * (temporary > most)


if __name__ == "__main__":
    main()
