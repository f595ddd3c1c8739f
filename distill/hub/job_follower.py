"""Follows a Job of Hugging Face: `python -m distill.hub.job_follower FOLDER` fills a mirror with what the Job says and
makes.

It takes the worker's place at the run: it holds the claim on the folder, writes events.jsonl and stdout.log, heeds
STOP, and fetches the adapter and the report when the Job is over. It may be ended and started again at any time: what
is written already is known by its text, so nothing is doubled, and the Job's own file of events fills what the log
lost. A network that fails is waited for.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from distill.config.errors import UserError
from distill.config.secrets import guard_output, redacted
from distill.hub import jobs
from distill.hub.job_log import Reader, is_marked
from distill.models import hub_errors
from distill.runs.events import FINAL, Error, EventWriter, Stage, Status, Warning
from distill.runs.process import claim

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TICK = 0.2  # seconds between looks for STOP
_LOOK = 5.0  # seconds between looks at the Job's state
_PATIENCE = (2.0, 60.0)  # seconds before trying again where the network fails, at first and at most
_HEED = 40.0  # seconds a Job has to say that it is stopping, before it is cancelled
_OVER = ("COMPLETED", "ERROR", "CANCELED", "DELETED")
_T = TypeVar("_T")


class Left(Exception):
    """This process was asked to go; the Job goes on, and can be followed again."""


def main(arguments: list[str] | None = None) -> int:
    """Follow the Job of the mirror in the folder named first; 0 done, 1 failed or broken off, 130 stopped."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[1:] not in ([], ["--in-turn"]):  # turns are for runs of this machine
        print("usage: python -m distill.hub.job_follower FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).resolve()
    guard_output()
    try:
        claim(folder)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    with EventWriter(folder / "events.jsonl") as writer:
        try:
            return Mirror(folder, jobs.signed_in(), _ticket(folder), writer).see_through()
        except Left:
            return 1
        except UserError as error:  # the Job may well go on, so this is no last word: it can be followed again
            writer.write(Error(text=str(error)))
            return 1


def _ticket(folder: Path) -> jobs.Ticket:
    found = jobs.ticket(folder)
    if found is None:
        raise UserError(f"{folder / jobs.TICKET} is damaged, so it is not known which Job run {folder.name} is.")
    return found


class Mirror:
    """The run at `folder`, as far as it is known here."""

    def __init__(self, folder: Path, api: HfApi, ticket: jobs.Ticket, writer: EventWriter):
        self.folder, self.api, self.ticket, self.writer = folder, api, ticket, writer
        said = (folder / "events.jsonl").read_bytes()
        self.known = set(said.decode("utf-8", errors="replace").splitlines())
        self.last: str | None = None  # the Job's last word, held back until what it made is here
        self.stopping = any(_state(line) == "stopping" for line in self.known)
        self.stage = ""
        self.reader, self.whole = Reader(), False  # whole: the Job's own file of events came
        self.output: list[str] = []  # the last line that the Job printed
        self.asked_at: float | None = None  # when the Job was asked to stop
        self.cancelled = False
        self.leave = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, *_: object) -> None:
        self.leave = True

    def see_through(self) -> int:
        """Until the Job is over and what it made is here; the exit status."""
        listener, looked, message = self._listener(), 0.0, ""
        while self.stage not in _OVER:
            if time.monotonic() - looked > _LOOK or not listener.is_alive():
                looked = time.monotonic()
                stage, message = self._keep_trying(self._inspect, "asked how far the Job is")
                self._enter(stage)
                if not listener.is_alive() and stage not in _OVER:
                    listener = self._listener()
            self._heed()
            time.sleep(_TICK)
        listener.join(timeout=30)
        self._keep_trying(self._fetch, "fetched what the Job made")
        self._own_up()
        return self._end(message)

    # --- while it goes on -------------------------------------------------------------------------------------------

    def _inspect(self) -> tuple[str, str]:
        job = self.api.inspect_job(job_id=self.ticket.job, namespace=self.ticket.namespace)
        return str(getattr(job.status.stage, "value", job.status.stage)), job.status.message or ""

    def _enter(self, stage: str) -> None:
        """Say that the Job waits or begins; once a run's own worker speaks, it says the rest."""
        if stage == self.stage:
            return
        self.stage = stage
        begun = any(_state(line) == "preparing" for line in self.known)
        if begun or stage not in ("SCHEDULING", "RUNNING"):
            return
        machine = f"{self.ticket.flavor} of Hugging Face Jobs"
        if stage == "SCHEDULING":
            self.writer.write(Stage(name="job", text=f"waiting for a machine: {machine}", done=0, total=1))
            return
        text = f"{machine} is there, and installs what the run needs"
        self._say(Status(state="preparing"))
        self.writer.write(Stage(name="job", text=text, done=1, total=1))

    def _listener(self) -> threading.Thread:
        thread = threading.Thread(target=self._listen, daemon=True, name="log")
        thread.start()
        return thread

    def _listen(self) -> None:
        """Take the log as it comes, from its beginning: it ends with the Job, or when the network fails."""
        logs = self.api.fetch_job_logs(job_id=self.ticket.job, namespace=self.ticket.namespace, follow=True)
        with contextlib.suppress(Exception), (self.folder / "stdout.log").open("wb", buffering=0) as output:
            for text in logs:
                for line in text.splitlines():
                    found = self.reader.feed(line)
                    if found is not None:
                        self._hear(found[1])
                    elif not is_marked(line):
                        output.write((redacted(line) + "\n").encode())
                        self.output = [line.strip()] if line.strip() else self.output

    def _hear(self, line: str) -> None:
        line, state = redacted(line), _state(line)  # as it is written, and so known when this is started again
        if state in FINAL:
            self.last = line
        elif line not in self.known:
            self.known.add(line)
            self.writer.append(line)
        self.stopping |= state == "stopping"

    def _say(self, status: Status) -> None:
        self.writer.write(status)

    def _heed(self) -> None:
        """Where somebody stopped the run: ask the Job to, and cancel it if it doesn't say in time that it will."""
        if not (self.folder / "STOP").exists():
            if self.leave:
                raise Left
            return
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            if self.stage == "RUNNING":
                self._ask_to_stop()
                return
        late = time.monotonic() - self.asked_at > _HEED
        if not self.stopping and not self.cancelled and (late or self.leave or self.stage == "SCHEDULING"):
            self.cancelled, self.leave = True, False
            try:
                self._keep_trying(self._cancel, "cancelled the Job")
            except UserError as error:  # as where it has just ended: the next look at it tells
                self.writer.write(Warning(code="job_not_cancelled", text=str(error)))
        elif self.leave:
            raise Left

    def _ask_to_stop(self) -> None:
        from huggingface_hub import CommitOperationAdd

        run = self.folder.name
        with contextlib.suppress(Exception):  # it is cancelled then
            added = [CommitOperationAdd(f"{run}/STOP", b"stop\n")]
            self.api.create_commit(self.ticket.repository, added, commit_message=f"Stop run {run}")

    def _cancel(self) -> None:
        self.api.cancel_job(job_id=self.ticket.job, namespace=self.ticket.namespace)

    def _keep_trying(self, do: Callable[[], _T], what: str) -> _T:
        """Do it, and again where the network fails, until this process is asked to go. Raises UserError otherwise."""
        wait, said = _PATIENCE[0], False
        while True:
            try:
                return do()
            except Exception as error:
                reason = jobs.why(error, f"The Hub could not be {what}" if what.startswith("asked") else f"Not {what}")
                if not hub_errors.unreachable(error):
                    raise UserError(reason) from error
            if not said:
                said = True
                self.writer.write(Warning(code="job_unreachable", text=f"{reason} The Job continues; trying again."))
            ends = time.monotonic() + wait
            while time.monotonic() < ends:
                if self.leave:
                    raise Left
                time.sleep(_TICK)
            wait = min(_PATIENCE[1], 2 * wait)

    # --- when it is over --------------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        """What the run made, into the mirror; then events that the log lost."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import RepositoryNotFoundError

        run, place = self.folder.name, self.folder / ".fetched"
        wanted = f"{run}/{jobs.RESULTS}/*"
        try:
            snapshot_download(
                self.ticket.repository,
                allow_patterns=[wanted],
                local_dir=place,
                token=self.api.token,
                endpoint=self.api.endpoint,
            )
        except RepositoryNotFoundError:
            shutil.rmtree(place, ignore_errors=True)
            return  # thrown away meanwhile: what the log said is all there is
        made = place / run / jobs.RESULTS
        for path in sorted(made.rglob("*")) if made.is_dir() else []:
            if path.is_file():
                self._take(path, path.relative_to(made))
        shutil.rmtree(place, ignore_errors=True)

    def _take(self, path: Path, name: Path) -> None:
        if name == Path("events.jsonl"):
            for line in path.read_text(encoding="utf-8").splitlines():
                self._hear(line)
            self.whole = True
            return
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)

    def _own_up(self) -> None:
        """Say that events were lost for good."""
        lost = 0 if self.whole else len(self.reader.lacking)
        if lost:
            text = f"{lost} of the Job's events were lost in its log and are in no file of it: curves may have gaps."
            self.writer.write(Warning(code="job_events_lost", text=text))

    def _end(self, message: str) -> int:
        """The last word: the run's own if it had one."""
        state = _state(self.last) if self.last else None
        if state == "done" and not (self.folder / "report.json").exists():
            reason = f"The run was done, but what it made could not be kept: {self._blame(message)}."
            self._say(Status(state="failed", reason=reason))
            return 1
        if state == "stopped":  # what a worker says of resuming isn't so for a Job
            anew = f"python -m distill submit {self.folder.name} starts again"
            self._say(Status(state="stopped", reason=f"stopped before its end; a Job cannot be resumed, {anew}"))
            return 130
        if self.last is not None:
            self.writer.append(self.last)
            return 0 if state == "done" else 1
        if self.stage == "CANCELED":
            asked = (self.folder / "STOP").exists()
            how = "on request, before it had anything to keep" if asked else "at Hugging Face, where it was cancelled"
            self._say(Status(state="stopped", reason=f"stopped {how}"))
            return 130
        reason = f"The Job ended without a final message: {self._blame(message)}. Its page is {self.ticket.url}."
        self._say(Status(state="failed", reason=reason))
        return 1

    def _blame(self, message: str) -> str:
        said = [redacted(part).rstrip(".") for part in (message, *self.output[-1:]) if part]
        return "; its output ends with: ".join(said) if said else "it gave no reason"


def _state(line: str) -> str | None:
    """The state that a line of events says, None for anything but a status."""
    if '"status"' not in line:
        return None
    try:
        said = json.loads(line)
        return said["state"] if said["kind"] == "status" else None
    except (ValueError, KeyError, TypeError):
        return None


if __name__ == "__main__":
    sys.exit(main())
