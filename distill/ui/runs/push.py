"""Upload to the Hub: push a finished run's adapter, card and report to a repository of the visitor's own.

On a public server with the token of whoever signed in, never with the server's; on a machine of one's own with the
token that the machine is logged in with.
"""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from distill.config.errors import UserError
from distill.config.secrets import redacted
from distill.hub import host
from distill.hub.push import push
from distill.models.hub_errors import own_token
from distill.runs.views import RunView
from distill.ui.auth import Visitor
from distill.ui.errors import catch_errors
from distill.ui.html import words
from distill.ui.session import QUIET, PageSession, require_run

_LEAD = "<h3>Upload to the Hub</h3>"
_WHAT = "Adapter, model card, report, settings and gate go into a repository of yours, in one commit."
_BY_HAND = "Download the adapter instead; <code>hf upload</code> takes it to the Hub from your own machine."


def build(session: PageSession) -> None:
    """The part of the open run's column."""
    gr.HTML(_LEAD)
    about = gr.HTML(note(None, None, ""), elem_id="runs-keep-about")
    with gr.Column(elem_id="runs-keep", visible=False) as fields:
        name = gr.Textbox(label="Repository", placeholder="your-name/my-student", max_lines=1, elem_id="runs-repo")
        private = gr.Checkbox(True, label="Private: nobody else can see it", elem_id="runs-private", container=False)
        button = gr.Button("Upload", size="sm", elem_id="runs-keep-go")
    said = gr.HTML("", elem_id="runs-kept")

    def context(run: RunView | None, token: str) -> tuple[RunView | None, Visitor, str]:
        visitor = session.who(token)
        return run, visitor, why_not(visitor, session.public)

    watched = {"tab": "runs", "inputs": [session.token], "key": _logged_in}
    session.live("runs-keep", about, lambda *seen: note(*context(*seen)), **watched)
    session.live("runs-keep-it", fields, lambda *seen: fields_shown(*context(*seen)), **watched)

    def push_run(
        oauth_token: gr.OAuthToken | None, run_id: str, token: str, repository: str | None, hidden: bool
    ) -> Iterator[str]:
        run = require_run(run_id)
        visitor = session.who(token, oauth_token)
        visitor.check(run.folder, "push")
        yield _status(f"Run {run.id[:6]} is being uploaded …")
        try:
            if session.public and not visitor.hub_token:
                raise UserError("Your sign-in has run out: sign in again with the button at the top of the page.")
            url = words(push(run.folder, (repository or "").strip(), visitor.hub_token, bool(hidden)))
        except UserError as error:
            yield f"<p class='wrong' role='alert'>{words(redacted(str(error)))}</p>"
            return
        link = f"<a href='{url}' target='_blank' rel='noopener'>{url}</a>"
        yield _status(f"Run {run.id[:6]} is kept at {link}.")

    quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_id": "hub", "concurrency_limit": 4}
    inputs = [session.run_id, session.token, name, private]
    gr.on([button.click, name.submit], catch_errors(push_run), inputs, said, **quiet)
    session.run_id.change(lambda: "", None, said, **QUIET)


def why_not(visitor: Visitor, public: bool) -> str:
    """Why this visitor cannot push a run to the Hub from here, a sentence of HTML; "" where they can."""
    if not public:
        if _logged_in():
            return ""
        return (
            "This machine isn't logged in to the Hub: run <code>hf auth login</code>, or set HF_TOKEN and restart "
            "the app."
        )
    missing = host.why_no_sign_in()
    if missing:
        return f"Not available, as nobody can sign in on this server: {words(missing)}. {_BY_HAND}"
    if not visitor.name:
        return (
            "Sign in with Hugging Face at the top of the page first. That lets this page create repositories for you, "
            "write to those it made but to no others, and read gated ones whose licence you accepted."
        )
    return ""


def note(run: RunView | None, visitor: Visitor | None, why: str) -> str:
    """The text above the fields."""
    if why:
        text = why
    elif run is None or visitor is None or run.state != "done":
        text = f"{_WHAT} Available once the run is done."
    elif not visitor.owns(run.folder):
        text = "Only the person who started a run can upload it from here."
    else:
        text = f"{_WHAT} You are signed in as {words(visitor.name)}." if visitor.name else _WHAT
    return f"<p class='quiet'>{text}</p>"


def fields_shown(run: RunView | None, visitor: Visitor, why: str) -> dict:
    """The fields, visible where this visitor can push this run."""
    return gr.update(visible=run is not None and run.state == "done" and visitor.owns(run.folder) and not why)


def _logged_in() -> bool:
    return bool(own_token())


def _status(text: str) -> str:
    return f"<p role='status'>{text}</p>"
