"""What runs inside a Job of Hugging Face: `python -m distill.hub.job_worker` does the run as any worker does, and
reports it.

The worker's events go to the Job's log as they come (job_log.py), what it made goes to the repository the run was
submitted with, in one commit, before the Job ends. It stops in time when the Job's time is nearly up, or when a file
STOP appears in the repository. Whoever follows the Job is nobody's business here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from distill.config import run_config as configs
from distill.config.secrets import guard_output
from distill.hub.job_log import marked
from distill.hub.jobs import RESULTS
from distill.models.hub_errors import unreachable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TICK = 0.2  # seconds between looks at the events
_LOOK = 5.0  # seconds between looks for STOP in the repository
_AGAIN = (2.0, 10.0, 30.0, 60.0)  # seconds before trying again to keep what was made
_LEFT_OUT = ("checkpoints", "given", "worker.lock", "start.lock", "process.json", "config.yaml", "STOP")


def main() -> int:
    """The worker's exit status; 1 where what it made could not be kept."""
    from huggingface_hub import HfApi, snapshot_download

    guard_output()
    repo, run = os.environ["DISTILL_REPO"], os.environ["DISTILL_RUN"]
    snapshot_download(repo, allow_patterns=[f"{run}/*"], ignore_patterns=[f"{run}/{RESULTS}/*"], local_dir="runs")
    folder = Path("runs", run).resolve()
    _place_data(folder)
    api = HfApi()
    status = Watch(folder, _asked(api, repo, run), _ends()).see_through()
    _keep(api, repo, run, folder)
    return 0 if status == 130 else status  # stopped is no failure of the Job


def _place_data(folder: Path) -> None:
    """A file of problems lies beside the config here, and says so without a folder."""
    config = configs.load(folder / "config.yaml")
    if config.data.path and not Path(config.data.path).is_absolute():
        there = config.data.model_copy(update={"path": str(folder / config.data.path)})
        text = configs.to_yaml(config.model_copy(update={"data": there}))
        (folder / "config.yaml").write_text(text, encoding="utf-8")


def _ends() -> float:
    """When to stop, in Unix seconds: what is left then is for saving and keeping what there is."""
    seconds = float(os.environ["DISTILL_SECONDS"])
    return float(os.environ["DISTILL_BEGAN"]) + seconds - min(300.0, 0.1 * seconds)


def _asked(api: HfApi, repo: str, run: str) -> Callable[[], bool]:
    """Whether somebody asks to stop, looked for every few seconds; a Hub that doesn't answer asks nothing."""
    looked = [time.monotonic()]

    def asked() -> bool:
        if time.monotonic() - looked[0] < _LOOK:
            return False
        looked[0] = time.monotonic()
        with contextlib.suppress(Exception):
            return api.file_exists(repo, f"{run}/STOP")
        return False

    return asked


class Watch:
    """Starts the worker at `folder`, tells its events, passes on that it should stop."""

    def __init__(self, folder: Path, asked: Callable[[], bool], ends: float):
        self.folder, self.asked, self.ends = folder, asked, ends
        self.told, self.number, self.signalled = 0, 0, False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.signalled = True

    def see_through(self) -> int:
        """Return the worker's exit status once all its events are told."""
        worker = subprocess.Popen([sys.executable, *_launcher(), "distill.training.worker", str(self.folder)])
        while True:
            left = worker.poll()
            self._tell()
            if left is not None:
                return left
            if not (self.folder / "STOP").exists() and (self.signalled or time.time() > self.ends or self.asked()):
                print("distill: stopping, so that what there is can be kept", flush=True)
                (self.folder / "STOP").touch()
            time.sleep(_TICK)

    def _tell(self) -> None:
        """Print the whole lines that are new."""
        try:
            with (self.folder / "events.jsonl").open("rb") as stream:
                stream.seek(self.told)
                data = stream.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self.told += len(whole)
        for line in whole.decode("utf-8", errors="replace").splitlines():
            for piece in marked(self.number, line):  # each in one write, so that the worker's output can't break it
                sys.stdout.write(piece + "\n")
                sys.stdout.flush()
            self.number += 1


def _launcher() -> list[str]:
    """One process a GPU where there are several."""
    program = shutil.which("nvidia-smi")
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False).stdout if program else ""
    gpus = sum(line.startswith("GPU ") for line in listed.splitlines())
    if gpus < 2:
        return ["-m"]
    return ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(gpus), "-m"]


def _keep(api: HfApi, repo: str, run: str, folder: Path) -> None:
    """Put what the run made beside what it was submitted with."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in _LEFT_OUT
    ]
    names = {f"{run}/{RESULTS}/{path.relative_to(folder).as_posix()}": path for path in files}
    for wait in (*_AGAIN, None):
        try:
            _commit(api, repo, f"Keep what run {run} made", names)
            break
        except Exception as error:  # hours of work would be lost for a minute's trouble
            if wait is None or not unreachable(error):
                raise
            print(f"distill: what it made could not be kept yet ({type(error).__name__}); trying again", flush=True)
            time.sleep(wait)
    print(f"distill: what it made is in {repo}, {len(files)} files", flush=True)


def _commit(api: HfApi, repo: str, message: str, files: dict[str, Path]) -> None:
    from huggingface_hub import CommitOperationAdd

    api.create_commit(repo, [CommitOperationAdd(name, path) for name, path in files.items()], commit_message=message)


if __name__ == "__main__":
    sys.exit(main())
