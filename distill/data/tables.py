"""Rows of questions and solutions, read from a JSONL, CSV or Parquet file; every wrong row is named by its line.

Files come from strangers: their size, their rows and their fields are limited, and nothing in them is run.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from distill.config.errors import ConfigError, UserError
from distill.config.run_config import ColumnsConfig
from distill.data.chats import MOST_ANSWERS, SAID, Notes
from distill.data.layouts import Layout, Warn, guess_columns, layout_of, settled
from distill.data.parquet import parquet_records
from distill.data.rows import NOT_UTF8, Row, rows_in

__all__ = ["Columns", "Row", "columns_of", "guess_columns", "read_rows", "rows_of", "settled"]

MAX_BYTES = 20_000_000
MAX_ROWS = 100_000
MAX_COLUMNS = 1_000

MAX_EARLIER = 50_000_000  # characters of questions: of conversations beyond that the last answers alone are learnt
_A_ROW = 400  # what one takes besides, about
_SHOWN = 5  # wrong rows that are named
_LOOKED_AT = 100  # rows whose columns are the table's columns
_EXAMPLES = 3
Record = tuple[int, dict[str, Any] | str]  # where it begins, and the columns by name or what is wrong with it


class Columns(NamedTuple):
    """What a file holds: the names of its columns, and its first rows as text."""

    names: list[str]
    examples: list[dict[str, str]]


def read_rows(
    path: str | Path, columns: ColumnsConfig, limit: int | None = None, warn: Warn = lambda code, text: None
) -> list[Row]:
    """The rows of a JSONL, CSV or Parquet file, the first `limit` of them if given.

    `warn` is told of what is not learnt from. Raises UserError, one sentence, where the file can't be read, is too
    large or has wrong rows (the first five are named by their lines), and ConfigError where it has no such file or
    columns.
    """
    path = _checked(path)
    layout = layout_of(columns_of(path).names, columns, path.name, warn)
    unit = "row" if path.suffix.lower() == _PARQUET else "line"
    return rows_of(_records(path, layout.read), layout, path.name, unit, limit, warn)


def columns_of(path: str | Path) -> Columns:
    """The columns of a file and three example rows, for whoever says which is which. Raises like `read_rows`."""
    path = _checked(path)
    records = list(islice(_records(path), _LOOKED_AT))
    good = [record for _, record in records if isinstance(record, dict)]
    if records and not good:
        raise UserError(_wrong([(line, str(fault)) for line, fault in records], path.name, "line"))
    if not good:
        raise UserError(f"{path.name} has no rows: give a file with a question and a solution in each.")
    names = list(dict.fromkeys(_shown(name) for record in good for name in record))
    _check_width(len(names), path.name)
    examples = [{_shown(name): _shown(value) for name, value in record.items()} for record in good[:_EXAMPLES]]
    return Columns(names, examples)


def rows_of(
    records: Iterable[Record],
    layout: Layout,
    table: str,
    unit: str,
    limit: int | None = None,
    warn: Warn = lambda code, text: None,
) -> list[Row]:
    """The rows that `records` hold; `unit` is what their numbers count. Raises UserError that names the wrong ones."""
    rows: list[Row] = []
    wrong: list[tuple[int, str]] = []
    notes: Notes = Counter()
    total, spare = 0, MAX_EARLIER
    for number, record in records:
        if total == MAX_ROWS:
            raise UserError(f"{table} has more than {MAX_ROWS:,} rows, the most that are read: give fewer.")
        total += 1
        most = MOST_ANSWERS if spare > 0 else 1
        found = record if isinstance(record, str) else rows_in(number, record, layout, notes, most)
        if isinstance(found, str):
            wrong.append((number, found))
        else:
            rows += found
            spare -= sum(_A_ROW + len(row.question) for row in found[1:])
            if limit is not None and len(rows) >= limit:
                break
    if wrong:
        raise UserError(_wrong(wrong, table, unit))
    said = [f"{notes[key]:,} of its {total:,} conversations {words}" for key, words in SAID.items() if notes[key]]
    if not rows:
        why = f": {said[0]}." if said else ": give a table with a question and a solution in each."
        raise UserError(f"{table} has no rows{' to learn from' if said else ''}{why}")
    if said:
        warn("turns_left_out", f"Of {table} not everything is learnt: {'; '.join(said)}.")
    return rows[:limit]


def _wrong(faults: Sequence[tuple[int, str]], table: str, unit: str) -> str:
    if len(faults) == 1:
        number, fault = faults[0]
        return f"{unit.capitalize()} {number:,} of {table} {fault}: correct it or leave it out."
    named = [f"{unit} {number:,} {fault}" for number, fault in faults[:_SHOWN]]
    more = [f"and {len(faults) - _SHOWN:,} more"] if len(faults) > _SHOWN else []
    return f"{len(faults):,} {unit}s of {table} are wrong ({'; '.join(named + more)}): correct them or leave them out."


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return NOT_UTF8.sub("\ufffd", text)


# --- files -----------------------------------------------------------------------------------------------------------


def _checked(path: str | Path) -> Path:
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


def _records(path: Path, wanted: Iterable[str] | None = None) -> Iterator[Record]:
    """Every record of the file, one after another. What is not UTF-8 shows up as lone surrogates in its field.

    Where only some columns are `wanted`, others may be left out.
    """
    if path.suffix.lower() == _PARQUET:
        yield from parquet_records(path, MAX_ROWS, wanted)
        return
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        yield from _READERS[path.suffix.lower()](stream, path.name)


def _json_lines(stream: TextIO, name: str) -> Iterator[Record]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
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
        yield number, record if isinstance(record, dict) else "is not a JSON object"


def _csv_rows(stream: TextIO, name: str) -> Iterator[Record]:
    csv.field_size_limit(MAX_BYTES)  # of this process; Python's own is shorter than a long thought
    first = stream.readline()
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(chain([first], stream), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    while True:
        line = reader.line_num + 1
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
    _check_width(len(cells), name)
    names = [_shown(cell).strip() for cell in cells]
    twice = next((column for column, times in Counter(names).items() if column and times > 1), None)
    if twice:
        raise UserError(f"{name} has two columns named {twice!r}: rename one of them.")
    return names


def _check_width(columns: int, name: str) -> None:
    if columns > MAX_COLUMNS:
        raise UserError(f"{name} has {columns:,} columns, more than {MAX_COLUMNS:,}: leave out those without a use.")


def _fields(number: int) -> str:
    return f"{number} field" if number == 1 else f"{number} fields"


_PARQUET = ".parquet"
_READERS = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), _json_lines),
    **dict.fromkeys((".csv", ".tsv"), _csv_rows),
}
