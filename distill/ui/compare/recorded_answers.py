"""What a run recorded of its student's answers: each judged problem before and after, the fixed problems by step.

Read from answers.json (cached while the file is the same) and from the run's sample events. Nothing is generated here.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from distill.data.problems import showcase
from distill.runs.events import Sample
from distill.runs.views import RunView

FIXED, BROKEN = "fixed", "broken"
CHANGES = (FIXED, BROKEN, "wrong both times", "right both times", "answered once so far")

_KEPT = 8  # runs whose answers stay in memory

Item = TypeVar("Item")


@dataclass(frozen=True)
class Said:
    """An answer's text, whether it is right, and when it was given, in words."""

    text: str
    right: bool | None
    when: str


@dataclass(frozen=True)
class Chosen:
    """A problem that a visitor looks at: `answer` is the right one, where it is known; `said` what the run recorded."""

    question: str
    answer: str | None
    before: Said | None = None
    after: Said | None = None


@dataclass(frozen=True)
class Pair:
    """A judged problem with the student's answers. `key` is its place in answers.json; `after` may still be missing."""

    key: int
    split: str
    family: str
    question: str
    answer: str
    before: tuple[str, bool]  # text, right?
    after: tuple[str, bool] | None

    @property
    def change(self) -> str:
        """One of CHANGES."""
        if self.after is None:
            return CHANGES[4]
        return CHANGES[((2, 0), (1, 3))[self.before[1]][self.after[1]]]


_read: OrderedDict[Path, tuple[tuple[int, int], tuple[Pair, ...]]] = OrderedDict()
_reading = threading.Lock()


def pairs(folder: Path) -> tuple[Pair, ...]:
    """Every judged problem of a run, in the order they were asked; () while there is none, or nothing readable."""
    path = folder / "answers.json"
    try:
        stat = path.stat()
    except OSError:
        return ()
    stamp = stat.st_mtime_ns, stat.st_size
    with _reading:
        known = _read.pop(path, None)
        if known is None or known[0] != stamp:
            known = stamp, _parse(path)
        _read[path] = known
        while len(_read) > _KEPT:
            _read.popitem(last=False)
        return known[1]


def _parse(path: Path) -> tuple[Pair, ...]:
    try:
        phases = json.loads(path.read_text(encoding="utf-8"))
        before, after = phases.get("before", []), phases.get("after") or []
        return tuple(_pair(key, first, then) for key, (first, then) in enumerate(zip_longest(before, after)) if first)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()


def _pair(key: int, first: dict[str, Any], then: dict[str, Any] | None) -> Pair:
    paired = then is not None and then["id"] == first["id"]
    return Pair(
        key,
        str(first["split"]),
        str(first["family"]),
        str(first["question"]),
        str(first["answer"]),
        (str(first["text"]), bool(first["right"])),
        (str(then["text"]), bool(then["right"])) if paired else None,
    )


def flips(every: Sequence[Pair], most: int = 40) -> list[Pair]:
    """The problems whose answer changed, fixed first, then broken; held-out ones first and the families in turn.

    At most `most`; where there are more, a quarter of the places is kept for the broken ones.
    """
    fixed, broken = ([pair for pair in every if pair.change == change] for change in (FIXED, BROKEN))
    room = most - min(len(broken), max(most // 4, most - len(fixed)))
    return _varied(fixed)[:room] + _varied(broken)[: most - min(room, len(fixed))]


def offered(every: Sequence[Pair], each: int = 20) -> list[Pair]:
    """The problems to choose from: the flips, and some of each other kind."""
    rest = (_varied([pair for pair in every if pair.change == change])[:each] for change in CHANGES[2:])
    return [*flips(every), *(pair for some in rest for pair in some)]


def _varied(found: Sequence[Pair]) -> list[Pair]:
    """Held-out problems before new wordings; within each, the families take turns."""
    splits: dict[bool, dict[str, list[Pair]]] = {True: {}, False: {}}
    for pair in found:
        splits[pair.split == "held_out"].setdefault(pair.family, []).append(pair)
    return [pair for families in splits.values() for pair in _in_turn(families.values())]


def _in_turn(lists: Iterable[Sequence[Item]]) -> list[Item]:
    return [item for turn in zip_longest(*lists) for item in turn if item is not None]


def chosen(run: RunView | None, source: str, example: str, judged: str | None) -> Chosen | None:
    """What a visitor picked: a showcase problem by id, or a judged one by key; None for one of their own, or none."""
    if source == "showcase":
        return _from_showcase(run, example)
    if source != "judged" or run is None:
        return None
    pair = next((pair for pair in pairs(run.folder) if str(pair.key) == judged), None)
    if pair is None:
        return None
    before, after = (
        Said(*said, f"as the run recorded it {when} training") if said else None
        for said, when in ((pair.before, "before"), (pair.after, "after"))
    )
    return Chosen(pair.question, pair.answer, before, after)


def _from_showcase(run: RunView | None, example: str) -> Chosen | None:
    problem = next((problem for problem in showcase() if problem.id == example), None)
    if problem is None:
        return None
    samples = [sample for sample in run.series(Sample) if sample.problem == example] if run else []
    first = next((sample for sample in samples if sample.step == 0), None)
    last = samples[-1] if samples and samples[-1].step else None
    before, after = (
        Said(sample.text, sample.right, f"as the run recorded it at step {sample.step:,}") if sample else None
        for sample in (first, last)
    )
    return Chosen(problem.question, problem.answer, before, after)
