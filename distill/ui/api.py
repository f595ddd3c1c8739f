"""The page's named endpoints, for programs (docs/usage.md): start, stop, resume, delete, status, report, generate.

They do what the buttons do, through the same functions; whoever holds the token that start gave may stop a run. What a
program sends may be anything: what is no text where one belongs is refused with a sentence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from distill.config import paths, run_config
from distill.config.errors import UserError
from distill.config.messages import listed, show
from distill.hub import zerogpu
from distill.models.hardware import is_zerogpu
from distill.runs import index
from distill.runs.views import RunView
from distill.ui import actions
from distill.ui.auth import new_token
from distill.ui.compare.answering import generate_once
from distill.ui.errors import catch_errors
from distill.ui.html import progress
from distill.ui.runs import downloads
from distill.ui.session import PageSession, find_run
from distill.ui.traffic import MODEL


def build(session: PageSession) -> None:
    """Register the endpoints of this page."""

    def start(
        request: gr.Request, preset: str = "tiny", overrides: list[str] | None = None, token: str = ""
    ) -> dict[str, Any]:
        """Start a run of a preset with overrides such as "budget.steps=60"; it waits for its turn. Returns its id and
        the token that stop and resume ask for: keep it."""
        if preset not in paths.preset_names():  # a path would let anyone read this machine's files
            raise UserError(f"There is no preset {str(preset)[:40]!r}: choose one of {listed(paths.preset_names())}.")
        token = token or new_token()
        who = session.who(token, request=request)
        if not who.id:
            raise UserError("That token was not issued by this server: leave it out to get a new one.")
        actions.check_turn(who)  # before anything is read: a flood of refused starts must cost next to nothing
        run = actions.start(run_config.load(preset, _overrides(overrides)), who, session.public)
        return {"run": run, "token": token}

    def stop(run: str, token: str = "") -> dict[str, Any]:
        """Ask a run to save its model and leave."""
        return summary(found(actions.stop(run, session.who(token))))

    def delete(run: str, token: str = "") -> dict[str, Any]:
        """Delete a run that has ended, with all that it made and the file that was uploaded for it."""
        gone = actions.delete(run, session.who(token))
        downloads.remove_copies(gone)
        return {"run": gone, "state": "deleted"}

    def resume(request: gr.Request, run: str, token: str = "", overrides: list[str] | None = None) -> dict[str, Any]:
        """Go on with a run that was stopped or broke off, with overrides of its budget."""
        who = session.who(token, request=request)
        return summary(found(actions.resume(run, who, _overrides(overrides))))

    def generate(run: str, question: str, answer: str = "") -> dict[str, Any]:
        """The run's student answers a question with its adapter off and on; graded if the right answer is given."""
        for what, text in (("question", question), ("answer", answer)):
            if not isinstance(text, str):
                raise UserError(f"The {what} is {show(text)}: give a text.")
        return generate_once(session.who(None), found(run).folder, question, answer or None)

    for function in (stop, delete, status, report):
        gr.api(catch_errors(function, html=False), api_name=function.__name__, queue=False)
    for function in (start, resume):
        if is_zerogpu():
            gr.api(catch_errors(_lasting(function), html=False), api_name=function.__name__, concurrency_limit=None)
        else:
            gr.api(catch_errors(function, html=False), api_name=function.__name__, queue=False)
    gr.api(catch_errors(generate, html=False), api_name="generate", concurrency_id=MODEL, concurrency_limit=1)


def _overrides(said: Any) -> list[str]:
    """What a program gave as overrides. Raises UserError where that is no list of texts."""
    if said and not (isinstance(said, list) and all(isinstance(one, str) for one in said)):
        raise UserError(f'The overrides are {show(said)}: give a list of texts such as ["budget.steps=60"].')
    return said or []


def status(run: str = "") -> dict[str, Any]:
    """What a run is doing: state, step, steps, share of the present stage, in words. No id: the newest run."""
    return summary(found(run))


def report(run: str = "") -> dict[str, Any]:
    """A finished run's report.json: accuracies with intervals, flips, agreement, times. A file of problems is named
    in data.file."""
    view = found(run)
    if view.report is None:
        raise UserError(f"Run {view.id} has no report yet: it is {view.state}.")
    report = actions.published(view.report)
    if report.get("data", {}).get("path"):  # gradio's client takes whatever has a path for a file to be fetched
        report["data"]["file"] = report["data"].pop("path")
    return report


def _lasting(begin: Callable[..., dict[str, Any]]) -> Callable[..., Iterator[dict[str, Any]]]:
    """`begin`, as ZeroGPU needs it: the call lasts as long as the run, and yields the same again and again."""

    @functools.wraps(begin)
    def lasting(*args: Any, **kwargs: Any) -> Iterator[dict[str, Any]]:
        said = begin(*args, **kwargs)
        with closing(zerogpu.carry_out(index.find_id(said["run"]))) as beats:
            yield said
            for _ in beats:
                yield said

    return lasting


def found(run: str) -> RunView:
    """The run of an id, or the newest for "". Raises UserError."""
    if not isinstance(run, str):
        raise UserError(f'{show(run)} is no run\'s id: an id is a text such as "3fa9c1d2e4b5".')
    view = find_run(run)
    if view is None:
        raise UserError(f"There is no run {run[:40]!r} here." if run else "There is no run here yet: start one.")
    return view


def summary(run: RunView) -> dict[str, Any]:
    """A run's state as JSON."""
    share, what = progress(run)
    return {
        "run": run.id,
        "name": run.name,
        "state": run.state,
        "reason": actions.published(run.reason),
        "step": run.step,
        "steps": run.steps,
        "stage": what,
        "share": round(share, 4),
        "final": run.final,
    }
