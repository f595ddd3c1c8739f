"""`python -m distill.studies.worker FOLDER`: carries out a study begun from the page, which it outlives.

Exit statuses are those of a run's worker: 0 done, 1 failed, 2 wrong, 130 stopped.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from distill.config.errors import Stopped, UserError
from distill.config.secrets import guard_output
from distill.runs.process import live_process
from distill.runs.store import launch
from distill.studies.conduct import STOP, StudyFolder, conduct, open_study
from distill.training.worker import DONE, FAILED, STOPPED, StopFlag


def main(folder: Path) -> int:
    """Go on with the study in `folder`; the exit status."""
    from distill.studies import results

    stop = StopFlag(folder / STOP)
    study, known = open_study(folder), -1

    def tell(done: int, cell: object, seen: object) -> None:
        nonlocal known
        if done != known:  # a run has ended: what is known now can be looked at
            known = done
            results.write(study)

    try:
        conduct(study, stop, tell)
    except Stopped:
        return STOPPED
    except UserError as error:
        print(error, file=sys.stderr)
        return FAILED
    finally:
        results.write(study)
    return DONE


def start(study: StudyFolder) -> None:
    """Start the worker, in a session of its own. Raises UserError where one is at work already."""
    if working(study):
        raise UserError(f"The study {study.id} is being carried out already.")
    (study.path / STOP).unlink(missing_ok=True)
    launch("distill.studies.worker", study.path)


def stop(study: StudyFolder) -> None:
    """Ask the worker to save the run that goes on and leave. Raises UserError where none is at work."""
    if not working(study):
        raise UserError(f"The study {study.id} is not running.")
    (study.path / STOP).touch()


def working(study: StudyFolder) -> bool:
    """Whether a process carries it out now."""
    return live_process(study.path) is not None


if __name__ == "__main__":
    guard_output()
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(Path(sys.argv[1]).resolve()))
