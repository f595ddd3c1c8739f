"""The twelve families of generated word problems: what is drawn, how it is solved, how it is worded.

A family draws *facts* (a tuple of whole numbers), solves them step by step, and words them in several phrasings.
The last `NEW_PHRASINGS` wordings of a family are never used for training: they measure whether a model understands
the problem or only knows the wording. The wordings themselves are in wordings.py. This module knows nothing of
splits, prompts or models.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from distill.data.wordings import (
    AVERAGE,
    CHANGE,
    CONTRADICTION,
    DIFFERENCE,
    LEFT_OVER,
    MISSING_NUMBER,
    MISSING_PRICE,
    MORE_THAN,
    PARTS,
    RATE,
    SAVING,
    SHARE,
    TIMES_AS_MANY,
    TWO_PRICES,
)

IMPOSSIBLE = "impossible"

Facts = tuple[int, ...]
Solution = tuple[list[str], str]  # (worked steps, answer)


@dataclass(frozen=True)
class Reserve:
    """For facts that show too few numbers to be told apart by chance: numbers that training never uses.

    `needed(facts)`: whether these are such facts; `holds(facts)`: whether they are of the reserve; `draw(rng)`: facts
    for the splits other than train; `shown(facts)`: what every wording of them shows.
    """

    needed: Callable[[Facts], bool]
    holds: Callable[[Facts], bool]
    draw: Callable[[random.Random], Facts]
    shown: Callable[[Facts], Facts]


@dataclass(frozen=True)
class Family:
    """One kind of problem: `draw(rng) -> facts`, `solve(*facts) -> (steps, answer)`, and how it is worded.

    Every wording shows all facts, unless there is a `reserve`.
    """

    name: str
    title: str
    draw: Callable[[random.Random], Facts]
    solve: Callable[..., Solution]
    templates: tuple[str, ...] | dict[int, tuple[str, ...]]
    reserve: Reserve | None = None

    def phrasings(self, facts: Facts) -> tuple[str, ...]:
        """All templates that fit `facts`; a family with several kinds of facts keys them by the first number."""
        return self.templates[facts[0]] if isinstance(self.templates, dict) else self.templates


def _times(a: int, b: int) -> str:
    return f"{a} * {b} = {a * b}"


def _plus(a: int, b: int) -> str:
    return f"{a} + {b} = {a + b}"


def _minus(a: int, b: int) -> str:
    return f"{a} - {b} = {a - b}"


def _over(a: int, b: int) -> str:
    return f"{a} / {b} = {a // b}"


def _between(rng: random.Random, low: int, high: int) -> int:
    """A whole number in [low, high]; `randrange` is the one draw whose stream every Python version shares."""
    return rng.randrange(low, high + 1)


# --- left over: some boxes of b, c given away --------------------------------------------------------------------


def _draw_left_over(rng: random.Random) -> Facts:
    a, b = _between(rng, 2, 9), _between(rng, 3, 24)
    return a, b, _between(rng, 2, min(a * b - 2, 40))


def _solve_left_over(a: int, b: int, c: int) -> Solution:
    return [_times(a, b), _minus(a * b, c)], str(a * b - c)


# --- change: a things at $b, paid with $c --------------------------------------------------------------------------


def _draw_change(rng: random.Random) -> Facts:
    a, b = _between(rng, 2, 9), _between(rng, 2, 12)
    notes = [note for note in (20, 50, 100, 200) if note > a * b]
    return a, b, notes[_between(rng, 0, min(1, len(notes) - 1))]


def _solve_change(a: int, b: int, c: int) -> Solution:
    return [_times(a, b), _minus(c, a * b)], str(c - a * b)


# --- rate: so many in a hours, how many in c hours -----------------------------------------------------------------


def _draw_rate(rng: random.Random) -> Facts:
    rate, a = _between(rng, 2, 15), _between(rng, 2, 9)
    c = _between(rng, 2, 8)
    return a, rate * a, c + (c >= a)


def _solve_rate(a: int, b: int, c: int) -> Solution:
    return [_over(b, a), _times(b // a, c)], str(b // a * c)


# --- average of three ------------------------------------------------------------------------------------------------


def _draw_average(rng: random.Random) -> Facts:
    a, b = _between(rng, 2, 30), _between(rng, 2, 30)
    low = 3 - (a + b) % 3
    return a, b, low + 3 * _between(rng, 0, 9)


def _solve_average(a: int, b: int, c: int) -> Solution:
    total = a + b + c
    return [_plus(a, b), _plus(a + b, c), _over(total, 3)], str(total // 3)


# --- more than: b more than somebody, both together ------------------------------------------------------------------


def _draw_two(rng: random.Random) -> Facts:
    return _between(rng, 3, 60), _between(rng, 2, 39)


def _solve_more_than(a: int, b: int) -> Solution:
    return [_plus(a, b), _plus(a, a + b)], str(a + a + b)


# --- times as many: k times as many, how many more -------------------------------------------------------------------


def _draw_times_as_many(rng: random.Random) -> Facts:
    return _between(rng, 3, 25), _between(rng, 2, 9)


def _solve_times_as_many(a: int, b: int) -> Solution:
    return [_times(b, a), _minus(a * b, a)], str(a * b - a)


# --- share: two heaps put together and shared equally ----------------------------------------------------------------


def _draw_share(rng: random.Random) -> Facts:
    c, each = _between(rng, 2, 9), _between(rng, 2, 15)
    a = _between(rng, 2, c * each - 2)
    return a, c * each - a, c


def _solve_share(a: int, b: int, c: int) -> Solution:
    return [_plus(a, b), _over(a + b, c)], str((a + b) // c)


# --- two prices: a at $b and c at $d ---------------------------------------------------------------------------------


def _draw_two_prices(rng: random.Random) -> Facts:
    return tuple(_between(rng, 2, 9) for _ in range(4))


def _solve_two_prices(a: int, b: int, c: int, d: int) -> Solution:
    return [_times(a, b), _times(c, d), _plus(a * b, c * d)], str(a * b + c * d)


# --- saving: $b a week for c weeks, with $a to begin with ------------------------------------------------------------


def _draw_saving(rng: random.Random) -> Facts:
    return _between(rng, 5, 60), _between(rng, 2, 15), _between(rng, 2, 9)


def _solve_saving(a: int, b: int, c: int) -> Solution:
    return [_times(b, c), _plus(a, b * c)], str(a + b * c)


# --- parts: what is left of a total of c after a and b ---------------------------------------------------------------


def _draw_parts(rng: random.Random) -> Facts:
    a, b = _between(rng, 3, 40), _between(rng, 3, 40)
    return a, b, a + b + _between(rng, 2, 40)


def _solve_parts(a: int, b: int, c: int) -> Solution:
    return [_plus(a, b), _minus(c, a + b)], str(c - a - b)


# --- difference: one step --------------------------------------------------------------------------------------------


def _draw_difference(rng: random.Random) -> Facts:
    small = _between(rng, 11, 79)
    return small + _between(rng, 2, 99 - small if small > 59 else 40), small


def _solve_difference(a: int, b: int) -> Solution:
    return [_minus(a, b)], str(a - b)


# --- impossible: facts that contradict each other, or are not all there ----------------------------------------------
# The first number says which kind. 0: more given away than there is; 1: parts larger than the whole; 2: no price;
# 3: no number per box; 4: a comparison that contradicts itself. Kinds 0 and 1 wear the very wording of possible
# families, and 2 and 3 that wording less one fact, so a phrase alone gives nothing away.


def _draw_impossible(rng: random.Random) -> Facts:
    kind = _between(rng, 0, 4)
    if kind == 0:
        a, b = _between(rng, 2, 5), _between(rng, 3, 9)
        return kind, a, b, a * b + _between(rng, 2, 30)
    if kind == 1:
        a, b = _between(rng, 10, 40), _between(rng, 10, 40)
        return kind, a, b, max(a, b) + _between(rng, 1, min(a, b) - 2)
    if kind == 2:
        return kind, _between(rng, 2, 9), _between(rng, 2, 12), (20, 50, 100)[_between(rng, 0, 2)]
    return kind, _between(rng, 2, 9), _between(rng, 3, 24), _between(rng, 2, 40)


# Kinds 2 to 4 leave facts out, and show so few numbers that one text could fall into two splits. What is not for
# training is therefore drawn from amounts ($30, 40, 60, 80; 41 to 60 given away; 25 to 44 more) that training never
# uses.
_TELLING = {2: 3, 3: 3, 4: 2}  # which of the facts tells, by kind
_RESERVED = {2: (30, 40, 60, 80), 3: tuple(range(41, 61)), 4: tuple(range(25, 45))}


def _draw_reserved(rng: random.Random) -> Facts:
    facts = list(_draw_impossible(rng))
    if facts[0] in _TELLING:
        amounts = _RESERVED[facts[0]]
        facts[_TELLING[facts[0]]] = amounts[_between(rng, 0, len(amounts) - 1)]
    return tuple(facts)


IMPOSSIBLE_RESERVE = Reserve(
    needed=lambda facts: facts[0] in _TELLING,
    holds=lambda facts: facts[_TELLING[facts[0]]] in _RESERVED[facts[0]],
    draw=_draw_reserved,
    shown=lambda facts: (facts[0], facts[2]) if facts[0] == 4 else (facts[0], facts[1], facts[3]),
)


def _solve_impossible(kind: int, a: int, b: int, c: int) -> Solution:
    steps = (
        [_times(a, b), f"{a * b} < {c}"],
        [_plus(a, b), f"{c} < {a + b}"],
        ["no price"],
        ["no number"],
        ["not both"],
    )[kind]
    return steps, IMPOSSIBLE


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("left_over", "Boxes, some given away", _draw_left_over, _solve_left_over, LEFT_OVER),
        Family("change", "Change from money", _draw_change, _solve_change, CHANGE),
        Family("rate", "The same rate, another time", _draw_rate, _solve_rate, RATE),
        Family("average", "Average of three", _draw_average, _solve_average, AVERAGE),
        Family("more_than", "So many more, together", _draw_two, _solve_more_than, MORE_THAN),
        Family(
            "times_as_many", "So many times, the difference", _draw_times_as_many, _solve_times_as_many, TIMES_AS_MANY
        ),
        Family("share", "Put together and shared", _draw_share, _solve_share, SHARE),
        Family("two_prices", "Two things bought", _draw_two_prices, _solve_two_prices, TWO_PRICES),
        Family("saving", "Saving by the week", _draw_saving, _solve_saving, SAVING),
        Family("parts", "Parts of a whole", _draw_parts, _solve_parts, PARTS),
        Family("difference", "How many more", _draw_difference, _solve_difference, DIFFERENCE),
        Family(
            IMPOSSIBLE,
            "Impossible: facts missing or at odds",
            _draw_impossible,
            _solve_impossible,
            {0: LEFT_OVER, 1: PARTS, 2: MISSING_PRICE, 3: MISSING_NUMBER, 4: CONTRADICTION},
            IMPOSSIBLE_RESERVE,
        ),
    )
}
