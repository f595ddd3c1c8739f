"""What this process may take of its machine while it reads what strangers made; the system sees to it, as Linux does.

Elsewhere, in part or at all, there are no such limits: there what is read counts its own bytes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil


@contextmanager
def limited(memory: int | None = None, seconds: int | None = None, file: int | None = None) -> Iterator[None]:
    """Within it this process gets `memory` more bytes than it has, then MemoryError; so many `seconds` of a processor
    since its start, then it dies; and writes no `file` of more bytes: that is an OSError. None: as it likes."""
    try:
        import resource
    except ImportError:
        yield
        return
    asked = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_FSIZE: file}
    asked[resource.RLIMIT_CORE] = 0  # who dies of a limit leaves no image of its memory on the disk
    if memory is not None:
        asked[resource.RLIMIT_AS] = psutil.Process().memory_info().vms + memory
    before = {kind: resource.getrlimit(kind) for kind, most in asked.items() if most is not None}
    for kind, (_, hard) in before.items():
        with suppress(ValueError, OSError):  # macOS has no limit on memory
            resource.setrlimit(kind, (asked[kind] if hard < 0 else min(asked[kind], hard), hard))
    try:
        yield
    finally:
        for kind, was in before.items():
            resource.setrlimit(kind, was)
