"""Generated word problems in four splits that cannot overlap.

Which split a problem belongs to follows from its *facts* alone (family and numbers, whatever the names and wording): a
hash of the facts picks it. So no problem of one split can be a re-wording of a problem of another, however many are
drawn. The `new_phrasing` split has, besides, wordings no other split uses.

The stream is seeded and the same on every platform and Python version (it uses `random.Random.randrange` only).
This module knows nothing of models, tokens or templates.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from distill.config.errors import ConfigError
from distill.config.messages import instead
from distill.data.families import FAMILIES, Facts, Family
from distill.data.wordings import NEW_PHRASINGS

SPLITS = ("train", "validation", "held_out", "new_phrasing")
_BUCKETS = (0, 1, 2, 3, 4, 5, 6), (7,), (8,), (9,)  # of ten, in the order of SPLITS
_SHOWCASE = Path(__file__).parents[2] / "assets" / "problems" / "showcase.json"

_SHE = ("Ann", "Mia", "Sarah", "Lily", "Emma", "Rosa")
_HE = ("Tom", "Ben", "Sam", "Leo", "Max", "Omar")
_ITEMS = ("apples", "pens", "books", "crayons", "coins", "cups", "toys", "cards", "shells", "cakes", "stamps", "balls")


@dataclass(frozen=True)
class Problem:
    """A question, its worked solution ("3 * 24 = 72. 72 - 10 = 62. #### 62") and its answer ("62")."""

    id: str
    family: str
    question: str
    solution: str
    answer: str
    split: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def split_of(family: str, facts: Facts) -> str | None:
    """The split that the facts of a problem belong to; a pure function, so splits are disjoint by construction.

    None for facts that no split uses (see `families.Reserve`).
    """
    reserve = FAMILIES[family].reserve
    if reserve and reserve.needed(facts):
        if reserve.holds(facts):
            return SPLITS[1 + _bucket(family, reserve.shown(facts), 3)]
        return "train" if _bucket(family, facts, 10) in _BUCKETS[0] else None
    bucket = _bucket(family, facts, 10)
    return next(split for split, buckets in zip(SPLITS, _BUCKETS, strict=True) if bucket in buckets)


def _bucket(family: str, facts: Facts, buckets: int) -> int:
    digest = hashlib.sha256(f"{family}:{','.join(map(str, facts))}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % buckets


def facts_of(problem: Problem) -> tuple[str, Facts]:
    """The family and numbers a generated problem was made from, read back from its id."""
    family, numbers, _ = problem.id.split(":")
    return family, tuple(map(int, numbers.split(",")))


def generate(
    split: str, n: int, seed: int = 0, families: Sequence[str] | dict[str, float] | None = None
) -> list[Problem]:
    """`n` problems of one split.

    `families` names which (all, by default): a list takes them in turn, so counts differ by at most one; a dictionary
    of weights draws them at random in proportion. Facts may recur in `train` (with other names and wordings); in the
    other splits each problem's facts are its own as long as the family has that many. Raises ConfigError for a family
    there is not.
    """
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}: choose one of {', '.join(SPLITS)}.")
    names = list(families or FAMILIES)
    for name in names:
        if name not in FAMILIES:
            raise ConfigError(f"There is no problem family {name!r}: {instead(name, FAMILIES)}")
    rng = random.Random(f"{split}:{seed}")
    weights = [families[name] for name in names] if isinstance(families, dict) else None
    seen: set[tuple[str, Facts]] = set()
    problems = []
    for index in range(n):
        name = names[index % len(names)] if weights is None else names[_weighted(rng, weights)]
        problems.append(_problem(rng, FAMILIES[name], split, seen))
    return problems


def _weighted(rng: random.Random, weights: Sequence[float]) -> int:
    mark = rng.randrange(1 << 30) / (1 << 30) * sum(weights)
    for index, weight in enumerate(weights):
        mark -= weight
        if mark < 0:
            return index
    return len(weights) - 1


def _problem(rng: random.Random, family: Family, split: str, seen: set[tuple[str, Facts]]) -> Problem:
    facts = _draw(rng, family, split)
    for _ in range(100):  # a family may have fewer facts than are asked for: then they recur
        if split == "train" or (family.name, facts) not in seen:
            break
        facts = _draw(rng, family, split)
    seen.add((family.name, facts))
    phrasings = family.phrasings(facts)
    cut = len(phrasings) - NEW_PHRASINGS
    wording = rng.randrange(cut, len(phrasings)) if split == "new_phrasing" else rng.randrange(cut)
    numbers = facts[1:] if isinstance(family.templates, dict) else facts
    steps, answer = family.solve(*facts)
    return Problem(
        id=f"{family.name}:{','.join(map(str, facts))}:{wording}",
        family=family.name,
        question=phrasings[wording].format(**_names(rng), **dict(zip("abcd", numbers, strict=False))),
        solution=f"{'. '.join(steps)}. #### {answer}",
        answer=answer,
        split=split,
    )


def _draw(rng: random.Random, family: Family, split: str) -> Facts:
    draw = family.reserve.draw if family.reserve and split != "train" else family.draw
    while split_of(family.name, facts := draw(rng)) != split:
        pass
    return facts


def _names(rng: random.Random) -> dict[str, str]:
    people = _SHE + _HE
    first = rng.randrange(len(people))
    second = (first + 1 + rng.randrange(len(people) - 1)) % len(people)
    item = rng.randrange(len(_ITEMS))
    other = (item + 1 + rng.randrange(len(_ITEMS) - 1)) % len(_ITEMS)
    pronouns = ("she", "She", "her") if first < len(_SHE) else ("he", "He", "his")
    words = dict(zip(("she", "She", "her"), pronouns, strict=True))
    return {"n": people[first], "m": people[second], "items": _ITEMS[item], "others": _ITEMS[other], **words}


@cache
def showcase() -> tuple[Problem, ...]:
    """The example problems that every visitor sees first."""
    return tuple(Problem(**entry) for entry in json.loads(_SHOWCASE.read_text()))
