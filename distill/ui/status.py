"""The line under the title: which run this is, what it is doing, how long that takes, and Stop."""

from __future__ import annotations

import gradio as gr

from distill.runs import queue
from distill.runs.store import RunView
from distill.ui import actions
from distill.ui.auth import Visitor
from distill.ui.html import NO_RUN, progress, words
from distill.ui.session import PageSession, going, meant


def build(session: PageSession, header: str) -> None:
    """The title, the machine, and the line that follows the run."""
    with gr.Row(elem_id="top"):
        gr.HTML(header, elem_id="title")
    with gr.Row(elem_id="status"):
        line = gr.HTML(bar(None, ""), elem_id="status-line", scale=5, min_width=260)
        stop = gr.Button(
            "Stop and keep the model", elem_id="stop", interactive=False, scale=0, min_width=210, size="sm"
        )
    session.live("status", line, bar, inputs=[session.run_id], key=going)

    def can_stop(run: RunView | None, token: str) -> dict:
        mine = run is not None and not run.final and session.who(token).owns(run.folder)
        return gr.Button(interactive=bool(mine and run.state != "stopping"))

    session.live("can-stop", stop, can_stop, inputs=[session.token])
    session.act(stop.click, stop_run)


def stop_run(who: Visitor, run_id: str) -> str:
    """Ask the run to save and leave. Raises UserError where it isn't the visitor's, or isn't running."""
    return actions.stop(meant(run_id).id, who)


def bar(run: RunView | None, run_id: str) -> str:
    """The line, as HTML."""
    if run is None:
        missing = f"There is no run {words(run_id)} here: it may have been deleted. " if run_id else ""
        return f'<p class="quiet">{missing}{NO_RUN}</p>'
    share, what = progress(run)
    waiting = queue.waiting(run.folder.parent) if run.state == "queued" else []
    if run.id in waiting:
        place = waiting.index(run.id)
        what += f" · {place} before it in the queue" if place else " · next in the queue"
    ended = run.reason and run.state in ("stopped", "failed", "crashed")
    look = "quiet" if run.state == "stopped" else "reason"
    why = f'<p class="{look}">{words(run.reason)}</p>' if ended else ""
    now = going()
    other = f' · <a href="?run={words(now)}">another run is training: watch it</a>' if now not in ("", run.id) else ""
    return (
        f'<p class="line" data-state="{run.state}" data-chosen="{run.id if run_id else ""}">'
        f'<a href="?run={words(run.id)}">run {words(run.id[:6])}</a> · '
        f"<b>{words(run.name)}</b> · <span class='what'>{words(what)}</span>{other}</p>{why}"
        '<div class="meter" role="progressbar" aria-label="progress of this stage" aria-valuemin="0"'
        f' aria-valuemax="100" aria-valuenow="{100 * share:.0f}"><span style="width:{100 * share:.1f}%"></span></div>'
    )
