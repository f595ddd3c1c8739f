"""Rows of questions and solutions, read from a JSONL, CSV or Parquet file; every wrong row is named by its line.

Files come from strangers: their size, their rows and their fields are limited, and nothing in them is run.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from distill.config.errors import ConfigError, UserError
from distill.config.messages import instead
from distill.config.run_config import ColumnsConfig
from distill.data.parquet import parquet_records

MAX_BYTES = 20_000_000
MAX_ROWS = 100_000
MAX_COLUMNS = 1_000
MAX_CHARACTERS = 200_000  # of a question or a solution: a thought of 32,768 tokens has about 130,000
MAX_NAME = 80  # characters of a family's name

_SHOWN = 5  # wrong rows that are named
_LOOKED_AT = 100  # rows whose columns are the table's columns
_EXAMPLES = 3
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # what is made of bytes that can't be decoded

TEACHERS = "teacher_solution"  # what files call solutions that a teacher wrote

# Names that columns often have, the most telling first.
_USUAL = {
    "question": ("question", "problem", "prompt", "instruction", "input", "query"),
    "solution": ("solution", TEACHERS, "worked_solution", "response", "output", "completion", "answer"),
    "answer": ("final_answer", "answer", "expected_answer", "gold", "target", "label"),
    "family": ("family", "category", "subject", "topic", "type", "problem_type"),
    "messages": ("messages",),
}

Record = tuple[int, dict[str, Any] | str]  # where it begins, and the columns by name or what is wrong with it


class Columns(NamedTuple):
    """What a file holds: the names of its columns, and its first rows as text."""

    names: list[str]
    examples: list[dict[str, str]]


@dataclass(frozen=True)
class Row:
    """A question and its worked solution; `line` is where in the file it begins (the first line, or row, is 1)."""

    line: int
    question: str
    solution: str
    answer: str | None = None
    family: str | None = None


def read_rows(path: str | Path, columns: ColumnsConfig, limit: int | None = None) -> list[Row]:
    """The rows of a JSONL, CSV or Parquet file, the first `limit` of them if given.

    Raises UserError, one sentence, where the file can't be read, is too large or has wrong rows (the first five are
    named by their lines), and ConfigError where it has no such file or columns.
    """
    path = _checked(path)
    names = columns_of(path).names
    columns = settled(columns, names)
    check_columns(names, columns, path.name)
    unit = "row" if path.suffix.lower() == _PARQUET else "line"
    return rows_of(_records(path, wanted(columns).values()), columns, path.name, unit, limit)


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


def guess_columns(names: Sequence[str]) -> dict[str, str | None]:
    """{part of ColumnsConfig: the column that is most likely it, None where none looks so}."""
    free = {name.strip().lower().replace(" ", "_").replace("-", "_"): name for name in reversed(names)}
    found = {part: next((free.pop(name) for name in usual if name in free), None) for part, usual in _USUAL.items()}
    if found["question"] and found["solution"]:
        found["messages"] = None  # the two say it more plainly
    elif found["messages"]:
        found |= {"question": None, "solution": None}
    return found


def settled(columns: ColumnsConfig, names: Sequence[str]) -> ColumnsConfig:
    """The columns to read: solutions from "teacher_solution" where they would be in "solution" and there is none."""
    usual = ColumnsConfig.model_fields["solution"].default
    taken = {column for part, column in columns if part != "solution"}
    if (
        columns.messages is None
        and columns.solution == usual
        and usual not in names
        and TEACHERS in names
        and TEACHERS not in taken
    ):
        return columns.model_copy(update={"solution": TEACHERS})
    return columns


def check_columns(names: Sequence[str], columns: ColumnsConfig, table: str) -> None:
    """Raises ConfigError unless the table has all columns that are asked for."""
    for part, column in wanted(columns).items():
        if column not in names:
            raise ConfigError(
                f"{table} has no column {column!r}, which data.columns.{part} names: {instead(column, names)}"
            )


def rows_of(
    records: Iterable[Record], columns: ColumnsConfig, table: str, unit: str, limit: int | None = None
) -> list[Row]:
    """The rows that `records` hold; `unit` is what their numbers count. Raises UserError that names the wrong ones."""
    rows: list[Row] = []
    wrong: list[tuple[int, str]] = []
    for number, record in records:
        if len(rows) + len(wrong) == MAX_ROWS:
            raise UserError(f"{table} has more than {MAX_ROWS:,} rows, the most that are read: give fewer.")
        row = record if isinstance(record, str) else row_of(number, record, columns)
        if isinstance(row, str):
            wrong.append((number, row))
        else:
            rows.append(row)
            if len(rows) == limit:
                break
    if wrong:
        raise UserError(_wrong(wrong, table, unit))
    if not rows:
        raise UserError(f"{table} has no rows: give a table with a question and a solution in each.")
    return rows


def _wrong(faults: Sequence[tuple[int, str]], table: str, unit: str) -> str:
    if len(faults) == 1:
        number, fault = faults[0]
        return f"{unit.capitalize()} {number:,} of {table} {fault}: correct it or leave it out."
    named = [f"{unit} {number:,} {fault}" for number, fault in faults[:_SHOWN]]
    more = [f"and {len(faults) - _SHOWN:,} more"] if len(faults) > _SHOWN else []
    return f"{len(faults):,} {unit}s of {table} are wrong ({'; '.join(named + more)}): correct them or leave them out."


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _NOT_UTF8.sub("\ufffd", text)


# --- one row ---------------------------------------------------------------------------------------------------------


def wanted(columns: ColumnsConfig) -> dict[str, str]:
    """{part: column} of what is read: a conversation stands for question and solution."""
    left_out = ("question", "solution") if columns.messages else ()
    return {part: column for part, column in columns if column is not None and part not in left_out}


def row_of(number: int, record: dict[str, Any], columns: ColumnsConfig) -> Row | str:
    """The row of a record, or what is wrong with it."""
    values: dict[str, str] = {}
    for part, column in wanted(columns).items():
        value = record.get(column)
        if part == "messages":
            turns = _turns(value)
            if isinstance(turns, str):
                return f"{turns} in {column!r}"
            fault = next(filter(None, (_text_fault(text, column, MAX_CHARACTERS) for text in turns)), None)
            if fault:
                return fault
            values |= zip(("question", "solution"), (text.strip() for text in turns), strict=True)
            continue
        if part in ("answer", "family") and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if value is None or (isinstance(value, str) and not value.strip()):
            return f"has no {column!r}"
        if not isinstance(value, str):
            return f"has a value in {column!r} that is not text"
        fault = _text_fault(value, column, MAX_NAME if part == "family" else MAX_CHARACTERS)
        if fault:
            return fault
        values[part] = value.strip()
    return Row(number, **values)


def _text_fault(text: str, column: str, most: int) -> str | None:
    if len(text) > most:
        return f"has {len(text):,} characters in {column!r}, more than {most:,}"
    return f"has characters in {column!r} that are not UTF-8" if _NOT_UTF8.search(text) else None


def _turns(value: Any) -> tuple[str, str] | str:
    """(first user's turn, the assistant's that answers it: its last before the user's next), or what is wrong.

    `value`: a list of {"role", "content"}, as chat templates take them. Other turns, a system's too, are left out.
    """
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        return "has no list of turns ({role, content})"
    said = [(turn.get("role"), turn.get("content")) for turn in value]
    start = next((at for at, (role, _) in enumerate(said) if role == "user"), len(said))
    end = next((at for at, (role, _) in enumerate(said) if role == "user" and at > start), len(said))
    answers = [content for role, content in said[start:end] if role == "assistant"]
    if not answers:
        return "has no user's turn that an assistant's follows"
    question, answer = said[start][1], answers[-1]
    if not all(isinstance(text, str) and text.strip() for text in (question, answer)):
        return "has a turn without text"
    return question, answer


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
