"""A real page in a real browser: `python app.py` as its own process, Debian's chromium driven by playwright.

Where playwright or chromium is missing these tests are skipped, and say so; CI installs both.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from gradio_client import Client
from page_cases import close, open_tab, wait_for

ROOT = Path(__file__).parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    # Tabs in the background must tick as fast as the one in front, or a test of two tabs is a test of patience.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
]


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if chromium() is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        instance = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield instance
        close(instance)


class Server:
    """`python app.py` on a free port, with runs and caches of its own; it can be killed and started again."""

    def __init__(self, home: Path, *arguments: str):
        self.home, self.arguments = home, arguments
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> Server:
        self.log = open(self.home / "server.log", "ab")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(self.port), *self.arguments],
            cwd=ROOT,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DISTILL_HOME": str(self.home), "GRADIO_ANALYTICS_ENABLED": "False"},
        )
        wait_for(self.answers, 60, "the page doesn't answer")
        return self

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=5) as page:
                return page.status == 200
        except OSError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()

    def client(self) -> Client:
        return Client(self.url, verbose=False)

    def workers(self) -> list[psutil.Process]:
        """The training processes of this server's runs."""
        return [p for p in psutil.process_iter(["cmdline"]) if self._trains(p.info["cmdline"] or [])]

    def _trains(self, command: list[str]) -> bool:
        return "distill.training.worker" in command and any(str(self.home) in part for part in command)

    def output(self) -> str:
        return (self.home / "server.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("home")).start()
    yield started
    started.kill()
    for worker in started.workers():
        worker.kill()
    assert "Traceback" not in started.output(), started.output()[-3000:]


@pytest.fixture(autouse=True)
def nobody_left_training(request):
    """What a test leaves training would keep the next one's run waiting."""
    yield
    if "server" in request.fixturenames:
        for worker in request.getfixturevalue("server").workers():
            worker.kill()


@pytest.fixture
def visit(browser, server):
    """Open the page as a new visitor (a browser of their own) and return it; errors in its console fail the test."""
    contexts, problems = [], []

    def open_page(path: str = "/", tab: str | None = None, context=None, **settings):
        if context is None:
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(server.url + path)
        page.get_by_role("tab", name="Configure").wait_for()
        if tab:
            open_tab(page, tab)
        return page

    yield open_page
    close(*contexts)
    assert problems == []


@pytest.fixture
def start(server):
    """Start a run through the named endpoint: {"run", "token"}. Unlike the page's presets it is over in seconds."""

    def begin(preset: str = "tiny", *overrides: str, token: str = "") -> dict:
        small = [
            "data.train=64",
            "data.held_out=24",
            "data.new_phrasing=12",
            "budget.batch_size=8",
            "budget.save_every=5",
            "probe.texts=24",
            "teachers=[gemma2-tiny, minicpm3-tiny]",
        ]
        return server.client().predict(preset, [*small, *overrides], token, api_name="/start")

    return begin


@pytest.fixture
def status(server):
    client = server.client()
    return lambda run: client.predict(run, api_name="/status")
