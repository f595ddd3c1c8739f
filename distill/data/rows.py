"""What one record of a table means: the questions and solutions in it, or what is wrong with it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import takewhile
from typing import Any

from distill.config.run_config import ColumnsConfig
from distill.data.chats import Exchange, Notes, Said, exchanges, turns_in
from distill.data.layouts import Layout
from distill.models.conversation import MARK, Turn, joined, turns_of

MAX_CHARACTERS = 200_000  # of a question or a solution: a thought of 32,768 tokens has about 130,000
MAX_NAME = 80  # characters of a family's name

NOT_UTF8 = re.compile("[\\ud800-\\udfff]")  # what is made of bytes that can't be decoded
_MARKED = "####"  # what comes before the answer, as GSM8K has it
_NO_TEXT = ("nan", "nat", "<na>")  # what pandas writes for what is missing
_BRIEF = 20  # characters: a longer text is none of those
_WHOLE = 10**15  # whole numbers up to here are the same as fractions: 18.0 is 18


@dataclass(frozen=True)
class Row:
    """A question and its worked solution; `line` is where in the file it begins (the first line, or row, is 1).

    Of a conversation each answer is one: its question has all that was said before it (conversation.py), `opening` is
    the question up to the first answer, and `part` counts from 0, the last answer.
    """

    line: int
    question: str
    solution: str
    answer: str | None = None
    family: str | None = None
    part: int = 0
    opening: str | None = None


class _WrongError(Exception):
    """What is wrong with a record, to be said after where it is: "has no 'solution'"."""


def rows_in(number: int, record: Mapping[str, Any], layout: Layout, notes: Notes, most: int = 1) -> list[Row] | str:
    """The rows of a record, that of the last answer first and of a conversation at most so many, or what is wrong.

    What of it can't be learnt is counted in `notes`; where that is everything, there are no rows.
    """
    columns = layout.columns
    try:
        found, place = _exchanges(record, layout, notes, most)
        for question, _ in found:
            _check_length(question, place, MAX_CHARACTERS)
        answer = _named(record, columns.answer, MAX_CHARACTERS) if columns.answer else None
        family = _named(record, columns.family, MAX_NAME) if columns.family else None
    except _WrongError as wrong:
        return str(wrong)
    if answer and _MARKED in answer:  # a worked solution that ends in it
        answer = answer.rpartition(_MARKED)[2].strip() or answer
    opening = _opening(found[0].question) if found else None
    return [
        Row(number, question, solution, None if part else answer, family, part, opening)
        for part, (question, solution) in enumerate(found)
    ]


def _exchanges(record: Mapping[str, Any], layout: Layout, notes: Notes, most: int) -> tuple[list[Exchange], str]:
    """(what there is to learn, the column that is named where it is too long)."""
    columns = layout.columns
    system = _text(record, layout.system, needed=False) if layout.system else ""
    if columns.messages:
        place, turns = columns.messages, _turns(record, columns.messages)
    else:
        place = columns.solution
        if not any(_holds_turns(record.get(column)) for column in (columns.question, columns.solution)):
            question, solution = _text(record, columns.question), _text(record, columns.solution)
            below = _text(record, layout.below, needed=False) if layout.below else ""
            question = f"{question}\n\n{below}" if below else question
            if not system:
                return [Exchange(question, solution)], place
            return [Exchange(joined([Turn("system", system), Turn("user", question)]), solution)], place
        turns = _prompted(record, columns)
    if system and turns[:1] and turns[0].role != "system":
        turns = [Said("system", system), *turns]
    found = exchanges(turns, notes, most)
    if isinstance(found, str):
        raise _WrongError(f"{found} in {place!r}")
    return found, place


def _prompted(record: Mapping[str, Any], columns: ColumnsConfig) -> list[Said]:
    """The turns of a prompt and its completion, of which either is a list of turns: the last answer alone is learnt."""
    sides = [
        _turns(record, column) if _holds_turns(record.get(column)) else [Said(role, _text(record, column))]
        for column, role in ((columns.question, "user"), (columns.solution, "assistant"))
    ]
    begins = next((turn for turn in sides[1] if turn.role != "system"), None)
    whole = begins and begins.role == "user" and any(turn.text == begins.text for turn in sides[0])
    turns = sides[1] if whole else sides[0] + sides[1]  # a preference repeats its prompt
    return [turn._replace(learnt=False) if turn.role == "assistant" else turn for turn in turns[:-1]] + turns[-1:]


def _holds_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, Mapping) for turn in value)


def _turns(record: Mapping[str, Any], column: str) -> list[Said]:
    turns = turns_in(record.get(column))
    if isinstance(turns, str):
        raise _WrongError(f"{turns} in {column!r}")
    for turn in turns:
        _check(turn.text + turn.thought, column)
    return turns


def _opening(question: str) -> str | None:
    """What a conversation begins with, up to its first answer; None where that is the question."""
    turns = turns_of(question)
    first = list(takewhile(lambda turn: turn.role != "assistant", turns))
    return joined(first) if len(first) < len(turns) else None


# --- fields ----------------------------------------------------------------------------------------------------------


def _text(record: Mapping[str, Any], column: str, needed: bool = True) -> str:
    """The text of a field, "" for one that is missing and not `needed`."""
    value = record.get(column)
    if is_missing(value):
        if needed:
            raise _WrongError(f"has no {column!r}")
        return ""
    if not isinstance(value, str):
        raise _WrongError(f"has a value in {column!r} that is not text")
    _check(value, column)
    return value.strip()


def _named(record: Mapping[str, Any], column: str, most: int) -> str:
    """The text of a field that may be a number."""
    value = record.get(column)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and not is_missing(value):
        value = str(int(value) if abs(value) < _WHOLE and value == int(value) else value)
    value = _text({column: value}, column)
    _check_length(value, column, most)
    return value


def is_missing(value: Any) -> bool:
    """Whether a field holds nothing: null, blanks, a number that is none, or what pandas writes for one."""
    if isinstance(value, str):
        return not value or value.isspace() or (len(value) < _BRIEF and value.strip().lower() in _NO_TEXT)
    return value is None or (isinstance(value, float | Decimal) and not math.isfinite(value))


def _check(text: str, column: str) -> None:
    """Raises _WrongError where a text is too long, is not UTF-8 or holds what marks turns."""
    _check_length(text, column, MAX_CHARACTERS)
    if text.isascii() and MARK not in text:
        return
    if NOT_UTF8.search(text):
        raise _WrongError(f"has characters in {column!r} that are not UTF-8")
    if MARK in text:
        raise _WrongError(f"has the control character {MARK!r} in {column!r}, which marks turns here")


def _check_length(text: str, column: str, most: int) -> None:
    if len(text) > most:
        raise _WrongError(f"has {len(text):,} characters in {column!r}, more than {most:,}")
