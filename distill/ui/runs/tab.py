"""Runs: all of them in a table; details, downloads and deletion of the open one; two or more compared.

What a visitor ticks and opens in the table is a value of its own, so that new rows never remove a tick.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import gradio as gr

from distill.config.errors import UserError
from distill.config.paths import ROOT
from distill.runs.views import RunView
from distill.ui import actions
from distill.ui.auth import SECRET, Visitor, owner_token
from distill.ui.errors import catch_errors
from distill.ui.runs import comparison, downloads, push, studies, table
from distill.ui.session import QUIET, PageSession, recent_runs, require_run

_SCRIPT = ROOT / "assets" / "runs.js"
_CHOSEN = '<span id="runs-chosen" hidden></span>'
_CHOOSE = """element.addEventListener("chosen", (event) => {
  props.value = event.detail;
  if (event.detail.open) trigger("select");
});"""
_BUTTONS = {"adapter": "Adapter (zip)", "report": "Report (JSON)", "card": "Model card", "config": "config.yaml"}
_SAVE = "() => setTimeout(() => document.querySelector('#runs-file')?.click(), 50)"
_FOCUS = "() => setTimeout(() => document.querySelector('{}')?.focus(), 150)"


def build(session: PageSession) -> None:
    """The tab."""
    script = _SCRIPT.read_text(encoding="utf-8")
    with gr.Row(elem_classes="runs-row"):
        with gr.Column(scale=7, min_width=300):
            gr.HTML("<h2>Runs</h2>" + (table.kept() if session.public else ""), elem_classes="runs-title")
            listing = gr.HTML(table.runs_table([], 0, ""), js_on_load=script, elem_id="runs-table")
            # What the visitor chose in the table: {"ticked": [run ids], "open": the id of the run last clicked, or ""}.
            chosen = gr.HTML({"ticked": [], "open": ""}, html_template=_CHOSEN, js_on_load=_CHOOSE)
            results = gr.HTML(comparison.results([]), elem_id="runs-compared")
            settings = gr.HTML("", elem_id="runs-settings")
        with gr.Column(scale=4, min_width=300, elem_id="runs-open"):
            details = gr.HTML(table.details(None), js_on_load=script, elem_id="runs-details")
            _downloads(session)
            push.build(session)
            _delete(session)
            _owner(session)
            config = gr.HTML("", elem_id="runs-config")
    studies.build(session)
    session.live("runs-table", listing, _table, tab="runs", key=_marks)
    session.live("runs-details", details, table.details, tab="runs")
    session.live("runs-config", config, table.config_text, tab="runs")
    for name, component, draw in (
        ("results", results, comparison.results),
        ("settings", settings, comparison.settings),
    ):
        session.live(f"runs-{name}", component, partial(_compared, draw), tab="runs", inputs=[chosen], key=_marks)
    session.act(chosen.select, _open, [chosen])


# --- the table ------------------------------------------------------------------------------------------------------


def _marks() -> tuple:
    return tuple((run.id, run.mark) for run in recent_runs()[: table.SHOWN])


def _table(run: RunView | None) -> str:
    every = recent_runs()
    return table.runs_table([table.row_of(one) for one in every[: table.SHOWN]], len(every), run.id if run else "")


def _open(_: Visitor, __: str, asked: Any) -> str:
    run = asked.get("open") if isinstance(asked, dict) else None
    if not any(one.id == run for one in recent_runs()):
        raise UserError("That run has been deleted.")
    return run


def ticked(asked: Any, runs: list[RunView]) -> list[RunView]:
    """The runs that are ticked, in the order of ticking; those that are gone are left out."""
    known = {run.id: run for run in runs}
    wanted = asked.get("ticked") if isinstance(asked, dict) else None
    wanted = [str(run) for run in wanted] if isinstance(wanted, list) else []
    return [known[run] for run in dict.fromkeys(wanted) if run in known]


def _compared(draw: Any, _: RunView | None, asked: Any) -> str:
    return draw(ticked(asked, recent_runs()))


# --- downloads ------------------------------------------------------------------------------------------------------


def _downloads(session: PageSession) -> None:
    """A button for each file; a hidden button hands the copy that it makes to the browser."""
    gr.HTML("<h3>Download</h3>")
    file = gr.DownloadButton(visible="hidden", elem_id="runs-file")
    with gr.Row(elem_classes="runs-downloads"):
        for what, title in _BUTTONS.items():
            button = gr.Button(title, size="sm", min_width=130, interactive=False, elem_id=f"runs-get-{what}")
            session.live(f"runs-get-{what}", button, partial(_may_get, what), tab="runs")
            get = catch_errors(partial(_get, what))
            made = button.click(get, session.run_id, file, api_visibility="private", show_progress="hidden")
            made.success(None, None, None, js=_SAVE)


def _may_get(what: str, run: RunView | None) -> dict:
    return gr.update(interactive=run is not None and downloads.available(run.folder, what))


def _get(what: str, run_id: str) -> str:
    return str(downloads.copy(require_run(run_id).folder, what))


# --- delete ---------------------------------------------------------------------------------------------------------


def _delete(session: PageSession) -> None:
    """The run's owner, and Delete, which asks first and names the run."""
    owner = gr.HTML("", elem_id="runs-owner")
    delete = gr.Button("Delete this run", size="sm", interactive=False, elem_id="runs-delete")
    to_delete = gr.State("")  # the id of the run that the question is about
    with gr.Column(visible=False, elem_id="runs-confirm") as confirm:
        question = gr.HTML("")
        with gr.Row():
            yes = gr.Button("Delete it", variant="stop", size="sm", min_width=100, elem_id="runs-delete-yes")
            no = gr.Button("Keep it", size="sm", min_width=100, elem_id="runs-delete-no")

    def may_delete(run: RunView | None, token: str) -> dict:
        return gr.update(interactive=run is not None and run.final and session.who(token).owns(run.folder))

    def ask(run_id: str, token: str) -> tuple[dict, str, str]:
        run = require_run(run_id)
        session.who(token).check(run.folder, "delete")
        return gr.update(visible=True), table.question(run), run.id

    def asking(run: RunView | None, about: str) -> dict:
        return gr.update(visible=run is not None and run.id == about)

    def whose(run: RunView | None, token: str) -> str:
        return table.ownership(run, session.who(token))

    session.live("runs-owner", owner, whose, "runs", [session.token])
    session.live("runs-may-delete", delete, may_delete, "runs", [session.token])
    session.live("runs-confirm", confirm, asking, "runs", [to_delete])
    delete.click(catch_errors(ask), [session.run_id, session.token], [confirm, question, to_delete], **QUIET).success(
        None, None, None, js=_FOCUS.format("#runs-delete-no")
    )
    no.click(lambda: (gr.update(visible=False), ""), None, [confirm, to_delete], **QUIET).then(
        None, None, None, js=_FOCUS.format("#runs-delete")
    )
    session.act(yes.click, _deleted, [to_delete])
    yes.click(None, None, None, js=_FOCUS.format("#runs-table a"))


# --- the server's owner ---------------------------------------------------------------------------------------------


def _owner(session: PageSession) -> None:
    """Where the owner of a public server says who they are, if it has a secret for that."""
    if not (session.public and os.environ.get(SECRET)):
        return

    def enter(secret: str) -> tuple[str, str, str]:
        token = owner_token(str(secret))
        return token, "", '<p class="quiet" role="status">You may stop and delete every run.</p>'

    with gr.Accordion("For the owner of this server", open=False, elem_id="runs-server-owner"):
        secret = gr.Textbox(label="Owner secret", type="password", max_lines=1)
        said = gr.HTML("")
        press = gr.Button("This is my server", size="sm")
    gr.on([press.click, secret.submit], catch_errors(enter), secret, [session.token, secret, said], **QUIET)


def _deleted(who: Visitor, run_id: str, to_delete: str) -> str:
    """Delete the run that the question was about; then another is shown."""
    downloads.remove_copies(actions.delete(to_delete, who))
    recent_runs(fresh=True)
    return "" if run_id == to_delete else run_id
