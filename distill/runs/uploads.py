"""Files that visitors uploaded: stored by their digest, with who sent each, and kept as long as somebody needs them.

A file is needed while a run names it, and for some hours after it was sent, so that a draft can be started.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from distill.config import paths
from distill.config.errors import UserError
from distill.config.files import write_atomically
from distill.config.limits import limit
from distill.runs.index import list_runs

UPLOAD = re.compile(r"[0-9a-f]{64}\.(jsonl|csv|parquet)")  # what an uploaded file is stored as
MB = 1_000_000
_lock = threading.Lock()  # two visitors may send or let go of the same file


def uploads() -> Path:
    """The folder that uploaded files are kept in."""
    return paths.home().cache / "uploads"


def upload_name(path: str | os.PathLike[str]) -> str | None:
    """The file's name in the folder of uploads, None where it isn't one of them."""
    path = Path(path)
    known = UPLOAD.fullmatch(path.name) and path.parent.resolve() == uploads().resolve() and not path.is_symlink()
    return path.name if known else None


def check_space(size: int, who: Collection[str]) -> None:
    """Raises UserError where a file of `size` bytes is more than all, or one of `who`, may have here at a time."""
    files = {file: file.stat().st_size for file in _stored()}
    if sum(files.values()) + size > limit("UPLOADS_MB") * MB:
        raise UserError(
            "This server has no room for another uploaded file: try again in a few hours, when older ones are gone."
        )
    for one in who:
        mine = sum(bytes_ for file, bytes_ in files.items() if one in _senders(file))
        if mine + size > limit("UPLOADS_MB_OF_VISITOR") * MB:
            raise UserError(
                f"Your uploaded files have {mine / MB:,.0f} MB, and one visitor or network address may have "
                f"{limit('UPLOADS_MB_OF_VISITOR'):,.0f} MB here: delete a run that uses one, or try again tomorrow."
            )


def note_sender(stored: str, who: Collection[str]) -> None:
    """Write down that each of `who` (digests) sent the file of this name now."""
    with _lock:
        file = uploads() / stored
        write_atomically(_by(file), json.dumps(_senders(file) | dict.fromkeys(who, time.time())))


def let_go(path: str | os.PathLike[str] | None, who: Collection[str] = ()) -> None:
    """A run that used the file is gone, or whoever sent it wants no more of it: remove it unless others need it."""
    stored = upload_name(path) if path is not None else None
    if stored is None:
        return
    with _lock:
        file = uploads() / stored
        others = {one: when for one, when in _senders(file).items() if one not in who}
        if stored in _used() or any(_fresh(when) for when in others.values()):
            write_atomically(_by(file), json.dumps(others))
        else:
            _remove(file)


def sweep_uploads() -> None:
    """Remove every file that no run uses and that nobody has sent for some hours."""
    with _lock:
        used = _used()
        for file in _stored():
            with suppress(OSError):
                if file.name not in used and not any(map(_fresh, [file.stat().st_mtime, *_senders(file).values()])):
                    _remove(file)


def _stored() -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from [file for file in uploads().iterdir() if UPLOAD.fullmatch(file.name)]


def _used() -> set[str]:
    """The names of the files that runs use; a run that ended may be resumed."""
    named = (run.config.data.path for run in list_runs() if run.config)
    return {Path(path).name for path in named if path}


def _fresh(when: float) -> bool:
    return abs(time.time() - when) < limit("UPLOAD_HOURS") * 3600  # either way: the clock may have been set


def _by(file: Path) -> Path:
    return file.with_name(f"{file.name}.by")


def _senders(file: Path) -> dict[str, float]:
    """{digest of who sent it: when}."""
    try:
        said = json.loads(_by(file).read_text(encoding="utf-8"))
        return {str(one): float(when) for one, when in said.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remove(file: Path) -> None:
    for one in (file, _by(file)):
        one.unlink(missing_ok=True)
