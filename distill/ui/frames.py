"""Frames: parts of the page that show a run, drawn once for all who watch it and sent only when they changed.

A frame is a component and a pure function from a view of a run to what the component shows. Thirty tabs that watch one
run cost one drawing; a tab whose frame is unchanged is sent nothing. This module knows nothing of what is drawn.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from distill.runs.store import RunView

_LOG = logging.getLogger("distill.page")

Marks = dict[str, str]  # frame name -> digest of what a tab shows already

MOST = 17_000  # characters of drawings sent at one look; with what surrounds them that stays below 20 kB
_KEPT = 400  # drawings kept: a few runs, each with a score of frames


@dataclass(frozen=True)
class Frame:
    """A part of the page. `tab`: drawn only while that tab is open, None: always. `inputs`: components whose values
    `draw(run, *values)` takes too. `key()`: what the drawing depends on besides the run and those values. `mark(run)`:
    what of the run it depends on, where that changes more rarely than the run does.

    `draw` returns the component's new value, or an update such as gr.update(interactive=False).
    """

    name: str
    component: Any
    draw: Callable[..., Any]
    tab: str | None = None
    inputs: Sequence[Any] = ()
    key: Callable[[], Hashable] | None = None
    mark: Callable[[RunView], Hashable] | None = None


class Drawings:
    """What was drawn, shared by every visitor's tab."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: set[str] = set()
        self._kept: OrderedDict[Hashable, tuple[Any, str, int]] = OrderedDict()

    def updates(
        self, frames: Sequence[Frame], run: RunView | None, tab: str, values: Mapping[Any, Any], marks: Marks
    ) -> tuple[list[Any], Marks]:
        """An update a frame (gr.skip() where a tab with these `marks` shows it already), and the tab's new marks."""
        out, now, sent = [], dict(marks), 0
        for frame in frames:
            if frame.tab not in (None, tab):
                out.append(gr.skip())
                continue
            value, digest, size = self._draw(frame, run, [values[component] for component in frame.inputs])
            # What would make this look too heavy waits for the next; what has never been shown doesn't wait.
            later = frame.name in now and sent and sent + size > MOST
            if now.get(frame.name) == digest or later:
                out.append(gr.skip())
                continue
            out.append(dict(value) if isinstance(value, dict) else value)  # Gradio takes the value out of an update
            now[frame.name], sent = digest, sent + size
        return out, now

    def _draw(self, frame: Frame, run: RunView | None, values: list[Any]) -> tuple[Any, str, int]:
        key = (
            frame.name,
            run.id if run else None,
            (frame.mark(run) if frame.mark else run.mark) if run else None,
            repr(values),
            frame.key() if frame.key else None,
        )
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
                return known
        try:
            value = frame.draw(run, *values)
        except Exception:  # one part that can't be drawn must not blank the others
            if frame.name not in self._failed:  # said once, not at every look of every tab
                self._failed.add(frame.name)
                _LOG.exception("the page's part %r can't be drawn", frame.name)
            value = gr.skip()
        said = repr(value)
        drawn = value, hashlib.blake2b(said.encode(), digest_size=8).hexdigest(), len(said)
        with self._lock:
            self._kept[key] = drawn
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return drawn
