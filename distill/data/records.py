"""The records of a JSONL, CSV or Parquet file, one after another, and the limits on what they may take.

Files come from strangers, and a small one may stand for gigabytes: so a file is limited in bytes before it is opened, a
row in characters before it is parsed, and all that is kept of the rows in bytes of memory while they are read.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from distill.config.errors import ConfigError, UserError
from distill.data.parquet import MAX_ROW, parquet_records

MAX_BYTES = 20_000_000
MAX_ROWS = 100_000
MAX_COLUMNS = 1_000
MAX_NAME = 200  # characters of a column's name: all of them go to the browser
# Bytes of memory for what is kept of the rows: the largest text file at four bytes a character takes 80 MB, its 100,000
# rows of five columns 30 MB more.
MAX_DECODED = 120_000_000
MAX_DECODED_OF_HUB = 1_000_000_000  # the same of a data set: 100,000 rows of 10,000 characters; no page reads one

Record = tuple[int, dict[str, Any] | str]  # where it begins, and the columns by name or what is wrong with it


def records(path: Path, wanted: Iterable[str] | None = None) -> Iterator[Record]:
    """Every record of a file that `check_file` let through, with the `wanted` columns alone if they are given.

    What is not UTF-8 shows up as lone surrogates in its field. Raises UserError, one sentence, where the file can't be
    read or a limit is passed.
    """
    wanted = None if wanted is None else set(wanted)
    return bounded(_records(path, wanted), path.name, "row" if is_parquet(path) else "line", wanted)


def bounded(
    found: Iterable[Record], name: str, unit: str, wanted: Collection[str] | None = None, most: int = MAX_DECODED
) -> Iterator[Record]:
    """`found`, with the `wanted` columns alone, until they take `most` bytes of memory: then UserError, one sentence.

    `unit`: what the records' numbers count. Without `wanted`, nothing is taken to be kept and each counts alone.
    """
    taken = 0
    for number, record in found:
        if isinstance(record, dict) and wanted is not None:
            record = {column: value for column, value in record.items() if column in wanted}
            taken += _size(record)
            if taken > most:
                raise UserError(
                    f"{name} takes more than {most / 1e6:,.0f} MB of memory once it is unpacked (that is passed "
                    f"at {unit} {number:,}): give fewer rows or shorter texts."
                )
        yield number, record


def _size(value: Any) -> int:
    """Bytes of memory that a value and all in it take."""
    taken, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        taken += sys.getsizeof(item)
        if isinstance(item, dict):
            waiting += item.values()  # the keys are shared by all rows
        elif isinstance(item, list):
            waiting += item
    return taken


# --- files -----------------------------------------------------------------------------------------------------------


def is_parquet(path: Path) -> bool:
    """Whether a file is read as Parquet, whose rows have numbers; those of other files have lines."""
    return path.suffix.lower() == _PARQUET


def check_file(path: str | Path) -> Path:
    """The file at `path`. Raises ConfigError where there is none or its name is of another kind, else UserError."""
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise ConfigError(f"There is no file {path}: give a JSONL, CSV or Parquet file that exists.")
    kind = path.suffix.lower()
    if kind not in (*_READERS, _PARQUET):
        raise ConfigError(
            f"{path.name} is not a JSONL, CSV or Parquet file: its name must end in .jsonl, .csv or .parquet."
        )
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError as error:
        raise ConfigError(f"{path.name} can't be read: {(error.strerror or str(error)).lower()}.") from error
    if size > MAX_BYTES:
        raise UserError(f"{path.name} has {size / 1e6:,.0f} MB, more than {MAX_BYTES / 1e6:.0f}: give fewer rows.")
    if b"\0" in start and kind != _PARQUET:
        raise UserError(f"{path.name} is not UTF-8 text: save it as UTF-8.")
    return path


def check_names(names: Collection[str], table: str) -> None:
    """Raises UserError where a table has more columns than are read, or one with too long a name."""
    if len(names) > MAX_COLUMNS:
        raise UserError(
            f"{table} has {len(names):,} columns, more than {MAX_COLUMNS:,}: leave out those without a use."
        )
    long = next((name for name in names if len(name) > MAX_NAME), None)
    if long is not None:
        raise UserError(
            f"{table} has a column whose name has {len(long):,} characters, more than {MAX_NAME} ({long[:40]!r} …): "
            "rename it."
        )


def _records(path: Path, wanted: Collection[str] | None) -> Iterator[Record]:
    if is_parquet(path):
        yield from parquet_records(path, MAX_ROWS, wanted)
        return
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        yield from _READERS[path.suffix.lower()](stream, path.name)


# --- text files ------------------------------------------------------------------------------------------------------


def _json_lines(stream: TextIO, name: str) -> Iterator[Record]:
    number = 0
    while line := stream.readline(MAX_ROW + 1):
        number += 1
        if not line.strip():
            continue
        if len(line) > MAX_ROW:
            if number == 1 and line.lstrip().startswith("["):
                raise UserError(f"{name} is a JSON list: give JSONL, an object on each line.")
            while line and not line.endswith(("\n", "\r")):
                line = stream.readline(MAX_ROW)
            yield number, f"has more than {MAX_ROW:,} characters"
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == 1 and line.lstrip()[0] == "[":
                raise UserError(f"{name} is one JSON list: give JSONL, an object on each line.") from None
            reason = getattr(error, "msg", "it can't be read")
            yield number, f"is not valid JSON ({reason[0].lower() + reason[1:]})"
            continue
        if isinstance(record, list) and number == 1:
            raise UserError(f"{name} is a JSON list: give JSONL, an object on each line.")
        if isinstance(record, dict):
            check_names(record, name)
        yield number, record if isinstance(record, dict) else "is not a JSON object"


class _Lines:
    """The lines of a file as csv takes them, so long as those of one row have no more characters than a row may."""

    def __init__(self, stream: TextIO, name: str):
        self._stream, self._name = stream, name
        self._kept: list[str] = []
        self.taken = self.number = 0  # characters of the row so far; lines in all

    def peek(self) -> str:
        """The next line, which is still to come."""
        self._kept.append(self._read())
        return self._kept[0]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._kept.pop() if self._kept else self._read()
        if not line:
            raise StopIteration
        self.number += 1
        self.taken += len(line)
        if self.taken > MAX_ROW:
            raise UserError(
                f"{self._name} has a row of more than {MAX_ROW:,} characters (line {self.number:,}): shorten it, or "
                "close the quotes of the one before."
            )
        return line

    def _read(self) -> str:
        return self._stream.readline(MAX_ROW + 1)


def _csv_rows(stream: TextIO, name: str) -> Iterator[Record]:
    csv.field_size_limit(MAX_ROW)  # of this process; Python's own is shorter than a long thought
    lines = _Lines(stream, name)
    delimiter = max(",;\t", key=lines.peek().count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] | None = None
    while True:
        line = reader.line_num + 1
        lines.taken = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if names is None:
                raise UserError(
                    f"The header of {name} can't be read as CSV ({error}): correct its first line."
                ) from None
            yield line, f"can't be read as CSV ({error})"
            continue
        if not cells:
            continue
        if names is None:
            names = _header(cells, name)
        elif len(cells) != len(names):
            yield line, f"has {_fields(len(cells))} where the header has {len(names)}"
        else:
            yield line, dict(zip(names, cells, strict=True))


def _header(cells: list[str], name: str) -> list[str]:
    check_names(cells, name)
    names = [cell.encode("utf-8", "replace").decode().strip() for cell in cells]
    twice = next((column for column, times in Counter(names).items() if column and times > 1), None)
    if twice:
        raise UserError(f"{name} has two columns named {twice!r}: rename one of them.")
    return names


def _fields(number: int) -> str:
    return f"{number} field" if number == 1 else f"{number} fields"


_PARQUET = ".parquet"
_READERS = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), _json_lines),
    **dict.fromkeys((".csv", ".tsv"), _csv_rows),
}
