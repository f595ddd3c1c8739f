"""Generated word problems in five splits that cannot overlap.

Which split a problem belongs to follows from its *facts* alone (its variant and numbers): a hash of them picks it, and
every wording shows all of them. So a problem of one split is never met in another in other words, however many are
drawn (3 and 5 apples are other facts than 5 and 3). `new_phrasing` has, besides, wordings that no other split uses, and
`new_names` names, things and containers; these two share their facts.

The stream is seeded and the same on every platform and Python version (it uses `random.Random.randrange` only).
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache

from distill.config.errors import ConfigError
from distill.config.messages import instead
from distill.config.paths import PROBLEMS
from distill.data import telling
from distill.data.families import FAMILIES, FAMILY_OF, IMPOSSIBLE, VARIANTS, Facts, Family, Variant

SPLITS = ("train", "validation", "held_out", "new_phrasing", "new_names")
_BUCKETS = {"train": range(7), "validation": (7,), "held_out": (8,), "new_phrasing": (9,), "new_names": (9,)}  # of ten
_TURNS = {IMPOSSIBLE: 4}  # where families take turns, how often one comes round, if not once
_TRIES = 10_000  # draws after which a variant is taken to have no facts of a split


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


def in_split(variant: str, facts: Facts, split: str) -> bool:
    """Whether the facts of a problem belong to `split`: a pure function, so splits are disjoint by construction.

    What shows no facts belongs where its wordings do: to `train` and to `new_phrasing`.
    """
    if not facts:
        return split in ("train", "new_phrasing")
    digest = hashlib.sha256(f"{variant}:{','.join(map(str, facts))}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 10 in _BUCKETS[split]


def facts_of(problem: Problem) -> tuple[str, Facts]:
    """The variant and numbers a generated problem was made from, read back from its id."""
    variant, numbers, _ = problem.id.split(":")
    return variant, tuple(map(int, numbers.split(","))) if numbers else ()


def generate(
    split: str, n: int, seed: int = 0, families: Sequence[str] | dict[str, float] | None = None
) -> list[Problem]:
    """`n` problems of one split.

    `families` names which (all, by default): a list takes them in turn (the impossible ones four times a round); a
    dictionary of weights draws them at random in proportion. Facts may recur in `train` (with other names and
    wordings); in the other splits each problem's facts are its own as long as the family has that many. Raises
    ConfigError for a family there is not.
    """
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}: choose one of {', '.join(SPLITS)}.")
    families = families or list(FAMILIES)
    names = list(families)
    for name in names:
        if name not in FAMILIES:
            raise ConfigError(f"There is no problem family {name!r}: {instead(name, FAMILIES)}")
    rng = random.Random(f"{split}:{seed}")
    weights = [families[name] for name in names] if isinstance(families, dict) else None
    turns = _turns(names)
    seen: set[tuple[str, Facts]] = set()
    problems = []
    for index in range(n):
        name = turns[index % len(turns)] if weights is None else names[_weighted(rng, weights)]
        problems.append(_problem(rng, FAMILIES[name], split, seen))
    return problems


def _turns(names: Sequence[str]) -> list[str]:
    """One round of the families, those that come more than once spread over it."""
    places = [((turn + 0.5) / _TURNS.get(name, 1), name) for name in names for turn in range(_TURNS.get(name, 1))]
    return [name for _, name in sorted(places, key=lambda place: place[0])]


def _weighted(rng: random.Random, weights: Sequence[float]) -> int:
    mark = rng.randrange(1 << 30) / (1 << 30) * sum(weights)
    for index, weight in enumerate(weights):
        mark -= weight
        if mark < 0:
            return index
    return len(weights) - 1


def _problem(rng: random.Random, family: Family, split: str, seen: set[tuple[str, Facts]]) -> Problem:
    variants = [v for v in family.variants if split in ("train", "new_phrasing") or v.slots]
    variant = variants[_weighted(rng, [v.weight for v in variants])]
    facts = _draw(rng, variant, split)
    for _ in range(100):  # a variant may have fewer facts than are asked for: then they recur
        if split == "train" or (variant.name, facts) not in seen:
            break
        facts = _draw(rng, variant, split)
    seen.add((variant.name, facts))
    steps, answer = variant.solve(*facts)
    question, wording = telling.tell(rng, variant, facts, split)
    return Problem(
        id=f"{variant.name}:{','.join(map(str, facts))}:{wording}",
        family=family.name,
        question=question,
        solution=f"{'. '.join(steps)}. #### {answer}",
        answer=answer,
        split=split,
    )


def _draw(rng: random.Random, variant: Variant, split: str) -> Facts:
    for _ in range(_TRIES):
        if in_split(variant.name, facts := variant.draw(rng), split):
            return facts
    raise ConfigError(
        f"distill/data/families.py: {variant.name!r} ({FAMILY_OF[variant.name]}) draws no facts for {split!r}: widen "
        "the ranges of its numbers."
    )


def from_files(name: str) -> tuple[Problem, ...]:
    """The problems of a file that ships: showcase.json, examples.json, or visitors.jsonl (one a line)."""
    text = (PROBLEMS / name).read_text(encoding="utf-8")
    entries = json.loads(text) if name.endswith(".json") else map(json.loads, text.splitlines())
    return tuple(Problem(**entry) for entry in entries)


@cache
def showcase() -> tuple[Problem, ...]:
    """The example problems that every visitor sees first."""
    return from_files("showcase.json")


@cache
def examples() -> tuple[Problem, ...]:
    """What a visitor who has no question of their own may ask: six kinds, as six visitors would type them."""
    return from_files("examples.json")


@cache
def visitors() -> tuple[Problem, ...]:
    """300 problems written one by one by somebody who had not seen the wordings: for judging only."""
    return from_files("visitors.jsonl")


__all__ = ["SPLITS", "VARIANTS", "Problem", "examples", "facts_of", "generate", "in_split", "showcase", "visitors"]
