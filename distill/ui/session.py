"""What every tab of the page shares: which run is shown, who is looking, and the tick that keeps all parts current.

Nothing here trains, and nothing is lost when the browser closes: a run is a process of its own, and the page reads its
folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from distill.config import paths
from distill.config.errors import UserError
from distill.hub import zerogpu
from distill.models.hardware import is_zerogpu
from distill.runs import index, store
from distill.runs.views import RunView
from distill.ui.auth import Visitor, hand_over, new_token, visitor
from distill.ui.errors import catch_errors
from distill.ui.html import NO_RUN
from distill.ui.traffic import address_of

TABS = ("configure", "train", "insight", "compare", "runs")
FASTEST, SLOWEST, AT_REST = 1.0, 10.0, 5.0  # seconds between ticks
WATCHERS_A_SECOND = 5  # with more tabs than this, each looks less often

QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
MOST_SENT = 17_000  # characters of drawings sent at one tick; with what surrounds them that stays below 20 kB
_DRAWINGS_KEPT = 400  # a few runs, each with about twenty live parts

_LOG = logging.getLogger("distill.page")

Marks = dict[str, str]  # name of a live part -> digest of what a browser tab already shows


class PageSession:
    """The states and live parts of the page. Build it inside gr.Blocks; the tabs add parts, `connect` wires them.

    `run_id`: State, the run this tab shows, "" for whichever is newest. `token`: BrowserState, who the visitor is.
    `tab`: State, the tab that is open. `public`: the server is reached from other machines.
    """

    def __init__(self, public: bool):
        self.public = public
        self.run_id = gr.State("")
        self.tab = gr.State(TABS[0])
        self.marks = gr.State({})
        self.token = gr.BrowserState("", storage_key="distill-visitor", secret="distill")
        self.timers = {name: gr.Timer(FASTEST, active=name == TABS[0]) for name in TABS}
        self.tabs: gr.Tabs | None = None
        self.parts: list[LivePart] = []
        self._actions: list[tuple[Any, ...]] = []
        self._drawings = Drawings()
        self._watchers = Watchers()

    def live(self, *args: Any, **kwargs: Any) -> LivePart:
        """Add a live part; the arguments are `LivePart`'s."""
        added = LivePart(*args, **kwargs)
        self.parts.append(added)
        return added

    def who(
        self, token: str | None, oauth_token: gr.OAuthToken | None = None, request: gr.Request | None = None
    ) -> Visitor:
        """The visitor that a token stands for. `oauth_token`: from their sign-in, where the Hub is asked for them.
        `request`: where their network address counts."""
        hub_token = oauth_token.token if oauth_token else None
        return visitor(token, not self.public, hub_token, address_of(request) if self.public else "")

    # --- wiring ------------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks, tabs: dict[str, gr.Tab]) -> None:
        """Wire the ticks, opening a tab, and opening the page."""
        for name, tab in tabs.items():
            look = self._look(name)
            self.timers[name].tick(**look)
            opened = tab.select(partial(self._opened, name), None, [self.tab, *self.timers.values()], **QUIET)
            opened.then(**look)
            for component in {one: None for part in self.parts if part.tab == name for one in part.inputs}:
                if not isinstance(component, (gr.State, gr.BrowserState)):
                    component.change(**look)
        arrived = page.load(self._arrive, [self.token], [self.run_id, self.token, self.marks], **QUIET)
        arrived.then(**self._look(TABS[0]))
        for action in self._actions:
            self._wire(*action)

    def _look(self, tab: str | None) -> dict[str, Any]:
        """A listener that updates the parts of a tab; for None the parts of whichever tab is open.

        One for each tab, as Gradio makes every output's component anew each time, even where it is told to skip it.
        """
        parts = [part for part in self.parts if tab is None or part.tab in (None, tab)]
        more = list({component: None for part in parts for component in part.inputs})
        timer = self.timers.get(tab)

        def tick(request: gr.Request, run_id: str, now_open: str, marks: Marks, *values: Any) -> list[Any]:
            run, inputs = find_run(run_id), dict(zip(more, values, strict=True))
            updates, new = self._drawings.updates(parts, run, tab or now_open, inputs, marks)
            if timer is not None:
                seconds = self._watchers.pace(request.session_hash or "", run)
                updates.append(gr.skip() if marks.get(f"timer-{tab}") == str(seconds) else gr.Timer(seconds))
                new[f"timer-{tab}"] = str(seconds)
            return [new if new != marks else gr.skip(), *updates]

        outputs = [self.marks, *[part.component for part in parts], *([timer] if timer else [])]
        return {"fn": tick, "inputs": [self.run_id, self.tab, self.marks, *more], "outputs": outputs, **QUIET}

    def act(
        self,
        trigger: Callable[..., Any],
        handler: Callable[..., str],
        inputs: Sequence[Any] = (),
        opens: str | None = None,
        trains: bool = False,
    ) -> None:
        """On `trigger` call `handler(visitor, run_id, *inputs)`, which gives the id of the run to show from then on.

        What it raises becomes one sentence. `opens`: the tab to open then. `trains`: it begins the run, so that on
        ZeroGPU, which lends a GPU only to an event, the event lasts as long as the run.
        """
        self._actions.append((trigger, handler, list(inputs), opens, trains and is_zerogpu()))

    def opens(self, trigger: Callable[..., Any], tab: str) -> None:
        """On `trigger` open a tab."""
        outputs = [self.tabs, self.tab, *self.timers.values()]
        trigger(lambda: [gr.Tabs(selected=tab), *self._opened(tab)], None, outputs, **QUIET)

    def _wire(
        self,
        trigger: Callable[..., Any],
        handler: Callable[..., str],
        inputs: list[Any],
        opens: str | None,
        lasts: bool,
    ) -> None:
        def acted(request: gr.Request, oauth_token: gr.OAuthToken | None, run_id: str, token: str, *values: Any) -> Any:
            shown_now = handler(self.who(token, oauth_token, request), run_id, *values)
            # One output is given as it is: a list of one would become the id itself.
            return [shown_now, gr.Tabs(selected=opens), *self._opened(opens)] if opens else shown_now

        def lasting(
            request: gr.Request, oauth_token: gr.OAuthToken | None, run_id: str, token: str, *values: Any
        ) -> Iterator[Any]:
            first = acted(request, oauth_token, run_id, token, *values)
            folder, own = index.find_id(first[0] if opens else first), self.who(token, oauth_token).hub_token
            with closing(zerogpu.carry_out(folder, token=own)) as beats:
                yield first
                for _ in beats:
                    yield [gr.skip() for _ in outputs] if opens else gr.skip()

        outputs = [self.run_id, *([self.tabs, self.tab, *self.timers.values()] if opens else [])]
        how = QUIET  # not queued: Stop must work even while the queue is full of questions to the models
        if lasts:
            how = {**QUIET, "queue": True, "concurrency_limit": None, "trigger_mode": "multiple"}
        done = trigger(catch_errors(lasting if lasts else acted), [self.run_id, self.token, *inputs], outputs, **how)
        done.success(**self._look(None))

    # --- what happens ------------------------------------------------------------------------------------------------

    def _arrive(self, request: gr.Request, token: str) -> tuple[str, str, dict]:
        """A browser tab was opened: what it shows (`?run=`, else the newest run) and who the visitor is."""
        known, name = self.who(token), signed_in(request)
        if name or not known.id or known.name:  # signed in, new here, or signed out since
            token = new_token(name)
            if name and known.id and not known.name:
                hand_over(known, self.who(token))
        return str(request.query_params.get("run", ""))[:64], token, {}

    def _opened(self, tab: str) -> list[Any]:
        """Only the open tab's timer runs. It begins fast; its first tick sets its pace."""
        return [tab, *[gr.Timer(active=name == tab) for name in self.timers]]


# --- live parts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LivePart:
    """A part of the page that shows a run: drawn once for everybody who watches, sent only where it changed.

    `draw(run, *values)` is pure; it returns the component's new value, or an update such as gr.update(visible=False).
    `tab`: drawn only while that tab is open, None: always. `inputs`: the components whose values `draw` takes. `key()`:
    what the drawing depends on besides the run and those values. `mark(run)`: what of the run it depends on, where that
    changes less often than the run does.
    """

    name: str
    component: Any
    draw: Callable[..., Any]
    tab: str | None = None
    inputs: Sequence[Any] = ()
    key: Callable[[], Hashable] | None = None
    mark: Callable[[RunView], Hashable] | None = None


class Drawings:
    """What the live parts drew, shared by all visitors: thirty tabs that watch one run cost one drawing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: set[str] = set()
        self._kept: OrderedDict[Hashable, tuple[Any, str, int]] = OrderedDict()

    def updates(
        self, parts: Sequence[LivePart], run: RunView | None, tab: str, values: Mapping[Any, Any], marks: Marks
    ) -> tuple[list[Any], Marks]:
        """An update for each part (gr.skip() where a tab with these `marks` shows it already), and the new marks."""
        out, now, sent = [], dict(marks), 0
        for part in parts:
            if part.tab not in (None, tab):
                out.append(gr.skip())
                continue
            value, digest, size = self._draw(part, run, [values[component] for component in part.inputs])
            # What would make this update too large waits for the next; what has never been shown doesn't wait.
            later = part.name in now and sent and sent + size > MOST_SENT
            if now.get(part.name) == digest or later:
                out.append(gr.skip())
                continue
            out.append(dict(value) if isinstance(value, dict) else value)  # Gradio takes the value out of an update
            now[part.name], sent = digest, sent + size
        return out, now

    def _draw(self, part: LivePart, run: RunView | None, values: list[Any]) -> tuple[Any, str, int]:
        key: Hashable = None
        try:
            key = (
                part.name,
                run.id if run else None,
                (part.mark(run) if part.mark else run.mark) if run else None,
                repr(values),
                part.key() if part.key else None,
            )
            with self._lock:
                known = self._kept.get(key)
                if known is not None:
                    self._kept.move_to_end(key)
                    return known
            value = part.draw(run, *values)
        except Exception:  # one part that fails must not blank the others
            if part.name not in self._failed:  # logged once, not at every tick of every tab
                self._failed.add(part.name)
                _LOG.exception("the page's part %r can't be drawn", part.name)
            value = gr.skip()
        said = repr(value)
        drawn = value, hashlib.blake2b(said.encode(), digest_size=8).hexdigest(), len(said)
        with self._lock:
            if key is not None:
                self._kept[key] = drawn
            while len(self._kept) > _DRAWINGS_KEPT:
                self._kept.popitem(last=False)
        return drawn


class Watchers:
    """How many tabs watch, and so how often each may tick: however many they are, they cost about as much as
    `WATCHERS_A_SECOND`."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def pace(self, session_hash: str, run: RunView | None) -> float:
        """Seconds until this tab's next tick, in whole steps so that it rarely changes."""
        now = time.monotonic()
        with self._lock:
            self._seen[session_hash] = now
            if len(self._seen) > 2 * WATCHERS_A_SECOND:
                self._seen = {s: t for s, t in self._seen.items() if now - t < 3 * SLOWEST}
            watchers = len(self._seen)
        resting = run is None or run.final
        return max(AT_REST if resting else FASTEST, min(SLOWEST, -(-watchers // WATCHERS_A_SECOND)))


def find_run(run_id: str) -> RunView | None:
    """The run of an id (or of the start of one), None where there is none.

    For "" the one that is training, else the next in the queue, else the newest.
    """
    if run_id == "" or run_id is None:
        every = recent_runs()
        waiting = [run for run in every if run.state == "queued"]
        return at_work() or next(iter([*reversed(waiting), *every]), None)
    try:
        return store.view(index.find_id(run_id))
    except UserError:
        return None


def require_run(run_id: str) -> RunView:
    """The run of an id, as `find_run` finds it. Raises UserError where there is none."""
    run = find_run(run_id)
    if run is None:
        raise UserError(NO_RUN)
    return run


def at_work() -> RunView | None:
    """The run that is training now, the newest where there are several; None for none."""
    return next((run for run in recent_runs() if not run.final and run.state != "queued"), None)


def going() -> str:
    """The id of the run that is training now, "" for none: watchers of another run are told of it."""
    run = at_work()
    return run.id if run else ""


_recent: tuple[float, str, list[RunView]] = (0.0, "", [])


def recent_runs(fresh: bool = False) -> list[RunView]:
    """Every run, the newest first, at most a second old: many tabs ask at once."""
    global _recent
    where = str(paths.home().runs.resolve())
    when, of, every = _recent
    if fresh or of != where or time.monotonic() - when > 1.0:
        every = index.list_runs()
        _recent = (time.monotonic(), where, every)
    return every


def signed_in(request: gr.Request | None) -> str | None:
    """The name a visitor signed in with at the Hub, on a Space that has sign-in; else None."""
    if request is None or not os.environ.get("OAUTH_CLIENT_ID"):
        return None
    session = request.request.scope.get("session") or {}
    return session.get("oauth_info", {}).get("userinfo", {}).get("preferred_username")
