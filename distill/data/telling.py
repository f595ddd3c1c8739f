"""Tells a problem: takes a wording, or puts one together from parts, and fills its slots.

In training some names and things are invented letter by letter, and some texts are lower case, lack their full stop or
have a typo, as visitors' have. The same stream on every platform: `randrange` is the only draw.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from distill.data.families import Facts, Variant
from distill.data.quantities import ONES, TENS
from distill.data.wordings import CHOICE, SLOT, Pools, Wording, known_words, pools, wordings

T = TypeVar("T")

_COMPOSED = 0.25  # of the problems whose variant has parts
_FILLER, _CLOSER = 0.10, 0.04  # of all: a sentence that doesn't matter, before or after
_IN_WORDS, _ONE_IN_WORDS = 0.10, 0.06  # all numbers written out; one of them
_INVENTED = 0.12  # of names and things, in training
_LOWER, _UNENDED, _CURLY, _TYPO = 0.05, 0.05, 0.15, 0.04  # of texts, in training

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONEY = (
    *["${}"] * 10, *["{} dollars"] * 4, "{} euros", "{} euros", "€{}", "€{}", "£{}", "£{}", "{} pounds", "Rs {}",
    "{} rupees", "{} pesos", "{} yen", "{} coins", "{} cents", "{} naira", "{} shillings", "{} francs", "R{}", "{} €",
)  # fmt: skip
_NOTES = [money for money in _MONEY if "cents" not in money and "coins" not in money]
_DOZENS = {"12": "a dozen", "24": "two dozen"}
_COUNTED = re.compile(r" (?:more )?(?:\{[xy]\}|eggs\b)")
_DETERMINED = re.compile(
    r"\b(?:an?|the|my|our|your|her|his|their|its|all|these|those|another|other|first|last) $", re.I
)
_SINGULAR = re.compile(
    r"\b(\S+ )(dollar|euro|pound|rupee|peso|coin|cent|shilling|franc)s(?=[ -](?:note|bill|coin|voucher)\b)"
)
_STARTS = re.compile(r"(?:^|[.?!][\"”’)]*\s+|\n\W*)[\"“(]?$")
_ARTICLE = re.compile(r"\b[Aa] $")
_AN = re.compile(r"(?!one\b|uni|use|euro|ukulele|ewe)[aeiouAEIOU]|[$£€]?(?:8|11\b|18\b)")
# Words that mean something to a problem: none is invented, and none is misspelt.
_REAL = {*ONES, *TENS, "hundred", "dozen", "twice", "times", "half", "double", "she", "he", "her", "his", "him", "it"}
_CONSONANTS = (*"bcdfghjklmnprstvwyz", "br", "ch", "dr", "gr", "kl", "sh", "st", "tr", "th")
_VOWELS = (*"aeiouaeiou", "ai", "ea", "oo", "y")


def tell(rng: random.Random, variant: Variant, facts: Facts, split: str) -> tuple[str, str]:
    """(the question in words, the id of its wording); `split` says which wordings and words it may use."""
    training, held = split == "train", split == "new_phrasing"
    words = pools(split == "new_names", held)
    template, identity = _template(rng, variant, held)
    template = CHOICE.sub(lambda choice: pick(rng, choice[1].split("|")), template)
    if _chance(rng, _FILLER):
        template = f"{pick(rng, words.words['fillers'])} {template}"
    if _chance(rng, _CLOSER):
        template = f"{template} {pick(rng, words.words['closers'])}"
    text = _fill(template, _values(rng, words, variant, facts, template, training), rng)
    return (_as_typed(rng, text) if training else text), identity


def pick(rng: random.Random, options: Sequence[T]) -> T:
    return options[rng.randrange(len(options))]


def _chance(rng: random.Random, share: float) -> bool:
    return rng.randrange(10_000) < share * 10_000


# --- which words -----------------------------------------------------------------------------------------------------


def _template(rng: random.Random, variant: Variant, held: bool) -> tuple[str, str]:
    if not variant.parts or not _chance(rng, _COMPOSED):
        wording = pick(rng, wordings().of(variant.wordings, held))
        return wording.text, wording.id
    chosen: list[Wording] = []
    texts: list[str] = []
    for part in (*variant.parts, "ask_now"):
        section, _, fact = part.partition(":")
        options = wordings().of(section, held)
        if fact and variant.parts[0] == "open_groups":  # "loses 3 of them" could mean boxes
            options = [option for option in options if "{x" in option.text]
        wording = pick(rng, options)
        chosen.append(wording)
        texts.append(wording.text.replace("{e}", f"{{{fact}}}"))
    return _joined(rng, texts), "+".join(wording.id for wording in chosen)


def _joined(rng: random.Random, texts: list[str]) -> str:
    """Sentences in a row, or two of them in one: "... and then ...", "If ..., how many ...?"."""
    *told, question = texts
    style = rng.randrange(10)
    if style < 2 and all(re.fullmatch(r"[^.?!\n]*\.", text) for text in told[:2]) and told[1].startswith("{"):
        told[:2] = [f"{told[0][:-1]}{pick(rng, (', and ', ' and then ', ', but then ', '; '))}{told[1]}"]
    elif style == 2 and question.startswith("How") and all(re.fullmatch(r"[^.?!\n]*\.", text) for text in told):
        return f"If {', and '.join(_lowered(text[:-1]) for text in told)}, {_lowered(question)}"
    return " ".join([*told, question])


def _lowered(text: str) -> str:
    return text if text.startswith(("{", "I ", "I'")) else text[0].lower() + text[1:]


# --- filling the slots -----------------------------------------------------------------------------------------------


def _values(
    rng: random.Random, words: Pools, variant: Variant, facts: Facts, template: str, training: bool
) -> dict[str, str]:
    values = _people(rng, words, training) | _things(rng, words, training)
    for slots, pool in (
        (("who",), "people"), (("kin",), "kin"), (("place",), "places"), (("shop",), "shops"), (("town",), "towns"),
    ):  # fmt: skip
        values |= zip(slots, _some(rng, words.words[pool], len(slots)), strict=True)
    values |= zip(("colour", "colour2", "colour3"), _some(rng, pick(rng, words.adjectives), 3), strict=True)
    values |= zip(("day", "day2", "day3"), _some(rng, _DAYS, 3), strict=True)
    return values | _numbers(rng, variant, facts, template)


def _some(rng: random.Random, options: Sequence[T], n: int) -> list[T]:
    """`n` different ones."""
    found: list[T] = []
    while len(found) < n:
        if (one := pick(rng, options)) not in found:
            found.append(one)
    return found


def _people(rng: random.Random, words: Pools, training: bool) -> dict[str, str]:
    people = _some(rng, words.names, 3)
    if training:
        people = [(_invented(rng).capitalize() if _chance(rng, _INVENTED) else name, she) for name, she in people]
    values = {slot: name for slot, (name, _) in zip("nmo", people, strict=True)}
    for number, (_, she) in zip(("", "2"), people, strict=False):
        pronouns = ("she", "her", "her", "herself") if she else ("he", "his", "him", "himself")
        values |= {f"{slot}{number}": p for slot, p in zip(("she", "her", "him", "herself"), pronouns, strict=True)}
    return values


def _things(rng: random.Random, words: Pools, training: bool) -> dict[str, str]:
    values = {}
    for slot, (many, one) in zip("xy", _some(rng, words.things, 2), strict=True):
        if training and _chance(rng, _INVENTED):
            one = _invented(rng)
            many = one + ("es" if one[-1] in "sh" else "s")
        values |= {slot: many, f"{slot}1": one}
    for number, (many, one) in zip(("", "2"), _some(rng, words.containers, 2), strict=True):
        values |= {f"box{number}": one, f"boxes{number}": many}
    return values


def _invented(rng: random.Random) -> str:
    """A word that nobody has: none of the pools, no pronoun and no number."""
    while True:
        syllables = "".join(pick(rng, _CONSONANTS) + pick(rng, _VOWELS) for _ in range(1 + rng.randrange(3)))
        word = syllables + pick(rng, ("", "", "n", "l", "r", "s", "t", "m"))
        if word not in known_words() and word not in _REAL:
            return word


def _numbers(rng: random.Random, variant: Variant, facts: Facts, template: str) -> dict[str, str]:
    if variant.slots == ("t1", "t2"):
        mark = pick(rng, (":", ":", ":", "."))
        hour, start, end_hour, end = facts
        return {
            "t1": f"{hour}{mark}{start:02d}",
            "t2": f"{end_hour}{mark}{end:02d}",
            "z": _number(rng, 2 + rng.randrange(29), False),
        }
    in_words = _chance(rng, _IN_WORDS)
    by_slot = dict(zip(variant.slots, facts, strict=True))
    values = {slot: _number(rng, fact, in_words) for slot, fact in by_slot.items()}
    money = pick(rng, _NOTES if "note" in template or "bill" in template else _MONEY)
    values |= {f"${slot}": money.format(fact) for slot, fact in by_slot.items()}
    others = [z for z in range(2, 31) if z not in facts]
    values["z"] = _number(rng, pick(rng, others), in_words)
    if "k" in by_slot:
        values["k"] = "twice" if by_slot["k"] == 2 and not _chance(rng, 0.15) else f"{values['k']} times"
    return values


def _number(rng: random.Random, value: int, in_words: bool) -> str:
    if value <= 100 and (in_words or (value <= 20 and _chance(rng, _ONE_IN_WORDS))):
        return spelt(value)
    return str(value)


def spelt(value: int) -> str:
    """A number to 100 in words."""
    if value < 20:
        return ONES[value]
    if value == 100:
        return "one hundred"
    return TENS[value // 10 - 2] + (f"-{ONES[value % 10]}" if value % 10 else "")


def _fill(template: str, values: Mapping[str, str], rng: random.Random) -> str:
    pieces: list[str] = []
    at = 0
    for slot in SLOT.finditer(template):
        pieces.append(template[at : slot.start()])
        at = slot.end()
        value, before = values[slot[1]], "".join(pieces)[-12:]
        if value in _DOZENS and _COUNTED.match(template[at:]) and not _DETERMINED.search(before) and _chance(rng, 0.3):
            value = _DOZENS[value]
        if _STARTS.search(before):
            value = value[0].upper() + value[1:]
        elif _ARTICLE.search(before) and _AN.match(value):
            pieces[-1] = f"{pieces[-1][:-1]}n "
        pieces.append(value)
    return _SINGULAR.sub(r"\1\2", "".join([*pieces, template[at:]]))


# --- as people type --------------------------------------------------------------------------------------------------


def _as_typed(rng: random.Random, text: str) -> str:
    if _chance(rng, _CURLY):
        text = text.replace("'", "’")
        text = re.sub(r'"([^"]*)"', r"“\1”", text)
    if _chance(rng, _TYPO):
        text = _with_a_typo(rng, text)
    if _chance(rng, _LOWER):
        text = text.lower()
    if _chance(rng, _UNENDED):
        text = text.rstrip("?.! ")
    return text


def _with_a_typo(rng: random.Random, text: str) -> str:
    """Two letters of a longer word change places, or one is missing or double."""
    words = [word for word in re.finditer(r"[a-z]{5,}", text) if word[0] not in _REAL]
    if not words:
        return text
    word = pick(rng, words)
    at = word.start() + 1 + rng.randrange(len(word[0]) - 3)
    kind = rng.randrange(3)
    changed = (text[at + 1] + text[at], text[at] * 2 + text[at + 1], text[at + 1])[kind]
    return text[:at] + changed + text[at + 2 :]
