"""What every tab of the page shares: which run is shown, who is looking, and the tick that keeps all frames current.

Nothing here trains, and nothing is lost when the browser goes: a run is a process of its own, and the page reads its
folder. This module knows nothing of what any tab shows.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import gradio as gr

from distill.config.errors import UserError
from distill.hub import zerogpu
from distill.models.hardware import is_zerogpu
from distill.runs import index, store
from distill.runs.store import RunView
from distill.ui.auth import Visitor, hand_over, new_token, visitor
from distill.ui.errors import plainly
from distill.ui.frames import Drawings, Frame, Marks
from distill.ui.html import NO_RUN

TABS = ("configure", "train", "insight", "compare", "runs")
FASTEST, SLOWEST, AT_REST = 1.0, 10.0, 5.0  # seconds between ticks
WATCHERS_A_SECOND = 5  # with more tabs than this, each looks less often

QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


class Shell:
    """The states and frames of one page. Build it inside gr.Blocks; tabs add frames; `connect` wires them at the end.

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
        self.frames: list[Frame] = []
        self._actions: list[tuple[Any, ...]] = []
        self._drawings = Drawings()
        self._watchers = Watchers()

    def frame(self, *args: Any, **kwargs: Any) -> Frame:
        """Add a frame; the arguments are `Frame`'s."""
        added = Frame(*args, **kwargs)
        self.frames.append(added)
        return added

    def who(self, token: str | None, session: gr.OAuthToken | None = None) -> Visitor:
        """The visitor that a token means; it says who signed in, where people do. `session`: what their sign-in gave,
        where the Hub is asked for them."""
        return visitor(token, not self.public, session.token if session else None)

    # --- wiring ------------------------------------------------------------------------------------------------------

    def connect(self, page: gr.Blocks, tabs: dict[str, gr.Tab]) -> None:
        """Wire the ticks, opening a tab, and opening the page."""
        for name, tab in tabs.items():
            look = self._look(name)
            self.timers[name].tick(**look)
            opened = tab.select(partial(self._opened, name), None, [self.tab, *self.timers.values()], **QUIET)
            opened.then(**look)
            for component in {one: None for frame in self.frames if frame.tab == name for one in frame.inputs}:
                if not isinstance(component, (gr.State, gr.BrowserState)):
                    component.change(**look)
        arrived = page.load(self._arrive, [self.token], [self.run_id, self.token, self.marks], **QUIET)
        arrived.then(**self._look(TABS[0]))
        for action in self._actions:
            self._wire(*action)

    def _look(self, tab: str | None) -> dict[str, Any]:
        """A listener that brings the frames of a tab up to date; of every tab (but only the open one's) for None.

        One a tab, as Gradio makes every output's component anew each time, even where it is told to skip it.
        """
        frames = [frame for frame in self.frames if tab is None or frame.tab in (None, tab)]
        more = list({component: None for frame in frames for component in frame.inputs})
        timer = self.timers.get(tab)

        def tick(request: gr.Request, run_id: str, now_open: str, marks: Marks, *values: Any) -> list[Any]:
            run, inputs = shown(run_id), dict(zip(more, values, strict=True))
            updates, new = self._drawings.updates(frames, run, tab or now_open, inputs, marks)
            if timer is not None:
                seconds = self._watchers.pace(request.session_hash or "", run)
                updates.append(gr.skip() if marks.get(f"timer-{tab}") == str(seconds) else gr.Timer(seconds))
                new[f"timer-{tab}"] = str(seconds)
            return [new if new != marks else gr.skip(), *updates]

        outputs = [self.marks, *[frame.component for frame in frames], *([timer] if timer else [])]
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

        What it raises becomes one sentence. `opens`: the tab to open then. `trains`: the run is begun by it, so that on
        ZeroGPU, which lends a GPU to an event alone, the event lasts as long as the run.
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
        def acted(session: gr.OAuthToken | None, run_id: str, token: str, *values: Any) -> Any:
            shown_now = handler(self.who(token, session), run_id, *values)
            # One output is given as it is: a list of one would become the id itself.
            return [shown_now, gr.Tabs(selected=opens), *self._opened(opens)] if opens else shown_now

        def lasting(session: gr.OAuthToken | None, run_id: str, token: str, *values: Any) -> Iterator[Any]:
            first = acted(session, run_id, token, *values)
            folder, own = index.find_id(first[0] if opens else first), self.who(token, session).hub_token
            with closing(zerogpu.carry_out(folder, token=own)) as beats:
                yield first
                for _ in beats:
                    yield [gr.skip() for _ in outputs] if opens else gr.skip()

        outputs = [self.run_id, *([self.tabs, self.tab, *self.timers.values()] if opens else [])]
        how = QUIET  # not queued: a full queue of questions to the models must not keep anybody from Stop
        if lasts:
            how = {**QUIET, "queue": True, "concurrency_limit": None, "trigger_mode": "multiple"}
        done = trigger(plainly(lasting if lasts else acted), [self.run_id, self.token, *inputs], outputs, **how)
        done.success(**self._look(None))

    # --- what happens ------------------------------------------------------------------------------------------------

    def _arrive(self, request: gr.Request, token: str) -> tuple[str, str, dict]:
        """A tab was opened: what it shows (`?run=`, else the newest) and who it is."""
        known, name = self.who(token), signed_in(request)
        if name or not known.id or known.name:  # signed in, new here, or signed out since
            token = new_token(name)
            if name and known.id and not known.name:
                hand_over(known, self.who(token))
        return str(request.query_params.get("run", ""))[:64], token, {}

    def _opened(self, tab: str) -> list[Any]:
        """Only the open tab's timer runs. It begins fast; its first tick says how fast to go on."""
        return [tab, *[gr.Timer(active=name == tab) for name in self.timers]]


class Watchers:
    """How many tabs look, and so how often each may: many tabs together cost about what `WATCHERS_A_SECOND` do."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def pace(self, session: str, run: RunView | None) -> float:
        """Seconds until this tab's next look, in whole steps so that it rarely changes."""
        now = time.monotonic()
        with self._lock:
            self._seen[session] = now
            if len(self._seen) > 2 * WATCHERS_A_SECOND:
                self._seen = {s: t for s, t in self._seen.items() if now - t < 3 * SLOWEST}
            watchers = len(self._seen)
        resting = run is None or run.final
        return max(AT_REST if resting else FASTEST, min(SLOWEST, -(-watchers // WATCHERS_A_SECOND)))


def shown(run_id: str) -> RunView | None:
    """The run of an id (or the start of one), None where none is.

    For "" the one that is going, else the next to have its turn, else the newest.
    """
    if not run_id:
        every = recent_runs()
        waiting = [run for run in every if run.state == "queued"]
        return at_work() or next(iter([*reversed(waiting), *every]), None)
    try:
        return store.view(index.find_id(run_id))
    except UserError:
        return None


def meant(run_id: str) -> RunView:
    """The run that a visitor means by an id, as `shown` has it. Raises UserError where there is none."""
    run = shown(run_id)
    if run is None:
        raise UserError(NO_RUN)
    return run


def at_work() -> RunView | None:
    """The run that has its turn now, the newest where several have; None for none."""
    return next((run for run in recent_runs() if not run.final and run.state != "queued"), None)


_recent: tuple[float, str, list[RunView]] = (0.0, "", [])


def recent_runs(fresh: bool = False) -> list[RunView]:
    """Every run, the newest first, as of at most a second ago: many tabs ask at once."""
    global _recent
    where = str(store.home().runs.resolve())
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
