"""A run's events in the log of a Job: how they are written among its other output, and read back.

A log is lines of text that come late, again from the beginning after a break, or cut where they are long. So each
event is numbered, and goes in pieces short enough for any log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PIECE = 4000  # characters: container logs cut lines at 16 kB
_MARKED = re.compile(r"@distill (\d+) (\d+)/(\d+) \|(.*)\|$", re.DOTALL)  # the bars keep spaces at its ends


def marked(number: int, line: str, piece: int = PIECE) -> Iterator[str]:
    """The lines of log that say the event on `line` (JSON, without its end), the `number`-th of its run, from 0."""
    parts = [line[start : start + piece] for start in range(0, len(line), piece)] or [""]
    for place, part in enumerate(parts, 1):
        yield f"@distill {number} {place}/{len(parts)} |{part}|"


class Reader:
    """Takes a log's lines in order and gives the events among them, each once however often the log begins again.

    `lacking`: the numbers below the highest seen that never came whole.
    """

    def __init__(self) -> None:
        self._heard: set[int] = set()
        self._pieces: dict[int, dict[int, str]] = {}

    def feed(self, line: str) -> tuple[int, str] | None:
        """(number, the event's line) once an event is whole and new; None for a piece, a repeat or anything else."""
        found = _MARKED.search(line.rstrip("\r\n"))
        if found is None:
            return None
        number, place, of = int(found[1]), int(found[2]), int(found[3])
        if number in self._heard:
            return None
        pieces = self._pieces.setdefault(number, {})
        pieces[place] = found[4]
        if len(pieces) < of:
            return None
        self._heard.add(number)
        del self._pieces[number]
        return number, "".join(pieces[place] for place in sorted(pieces))

    @property
    def lacking(self) -> list[int]:
        return sorted(set(range(max(self._heard, default=-1))) - self._heard)


def is_marked(line: str) -> bool:
    """Whether a line of log is (a piece of) an event."""
    return _MARKED.search(line.rstrip("\r\n")) is not None
