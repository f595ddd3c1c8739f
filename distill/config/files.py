"""Files that are there whole or not at all, and what tells one file from another."""

from __future__ import annotations

import glob
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".unfinished-"  # what the name of a half-written file begins with
_STALE = 600  # seconds since it last grew, after which it is what a killed process left


@contextmanager
def replacing(file: Path, sync: bool = False) -> Iterator[Path]:
    """A path of nobody else's to write to, beside `file`, which takes its place at the end; an error leaves nothing.

    `sync`: it is on the disk by then, even if the machine goes down.
    """
    unfinished = file.with_name(f"{UNFINISHED}{file.name}.{secrets.token_hex(8)}")
    sweep(file.parent, glob.escape(file.name))
    try:
        yield unfinished
        if sync:
            _sync(unfinished, os.O_RDWR)
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
    if sync and os.name == "posix":  # elsewhere a folder can't be opened
        _sync(file.parent, os.O_RDONLY)


def write_atomically(file: Path, content: str | bytes, sync: bool = False) -> None:
    """All of the file (a text in UTF-8) or nothing; `sync` as in `replacing`."""
    with replacing(file, sync) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def sweep(folder: Path, name: str = "") -> None:
    """Remove what killed processes left in `folder` half written, of the file of this name or of all."""
    for left in folder.glob(f"{UNFINISHED}{name}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE:
                left.unlink()


def sha256_of(file: Path) -> str:
    """The digest of a file's content, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
