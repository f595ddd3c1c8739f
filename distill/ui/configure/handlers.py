"""The event handlers of Configure: from what is filled in to what its parts show, and Start."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from distill.config.errors import UserError
from distill.config.run_config import ConfigError, RunConfig
from distill.runs.estimate import Estimate, Machine, estimate
from distill.ui import actions
from distill.ui.auth import Visitor, visitor
from distill.ui.configure import export, preview_html, review, teachers, uploads
from distill.ui.configure.binding import FIRST, Draft, draft_of, file_of, preset
from distill.ui.configure.cards import cards_here, cards_html
from distill.ui.configure.draft import DraftState, initial_state, restored_values, to_draft, validated
from distill.ui.configure.fields import STEPS
from distill.ui.configure.form import Form
from distill.ui.configure.preview import preview_in_child
from distill.ui.configure.validation import FILE, NAME, OBJECTIVES, TEACHERS, Checked, check, plain, step_of
from distill.ui.html import clicked, words
from distill.ui.session import recent_runs
from distill.ui.traffic import address_of

NAME_INFO = "Leave blank to use the suggested name."

_ADD = "A bundled model, a Hub id such as google/gemma-2-2b-it{folder}."
_FETCH = "Press “Show the problems” to fetch the data set and see how it begins."
_TABS = 1000  # browser tabs whose last preview is remembered
_COLUMNS = ("question", "solution", "answer", "family", "messages")


class Handlers:
    """`form`: the fields. `public`: strangers use this server. Each handler returns updates in the order in which
    ui/configure/tab.py wires them; `values` come in the order of FIELDS."""

    def __init__(self, form: Form, public: bool):
        self.form, self.public = form, public
        self._previews: dict[str, object] = {}  # browser tab -> the preview it asked for last
        self.add_info = _ADD.format(folder="" if public else ", or a folder")

    def load(self, state: Any, saved: Any) -> list[Any]:
        """The page was opened: what this browser had filled in before, if anything."""
        new, state = not state, validated(state)
        cards = cards_html(cards_here(), state["preset"])
        if new:
            return [state, gr.skip(), cards, None, *[gr.skip() for _ in self.form.all]]
        values = restored_values(saved, state["preset"])
        name = saved.get("name", "") if isinstance(saved, dict) else ""
        return [state, str(name)[:80], cards, None, *self.form.filled(values, state["columns"])]

    def choose(self, event: gr.EventData) -> list[Any]:
        """A card was clicked: everything as its preset has it."""
        name = clicked(event, "name")
        card = next((card for card in cards_here() if card.name == name), None)
        if card is None or not card.available:
            raise ConfigError(f"The preset {name!r} is not available here: choose another.")
        return [initial_state(name), "", cards_html(cards_here(), name), None, *self.form.filled(draft_of(name).values)]

    def go(self, event: gr.EventData) -> tuple[Any, str]:
        """Go to the step that a button names."""
        step = clicked(event, "step")
        step = step if step in STEPS else next(iter(STEPS))
        return gr.Tabs(selected=step), step

    def change_row(self, state: DraftState, event: gr.EventData) -> DraftState:
        """Move a teacher up or down, or remove it."""
        state = validated(state)
        return {**state, "teachers": teachers.act(state["teachers"], clicked(event, "act"), clicked(event, "name"))}

    def add(self, state: DraftState, model: str | None) -> tuple[Any, Any]:
        """Add a teacher; what is wrong with it is shown where it was typed."""
        state = validated(state)
        try:
            more = teachers.add(state["teachers"], model or "", self.public)
        except UserError as error:
            return gr.skip(), gr.update(info=str(error), elem_classes=["field", "amiss"])
        return {**state, "teachers": more}, gr.update(value="", info=self.add_info, elem_classes=["field"])

    def upload(self, path: str, state: DraftState, token: str = "", request: gr.Request | None = None) -> list[Any]:
        """A file was uploaded: offer its columns, the likely ones chosen."""
        state = {**validated(state), "upload": "", "file": "", "columns": []}
        try:
            who = visitor(token, not self.public, address=address_of(request) if self.public else "")
            found = uploads.store_upload(path, who)
        except UserError as error:
            return [{**state, "said": str(error)}, *[gr.skip() for _ in _COLUMNS]]
        state |= {"upload": found.stored, "file": uploads.called(path), "columns": list(found.columns)}
        choices = ["", *found.columns]
        return [state, *[gr.update(choices=choices, value=found.guess[part] or "") for part in _COLUMNS]]

    def clear_upload(self, state: DraftState) -> list[Any]:
        """The file was removed."""
        return [{**validated(state), "upload": "", "file": "", "columns": []}, *[gr.skip() for _ in _COLUMNS]]

    def _check(self, draft: Draft) -> tuple[Checked, Estimate | None]:
        checked = check(draft, self.public)
        found = estimate(checked.config, Machine.here(), recent_runs()) if checked.config else None
        return checked, found

    def refresh(self, marks: list[str] | None, state: DraftState, name: str, *values: Any) -> list[Any]:
        """Updates for everything that depends on what is filled in, where it differs from what `marks` say is shown
        already; and the new marks."""
        parts = self._parts(state, name, values)
        now = [hashlib.blake2b(repr(part).encode(), digest_size=6).hexdigest() for part in parts]
        before = marks if marks and len(marks) == len(now) else [""] * len(now)
        changed = [gr.skip() if old == new else part for part, old, new in zip(parts, before, now, strict=True)]
        return [*changed, now]

    def _parts(self, state: DraftState, name: str, values: Sequence[Any]) -> list[Any]:
        draft = to_draft(state, name, values)
        checked, found = self._check(draft)
        faults = checked.faults
        student = (draft.values["student.model"] or "").strip() or FIRST
        return [
            review.verdict(checked, found),
            "" if "student.model" in faults else review.student_facts(student),
            teachers.rows_html(
                draft.teachers, faults.get(TEACHERS, ""), "" if {"student.model", TEACHERS} & {*faults} else student
            ),
            gr.update(visible=draft.values["data.source"] == "file"),
            self._file_note(draft, state, faults.get(FILE)),
            f'<p class="wrong" role="status">{words(faults[OBJECTIVES])}</p>' if OBJECTIVES in faults else "",
            self._name(checked, draft),
            {**draft.values, "name": draft.name},
            *self.form.show(draft.values, faults, [teacher["name"] for teacher in draft.teachers]),
        ]

    @staticmethod
    def _name(checked: Checked, draft: Draft) -> dict[str, Any]:
        fault = checked.faults.get(NAME)
        placeholder = checked.config.name if checked.config and not draft.name.strip() else draft.preset
        return gr.update(
            placeholder=placeholder, info=fault or NAME_INFO, elem_classes=["field", "amiss"] if fault else ["field"]
        )

    @staticmethod
    def _file_note(draft: Draft, state: DraftState, fault: str | None) -> str:
        failed = state.get("said") if isinstance(state, dict) and not draft.upload else None
        if failed or fault:
            return f'<p class="wrong" role="status">{words(failed or fault)}</p>'
        return f'<p class="quiet" role="status">Read: {words(draft.file)}.</p>' if draft.upload else ""

    def refresh_review(self, step: str, state: DraftState, name: str, *values: Any) -> list[Any]:
        """The review, where it is open: the run and its costs, its command line and YAML, and whether it can start."""
        if step != "review":
            return [gr.skip() for _ in range(4)]
        draft = to_draft(state, name, values)
        checked, found = self._check(draft)
        config = checked.config
        if config is None:
            closed = gr.update(interactive=False)
            return [review.review(draft, checked, found), "", closed, closed]
        notes, refusal = uploads.trial(config, draft.file) if config.data.source == "file" else ([], "")
        public = self._publishable(config, draft)
        return [
            review.review(draft, checked, found, notes, refusal),
            self._commands(public, draft, found),
            gr.update(value=export.yaml_file(public), interactive=True),
            gr.update(interactive=not found.obstacle and not refusal),
        ]

    @staticmethod
    def _commands(config: RunConfig, draft: Draft, found: Estimate) -> str:
        """The run as a command line; where this machine can't do it, as a Job on one that can."""
        said = [export.command(config, draft.preset)]
        said += [export.elsewhere(config, draft.preset)] if found.obstacle else []
        return "\n".join(filter(None, said))

    def _publishable(self, config: RunConfig, draft: Draft) -> RunConfig:
        """The config as a visitor may see it: on a public server their file is called as they call it."""
        if not self.public or config.data.path is None or not draft.upload:
            return config
        return config.model_copy(
            update={"data": config.data.model_copy(update={"path": draft.file or "problems.jsonl"})}
        )

    def refresh_preview(
        self,
        request: gr.Request,
        oauth_token: gr.OAuthToken | None,
        step: str,
        state: DraftState,
        name: str,
        *values: Any,
    ) -> Iterator[Any]:
        """The preview, where it is open; nothing is fetched from the Hub before the visitor asks for it."""
        if step != "problems":
            yield gr.skip()
        elif to_draft(state, name, values).values["data.source"] == "hub":
            yield preview_html.later(_FETCH)
        else:
            yield from self.show_preview(request, oauth_token, state, name, *values)

    def show_preview(
        self, request: gr.Request, oauth_token: gr.OAuthToken | None, state: DraftState, name: str, *values: Any
    ) -> Iterator[str]:
        """The preview, after a message as it takes seconds. Not shown if the visitor has since asked for another."""
        newest = self._newest(request)
        draft = to_draft(state, name, values)
        if draft.values["data.source"] == "file" and not file_of(draft):
            yield preview_html.later("The first ten appear here when there is a file.")
            return
        try:
            asked = self._previewed(draft)
            yield preview_html.waiting(asked.student.name)
            who = visitor(None, not self.public, oauth_token.token if oauth_token else None)
            actions.check_opened(asked, who)
            made = preview_html.rows_html(preview_in_child(asked, token=who.hub_token), asked.student.name)
        except UserError as error:
            made = preview_html.failed(plain(str(error).replace(draft.upload or "\0", draft.file)))
        if newest():
            yield made

    def _previewed(self, draft: Draft) -> RunConfig:
        """The config that a preview is made from. Raises ConfigError for a fault in it; other faults don't matter."""
        faults = check(draft, self.public).faults
        wrong = next((text for key, text in faults.items() if step_of(key) in ("student", "problems")), None)
        if wrong:
            raise ConfigError(wrong)
        return preview_html.preview_config(draft)

    def _newest(self, request: gr.Request) -> Callable[[], bool]:
        """Note that a browser tab asks for a preview; the function tells whether it is still its latest request."""
        session_hash, mark = str(request.session_hash), object()
        self._previews.pop(session_hash, None)
        self._previews[session_hash] = mark
        while len(self._previews) > _TABS:
            self._previews.pop(next(iter(self._previews)), None)
        return lambda: self._previews.get(session_hash) is mark

    def start_first(self, visitor: Visitor, run_id: str) -> str:
        """Start the first card as it is."""
        return actions.start(preset(FIRST), visitor, self.public)

    def start(self, visitor: Visitor, run_id: str, state: DraftState, name: str, *values: Any) -> str:
        """Start what is filled in. Raises UserError with the first thing wrong."""
        draft = to_draft(state, name, values)
        checked = check(draft, self.public)
        if checked.config is None:
            raise ConfigError(next(iter(checked.faults.values())))
        if checked.config.data.source == "file":
            _, refusal = uploads.trial(checked.config, draft.file)
            if refusal:
                raise UserError(refusal)
        return actions.start(checked.config, visitor, self.public)
