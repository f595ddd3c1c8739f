"""Rows of questions and solutions, read from a JSONL, CSV or Parquet file; every wrong row is named by its line.

Files come from strangers: their size, their rows and their fields are limited, and nothing in them is run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from distill.config.errors import UserError
from distill.config.run_config import ColumnsConfig
from distill.data.chats import MOST_ANSWERS, SAID, Notes
from distill.data.layouts import Layout, Warn, guess_columns, layout_of, settled
from distill.data.parquet import parquet_columns
from distill.data.records import MAX_BYTES, MAX_ROWS, Record, check_file, check_names, is_parquet, records
from distill.data.rows import NOT_UTF8, Row, rows_in

__all__ = ["MAX_BYTES", "MAX_ROWS", "Columns", "Record", "Row", "columns_of", "guess_columns", "read_rows", "rows_of"]
__all__ += ["settled"]

MAX_EARLIER = 50_000_000  # characters of questions: of conversations beyond that the last answers alone are learnt
_A_ROW = 400  # what one takes besides, about
_SHOWN = 5  # wrong rows that are named
_LOOKED_AT = 100  # rows whose columns are the table's columns
_EXAMPLES, _EXAMPLE = 3, 1_000  # rows that are shown, and the characters of each value


class Columns(NamedTuple):
    """What a file holds: the names of its columns, and its first rows as text."""

    names: list[str]
    examples: list[dict[str, str]]


def read_rows(
    path: str | Path, columns: ColumnsConfig, limit: int | None = None, warn: Warn = lambda code, text: None
) -> list[Row]:
    """The rows of a JSONL, CSV or Parquet file, the first `limit` of them if given.

    `warn` is told of what is not learnt from. Raises UserError, one sentence, where the file can't be read, is too
    large, unpacks to too much or has wrong rows (the first five are named by their lines), and ConfigError where it has
    no such file or columns.
    """
    path = check_file(path)
    layout = layout_of(columns_of(path).names, columns, path.name, warn)
    unit = "row" if is_parquet(path) else "line"
    return rows_of(records(path, layout.read), layout, path.name, unit, limit, warn)


def columns_of(path: str | Path) -> Columns:
    """The columns of a file and three example rows, cut, for whoever says which is which. Raises like `read_rows`."""
    path = check_file(path)
    if is_parquet(path):
        names, first = parquet_columns(path, MAX_ROWS, _EXAMPLES)
        examples = list(map(_example, first))
    else:
        names, examples = _seen(path)
    check_names(names, path.name)
    if not examples:
        raise UserError(f"{path.name} has no rows: give a file with a question and a solution in each.")
    return Columns(names, examples)


def _seen(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """(the columns of a text file's first rows, the first of those rows): what is looked at is not kept."""
    names: dict[str, None] = {}
    examples: list[dict[str, str]] = []
    wrong: list[tuple[int, str]] = []
    for number, record in islice(records(path), _LOOKED_AT):
        if isinstance(record, str):
            wrong.append((number, record))
            continue
        names |= dict.fromkeys(map(_shown, record))
        check_names(names, path.name)
        if len(examples) < _EXAMPLES:
            examples.append(_example(record))
    if wrong and not examples:
        raise UserError(_wrong(wrong, path.name, "line"))
    return list(names), examples


def _example(record: dict[str, Any]) -> dict[str, str]:
    return {_shown(name): _shown(value) for name, value in record.items()}


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
    return NOT_UTF8.sub("\ufffd", text[:_EXAMPLE])
