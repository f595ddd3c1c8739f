"""The wordings of the generated problems and the words that fill them: text files under assets/problems.

`wordings/*.txt`, one file an author: `== section` opens a section (a variant of families.py, or a kind of part), each
line below is one wording of it. `{slot}` is filled, `[this|that]` is one of these, `\\n` is a line break. The grammar,
with every slot, is in assets/problems/README.md. `pools/*.txt`: one entry a line.

One wording in seven is held out, and one name, thing and container in seven: a hash of the text says which, so that
adding or moving lines moves nothing between the splits. Everything is checked when read: ConfigError names file and
line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from distill.assets import PROBLEMS
from distill.data.families import VARIANTS
from distill.errors import ConfigError
from distill.wording import instead

PARTS: dict[str, tuple[str, ...]] = {  # sections of parts: the facts that each shows
    "open_one": ("a",),
    "open_groups": ("a", "b"),
    "event_gain": ("e",),
    "event_lose": ("e",),
    "ask_now": (),
}
WORDS = frozenset(
    (
        *("n", "m", "o", "she", "her", "him", "herself", "she2", "her2", "him2", "x", "x1", "y", "y1"),
        *("box", "boxes", "box2", "boxes2", "who", "kin", "shop", "place", "town", "day", "day2", "day3"),
        *("colour", "colour2", "colour3", "z"),
    )
)
FEWEST = 6  # wordings that each split must have of every section
_SHARE = 7  # one in so many is held out
_FACT = re.compile(r"[abcdek]|t[12]")
_SLOT = re.compile(r"\{([^{}]*)\}")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Wording:
    """A wording or a part of one: its text, where it stands ("child.txt, line 12") and what it is known by."""

    text: str
    place: str
    id: str


@dataclass(frozen=True)
class Wordings:
    """All wordings by section: those that training uses, and those that it never sees."""

    trained: Mapping[str, tuple[Wording, ...]]
    held: Mapping[str, tuple[Wording, ...]]

    def of(self, section: str, held: bool) -> tuple[Wording, ...]:
        return (self.held if held else self.trained)[section]

    def count(self) -> int:
        return sum(len(lines) for side in (self.trained, self.held) for lines in side.values())


def is_held(text: str) -> bool:
    """Whether a wording (or a word of a pool) is one of those that training never uses. Case and signs don't count."""
    return int.from_bytes(_digest(text)[:4], "big") % _SHARE == 0


def _digest(text: str) -> bytes:
    first_choices = _CHOICE.sub(lambda choice: choice[1].partition("|")[0], text)
    return hashlib.sha256(re.sub(r"\W+", "", first_choices.casefold()).encode()).digest()


@cache
def wordings(folder: Path = PROBLEMS / "wordings") -> Wordings:
    """Every wording under `folder`. Raises ConfigError with file and line for one that can't be used."""
    sections: dict[str, tuple[str, ...]] = {v.wordings: v.slots for v in VARIANTS.values()} | PARTS
    found: dict[str, dict[str, Wording]] = {section: {} for section in sections}
    for path in sorted(folder.glob("*.txt")):
        section = None
        for number, line in enumerate(read_lines(path), 1):
            place = f"{path.name}, line {number}"
            if line.startswith("=="):
                section = line[2:].strip()
                if section not in sections:
                    raise ConfigError(f"{place}: there is no section {section!r}: {instead(section, sections)}")
            elif line and not line.startswith("#"):
                if section is None:
                    raise ConfigError(f"{place}: a wording stands before the first section: write '== left' above it.")
                _check(line, sections[section], place)
                identity = _digest(line).hex()[:8]
                found[section].setdefault(identity, Wording(line.replace("\\n", "\n"), place, identity))
    sides = [
        {section: tuple(w for w in lines.values() if is_held(w.text) == held) for section, lines in found.items()}
        for held in (False, True)
    ]
    for section in sections:
        if min(len(side[section]) for side in sides) < FEWEST:
            few = " and ".join(
                f"{len(side[section])} {name}" for side, name in zip(sides, ("trained", "held out"), strict=True)
            )
            raise ConfigError(
                f"{folder}: section {section!r} has too few wordings for its splits ({few}; at least {FEWEST} each): "
                f"write more below '== {section}'."
            )
    return Wordings(*sides)


def _check(line: str, facts: Sequence[str], place: str) -> None:
    if any(
        re.sub(pattern, "", line).count(mark)
        for pattern, mark in ((_SLOT, "{"), (_SLOT, "}"), (_CHOICE, "["), (_CHOICE, "]"))
    ):
        raise ConfigError(f"{place}: a bracket is not closed, or one stands inside another: {line}")
    for choice in _CHOICE.findall(line):
        if "|" not in choice:
            raise ConfigError(f"{place}: [{choice}] offers no choice: write [this|that].")
    slots = _SLOT.findall(line)
    known = {*WORDS, *facts, *(f"${fact}" for fact in facts if fact in "abcd")}
    for slot in slots:
        if slot not in known:
            raise ConfigError(f"{place}: there is no slot {{{slot}}} here: {instead(slot, sorted(known))}")
    shown = {slot.lstrip("$") for slot in _SLOT.findall(_CHOICE.sub("", line))}
    if missing := [fact for fact in facts if fact not in shown]:
        raise ConfigError(f"{place}: {{{missing[0]}}} is missing: every wording of a section shows all its numbers.")


# --- pools -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pools:
    """What fills the slots. Names are (name, whether she), things and containers (plural, singular)."""

    names: tuple[tuple[str, bool], ...]
    things: tuple[tuple[str, str], ...]
    containers: tuple[tuple[str, str], ...]
    words: Mapping[str, tuple[str, ...]]  # people, kin, places, shops, towns, adjectives, fillers, closers


_WORD_POOLS = ("people", "kin", "places", "shops", "towns", "adjectives")
_SENTENCE_POOLS = ("fillers", "closers")


@cache
def pools(held: bool, held_sentences: bool, folder: Path = PROBLEMS / "pools") -> Pools:
    """The words of one side of the split: names, things and containers of training or those it never sees (`held`);
    sentences that don't matter likewise (`held_sentences`)."""
    names = _pool(folder / "names.txt", r"(.+) (she|he)", held)
    things = _pool(folder / "things.txt", r"(.+?) \| (.+)", held)
    containers = _pool(folder / "containers.txt", r"(.+?) \| (.+)", held)
    return Pools(
        tuple((name, sex == "she") for name, sex in names),
        tuple(things),
        tuple((many, one) for one, many in containers),
        {name: tuple(entry for (entry,) in _pool(folder / f"{name}.txt", "(.+)")) for name in _WORD_POOLS}
        | {
            name: tuple(e for (e,) in _pool(folder / f"{name}.txt", "(.+)", held_sentences)) for name in _SENTENCE_POOLS
        },
    )


def _pool(path: Path, pattern: str, held: bool | None = None) -> list[tuple[str, ...]]:
    seen: dict[str, int] = {}
    entries = []
    for number, line in enumerate(read_lines(path), 1):
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(pattern, line)
        if not match:
            raise ConfigError(
                f"{path.name}, line {number}: {line!r} is not written as this pool's entries are: {pattern}"
            )
        key = match[1].casefold()
        if key in seen:
            raise ConfigError(f"{path.name}, line {number}: {match[1]!r} is there already, on line {seen[key]}.")
        seen[key] = number
        if held is None or is_held(match[1]) == held:
            entries.append(match.groups())
    if len(entries) < 3:
        raise ConfigError(f"{path}: too few entries for its splits: write more, one a line.")
    return entries


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without the spaces around them; ConfigError where it can't be read."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.") from error
