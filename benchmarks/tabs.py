"""Browser tabs without browsers: what the page's own script sends, over HTTP, so that a benchmark measures the server.

A tab opens the page, selects a tab, and ticks at the pace the server asks for, as gr.Timer does.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from distill.ui.session import TABS

ROOT = Path(__file__).parents[1]


_PUBLIC = "import app; app.launch(True, server_name='127.0.0.1', server_port={})"


def serve(home: Path, public: bool = False, **environment: str) -> tuple[subprocess.Popen, str]:
    """`python app.py` with runs and caches in `home`: (its process, its address). `public`: as strangers reach it, but
    on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = ["-c", _PUBLIC.format(port)] if public else ["app.py", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, *page],
        cwd=ROOT,
        env={**os.environ, "DISTILL_HOME": str(home), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if public else None,  # gradio prints a traceback for whatever is forged
    )
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return process, url
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the page doesn't answer")


class Tab:
    """One visitor's tab that watches a run."""

    def __init__(self, url: str, run: str, tab: str, address: str = "", config: dict[str, Any] | None = None):
        """`address`: the one that a proxy on this machine would say it comes from. `config`: the page's, if known."""
        self.url, self.run = url, run
        self.session = secrets.token_hex(5)
        self.headers = {"X-Forwarded-For": address} if address else {}
        self.config = config or json.load(urllib.request.urlopen(f"{url}/config", timeout=60))
        self.seconds = 1.0
        self.bytes = 0
        timers = [c["id"] for c in self.config["components"] if c["type"] == "timer"]
        self.ticks = self._listener(timers[TABS.index(tab)], "tick")
        self.state = self._values(self.ticks["inputs"])
        loads = [d for d in self.config["dependencies"] if any(t[1] == "load" for t in d["targets"])]
        for load in loads:
            self._call(load, self._values(load["inputs"]))
        tabs = {c["props"].get("id"): c["id"] for c in self.config["components"] if c["type"] == "tabitem"}
        self._call(self._listener(tabs[tab], "select"), [])

    def tick(self) -> float:
        """Ask as the timer does; the seconds it took. `bytes` is then what came, `seconds` when to ask again."""
        began = time.perf_counter()
        answer = self._call(self.ticks, self.state)
        took = time.perf_counter() - began
        for value in answer["data"]:  # gr.Timer(3.0) as an update
            if isinstance(value, dict) and isinstance(value.get("value"), (int, float)):
                self.seconds = float(value["value"])
        return took

    def _listener(self, component: int, event: str) -> dict[str, Any]:
        return next(d for d in self.config["dependencies"] if [component, event] in [list(t) for t in d["targets"]])

    def _values(self, ids: list[int]) -> list[Any]:
        values = {c["id"]: c["props"].get("value") for c in self.config["components"]}
        return [values.get(identity) for identity in ids]

    def _call(self, dependency: dict[str, Any], data: list[Any]) -> dict[str, Any]:
        body = {"data": data, "fn_index": dependency["id"], "session_hash": self.session, "event_data": None}
        request = urllib.request.Request(
            f"{self.url}/gradio_api/run/predict?run={self.run}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **self.headers},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            content = answer.read()
        self.bytes = len(content)
        return json.loads(content)
