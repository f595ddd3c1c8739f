"""A conversation up to its last question, as one text that goes wherever a question goes: to caches, files and models.

A question of one turn is its own words. Of several, each turn stands behind a mark of its role, so that a template can
give every model the same turns in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

ROLES = ("system", "user", "assistant")
MARK = "\x02"  # what opens a turn, and no turn's own text may hold: nobody types it, and it takes a byte
_TURN = re.compile(f"(?:\\A|\n\n){MARK}({'|'.join(ROLES)})\x03")


class Turn(NamedTuple):
    """What somebody said: `role` is one of ROLES."""

    role: str
    text: str


def joined(turns: Sequence[Turn]) -> str:
    """The turns as one text: the words alone where there is but a user's turn."""
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].text
    return "\n\n".join(f"{MARK}{role}\x03{text}" for role, text in turns)


def turns_of(question: str) -> list[Turn]:
    """The turns that `joined` made a text of; any other text is one user's turn."""
    parts = _TURN.split(question) if question.startswith(MARK) else []
    turns = [Turn(*pair) for pair in zip(parts[1::2], parts[2::2], strict=True)]
    whole = turns and not parts[0] and turns[-1].role == "user"
    return turns if whole else [Turn("user", question)]


def told(question: str) -> str:
    """The question as people read it, and models that have no chat template: "System: ...", "User: ..."."""
    turns = turns_of(question)
    if len(turns) == 1:
        return question
    return "\n\n".join(f"{role.capitalize()}: {text}" for role, text in turns)


def shortened(question: str, characters: int) -> str:
    """At most so many characters of a question: of a conversation the last turns, of a turn alone its beginning."""
    turns = turns_of(question)
    while len(turns) > 1 and len(joined(turns)) > characters:
        turns = turns[1:]
        while turns[0].role == "assistant":  # no template lets the assistant begin
            turns = turns[1:]
    return turns[0].text[:characters] if len(turns) == 1 else joined(turns)
