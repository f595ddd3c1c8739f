"""Rows of questions and solutions, read from a JSONL, CSV or Parquet file; every wrong row is named by its line.

Files come from strangers: their size, their rows and their fields are limited, and nothing in them is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from distill.config.errors import ConfigError, UserError
from distill.config.messages import instead
from distill.config.run_config import ColumnsConfig
from distill.data.parquet import parquet_columns
from distill.data.records import MAX_BYTES, MAX_ROWS, Record, check_file, check_names, is_parquet, records

__all__ = ["MAX_BYTES", "MAX_ROWS", "Columns", "Record", "Row", "columns_of", "guess_columns", "read_rows", "rows_of"]

MAX_CHARACTERS = 200_000  # of a question or a solution: a thought of 32,768 tokens has about 130,000
MAX_NAME = 80  # characters of a family's name

_SHOWN = 5  # wrong rows that are named
_LOOKED_AT = 100  # rows whose columns are the table's columns
_EXAMPLES, _EXAMPLE = 3, 1_000  # rows that are shown, and the characters of each value
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

    Raises UserError, one sentence, where the file can't be read, is too large, unpacks to too much or has wrong rows
    (the first five are named by their lines), and ConfigError where it has no such file or columns.
    """
    path = check_file(path)
    names = columns_of(path).names
    columns = settled(columns, names)
    check_columns(names, columns, path.name)
    unit = "row" if is_parquet(path) else "line"
    return rows_of(records(path, wanted(columns).values()), columns, path.name, unit, limit)


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
    return _NOT_UTF8.sub("\ufffd", text[:_EXAMPLE])


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
