"""One row of a table: its question, its worked solution and what else its columns say, or what is wrong with it.

This module knows nothing of files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from distill.config.run_config import ColumnsConfig

MAX_CHARACTERS = 200_000  # of a question or a solution: a thought of 32,768 tokens has about 130,000
MAX_NAME = 80  # characters of a family's name

NOT_UTF8 = re.compile("[\ud800-\udfff]")  # what is made of bytes that can't be decoded


@dataclass(frozen=True)
class Row:
    """A question and its worked solution; `line` is where in the file it begins (the first line, or row, is 1)."""

    line: int
    question: str
    solution: str
    answer: str | None = None
    family: str | None = None


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
    return f"has characters in {column!r} that are not UTF-8" if NOT_UTF8.search(text) else None


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
