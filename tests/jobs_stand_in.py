"""A stand-in for Jobs of Hugging Face beside the stand-in for the Hub: it really runs what it is asked to run.

A Job's command is started on this machine with the environment and the secrets it was given and nothing of this one's
token, in a folder of its own; `uv` is a script that leaves its options out and takes the Python that runs the tests.
What the Job prints is sent as the Hub sends it: server-sent events, from the beginning for each who asks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from hub_stand_in import _refusal, _token
from hub_writes import OWNER, HubWrites
from loopback import Request, Response

UV = f"""#!{sys.executable}
import os, sys
words = sys.argv[2:]  # after `run`
while words and words[0].startswith("-"):
    words = words[1 if words[0] == "--no-project" else 2:]
assert words[0] == "python", words
os.execv({sys.executable!r}, [{sys.executable!r}, *words[1:]])
"""
HARDWARE = (("cpu-basic", 167), ("t4-small", 6667), ("a10g-small", 16667))


@dataclass
class Job:
    """One Job: `asked` is what was posted; `stage` as the Hub says it."""

    id: str
    asked: dict
    stage: str = "SCHEDULING"
    message: str | None = None
    lines: list[str] = field(default_factory=list)
    process: subprocess.Popen | None = None


class JobsStandIn(HubWrites):
    """`wait`: seconds before a Job gets its machine. `begin`: what to run in place of a Job's command, for tests of
    Jobs that go wrong. `deaf`: a Job doesn't hear SIGTERM, as when it is killed at once. `refusal`: what starting a Job
    is answered with."""

    def __init__(self, folder: Path):
        super().__init__(folder / "hub")
        self.place, self.jobs = folder, {}
        self.wait, self.begin, self.deaf = 0.0, None, False
        self.refusal: Response | None = None
        self.connections = 0  # how often a log was asked for
        self.cut_after: int | None = None  # lines after which a log's connection breaks, once
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "uv").write_text(UV)
        (folder / "bin" / "uv").chmod(0o755)
        self.on("GET", r"/api/jobs/hardware", self._hardware)
        self.on("POST", rf"/api/jobs/{OWNER}", self._run)
        self.on("GET", rf"/api/jobs/{OWNER}/(\w+)", lambda request, job: Response(self._about(self.jobs[job])))
        self.on("GET", rf"/api/jobs/{OWNER}/(\w+)/logs", self._logs)
        self.on("POST", rf"/api/jobs/{OWNER}/(\w+)/cancel", self._cancel)

    def __exit__(self, *_: object) -> None:
        for job in self.jobs.values():
            if job.process and job.process.poll() is None:
                os.killpg(job.process.pid, signal.SIGKILL)
        super().__exit__(*_)

    def _commit(self, request: Request, repo: str, branch: str) -> Response:
        for line in map(json.loads, request.body.splitlines()):
            if line["key"] in ("file", "lfsFile"):
                file = self.folder / repo / line["value"]["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
        return super()._commit(request, repo, branch)

    def _preupload(self, request: Request, repo: str, branch: str) -> Response:
        told = super()._preupload(request, repo, branch)
        for file in told.body["files"] if told.status == 200 else ():
            file["uploadMode"] = "lfs" if file["path"].endswith(".zip") else file["uploadMode"]
        return told

    def _hardware(self, _: Request) -> Response:
        return Response(
            [
                {
                    "name": name,
                    "prettyName": name,
                    "cpu": "2 vCPU",
                    "ram": "16 GB",
                    "unitCostMicroUSD": cost,
                    "unitCostUSD": cost / 1e6,
                    "unitLabel": "minute",
                }
                for name, cost in HARDWARE
            ]
        )

    def _run(self, request: Request) -> Response:
        if _token(request) not in self.tokens:
            return _refusal(401, "", "Invalid username or password.")
        if self.refusal:
            return self.refusal
        job = Job(f"{len(self.jobs):024x}", request.json)
        self.jobs[job.id] = job
        threading.Thread(target=self._carry_out, args=(job,), daemon=True).start()
        return Response(self._about(job))

    def _about(self, job: Job) -> dict:
        owner = {"id": "1", "name": OWNER, "type": "user"}
        status = {"stage": job.stage, "message": job.message}
        return {"id": job.id, "status": status, "owner": owner, "flavor": job.asked["flavor"], "environment": {}}

    def _carry_out(self, job: Job) -> None:
        time.sleep(self.wait)
        if job.stage != "SCHEDULING":  # cancelled meanwhile
            return
        kept = ("HOME", "LANG", "OMP_NUM_THREADS", "VIRTUAL_ENV", "TMPDIR")
        home = self.place / job.id
        home.mkdir()
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {"PATH": f"{self.place / 'bin'}:{os.environ['PATH']}", "HF_ENDPOINT": self.url}
        environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home / "hf"), "TMPDIR": str(home)}
        environment |= job.asked["environment"] | job.asked.get("secrets", {})
        job.process = subprocess.Popen(
            self.begin or job.asked["command"],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        job.stage = "RUNNING"
        for line in job.process.stdout:
            job.lines.append(line.rstrip("\n"))
        status = job.process.wait()
        if job.stage == "RUNNING":
            job.message = None if status == 0 else f"Job failed with exit code: {status}"
            job.stage = "ERROR" if status else "COMPLETED"

    def _cancel(self, _: Request, name: str) -> Response:
        job = self.jobs[name]
        job.stage = "CANCELED"
        if job.process and job.process.poll() is None:
            os.killpg(job.process.pid, signal.SIGKILL)
        return Response(self._about(job))

    def _logs(self, _: Request, name: str) -> Response:
        self.connections += 1
        cut, self.cut_after = self.cut_after, None
        return Response(self._events(self.jobs[name], cut), 200, {"Content-Type": "text/event-stream"})

    def _events(self, job: Job, cut: int | None):
        """A log from its beginning, as long as the Job goes on."""
        sent = 0
        yield b"event: log\n"
        while True:
            over = job.stage not in ("SCHEDULING", "RUNNING")
            for line in job.lines[sent:]:
                if sent == cut:
                    return
                sent += 1
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                yield f"data: {json.dumps({'data': line, 'timestamp': now})}\n\n".encode()
            if over and sent == len(job.lines):
                return
            time.sleep(0.05)
