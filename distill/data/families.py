"""The families of generated word problems: which facts are drawn, and how they are worked out.

A family is what a reader would call a kind of problem. It has one or more *variants*, each with facts of its own (a
tuple of whole numbers), worked steps and an answer; a variant names the section of the wordings (wordings.py) that
tells it. The impossible variants are worded as possible ones are, with numbers that can't be, or lack a fact.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

IMPOSSIBLE = "impossible"

Facts = tuple[int, ...]
Solution = tuple[list[str], str]  # (worked steps, answer)


@dataclass(frozen=True)
class Variant:
    """One way a family asks: `draw(rng) -> facts`, `solve(*facts) -> (steps, answer)`.

    `section`: where its whole wordings stand. `slots`: what every wording of it shows of the facts, in their order.
    `parts`: the sections of parts that are put together instead of a whole wording, with the fact each shows.
    """

    name: str
    draw: Callable[[random.Random], Facts]
    solve: Callable[..., Solution]
    slots: tuple[str, ...] = ("a", "b")
    section: str = ""
    parts: tuple[str, ...] = ()
    weight: int = 10

    @property
    def wordings(self) -> str:
        return self.section or self.name


@dataclass(frozen=True)
class Family:
    """A kind of problem, by the name that configs and reports use, and by a title for people."""

    name: str
    title: str
    variants: tuple[Variant, ...]


# --- worked steps --------------------------------------------------------------------------------------------------


def _times(a: int, b: int) -> str:
    return f"{a} * {b} = {a * b}"


def _plus(a: int, b: int) -> str:
    return f"{a} + {b} = {a + b}"


def _minus(a: int, b: int) -> str:
    return f"{a} - {b} = {a - b}"


def _over(a: int, b: int) -> str:
    return f"{a} / {b} = {a // b}"


# --- numbers: small ones often, large ones now and then ------------------------------------------------------------


def _between(rng: random.Random, low: int, high: int) -> int:
    """A whole number in [low, high]; `randrange` is the one draw whose stream every Python version shares."""
    return rng.randrange(low, high + 1)


def _amount(rng: random.Random, low: int = 2) -> int:
    """What is added and taken away: to 20, to 100 or to 250."""
    return _between(rng, low, (20, 20, 60, 60, 100, 100, 100, 250)[_between(rng, 0, 7)])


def _factor(rng: random.Random) -> int:
    """What is multiplied: to 12, at times to 20."""
    return _between(rng, 2, (9, 12, 12, 20)[_between(rng, 0, 3)])


def _note(rng: random.Random, least: int) -> int:
    """Money to pay `least` with: one of the next few notes."""
    notes = [n for n in (5, 10, 20, 30, 40, 50, 60, 75, 80, 100, 120, 150, 200, 250, 300, 400, 500) if n > least]
    return notes[_between(rng, 0, min(4, len(notes) - 1))]


def _sum(rng: random.Random) -> Facts:
    return _amount(rng), _amount(rng)


def _larger_first(rng: random.Random) -> Facts:
    b = _amount(rng)
    return b + _amount(rng), b


def _larger_last(rng: random.Random) -> Facts:
    a = _amount(rng)
    return a, a + _amount(rng)


def _product(rng: random.Random) -> Facts:
    return _factor(rng), _factor(rng)


def _quotient(rng: random.Random) -> Facts:
    b = _factor(rng)
    return b * _factor(rng), b


def _doubled(rng: random.Random) -> Facts:
    return (2 * _amount(rng, 1),)


def _one(rng: random.Random) -> Facts:
    return (_amount(rng),)


def _as_many(rng: random.Random) -> Facts:
    return _between(rng, 2, (12, 25, 60)[_between(rng, 0, 2)]), (2, 2, 3, 4, 5, 6, 7, 8, 9, 10)[_between(rng, 0, 9)]


def _unit_price(rng: random.Random) -> Facts:
    a = _factor(rng)
    return a, a * _factor(rng)


def _hours(rng: random.Random) -> Facts:
    a = _between(rng, 1, 9)
    return a, _between(rng, a + 1, 11)


def _minutes(rng: random.Random) -> Facts:
    step = (5, 5, 1)[_between(rng, 0, 2)]
    start = _between(rng, 1, 11) * 60 + step * _between(rng, 0, 60 // step - 1)
    end = start + step * _between(rng, 1 if step == 5 else 3, 60 // step - 1)
    return start // 60, start % 60, end // 60, end % 60


def _left_over(rng: random.Random) -> Facts:
    a, b = _factor(rng), _factor(rng)
    return a, b, _between(rng, 2, min(a * b - 2, 60))


def _added(rng: random.Random) -> Facts:
    return _factor(rng), _factor(rng), _between(rng, 2, (20, 60, 100)[_between(rng, 0, 2)])


def _two_changes(rng: random.Random) -> Facts:
    a = _amount(rng, 4)  # never fewer than go, whichever is told first
    return a, _amount(rng), _between(rng, 2, a - 1)


def _change(rng: random.Random) -> Facts:
    a, b = _factor(rng), _factor(rng)
    return a, b, _note(rng, a * b)


def _rate(rng: random.Random) -> Facts:
    a, c = _between(rng, 2, 10), _between(rng, 2, 11)
    return a, a * _factor(rng), c + (c >= a)


def _two_prices(rng: random.Random) -> Facts:
    return tuple(_between(rng, 2, (9, 9, 12, 20)[_between(rng, 0, 3)]) for _ in range(4))


def _three(rng: random.Random) -> Facts:
    top = (20, 40, 100)[_between(rng, 0, 2)]
    a, b = _between(rng, 2, top), _between(rng, 2, top)
    return a, b, 2 + (1 - a - b) % 3 + 3 * _between(rng, 0, top // 3 - 1)


def _saving(rng: random.Random) -> Facts:
    return _between(rng, 2, (60, 100, 200)[_between(rng, 0, 2)]), _factor(rng), _between(rng, 2, 12)


def _share(rng: random.Random) -> Facts:
    c, each = _between(rng, 2, 10), _between(rng, 2, 20)
    a = _between(rng, 2, c * each - 2)
    return a, c * each - a, c


def _left_shared(rng: random.Random) -> Facts:
    c, b = _between(rng, 2, 10), _amount(rng)
    return b + c * _between(rng, 2, 20), b, c


def _three_amounts(rng: random.Random) -> Facts:
    top = (20, 60, 100)[_between(rng, 0, 2)]
    return tuple(_between(rng, 2, top) for _ in range(3))


def _parts(rng: random.Random) -> Facts:
    a, b = (_between(rng, 2, (20, 40, 100)[_between(rng, 0, 2)]) for _ in range(2))
    return a, b, a + b + _between(rng, 2, (20, 60, 150)[_between(rng, 0, 2)])


def _discount(rng: random.Random) -> Facts:
    percent = (10, 20, 25, 50)[_between(rng, 0, 3)]
    return 100 // percent * _between(rng, 2, {10: 10, 20: 20, 25: 20, 50: 50}[percent]), percent


def _sides(rng: random.Random) -> Facts:
    top = (20, 60, 100)[_between(rng, 0, 2)]
    return _between(rng, 2, top), _between(rng, 2, top)


def _clock(rng: random.Random) -> Facts:
    return _between(rng, 6, 11), _between(rng, 1, 10)


def _sum_and_difference(rng: random.Random) -> Facts:
    fewer, b = _between(rng, 2, (12, 40, 100)[_between(rng, 0, 2)]), _between(rng, 2, (12, 30, 60)[_between(rng, 0, 2)])
    return 2 * fewer + b, b


def _twice_together(rng: random.Random) -> Facts:
    k = (2, 2, 3, 3, 4, 5, 6, 7, 9)[_between(rng, 0, 8)]
    return (k + 1) * _between(rng, 2, 30), k


def _spread(rng: random.Random) -> Facts:
    """Any two numbers."""
    return _between(rng, 2, 60), _between(rng, 2, 60)


def _spread_of_three(rng: random.Random) -> Facts:
    return _between(rng, 2, 60), _between(rng, 2, 60), _between(rng, 20, 200)


def _too_few(rng: random.Random) -> Facts:
    a = _amount(rng)
    return a, a + _between(rng, 1, (10, 40)[_between(rng, 0, 1)])


def _too_few_boxes(rng: random.Random) -> Facts:
    a, b = _between(rng, 2, 9), _between(rng, 2, 12)
    return a, b, a * b + _between(rng, 1, 40)


def _too_many_parts(rng: random.Random) -> Facts:
    a, b = _between(rng, 5, 60), _between(rng, 5, 60)
    return a, b, max(a, b) + _between(rng, 1, min(a, b) - 2)


def _too_little_money(rng: random.Random) -> Facts:
    a, b = _between(rng, 2, 12), _between(rng, 3, 20)
    notes = [note for note in (5, 10, 20, 50, 100, 200) if note < a * b]
    return a, b, notes[-1 - _between(rng, 0, min(1, len(notes) - 1))]


def _not_whole(rng: random.Random) -> Facts:
    b = _between(rng, 2, 12)
    return b * _between(rng, 1, 12) + _between(rng, 1, b - 1), b


# --- worked out ----------------------------------------------------------------------------------------------------


def _ends(*steps: str) -> Solution:
    """The last step's result is the answer."""
    return list(steps), steps[-1].rpartition("= ")[2]


def _solve_minutes(hour: int, start: int, end_hour: int, end: int) -> Solution:
    if hour == end_hour:
        return _ends(_minus(end, start))
    return _ends(_minus(60, start), _plus(60 - start, end))


def _solve_average(a: int, b: int, c: int) -> Solution:
    return _ends(_plus(a, b), _plus(a + b, c), _over(a + b + c, 3))


def _solve_two_prices(a: int, b: int, c: int, d: int) -> Solution:
    return _ends(_times(a, b), _times(c, d), _plus(a * b, c * d))


def _solve_discount(a: int, percent: int) -> Solution:
    parts = 100 // percent
    return _ends(_over(a, parts), _minus(a, a // parts))


def _solve_total_and_each(a: int, b: int) -> Solution:
    return [_times(a, b), _over(a * b, a)], f"{a * b} and {b}"


def _solve_total_and_average(a: int, b: int, c: int) -> Solution:
    steps, average = _solve_average(a, b, c)
    return steps, f"{a + b + c} and {average}"


def _impossible(*steps: str) -> Solution:
    return list(steps), IMPOSSIBLE


_ABC = ("a", "b", "c")
_AK = ("a", "k")


FAMILIES: dict[str, Family] = {
    name: Family(name, title, tuple(variants))
    for name, title, *variants in (
        (
            "in_all",
            "In all",
            Variant("in_all", _sum, lambda a, b: _ends(_plus(a, b)), parts=("open_one", "event_gain:b")),
            Variant(
                "three_in_all",
                _three_amounts,
                lambda a, b, c: _ends(_plus(a, b), _plus(a + b, c)),
                _ABC,
                weight=4,
            ),
        ),
        (
            "left",
            "What is left",
            Variant("left", _larger_first, lambda a, b: _ends(_minus(a, b)), parts=("open_one", "event_lose:b")),
        ),
        ("more", "So many more", Variant("more", _sum, lambda a, b: _ends(_plus(a, b)))),
        ("fewer", "So many fewer", Variant("fewer", _larger_first, lambda a, b: _ends(_minus(a, b)))),
        ("difference", "How many more", Variant("difference", _larger_first, lambda a, b: _ends(_minus(a, b)))),
        ("groups", "Groups of so many", Variant("groups", _product, lambda a, b: _ends(_times(a, b)))),
        (
            "each",
            "Shared equally",
            Variant("each", _quotient, lambda a, b: _ends(_over(a, b))),
            Variant("teams", _quotient, lambda a, b: _ends(_over(a, b)), weight=6),
        ),
        ("packed", "How many groups", Variant("packed", _quotient, lambda a, b: _ends(_over(a, b)))),
        ("half", "Half", Variant("half", _doubled, lambda a: _ends(_over(a, 2)), ("a",))),
        (
            "times",
            "So many times",
            Variant("double", _one, lambda a: _ends(_times(2, a)), ("a",), weight=6),
            Variant("times", _as_many, lambda a, k: _ends(_times(k, a)), _AK),
        ),
        (
            "gained",
            "How many came or went",
            Variant("gained", _larger_last, lambda a, b: _ends(_minus(b, a))),
            Variant("lost", _larger_first, lambda a, b: _ends(_minus(a, b))),
        ),
        (
            "at_first",
            "How many at first",
            Variant("at_first_lost", _sum, lambda a, b: _ends(_plus(a, b))),
            Variant("at_first_got", _larger_last, lambda a, b: _ends(_minus(b, a))),
        ),
        ("unit_price", "The price of one", Variant("unit_price", _unit_price, lambda a, b: _ends(_over(b, a)))),
        (
            "rectangle",
            "Area and perimeter",
            Variant("area", _product, lambda a, b: _ends(_times(a, b))),
            Variant("perimeter", _sides, lambda a, b: _ends(_plus(a, b), _times(2, a + b))),
        ),
        (
            "time_between",
            "Time between",
            Variant("hours_between", _hours, lambda a, b: _ends(_minus(b, a)), weight=5),
            Variant("clock", _clock, lambda a, b: _ends(_minus(12, a), _plus(12 - a, b)), weight=7),
            Variant("minutes_between", _minutes, _solve_minutes, ("t1", "t2"), weight=8),
        ),
        (
            "left_over",
            "Boxes, some given away",
            Variant(
                "left_over",
                _left_over,
                lambda a, b, c: _ends(_times(a, b), _minus(a * b, c)),
                _ABC,
                parts=("open_groups", "event_lose:c"),
            ),
        ),
        (
            "added",
            "Boxes, and some more",
            Variant(
                "added",
                _added,
                lambda a, b, c: _ends(_times(a, b), _plus(a * b, c)),
                _ABC,
                parts=("open_groups", "event_gain:c"),
            ),
        ),
        (
            "times_as_many",
            "So many times, the difference",
            Variant("times_as_many", _as_many, lambda a, k: _ends(_times(k, a), _minus(k * a, a)), _AK),
        ),
        (
            "times_both",
            "So many times, together",
            Variant("times_both", _as_many, lambda a, k: _ends(_times(k, a), _plus(a, k * a)), _AK),
        ),
        (
            "more_than",
            "So many more, together",
            Variant("more_than", _sum, lambda a, b: _ends(_plus(a, b), _plus(a, a + b))),
            Variant("fewer_both", _larger_first, lambda a, b: _ends(_minus(a, b), _plus(a, a - b)), weight=7),
        ),
        (
            "two_changes",
            "Some come, some go",
            Variant(
                "two_changes",
                _two_changes,
                lambda a, b, c: _ends(_plus(a, b), _minus(a + b, c)),
                _ABC,
                parts=("open_one", "event_gain:b", "event_lose:c"),
            ),
        ),
        (
            "change",
            "Change from money",
            Variant("change", _change, lambda a, b, c: _ends(_times(a, b), _minus(c, a * b)), _ABC),
        ),
        (
            "rate",
            "The same rate, another time",
            Variant("rate", _rate, lambda a, b, c: _ends(_over(b, a), _times(b // a, c)), _ABC),
        ),
        (
            "two_prices",
            "Two things bought",
            Variant("two_prices", _two_prices, _solve_two_prices, ("a", "b", "c", "d")),
        ),
        ("average", "Average of three", Variant("average", _three, _solve_average, _ABC)),
        (
            "saving",
            "Saving by the week",
            Variant("saving", _saving, lambda a, b, c: _ends(_times(b, c), _plus(a, b * c)), _ABC),
        ),
        (
            "share",
            "Put together and shared",
            Variant("share", _share, lambda a, b, c: _ends(_plus(a, b), _over(a + b, c)), _ABC),
            Variant("share_packed", _share, lambda a, b, c: _ends(_plus(a, b), _over(a + b, c)), _ABC, weight=8),
            Variant("left_shared", _left_shared, lambda a, b, c: _ends(_minus(a, b), _over(a - b, c)), _ABC, weight=6),
        ),
        (
            "parts",
            "Parts of a whole",
            Variant("parts", _parts, lambda a, b, c: _ends(_plus(a, b), _minus(c, a + b)), _ABC),
            Variant("two_losses", _parts, lambda a, b, c: _ends(_plus(a, b), _minus(c, a + b)), _ABC, weight=7),
        ),
        ("discount", "Percent off", Variant("discount", _discount, _solve_discount)),
        (
            "both_known",
            "Two amounts from their sum",
            Variant("sum_and_difference", _sum_and_difference, lambda a, b: _ends(_minus(a, b), _over(a - b, 2))),
            Variant("twice_together", _twice_together, lambda a, k: _ends(_plus(k, 1), _over(a, k + 1)), _AK),
        ),
        (
            "two_questions",
            "Two questions in one",
            Variant("total_and_average", _product, _solve_total_and_each),
            Variant("three_total_and_average", _three, _solve_total_and_average, _ABC, weight=8),
            Variant(
                "total_and_difference",
                _larger_first,
                lambda a, b: ([_plus(a, b), _minus(a, b)], f"{a + b} and {a - b}"),
                weight=8,
            ),
        ),
        (
            IMPOSSIBLE,
            "Impossible: facts missing or at odds",
            Variant(
                "not_enough",
                _too_few,
                lambda a, b: _impossible(f"{a} < {b}"),
                section="left",
                parts=("open_one", "event_lose:b"),
                weight=7,
            ),
            Variant(
                "not_enough_boxes",
                _too_few_boxes,
                lambda a, b, c: _impossible(_times(a, b), f"{a * b} < {c}"),
                _ABC,
                "left_over",
                ("open_groups", "event_lose:c"),
                weight=7,
            ),
            Variant(
                "too_many_parts",
                _too_many_parts,
                lambda a, b, c: _impossible(_plus(a, b), f"{c} < {a + b}"),
                _ABC,
                "parts",
                weight=6,
            ),
            Variant(
                "too_little_money",
                _too_little_money,
                lambda a, b, c: _impossible(_times(a, b), f"{c} < {a * b}"),
                _ABC,
                "change",
                weight=6,
            ),
            Variant("not_whole", _not_whole, lambda a, b: _impossible(f"{a} / {b} is not whole"), section="teams"),
            Variant("no_number", _spread, lambda a, b: _impossible("no number"), weight=12),
            Variant("not_both", _spread, lambda a, b: _impossible("not both")),
            Variant("system", _spread_of_three, lambda a, b, c: _impossible("not both"), _ABC),
            Variant("nonsense", lambda rng: (), lambda: _impossible("no problem"), (), weight=8),
        ),
    )
}

VARIANTS: dict[str, Variant] = {variant.name: variant for family in FAMILIES.values() for variant in family.variants}
FAMILY_OF: dict[str, str] = {variant.name: family.name for family in FAMILIES.values() for variant in family.variants}
