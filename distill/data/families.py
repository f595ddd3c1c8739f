"""The twelve families of generated word problems: what is drawn, how it is solved, how it is worded.

A family draws *facts* (a tuple of whole numbers), solves them step by step, and words them in several phrasings.
The last `NEW_PHRASINGS` phrasings of a family are never used for training: they measure whether a model understands
the problem or only knows the wording. This module knows nothing of splits, prompts or models.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

NEW_PHRASINGS = 2
IMPOSSIBLE = "impossible"

Facts = tuple[int, ...]
Solution = tuple[list[str], str]  # (worked steps, answer)


@dataclass(frozen=True)
class Family:
    """One kind of problem: `draw(rng) -> facts`, `solve(*facts) -> (steps, answer)`, and how it is worded."""

    name: str
    title: str
    draw: Callable[[random.Random], Facts]
    solve: Callable[..., Solution]
    templates: tuple[str, ...] | dict[int, tuple[str, ...]]

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


LEFT_OVER = (
    "{n} has {a} boxes of {items}. Each box has {b} {items}. {She} gives {c} {items} to {her} friend. "
    "How many {items} does {n} have left?",
    "{n} has {a} bags with {b} {items} in each bag. {She} gives {c} {items} away. How many {items} are left?",
    "There are {b} {items} in each box. {n} has {a} boxes and gives {c} {items} to {m}. How many {items} are left?",
    "{n} buys {a} boxes of {b} {items} and loses {c} {items}. How many {items} does {n} have now?",
    "{n} has {a} boxes of {b} {items} each. {m} takes {c} of the {items}. How many {items} does {n} have left?",
    "Each bag has {b} {items}. {n} has {a} bags. {She} loses {c} {items}. How many {items} does {n} have left?",
    "{n} buys {a} bags of {items}. There are {b} {items} in each bag. {m} takes {c} {items}. How many are left?",
)


def _solve_left_over(a: int, b: int, c: int) -> Solution:
    return [_times(a, b), _minus(a * b, c)], str(a * b - c)


# --- change: a things at $b, paid with $c --------------------------------------------------------------------------


def _draw_change(rng: random.Random) -> Facts:
    a, b = _between(rng, 2, 9), _between(rng, 2, 12)
    notes = [note for note in (20, 50, 100, 200) if note > a * b]
    return a, b, notes[_between(rng, 0, min(1, len(notes) - 1))]


CHANGE = (
    "{n} buys {a} {items} for ${b} each and pays with ${c}. How much change does {she} get?",
    "One of the {items} costs ${b}. {n} buys {a} and pays with ${c}. How much change does {n} get?",
    "{n} has ${c} and buys {a} {items}. Each costs ${b}. How much money does {n} have left?",
    "{n} pays ${c} for {a} {items} at ${b} each. What is the change?",
    "At ${b} each, {n} buys {a} {items} and gives the shop ${c}. How much change is due?",
    "{n} buys {a} {items} at ${b} each and gives the shop ${c}. How much change does {n} get?",
    "{n} has ${c}. The {items} cost ${b} each. {She} buys {a}. How much money is left?",
)


def _solve_change(a: int, b: int, c: int) -> Solution:
    return [_times(a, b), _minus(c, a * b)], str(c - a * b)


# --- rate: so many in a hours, how many in c hours -----------------------------------------------------------------


def _draw_rate(rng: random.Random) -> Facts:
    rate, a = _between(rng, 2, 15), _between(rng, 2, 9)
    c = _between(rng, 2, 8)
    return a, rate * a, c + (c >= a)


RATE = (
    "A machine makes {b} {items} in {a} hours. How many {items} does it make in {c} hours?",
    "{n} packs {b} {items} in {a} hours. How many {items} does {n} pack in {c} hours?",
    "In {a} days a shop sells {b} {items}. How many {items} does it sell in {c} days at the same rate?",
    "It takes {n} {a} hours to make {b} {items}. How many can {she} make in {c} hours?",
    "{n} makes {b} {items} in {a} days. At the same rate, how many does {she} make in {c} days?",
    "In {a} hours {n} makes {b} {items}. How many {items} does {n} make in {c} hours?",
    "A shop sells {b} {items} in {a} days. At the same rate, how many {items} does it sell in {c} days?",
)


def _solve_rate(a: int, b: int, c: int) -> Solution:
    return [_over(b, a), _times(b // a, c)], str(b // a * c)


# --- average of three ------------------------------------------------------------------------------------------------


def _draw_average(rng: random.Random) -> Facts:
    a, b = _between(rng, 2, 30), _between(rng, 2, 30)
    low = 3 - (a + b) % 3
    return a, b, low + 3 * _between(rng, 0, 9)


AVERAGE = (
    "{n} has {a} {items} on Monday, {b} on Tuesday and {c} on Friday. What is the average for a day?",
    "Three bags hold {a}, {b} and {c} {items}. What is the average number of {items} in a bag?",
    "{n} scores {a}, {b} and {c} points in three games. What is the average score?",
    "The three boxes have {a}, {b} and {c} {items}. On average, how many {items} does a box have?",
    "{n} sells {a} {items}, then {b}, then {c}. What is the average of the three days?",
    "{n} sells {a} {items} on Monday, {b} on Tuesday and {c} on Friday. "
    "On average, how many {items} is that for a day?",
    "Three boxes hold {a}, {b} and {c} {items}. What is the average of the three boxes?",
)


def _solve_average(a: int, b: int, c: int) -> Solution:
    total = a + b + c
    return [_plus(a, b), _plus(a + b, c), _over(total, 3)], str(total // 3)


# --- more than: b more than somebody, both together ------------------------------------------------------------------


def _draw_two(rng: random.Random) -> Facts:
    return _between(rng, 3, 60), _between(rng, 2, 39)


MORE_THAN = (
    "{n} has {a} {items}. {m} has {b} more {items} than {n}. How many {items} do they have together?",
    "{m} has {b} more {items} than {n}. {n} has {a} {items}. How many {items} do both have in all?",
    "{n} finds {a} {items} and {m} finds {b} more than that. How many {items} do they find in all?",
    "{n} has {a} {items}, which is {b} less than {m} has. How many {items} do they have together?",
    "There are {a} {items} in a box and {b} more than that in a bag. How many {items} are there in all?",
    "{n} finds {a} {items}. {m} finds {b} more {items} than {n}. How many {items} do both find in all?",
    "{n} has {a} {items} and {m} has {b} more than that. How many {items} do they have together?",
)


def _solve_more_than(a: int, b: int) -> Solution:
    return [_plus(a, b), _plus(a, a + b)], str(a + a + b)


# --- times as many: k times as many, how many more -------------------------------------------------------------------


def _draw_times_as_many(rng: random.Random) -> Facts:
    return _between(rng, 3, 25), _between(rng, 2, 9)


TIMES_AS_MANY = (
    "{n} has {a} {items}. {m} has {b} times as many. How many more {items} does {m} have than {n}?",
    "{m} has {b} times as many {items} as {n}, who has {a}. How many more {items} does {m} have?",
    "A box holds {a} {items}. A bag holds {b} times as many. How many more {items} does the bag hold?",
    "{n} finds {a} {items} and {m} finds {b} times as many. How many more does {m} find than {n}?",
    "{n} has {a} {items} and {m} has {b} times that. What is the difference?",
    "{n} finds {a} {items}. {m} finds {b} times as many {items}. How many more {items} does {m} find than {n}?",
    "{m} has {b} times as many {items} as {n}. {n} has {a} {items}. How many more does {m} have than {n}?",
)


def _solve_times_as_many(a: int, b: int) -> Solution:
    return [_times(b, a), _minus(a * b, a)], str(a * b - a)


# --- share: two heaps put together and shared equally ----------------------------------------------------------------


def _draw_share(rng: random.Random) -> Facts:
    c, each = _between(rng, 2, 9), _between(rng, 2, 15)
    a = _between(rng, 2, c * each - 2)
    return a, c * each - a, c


SHARE = (
    "{n} has {a} {items} and {m} has {b}. They share all of them equally with {c} children. "
    "How many does each child get?",
    "{a} red {items} and {b} blue {items} are put in {c} equal bags. How many {items} are in each bag?",
    "{n} has {a} red and {b} blue {items} to share equally among {c} friends. How many does each friend get?",
    "{n} picks {a} {items}, then {b} more, and puts them in {c} equal boxes. How many {items} are in each box?",
    "{c} friends share {a} big {items} and {b} small {items} equally. How many {items} does each friend get?",
    "{n} has {a} {items} and {m} has {b}. They put all of them in {c} equal bags. How many {items} are in each bag?",
    "{n} picks {a} red {items} and {b} blue {items} and shares them equally among {c} friends. How many does each get?",
)


def _solve_share(a: int, b: int, c: int) -> Solution:
    return [_plus(a, b), _over(a + b, c)], str((a + b) // c)


# --- two prices: a at $b and c at $d ---------------------------------------------------------------------------------


def _draw_two_prices(rng: random.Random) -> Facts:
    return tuple(_between(rng, 2, 9) for _ in range(4))


TWO_PRICES = (
    "{n} buys {a} {items} for ${b} each and {c} {others} for ${d} each. How much does {she} pay in all?",
    "{n} buys {a} {items} at ${b} and {c} {others} at ${d}. What is the total cost?",
    "A shop sells {a} {items} for ${b} each and {c} {others} for ${d} each. How much money does it get?",
    "{a} {items} cost ${b} each. {c} {others} cost ${d} each. How much do they cost in all?",
    "{n} wants {a} {items} at ${b} each and {m} wants {c} {others} at ${d} each. How much do they pay together?",
    "{n} buys {a} {items} at ${b} each and {c} {others} at ${d} each. What is the total cost?",
    "A shop sells {a} {items} at ${b} and {c} {others} at ${d}. How much money does it get in all?",
)


def _solve_two_prices(a: int, b: int, c: int, d: int) -> Solution:
    return [_times(a, b), _times(c, d), _plus(a * b, c * d)], str(a * b + c * d)


# --- saving: $b a week for c weeks, with $a to begin with ------------------------------------------------------------


def _draw_saving(rng: random.Random) -> Facts:
    return _between(rng, 5, 60), _between(rng, 2, 15), _between(rng, 2, 9)


SAVING = (
    "{n} has ${a} and saves ${b} a week. How much money does {she} have after {c} weeks?",
    "{n} saves ${b} each week for {c} weeks. {She} had ${a} before. How much money does {n} have now?",
    "For {c} weeks {n} saves ${b} a week. {She} starts with ${a}. How much money does {she} have at the end?",
    "{n} starts with ${a} and gets ${b} each week. How much is that after {c} weeks?",
    "A jar holds ${a}. {n} puts in ${b} a week for {c} weeks. How much money is in the jar at the end?",
    "{n} starts with ${a} and saves ${b} each week. How much money does {n} have after {c} weeks?",
    "{n} has ${a}. {She} saves ${b} a week for {c} weeks. How much money does {she} have at the end?",
)


def _solve_saving(a: int, b: int, c: int) -> Solution:
    return [_times(b, c), _plus(a, b * c)], str(a + b * c)


# --- parts: what is left of a total of c after a and b ---------------------------------------------------------------


def _draw_parts(rng: random.Random) -> Facts:
    a, b = _between(rng, 3, 40), _between(rng, 3, 40)
    return a, b, a + b + _between(rng, 2, 40)


PARTS = (
    "A bag holds {c} {items}. {a} are red, {b} are blue and the others are green. How many {items} are green?",
    "{n} has {c} {items}. {She} gives {a} to {m} and {b} to a friend. How many {items} are left?",
    "Of {c} {items}, {a} are big and {b} are small. The others are old. How many {items} are old?",
    "There are {c} {items} in a shop. It sells {a} on Monday and {b} on Tuesday. How many {items} are left?",
    "{n} picks {c} {items}. {m} takes {a} and then {b} more. How many {items} does {n} have left?",
    "A box holds {c} {items}. {a} are red and {b} are green. The others are blue. How many {items} are blue?",
    "A shop has {c} {items}. It sells {a} and then {b} more. How many {items} are left?",
)


def _solve_parts(a: int, b: int, c: int) -> Solution:
    return [_plus(a, b), _minus(c, a + b)], str(c - a - b)


# --- difference: one step --------------------------------------------------------------------------------------------


def _draw_difference(rng: random.Random) -> Facts:
    small = _between(rng, 11, 79)
    return small + _between(rng, 2, 99 - small if small > 59 else 40), small


DIFFERENCE = (
    "{n} has {a} {items}. {m} has {b} {items}. How many more {items} does {n} have than {m}?",
    "{n} is {a} years old and {m} is {b} years old. How many years older is {n}?",
    "A book costs ${a} and a pen costs ${b}. How much more does the book cost than the pen?",
    "{n} runs {a} laps and {m} runs {b} laps. How many more laps does {n} run?",
    "There are {a} red {items} and {b} blue {items}. How many more red {items} are there?",
    "{n} finds {a} {items} and {m} finds {b} {items}. How many more {items} does {n} find?",
    "There are {a} big {items} and {b} small {items}. What is the difference?",
)


def _solve_difference(a: int, b: int) -> Solution:
    return [_minus(a, b)], str(a - b)


# --- impossible: facts that contradict each other, or are not all there ----------------------------------------------
# The first number says which kind. 0: more given away than there is; 1: parts larger than the whole; 2: no price;
# 3: no number per box; 4: a comparison that contradicts itself. Kinds 0 to 3 wear the wording of possible families,
# so the wording alone gives nothing away.


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


MISSING_PRICE = (
    "{n} buys {a} {items} and pays with ${c}. How much change does {she} get?",
    "{n} has ${c} and buys {a} {items}. How much money does {n} have left?",
    "{n} pays ${c} for {a} {items}. What is the change?",
    "{n} buys {a} {items} and gives the shop ${c}. How much change is due?",
    "{n} has ${c}. {She} buys {a} {items}. How much money is left?",
    "{n} gives the shop ${c} and buys {a} {items}. How much change does {she} get?",
)
MISSING_NUMBER = (
    "{n} has {a} boxes of {items}. {She} gives {c} {items} to {her} friend. How many {items} does {n} have left?",
    "{n} has {a} bags of {items}. {She} gives {c} {items} away. How many {items} are left?",
    "{n} buys {a} boxes of {items} and loses {c} {items}. How many {items} does {n} have now?",
    "{n} has {a} boxes of {items}. {m} takes {c} of the {items}. How many {items} does {n} have left?",
    "{n} buys {a} bags of {items}. {m} takes {c} {items}. How many are left?",
    "{n} has {a} bags of {items}. {She} loses {c} {items}. How many {items} does {n} have left?",
)
CONTRADICTION = (
    "{n} has {b} more {items} than {m}. {m} has {a} more {items} than {n}. How many {items} does {n} have?",
    "{n} has more {items} than {m}. {m} has {b} more {items} than {n}. How many {items} do they have together?",
    "{m} finds {b} more {items} than {n}. More {items} are found by {n} than by {m}. How many {items} does {m} find?",
    "{n} has {b} times as many {items} as {m}. {m} has {a} more {items} than {n}. How many {items} does {m} have?",
    "{n} has more {items} than {m}. {m} has {b} more {items} than {n}. How many {items} does {m} have?",
    "{n} has {a} more {items} than {m}. {m} has {b} more {items} than {n}. How many {items} do they have together?",
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
        ),
    )
}
