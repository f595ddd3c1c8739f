"""Files of what teachers said: whole or not at all, in a folder a teacher; how one is asked safely, and let go.

What is kept is named by a digest of all that decides it, so nothing here asks what a file is about.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from distill.config.errors import UserError
from distill.config.files import sweep, write_atomically


def folder_of(cache_dir: Path, name: str, model: str) -> Path:
    """The folder of the teacher called `name` whose fingerprint is `model`: readable, and another for other weights."""
    short = hashlib.sha256(model.encode()).hexdigest()[:12]
    return Path(cache_dir) / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}-{short}"


def digest_of(decisive: Any) -> str:
    """What a file is named by: a digest of all that decides its content, as JSON."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32]


def kept_in(
    file: Path, load: Callable[[Path], Any], warn: Callable[[str, str], None] | None, code: str, then: str
) -> Any:
    """What `load(file)` gives, None if there is no file or it is damaged, which `warn(code, sentence)` is told of.

    `load` raises ValueError (or what it meets) where the file is not whole; `then`: "so its texts are asked again".
    """
    if not file.exists():
        return None
    try:
        return load(file)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        if warn is not None:
            warn(code, f"What was kept in {file} is damaged ({str(error) or type(error).__name__}), {then}.")
        return None


def make_folder(folder: Path, what: str) -> None:
    """Make it, and sweep up what killed processes left in it. Raises UserError; `what`: "the teachers' signals"."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    except OSError as error:
        raise _unwritable(folder, error, what) from error


def write_whole(file: Path, content: bytes, what: str) -> None:
    """All of the file or nothing, even if the machine goes down: written aside, synced, renamed. Raises UserError."""
    try:
        write_atomically(file, content, sync=True)
    except OSError as error:
        raise _unwritable(file.parent, error, what) from error


@contextmanager
def asking(teacher: str, batch_size: int, things: str) -> Iterator[None]:
    """What goes wrong within is said with the teacher's name, in a UserError; `things`: what it does so many of."""
    try:
        yield
    except UserError as error:
        raise UserError(f"The teacher {teacher!r} can't be asked. {error}") from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError(
            f"The teacher {teacher!r} needs more memory than there is for {batch_size} {things} at a time: lower "
            "budget.teacher_batch_size."
        ) from error


def _unwritable(folder: Path, error: OSError, what: str) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError(f"There is no room left to keep {what} in {folder}: free some space, then resume.")
    return UserError(
        f"{what[0].upper()}{what[1:]} can't be kept in {folder} ({error.strerror or error}): set DISTILL_HOME to a "
        "folder that can be written."
    )
