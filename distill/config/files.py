"""Files that are there whole or not at all, and what tells one file from another."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".unfinished-"  # what the name of a half-written file begins with


@contextmanager
def replacing(file: Path, sync: bool = False) -> Iterator[Path]:
    """A path of nobody else's to write to, beside `file`, which takes its place at the end; an error leaves nothing.

    `sync`: it is on the disk by then, even if the machine goes down.
    """
    unfinished = file.with_name(f"{UNFINISHED}{file.name}.{secrets.token_hex(8)}")
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
