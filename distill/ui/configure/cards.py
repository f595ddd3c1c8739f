"""The preset cards: what each does, its time and memory on this machine, and why one is not available here."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from distill.models.hardware import Machine
from distill.runs import preset_cards
from distill.runs.preset_cards import GROUPS, Card
from distill.ui.configure.binding import FIRST
from distill.ui.html import words

_FRESH = 30.0  # seconds: estimates follow the runs done here, but need not do so at once

_lock = threading.Lock()
_latest: tuple[float, list[Card]] = (0.0, [])


def cards_here() -> list[Card]:
    """A card for every preset, at most half a minute old."""
    global _latest
    with _lock:
        when, cards = _latest
        if not cards or time.monotonic() - when > _FRESH:
            cards = preset_cards.cards(Machine.here())
            _latest = (time.monotonic(), cards)
        return cards


def cards_html(cards: Sequence[Card], chosen: str) -> str:
    """The cards by group, each a button, the chosen one pressed; the first has a button that starts it at once."""
    return "".join(_group(group, [card for card in cards if card.group == group], chosen) for group in GROUPS)


def _group(group: str, cards: Sequence[Card], chosen: str) -> str:
    if not cards:
        return ""
    title, about = GROUPS[group]
    items = "".join(_card(card, card.name == chosen) for card in cards)
    return (
        f'<section class="card-group {group}"><h3>{title}</h3><p class="quiet">{about}</p>'
        f'<ul class="cards">{items}</ul></section>'
    )


def _card(card: Card, chosen: bool) -> str:
    name = words(card.name)
    state = f'aria-pressed="{"true" if chosen else "false"}"' if card.available else "disabled"
    if card.available:
        facts = f"<b>{words(card.seconds)}</b> here · {words(card.memory)}"
    else:
        facts = f"Not available on this machine: it {words(card.why)}."
    start = (
        '<button type="button" class="go" data-event="start" aria-label="Start now: tiny">Start now</button>'
        if card.name == FIRST and card.available
        else ""
    )
    return (
        f'<li class="card{" chosen" if chosen else ""}{"" if card.available else " off"}">'
        f'<h4><button type="button" class="pick" data-event="choose" data-name="{name}" {state} '
        f'aria-describedby="card-{name}">{words(card.title)}</button></h4>'
        f'<div id="card-{name}"><p>{words(card.description)}</p><p class="facts">{facts}</p></div>{start}</li>'
    )
