"""What a visitor may do to runs: start, stop, resume, delete. What a public server refuses, and how many runs may wait.

Both the page's buttons and its named endpoints call these.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from distill.config import paths, run_config
from distill.config.errors import UserError
from distill.config.limits import limit
from distill.config.messages import nearest
from distill.config.places import without_places
from distill.config.requirements import heard
from distill.config.run_config import ConfigError, RunConfig
from distill.hub import zerogpu
from distill.models.hardware import is_zerogpu
from distill.models.references import check_models, is_repository, refuse_gguf
from distill.runs import index, store
from distill.runs.estimate import Machine, estimate, text
from distill.runs.preflight import check_room, refuse_foreseen
from distill.runs.retention import delete_run
from distill.runs.store import edited
from distill.runs.uploads import UPLOAD, upload_name, uploads  # noqa: F401 - the tabs take them from here
from distill.runs.views import forget
from distill.ui.auth import Visitor, check_access

_PATIENCE = 2.0  # seconds that a start waits for others that are being checked
_STORED = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}(\.(?:jsonl|csv|parquet))\b")
_starting = threading.Lock()  # or visitors who start at once would all find room in the queue
_strangers = False  # whether the page is reached from other machines, so that it names no place on this one


def start(config: RunConfig, visitor: Visitor, public: bool) -> str:
    """Make a run, give it to the visitor and queue it; its id.

    Raises UserError or ConfigError, one sentence, where a model is unknown or broken, where a public server refuses it,
    where too many runs wait already or the run can't be started; then no folder is left behind.
    """
    if public:
        check_public(config)
        if not visitor.id:
            raise UserError("This server does not recognize you: reload the page, or leave the token out.")
    with _one_of_few(visitor):
        check_models(config)
        refuse_foreseen(config)
        check_opened(config, visitor)
        check_room(config, Machine.here(), visitor.hub_token)
        check_machine(config, public)
    with _starting:
        check_share(visitor)
        check_queue()
        folder = store.create(config)
        try:
            visitor.claim(folder)
            store.start(folder, in_turn=True, begin=_begin(visitor))
        except (OSError, UserError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            forget(folder.resolve())
            if isinstance(error, UserError):
                raise
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"The run could not be started ({reason}): try again in a minute.") from error
    return folder.name


@contextmanager
def _one_of_few(visitor: Visitor) -> Iterator[None]:
    """Held while a run is checked: many starts at once must not take all threads of the page.

    What costs nothing is looked at first. Raises UserError.
    """
    check_turn(visitor)
    if not _checking().acquire(timeout=_PATIENCE):
        raise UserError("Many runs are being started at this moment: try again in a few seconds.")
    try:
        yield
    finally:
        _checking().release()


@cache
def _checking() -> threading.Semaphore:
    return threading.Semaphore(int(limit("STARTING")))


def _begin(visitor: Visitor) -> store.Begin:
    """How a run is begun: by its worker, which asks the Hub as the visitor; on ZeroGPU, which lends no GPU to a worker,
    by zerogpu.carry_out. A stranger's is stopped when it has taken as long as it may."""
    if is_zerogpu():
        return zerogpu.take_charge
    return partial(store.spawn, token=visitor.hub_token, hours=None if visitor.local else limit("RUN_HOURS"))


def stop(run_id: str, visitor: Visitor) -> str:
    """Ask a run to save its model and stop; its id. Raises UserError where it isn't the visitor's or isn't running."""
    folder = index.find_id(run_id)
    visitor.check(folder, "stop")
    store.stop(folder)
    return folder.name


def resume(run_id: str, visitor: Visitor, overrides: Sequence[str] = ()) -> str:
    """Queue a run that ended early, with overrides of its budget; its id. Raises UserError or ConfigError.

    For a stranger the limits of a new run hold for this one too: its length, and how many runs one visitor may have.
    """
    folder = index.find_id(run_id)
    visitor.check(folder, "resume")
    if not visitor.local:
        with _one_of_few(visitor):
            if overrides:
                check_machine(edited(folder, overrides), public=True)
            check_opened(run_config.load(folder / "config.yaml"), visitor)
    with _starting:
        check_share(visitor)
        check_queue()
        store.resume(folder, list(overrides), in_turn=True, begin=_begin(visitor))
    return folder.name


def delete(run_id: str, visitor: Visitor) -> str:
    """Remove a run, all that it made and the file it was trained on, unless others need that; its id.

    Raises UserError where it isn't the visitor's or still goes on.
    """
    folder = index.find_id(run_id)
    visitor.check(folder, "delete")
    if store.alive(folder) and not store.view(folder).final:
        raise UserError(f"Run {folder.name} is still running: stop it first, then delete it.")
    delete_run(folder, visitor.marks)
    return folder.name


def check_machine(config: RunConfig, public: bool) -> None:
    """Raises UserError where this machine cannot do the run; on a public server also where it would take too long."""
    found = estimate(config, Machine.here())
    if found.obstacle:
        raise UserError(f"This run cannot start on this machine: it {found.obstacle}.")
    if not public:
        return
    if found.seconds is None or found.memory_gb is None:
        raise UserError("The size of this run cannot be estimated, so a public server does not start it.")
    if found.seconds[0] > limit("RUN_HOURS") * 3600:
        raise UserError(
            f"This run would take {text(found.seconds)}, more than the {limit('RUN_HOURS'):g} hours a visitor has."
        )


def check_opened(config: RunConfig, visitor: Visitor) -> None:
    """Raises UserError or ConfigError where a stranger may not use what the run loads from the Hub."""
    dataset = config.data.dataset if config.data.source == "hub" else None
    check_access(visitor, [config.student, *heard(config)], dataset)


def check_share(visitor: Visitor) -> None:
    """Raises UserError where a stranger, or their network address, has as many runs going or waiting as one may.

    By address too, as anybody can be a new visitor at every start.
    """
    if visitor.local or visitor.runs_server:
        return
    going = [run.folder for run in index.list_runs() if not run.final]
    mine, here = sum(map(visitor.started, going)), sum(map(visitor.shares_address, going))
    if mine >= limit("RUNS_OF_VISITOR"):
        raise UserError(f"{mine} of your runs are running or waiting, the most a visitor may have: stop one first.")
    if here >= limit("RUNS_OF_ADDRESS"):
        raise UserError(
            f"{here} runs from your network address are running or waiting, the most one may have: try again when one "
            "is done."
        )


def check_turn(visitor: Visitor) -> None:
    """Raises UserError where neither the visitor nor the queue has room for another run."""
    check_share(visitor)
    check_queue()


def check_queue() -> None:
    """Raises UserError where as many runs wait as may."""
    waiting = sum(run.state == "queued" and store.alive(run.folder) for run in index.list_runs())
    if waiting >= limit("RUNS_WAITING"):
        raise UserError(f"{waiting} runs are waiting already, the most allowed: try again when one is done.")


def check_public(config: RunConfig) -> None:
    """Raises ConfigError where the config names a path on this machine that is neither the zoo's nor an upload.

    The message is the same whether or not the path exists, so that nobody learns what is on the server's disk.
    """
    for ref in (config.student, *config.teachers):
        check_public_model(ref.model)
    if config.data.path is not None and upload_name(config.data.path) is None and not paths.ships(config.data.path):
        raise ConfigError("On a public server problems come from a file you upload: data.path can't name another.")
    if config.data.dataset is not None:
        check_public_dataset(config.data.dataset)
    check_public_trackers(config.report_to)


def check_public_model(model: str) -> None:
    """Raises ConfigError unless the model is of the zoo or, by its name, of the Hub."""
    refuse_gguf(model)
    if paths.zoo_folder(model) is None and model not in paths.zoo_names() and not _on_the_hub(model):
        close = nearest(model, paths.zoo_names())
        raise ConfigError(
            f"Not found: {model!r}. Enter owner/name or pick a bundled model (a public server reads no folders)"
            + (f": did you mean {close!r}?" if close else ".")
        )


def check_public_trackers(names: Sequence[str]) -> None:
    """Raises ConfigError where a visitor names a tracker: its data would be in the server owner's account."""
    if names:
        raise ConfigError(
            f"On a public server a run reports to no tracker such as {names[0]}: leave report_to empty, or run it on a "
            "machine of your own."
        )


def check_public_dataset(name: str) -> None:
    """Raises ConfigError unless the data set is, by its name, of the Hub."""
    if not _on_the_hub(name):
        raise ConfigError(
            f"Not found: {name!r}. Enter owner/name of a data set on the Hub, or upload a file (a public server reads "
            "no folders)."
        )


def hide_places(strangers: bool) -> None:
    """Whether `published` takes out whatever names a place on this machine: so where strangers read it."""
    global _strangers
    _strangers = strangers


def published(value: Any) -> Any:
    """A text, or a JSON value, as visitors may see it: without the paths of uploaded files on the server, and for
    strangers without any other path on it."""
    return without_places(_without_uploads(value)) if _strangers else _without_uploads(value)


def _without_uploads(value: Any) -> Any:
    if isinstance(value, dict):
        return {_without_uploads(key): _without_uploads(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_uploads(item) for item in value]
    if not isinstance(value, str) or not _STORED.search(value):
        return value
    # YAML may break a line where a folder's name has a space.
    folders = {r"\s+".join(map(re.escape, str(path).split())) for path in (uploads(), uploads().resolve())}
    place = rf"(?:(?:{'|'.join(folders)}|[^\s\"'`]{{0,400}})/)?"
    return re.sub(place + _STORED.pattern, r"upload \1\2", value)


def _on_the_hub(name: str) -> bool:
    """Whether a name is shaped like the Hub's and is no folder beside the server."""
    return is_repository(name) and not Path(name).exists()
