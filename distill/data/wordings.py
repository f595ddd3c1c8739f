"""The wordings of the generated problems and the words that fill them: text files under assets/problems.

`wordings/*.txt`, one file an author: `== section` opens a section (a variant of families.py, or a kind of part), each
line below is one wording of it. `{slot}` is filled, `[this|that]` is one of these, `\\n` is a line break. The grammar,
with every slot, is in assets/problems/README.md. `pools/*.txt`: one entry a line.

One wording in seven is held out, and one name, thing and container in seven unless a wording has that very word. A hash
of the text says which, so that adding or moving lines moves nothing between the splits. Everything is checked when
read: ConfigError names file and line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from distill.config.errors import ConfigError
from distill.config.messages import instead
from distill.config.paths import PROBLEMS
from distill.data.families import VARIANTS

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
SLOT = re.compile(r"\{([^{}]*)\}")
CHOICE = re.compile(r"\[([^\[\]]*)\]")


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
    first_choices = CHOICE.sub(lambda choice: choice[1].partition("|")[0], text)
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
        for pattern, mark in ((SLOT, "{"), (SLOT, "}"), (CHOICE, "["), (CHOICE, "]"))
    ):
        raise ConfigError(f"{place}: a bracket is not closed, or one stands inside another: {line}")
    for choice in CHOICE.findall(line):
        if "|" not in choice:
            raise ConfigError(f"{place}: [{choice}] offers no choice: write [this|that].")
    slots = SLOT.findall(line)
    known = {*WORDS, *facts, *(f"${fact}" for fact in facts if fact in "abcd")}
    for slot in slots:
        if slot not in known:
            raise ConfigError(f"{place}: there is no slot {{{slot}}} here: {instead(slot, sorted(known))}")
    shown = {slot.lstrip("$") for slot in SLOT.findall(CHOICE.sub("", line))}
    if missing := [fact for fact in facts if fact not in shown]:
        raise ConfigError(f"{place}: {{{missing[0]}}} is missing: every wording of a section shows all its numbers.")


# --- pools -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pools:
    """What fills the slots. Names are (name, whether she), things and containers (plural, singular)."""

    names: tuple[tuple[str, bool], ...]
    things: tuple[tuple[str, str], ...]
    containers: tuple[tuple[str, str], ...]
    adjectives: tuple[tuple[str, ...], ...]  # groups: of one, no two can be true of a thing
    words: Mapping[str, tuple[str, ...]]  # people, kin, places, shops, towns, fillers, closers


_WORD_POOLS = ("people", "kin", "places", "shops", "towns")


@cache
def pools(held: bool, held_sentences: bool, folder: Path = PROBLEMS / "pools") -> Pools:
    """The words of one side of the split: names, things and containers of training or those it never sees (`held`);
    sentences that don't matter likewise (`held_sentences`)."""
    names = [(name, sex == "she") for name, sex in _split(folder / "names.txt", "Ann she", held)]
    things = [(many, one) for many, one in _split(folder / "things.txt", "pens | pen", held)]
    containers = [(many, one) for one, many in _split(folder / "containers.txt", "box | boxes", held)]
    words = {name: tuple(text for text, *_ in _entries(folder / f"{name}.txt", "word")) for name in _WORD_POOLS}
    for name in ("fillers", "closers"):
        sentences = [text for text, *_ in _entries(folder / f"{name}.txt", "sentence")]
        words[name] = tuple(text for text in sentences if is_held(text) == held_sentences)
    groups = [tuple(line) for line in _entries(folder / "adjectives.txt", "red | blue | green")]
    return Pools(tuple(names), tuple(things), tuple(containers), tuple(groups), words)


_PATTERNS = {"Ann she": r"(.+) (she|he)", "pens | pen": r"(.+?) \| (.+)", "box | boxes": r"(.+?) \| (.+)"}


def _split(path: Path, form: str, held: bool) -> list[tuple[str, ...]]:
    """The entries of one side; a word that wordings have cannot be held out."""
    entries = [e for e in _entries(path, form) if (is_held(e[0]) and not _worded(e)) == held]
    if len(entries) < 3:
        raise ConfigError(
            f"{path}: only {len(entries)} {'held-out' if held else 'trained'} entries, which is too few: write more."
        )
    return entries


@cache
def known_words() -> frozenset[str]:
    """All names and things that there are, in both splits, in lower case."""
    entries = _entries(PROBLEMS / "pools" / "names.txt", "Ann she") + _entries(
        PROBLEMS / "pools" / "things.txt", "pens | pen"
    )
    return frozenset(word.casefold() for entry in entries for word in entry)


def _worded(entry: tuple[str, ...]) -> bool:
    words = entry[:1] if entry[-1] in ("she", "he") else entry
    return any(f" {_bare(word)} " in _all_words() for word in words)


@cache
def _all_words() -> str:
    """Every wording that ships, words and single spaces only."""
    lines = [line for path in sorted((PROBLEMS / "wordings").glob("*.txt")) for line in read_lines(path)]
    return f" {' '.join(map(_bare, lines))} "


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", SLOT.sub(" ", text).casefold()))


def _entries(path: Path, form: str) -> list[tuple[str, ...]]:
    """The entries of a pool, written as `form`. ConfigError with file and line for one that isn't, or is repeated."""
    seen: dict[str, int] = {}
    entries = []
    for number, line in enumerate(read_lines(path), 1):
        if not line or line.startswith("#"):
            continue
        place = f"{path.name}, line {number}"
        if form in _PATTERNS:
            match = re.fullmatch(_PATTERNS[form], line)
            entry = match.groups() if match else ()
        else:
            entry = tuple(line.split(" | ")) if "|" in form else (line,)
        if not entry or ("|" in form and len(entry) < 2):
            raise ConfigError(f"{place}: {line!r} is not written as the entries here are, such as {form!r}.")
        if form == "sentence":
            _check(line, (), place)
        key = "|".join(entry).casefold() if form.startswith("red") else entry[0].casefold()
        if key in seen:
            raise ConfigError(f"{place}: {entry[0]!r} is there already, on line {seen[key]}.")
        seen[key] = number
        entries.append(entry)
    return entries


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without the spaces around them; ConfigError where it can't be read."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.") from error
