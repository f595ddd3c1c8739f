"""Questions that a table has several times: all solutions are learnt, none crosses a split, contradictions are said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from distill.data.grading import extract
from distill.data.layouts import Warn
from distill.data.problems import Problem
from distill.data.response_selection import Response, choose
from distill.data.rows import Row
from distill.data.splits import key_of, split_of_key
from distill.models.conversation import turns_of

Questions = Mapping[str, Sequence[Row]]  # what decides a question's split: the rows that ask it

_NUMBER = re.compile(r"[-+]?\d{1,15}(?:\.\d{1,15})?")
_NAMED = 3  # questions whose lines are named
_JUDGED = ("held_out", "validation")


def by_question(rows: Sequence[Row]) -> Questions:
    """{what decides the split of a question: its rows in the order of the table}, without rows that repeat another.

    All answers of a conversation belong to what it opens with.
    """
    found: dict[str, dict[tuple[str, str], Row]] = {}
    opening = key = ""
    for row in rows:
        if not row.opening or row.opening is not opening:  # the answers of a conversation share it
            opening, key = row.opening, key_of(row.opening or row.question)
        asked = row.question if row.opening else key
        found.setdefault(key, {}).setdefault((asked, row.solution), row)
    return {key: list(some.values()) for key, some in found.items()}


def say_repeated(
    questions: Mapping[str, Sequence[Row]], rows: Sequence[Row], table: str, keep: str, warn: Warn
) -> None:
    """Warn of what is left out of the `rows`, of several solutions, and of those that contradict one another."""
    used = [row for key, same in questions.items() for row in (same if split_of_key(key) == "train" else same[:1])]
    earlier = sum(row.part > 0 for row in rows) - sum(row.part > 0 for row in used)
    repeated = len(rows) - len(used) - earlier
    if repeated:
        warn(
            "repeated_questions",
            f"{repeated:,} of {len(rows):,} rows of {table} repeat an earlier question: left out.",
        )
    if earlier:
        warn(
            "answers_not_judged",
            f"{earlier:,} earlier answers of conversations in {table} are not used, as their conversations are held "
            "out or repeated: of those the last answer is asked for.",
        )
    several = [some for some in (_solutions(same) for same in questions.values()) if len(some) > 1]
    if several:
        learnt = "all of them are learnt" if keep == "all" else f"those are learnt that data.keep={keep} keeps"
        warn(
            "several_solutions",
            f"{_questions(len(several))} of {table} {_have(several)} several solutions: {learnt}, and where a student "
            "is judged by such a question, the first counts.",
        )
    differing = [same for same in several if len({_result(row) for row in same}) > 1]
    if differing:
        lines = "; ".join(" and ".join(f"{row.line:,}" for row in same[:2]) for same in differing[:_NAMED])
        warn(
            "contradictions",
            f"{_questions(len(differing))} of {table} {_have(differing)} solutions with different answers (such as "
            f"rows {lines}): correct them, or set data.keep=majority; the first is judged by.",
        )
    _say_shared(questions, table, warn)


def kept(problems: Sequence[Problem], keep: str, table: str, warn: Warn) -> list[Problem]:
    """The training problems, of several solutions of one question those that `keep` names, as of teachers' answers."""
    if keep == "all":
        return list(problems)
    same: dict[str, list[Problem]] = {}
    for problem in problems:
        same.setdefault(key_of(problem.question), []).append(problem)
    groups = list(same.values())
    written = [[Response(problem.solution, True, 0) for problem in group] for group in groups]
    chosen = choose({"": written}, [group[0] for group in groups], keep)
    found = [next(one for one in groups[row.problem] if one.solution == row.text) for row in chosen.rows]
    if len(found) < len(problems):
        warn(
            "solutions_not_kept",
            f"{len(problems) - len(found):,} of {len(problems):,} training solutions of {table} are left out, as "
            f"data.keep is {keep!r}.",
        )
    return found


def _solutions(same: Sequence[Row]) -> list[Row]:
    """Those rows that ask the same: a conversation's answers each have a question of their own."""
    return [row for row in same if not row.opening]


def _result(row: Row) -> str:
    """The answer as far as two can be told apart without grading them: 18 is 18.0 and $1,000 is 1000."""
    answer = row.answer if row.answer is not None else extract(row.solution) or ""
    plain = answer.strip().rstrip(".").replace(",", "").lstrip("$")
    return f"{float(plain):.12g}" if _NUMBER.fullmatch(plain) else key_of(plain)


def _say_shared(questions: Questions, table: str, warn: Warn) -> None:
    """Warn where a student is judged by what it was trained on, but for a system turn."""
    asked: dict[str, set[str]] = {}
    systems = 0
    for key, (row, *_) in questions.items():
        turns = turns_of(row.opening or row.question)
        systems += len(turns) > 1
        asked.setdefault(split_of_key(key), set()).add(key_of(turns[-1].text) if len(turns) > 1 else key)
    shared = sum(len(asked.get(split, set()) & asked.get("train", set())) for split in _JUDGED)
    if systems and shared:
        warn(
            "questions_shared",
            f"{_questions(shared)} of {table} that a student is judged by {_have(range(shared))} been trained on after "
            "another system turn: where that holds no facts, take one system turn for all.",
        )


def _questions(n: int) -> str:
    return f"{n:,} question" if n == 1 else f"{n:,} questions"


def _have(some: Sequence) -> str:
    return "has" if len(some) == 1 else "have"
