"""Conversations as files hold them, and what a student can learn of each: an answer, given everything said before it.

Every layout that is common is read: {role, content} (OpenAI), {from, value} (ShareGPT), content as a list of parts, a
list of texts that take turns, a column of roles beside one of texts. What can't be learnt is counted in `Notes` under
the keys of SAID, and said by whoever reads the file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple

from distill.models.conversation import Turn, joined

MOST_ANSWERS = 10  # of one conversation: each has all that was said before it, so a long one would grow as its square

Notes = Counter[str]  # how many rows something is left out of, by the keys of SAID

SAID = {  # what is said of so many rows
    "tools": "call tools: what comes from the first call on is not learnt",
    "media": "hold more than text (images, sound, files): what comes from the first of that on is not learnt",
    "unanswered": "end with a question that has no answer: it is left out",
    "unasked": "begin with the assistant: what it says before it is asked is left out",
    "unlearnt": "have no answer that is to be learnt (weight: 0)",
    "many": f"have more answers than are learnt of one ({MOST_ANSWERS}, in a large table 1): its last are",
}

_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "bing", "bard", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(
        ("tool", "function", "function_call", "function_response", "function-call", "function-response"), "tools"
    ),
    **dict.fromkeys(("tool_call", "tool_calls", "tool_response", "tool_result", "observation", "ipython"), "tools"),
}
_WHO, _WHAT = ("role", "from", "speaker"), ("content", "value", "text", "parts")  # a turn's keys
_CALLS = ("tool_calls", "function_call")
_TOOL_PARTS = ("tool_use", "tool_result", "tool_call")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_NO_LIST = "has no list of turns ({role, content})"


class Said(NamedTuple):
    """A turn as it is read. `role`: one of a conversation's, or "tools" or "media" for what can't be learnt.

    `learnt`: whether the file wants the student to learn it. `thought`: what the assistant thought before it.
    """

    role: str
    text: str
    learnt: bool = True
    thought: str = ""


class Exchange(NamedTuple):
    """`question`: everything said up to an answer, as one text; `answer`: with the thoughts before it."""

    question: str
    answer: str


def turns_in(value: Any) -> list[Said] | str:
    """The turns that a field holds, or what is wrong with them."""
    turns = _listed(value)
    if turns is None:
        return _NO_LIST
    read = [_said(turn, number) for number, turn in enumerate(turns)]
    return next((turn for turn in read if isinstance(turn, str)), read)


def exchanges(turns: Sequence[Said], notes: Notes, most: int = MOST_ANSWERS) -> list[Exchange] | str:
    """The answers that can be learnt, at most so many and the last one first, or what is wrong with the turns.

    None where all are of what can't be learnt, which is counted in `notes`. Turns of the same role in a row are one.
    """
    end = next((at for at, turn in enumerate(turns) if turn.role not in ("system", "user", "assistant")), len(turns))
    kept = [turn for turn in turns[:end] if turn.text.strip() or turn.role != "system"]
    if any(not turn.text.strip() for turn in kept):
        return "has a turn without text"
    told = _merged(kept)
    start = next((at for at, turn in enumerate(told) if turn.role == "user"), len(told))
    answers = [at for at, turn in enumerate(told) if turn.role == "assistant" and at > start]
    if end < len(turns):
        notes[turns[end].role] += 1
    elif not answers:
        return "has no user's turn that an assistant's follows"
    elif told[-1].role == "user":
        notes["unanswered"] += 1
    notes["unasked"] += any(turn.role == "assistant" for turn in told[:start])
    learnt = [at for at in answers if told[at].learnt]
    notes["unlearnt"] += bool(answers) and not learnt
    notes["many"] += len(learnt) > most
    system = [turn for turn in told[:start] if turn.role == "system"]
    said = [Turn(turn.role, turn.text) for turn in system + told[start:]]
    shift = len(system) - start
    return [Exchange(joined(said[: at + shift]), _whole(told[at])) for at in reversed(learnt[-most:])]


# --- turns of every layout -------------------------------------------------------------------------------------------


def _listed(value: Any) -> list[Any] | None:
    """A field's turns as a list of dictionaries, None where it holds no such list."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":  # a cell of CSV
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping) and value and all(isinstance(column, list) for column in value.values()):
        if len({len(column) for column in value.values()}) > 1:
            return None
        value = [dict(zip(value, turn, strict=True)) for turn in zip(*value.values(), strict=True)]
    if not isinstance(value, list):
        return None
    if value and all(isinstance(turn, str) for turn in value):  # LIMA's: two who take turns
        return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(value)]
    return value if all(isinstance(turn, Mapping) for turn in value) else None


def _said(turn: Mapping[str, Any], number: int) -> Said | str:
    who = next((turn[key] for key in _WHO if turn.get(key) is not None), None)
    role = _ROLES.get(who.strip().lower()) if isinstance(who, str) else None
    if role is None:
        named = f"whose role is {str(who)[:40]!r}" if who is not None else "without a role"
        return f"has a turn {named} (read are system, user, assistant and tool)"
    if role == "tools" or any(turn.get(key) for key in _CALLS):
        return Said("tools", "")
    content = next((turn[key] for key in _WHAT if turn.get(key) is not None), "")
    if isinstance(content, list) and any(isinstance(p, Mapping) and p.get("type") in _TOOL_PARTS for p in content):
        return Said("tools", "")
    text = _text(content)
    if text is None:
        return f"has a turn ({number + 1}) whose content is no text"
    if not isinstance(text, str):
        return Said("media", "")
    thought = next((turn[key] for key in _THOUGHTS if isinstance(turn.get(key), str)), "").strip()
    wanted = turn.get("weight", 1) != 0 and turn.get("train") is not False
    return Said(role, text.strip(), wanted, thought if role == "assistant" and "<think>" not in text else "")


def _text(content: Any) -> str | bool | None:
    """The text of a turn's content, False where it is not of text alone, None where it is no content."""
    if isinstance(content, str):
        return content
    parts = [content] if isinstance(content, Mapping) else content
    if not isinstance(parts, list):
        return None
    texts = []
    for part in parts:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
        if isinstance(text, str):
            texts.append(text)
        elif isinstance(part, Mapping):
            return False
        else:
            return None
    return "\n\n".join(text.strip() for text in texts if text.strip())


def _merged(turns: Sequence[Said]) -> list[Said]:
    """Turns of one role in a row as one; a system's turn in the middle opens the user's that follows."""
    first = next((at for at, turn in enumerate(turns) if turn.role != "system"), len(turns))
    later = (turn._replace(role="user") if turn.role == "system" else turn for turn in turns[first:])
    found = []
    for role, some in groupby(chain(turns[:first], later), lambda turn: turn.role):
        same = list(some)
        text = "\n\n".join(turn.text for turn in same)
        thought = "\n\n".join(turn.thought for turn in same if turn.thought)
        found.append(Said(role, text, any(turn.learnt for turn in same), thought))
    return found


def _whole(answer: Said) -> str:
    """An answer with its thoughts, as the models write them that think."""
    return f"<think>\n{answer.thought}\n</think>\n\n{answer.text}" if answer.thought else answer.text
