"""Which column of a table holds what: as its config says, or by the layouts that data sets commonly have.

A layout that is none of questions and solutions is refused by its name. What is read other than by the letter of the
config, and columns that belong to a problem but are not read, are said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distill.config.errors import ConfigError
from distill.config.messages import instead, listed
from distill.config.run_config import ColumnsConfig

Warn = Callable[[str, str], None]  # code, plain words

TEACHERS = "teacher_solution"  # what files call solutions that a teacher wrote

# Names that columns often have, the most telling first.
_USUAL = {
    "question": ("question", "problem", "prompt", "instruction", "input", "inputs", "query"),
    "solution": (
        "solution",
        TEACHERS,
        "worked_solution",
        "generated_solution",
        "response",
        "output",
        "completion",
        "chosen",
        "answer",
        "targets",
    ),
    "answer": ("final_answer", "answer", "expected_answer", "gold", "target", "label"),
    "family": ("family", "category", "subject", "topic", "type", "problem_type"),
    "messages": ("messages", "conversations", "conversation", "dialogue", "dialog"),
}
_BELOW = {"instruction": ("input", "context")}  # what is part of a question: Alpaca's and Dolly's columns
_SYSTEM = ("system", "system_prompt")  # OpenOrca's
# Columns that belong to a problem, but are read neither with its question nor with its solution.
_PARTS = ("options", "choices", "context", "passage", "input", "history", "tools", "functions", "image", "images")
_PARTS += ("reasoning", "reasoning_content", "thinking", "rationale")

_CHOICE = "a table of multiple choice ({}): put the choices into the questions and the right ones into the solutions"
_PLAIN_TEXTS = "a table of plain texts ({}): give a question and a solution in each row"
_REFUSED = (  # (columns that tell, what such a table is and what to do)
    (("options",), _CHOICE.format("options")),
    (("choices",), _CHOICE.format("choices")),
    (("opa", "opb"), _CHOICE.format("opa to opd")),
    (("a", "b", "c", "d"), _CHOICE.format("A to D")),
    (
        ("prompt", "completion", "label"),
        "a table of judged answers (KTO's: prompt, completion, label): keep the rows whose label is true, and leave "
        "the labels out",
    ),
    (
        ("context", "question", "answers"),
        "a table of passages (SQuAD's: context, question, answers): put each passage into its question, and one answer "
        "into a column of solutions",
    ),
    (
        ("message_id", "parent_id"),
        "a tree of messages (OpenAssistant's: message_id, parent_id): write its paths as lists of turns into a column "
        "of messages",
    ),
    (("premise", "hypothesis"), "a table of pairs of sentences (premise, hypothesis): make a question of each pair"),
    (("translation",), "a table of translations (translation): make a question and a solution of each"),
)
_UNREADABLE = (  # the same, where no column looks like a question's or a solution's
    (("text",), _PLAIN_TEXTS.format("text")),
    (("content",), _PLAIN_TEXTS.format("content")),
)
_CALLED = {"question": "questions", "solution": "solutions", "messages": "conversations"}


@dataclass(frozen=True)
class Layout:
    """The columns to read. `below`: what is in that column, if anything, stands below the question; `system`: what is
    in that opens the conversation."""

    columns: ColumnsConfig
    below: str | None = None
    system: str | None = None

    @property
    def read(self) -> list[str]:
        """The names of all of them."""
        return list(dict.fromkeys(filter(None, [*wanted(self.columns).values(), self.below, self.system])))


def layout_of(names: Sequence[str], columns: ColumnsConfig, table: str, warn: Warn = lambda code, text: None) -> Layout:
    """How to read a table with columns of these names.

    `warn` is told what is read other than `columns` has it, and what is not read. Raises ConfigError where a column
    that is asked for is not there, or the table is of a layout without questions and solutions.
    """
    unnamed = columns.messages is None and (columns.question, columns.solution) == ("question", "solution")
    found = settled(columns, names)
    if unnamed and (found != columns or not set(wanted(columns).values()) <= set(names)) and (what := refusal(names)):
        raise ConfigError(f"{table} is {what}.")
    check_columns(names, found, table)
    for part, column in wanted(found).items():
        if column not in (getattr(columns, part), TEACHERS):
            warn(f"column_taken:{part}", f"The {_CALLED[part]} of {table} are read from its column {column!r}.")
    used = set(wanted(found).values())
    free = {_plain(name): name for name in reversed(names) if name not in used}
    beside = () if found.messages else _BELOW.get(_plain(found.question), ())
    below = next((free.pop(name) for name in beside if name in free), None)
    system = next((free.pop(name) for name in _SYSTEM if name in free), None)
    if below:
        warn("column_below", f"What {table} has in {below!r} is put below the question in {found.question!r}.")
    if system:
        warn("column_system", f"What {table} has in {system!r} is the system turn before the question.")
    _say_unread(free, found, table, warn)
    return Layout(found, below, system)


def wanted(columns: ColumnsConfig) -> dict[str, str]:
    """{part: column} of what is read: a conversation stands for question and solution."""
    left_out = ("question", "solution") if columns.messages else ()
    return {part: column for part, column in columns if column is not None and part not in left_out}


def guess_columns(names: Sequence[str]) -> dict[str, str | None]:
    """{part of ColumnsConfig: the column that is most likely it, None where none looks so}."""
    free = {_plain(name): name for name in reversed(names)}
    found = {part: next((free.pop(name) for name in usual if name in free), None) for part, usual in _USUAL.items()}
    if not found["question"] and _plain(found["solution"] or "") == "chosen":  # a preference: both are in it
        found["messages"] = found["messages"] or found["solution"]
    if found["question"] and found["solution"]:
        found["messages"] = None  # the two say it more plainly
    elif found["messages"]:
        found |= {"question": None, "solution": None}
    return found


def refusal(names: Sequence[str]) -> str | None:
    """What a table with these columns is, and what to do, where guessing which is which would read half of it."""
    there, guess = {_plain(name) for name in names}, guess_columns(names)
    if guess["messages"] or {"question", "solution"} <= there:
        return None
    unlike = not (guess["question"] and guess["solution"]) and "label" not in there  # of texts with labels, who knows
    known = _REFUSED + _UNREADABLE if unlike else _REFUSED
    return next((words for telling, words in known if there.issuperset(telling)), None)


def settled(columns: ColumnsConfig, names: Sequence[str]) -> ColumnsConfig:
    """The columns to read: where those of the default names are not there, the ones that are likely them."""
    absent = [part for part in ("question", "solution") if getattr(columns, part) not in names]
    if columns.messages or not absent or any(getattr(columns, part) != part for part in absent):
        return columns
    taken = {column for part, column in columns if part not in absent}
    guess = guess_columns([name for name in names if name not in (columns.answer, columns.family)])
    if guess["messages"] and columns.question == "question" and columns.solution == "solution":
        return columns.model_copy(update={"messages": guess["messages"]})
    return columns.model_copy(update={part: guess[part] for part in absent if guess[part] not in (None, *taken)})


def check_columns(names: Sequence[str], columns: ColumnsConfig, table: str) -> None:
    """Raises ConfigError unless the table has all columns that are asked for."""
    there = wanted(columns)
    for part, column in there.items():
        if column not in names:
            free = [name for name in names if name not in there.values()]
            what = instead(column, free) if free else f"it has only {listed([*map(repr, names)])}."
            raise ConfigError(f"{table} has no column {column!r}, which data.columns.{part} names: {what}")


def _say_unread(free: dict[str, str], columns: ColumnsConfig, table: str, warn: Warn) -> None:
    """Warn of columns that are not read, though a problem isn't whole without them."""
    if "rejected" in free:
        warn("rejected_unread", f"Of {table} nothing in {free['rejected']!r} is learnt: it is what is not to be said.")
    parts = [free[name] for name in _PARTS if name in free]
    if parts:
        warn(
            "columns_unread",
            f"{table} has {listed([*map(repr, parts)])} beside what is read of it: what a problem needs of that must "
            "be in its question, and what is to be learnt in its solution.",
        )


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
