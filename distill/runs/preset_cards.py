"""The presets as they are offered: in which group, under which title, what each costs on this machine.

For the page and the command line: it imports nothing slow. What things cost is estimate.py's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from distill.config import paths
from distill.config.run_config import load
from distill.models.hardware import Machine
from distill.runs import index
from distill.runs.estimate import estimate, memory, text
from distill.runs.views import RunView

# The groups, and what each is.
GROUPS = {
    "first": ("Start here", "Six teachers, every part of the page, and a result in a minute or two."),
    "methods": ("One method each", "The same student and problems, taught another way: run two and compare them."),
    "large": (
        "Models from the Hub",
        "Published recipes you can reproduce. Models are downloaded first; most need a GPU.",
    ),
}
_ORDER = [  # in their group; others follow by name
    *("tiny-ce", "tiny-response", "tiny-logits", "tiny-features", "tiny-deku", "tiny-gkd", "tiny-cross-tokenizer"),
    *("smollm2-cpu", "smollm2-from-qwen", "teacher-file", "deku", "deku-kernel", "reasoning-traces"),
    *("gkd-0.5b-from-3b", "gkd-4b-tulu"),
]


@dataclass(frozen=True)
class Card:
    """A preset, as it is offered; `why` says why it is not `available` here; `group`: one of GROUPS."""

    name: str
    title: str
    description: str
    seconds: str
    memory: str
    available: bool
    why: str | None
    group: str = "large"


def card(name: str, machine: Machine, earlier: Iterable[RunView] | None = None) -> Card:
    """The preset `name` as offered on `machine`; `earlier` as `estimate` has it. Raises ConfigError."""
    asked = load(name)
    found = estimate(asked, machine, earlier)
    why = found.obstacle
    return Card(name, title(name), asked.description, text(found.seconds), memory(found), not why, why, group(name))


def title(name: str) -> str:
    """What a preset is called on its card: its `title`, which is no setting of a run."""
    return paths.read_preset(name).get("title") or name.replace("-", " ").capitalize()


def group(name: str) -> str:
    """Which of GROUPS a preset is in."""
    return "first" if name == "tiny" else "methods" if name.startswith("tiny-") else "large"


def offer(card: Card) -> str:
    """A card in a few words: what it costs here, or why not."""
    return f"{card.seconds}, {card.memory}" if card.available else f"not available here: {card.why}"


def cards(machine: Machine) -> list[Card]:
    """A card for every preset that ships: `tiny` first, then the other tiny ones in the order of methods, then the
    rest."""

    def place(name: str) -> tuple[int, int, str]:
        return list(GROUPS).index(group(name)), _ORDER.index(name) if name in _ORDER else len(_ORDER), name

    earlier = index.list_runs()
    return [card(name, machine, earlier) for name in sorted(paths.preset_names(), key=place)]
