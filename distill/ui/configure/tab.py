"""Configure: preset cards, six steps to fill in, a review, and Start: components and wiring, the handlers are apart.

Whatever is filled in is in the browser, and all of it is sent at each change, so that no two changes can lose each
other.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.context import Context

from distill.config import paths
from distill.ui.configure import help, preview_html, teachers
from distill.ui.configure.binding import FIRST, draft_of
from distill.ui.configure.cards import cards_here, cards_html
from distill.ui.configure.fields import BUDGET, OBJECTIVES, PROBLEMS, STEPS, STUDENT
from distill.ui.configure.form import Form
from distill.ui.configure.handlers import NAME_INFO, Handlers
from distill.ui.configure.uploads import KINDS
from distill.ui.errors import catch_errors
from distill.ui.html import click_script
from distill.ui.session import QUIET, PageSession

_LATEST = {**QUIET, "trigger_mode": "always_last"}  # while a handler runs, only the newest change waits
_SLOW = {**_LATEST, "queue": True, "concurrency_limit": 4, "concurrency_id": "preview"}
# The tabs change a moment after the handler has answered.
_FOCUS = "() => { setTimeout(() => document.querySelector('#steps [role=tab][aria-selected=true]')?.focus(), 80); }"


def build(session: PageSession) -> None:
    """The tab."""
    tab = Configure(session)
    tab.build()
    tab.wire()


class Configure:
    """The tab's components and their events."""

    def __init__(self, session: PageSession):
        self.session = session
        self.form = Form(draft_of(FIRST).values)
        self.handlers = Handlers(self.form, session.public)

    # --- building ----------------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Cards, the line that says what is wrong, and the steps."""
        self.state = gr.BrowserState(None, storage_key="distill-configure", secret="distill")
        self.saved = gr.BrowserState(None, storage_key="distill-values", secret="distill")
        self.step = gr.State("student")
        self.marks = gr.State(None)  # what this tab shows already
        gr.HTML("<h2>Choose what to run</h2>")
        self.cards = gr.HTML(cards_html(cards_here(), FIRST), js_on_load=click_script("choose", "start"))
        gr.HTML(
            "<h2>Customize this run</h2><p class='quiet'>The card you chose has already filled in every step.</p>",
            elem_classes="section",
        )
        self.verdict = gr.HTML("", js_on_load=click_script("go"), elem_id="verdict")
        parts = {
            "student": self._student,
            "teachers": self._teachers,
            "problems": self._problems,
            "method": self._method,
            "budget": lambda: self.form.add(BUDGET),
            "review": self._review,
        }
        self.tabs: dict[str, gr.Tab] = {}
        self.moves: list[tuple[gr.Button, str]] = []
        with gr.Tabs(elem_id="steps", overflow_behavior="wrap") as self.steps:
            for number, (step, (title, _)) in enumerate(STEPS.items(), 1):
                with gr.Tab(f"{number} {title}", id=step, elem_id=f"step-{step}") as self.tabs[step]:
                    with gr.Row(elem_classes="step"):
                        with gr.Column(scale=5, min_width=300):
                            parts[step]()
                        with gr.Column(scale=3, min_width=240):
                            gr.HTML(getattr(help, step.upper()), elem_classes="aside")
                    if step == "problems":
                        self._preview()
                    self._moves(step)

    def _student(self) -> None:
        self.form.add(STUDENT[:1])
        self.facts = gr.HTML("", elem_id="student-facts")
        self.form.add(STUDENT[1:])

    def _teachers(self) -> None:
        rows = teachers.rows_html(draft_of(FIRST).teachers)
        self.rows = gr.HTML(rows, js_on_load=click_script("change_row", then=teachers.KEEP_FOCUS))
        with gr.Row(elem_id="add-teacher"):
            self.adder = gr.Dropdown(
                paths.zoo_names(),
                value="",
                allow_custom_value=True,
                label="Add a teacher",
                info=self.handlers.add_info,
                elem_classes="field",
                scale=4,
            )
            self.add = gr.Button("Add", scale=0, min_width=90)

    def _problems(self) -> None:
        first = [field for field in PROBLEMS if not field.group and not field.rare]
        self.form.add(first)
        with gr.Column(visible=False) as self.file_part:
            if self.session.public:
                gr.HTML(help.VISIBLE, elem_id="problems-visible")
            self.file = gr.File(
                label="Your file: JSONL, CSV or Parquet, at most 20 MB",
                file_types=list(KINDS),
                height=130,
                elem_id="problems-file",
            )
            self.file_note = gr.HTML("")
        self.form.add([field for field in PROBLEMS if field not in first])

    def _preview(self) -> None:
        with gr.Row(elem_classes="preview-head"):
            gr.HTML("<h3>As the student will see them</h3>")
            self.show = gr.Button("Show the problems", scale=0, min_width=170)
        self.preview = gr.HTML(preview_html.later("The first ten appear here."), elem_id="preview")

    def _method(self) -> None:
        self.aims = gr.HTML("")
        for objective in OBJECTIVES:
            self.form.add_objective(objective)

    def _review(self) -> None:
        self.summary = gr.HTML("")
        self.name = gr.Textbox(label="Name of the run", info=NAME_INFO, max_lines=1, elem_id="run-name")
        with gr.Row(elem_classes="last"):
            self.start = gr.Button("Start", variant="primary", elem_id="start", scale=0, min_width=180)
            self.download = gr.DownloadButton("Download config.yaml", elem_id="config-yaml", scale=0, min_width=200)
        self.command = gr.Textbox(
            label="The same from the command line",
            interactive=False,
            lines=2,
            max_lines=8,
            buttons=["copy"],
            elem_id="command",
        )

    def _moves(self, step: str) -> None:
        names = list(STEPS)
        at = names.index(step)
        with gr.Row(elem_classes="moves"):
            for to, label in ((at - 1, "Back: {}"), (at + 1, "Next: {}")):
                if 0 <= to < len(names):
                    button = gr.Button(label.format(STEPS[names[to]][0]), scale=0, min_width=145)
                    self.moves.append((button, names[to]))

    # --- wiring ------------------------------------------------------------------------------------------------------

    def wire(self) -> None:
        """Which event does what."""
        handlers = self.handlers
        self.inputs = [self.state, self.name, *self.form.all]
        self.outputs = [self.verdict, self.facts, self.rows, self.file_part, self.file_note, self.aims]
        self.outputs += [self.name, self.saved, *self.form.shown, self.marks]
        fills = [self.state, self.name, self.cards, self.marks, *self.form.all]
        self._refreshed(Context.root_block.load(handlers.load, [self.state, self.saved], fills, **QUIET))
        self._refreshed(self.cards.choose(catch_errors(handlers.choose), None, fills, **QUIET))
        self._refreshed(self.rows.change_row(catch_errors(handlers.change_row), self.state, self.state, **QUIET))
        self._refreshed(
            self.add.click(catch_errors(handlers.add), [self.state, self.adder], [self.state, self.adder], **QUIET)
        )
        uploads = [self.state, *[self.form.widgets[field.key] for field in PROBLEMS if field.widget == "column"]]
        loud = {"show_progress": "minimal", "api_visibility": "private"}
        sent = [self.file, self.state, self.session.token]
        self._refreshed(self.file.upload(catch_errors(handlers.upload), sent, uploads, **loud))
        self._refreshed(self.file.clear(catch_errors(handlers.clear_upload), self.state, uploads, **QUIET))
        self._typing()
        self._moving()
        self.show.click(catch_errors(handlers.show_preview), self.inputs, self.preview, **_SLOW)
        self.session.act(self.cards.start, handlers.start_first, opens="train", trains=True)
        self.session.act(self.start.click, handlers.start, self.inputs, opens="train", trains=True)

    def _typing(self) -> None:
        """What follows every change of a field."""
        refresh = {
            "fn": catch_errors(self.handlers.refresh),
            "inputs": [self.marks, *self.inputs],
            "outputs": self.outputs,
        }
        seen = [field.key for field in (*STUDENT, *PROBLEMS)]
        unseen = [widget.input for key, widget in self.form.widgets.items() if key not in seen]
        gr.on(unseen, **refresh, **_LATEST)
        self._refresh_preview(gr.on([self.form.widgets[key].input for key in seen], **refresh, **_LATEST))
        self._refresh_review(gr.on([self.name.input], **refresh, **_LATEST))

    def _moving(self) -> None:
        """From step to step."""
        where = [self.steps, self.step]
        for step, tab in self.tabs.items():
            opened = tab.select(lambda step=step: step, None, self.step, **QUIET)
            self._refresh_step(opened, step)
        for button, to in self.moves:
            moved = button.click(lambda to=to: (gr.Tabs(selected=to), to), None, where, **QUIET)
            self._refresh_step(self._focused(moved), to)
        gone = self._focused(self.verdict.go(catch_errors(self.handlers.go), None, where, **QUIET))
        self._refresh_preview(self._refresh_review(gone))

    def _refresh_step(self, event: Any, step: str) -> None:
        """A step was opened."""
        if step == "review":
            self._refresh_review(event)
        if step == "problems":
            self._refresh_preview(event)

    def _refreshed(self, event: Any) -> None:
        """After a change of many things at once: refresh all of them, and what is open."""
        refreshed = event.then(catch_errors(self.handlers.refresh), [self.marks, *self.inputs], self.outputs, **_LATEST)
        self._refresh_preview(self._refresh_review(refreshed))

    def _refresh_review(self, event: Any) -> Any:
        parts = [self.summary, self.command, self.download, self.start]
        return event.then(catch_errors(self.handlers.refresh_review), [self.step, *self.inputs], parts, **_LATEST)

    def _refresh_preview(self, event: Any) -> Any:
        return event.then(catch_errors(self.handlers.refresh_preview), [self.step, *self.inputs], self.preview, **_SLOW)

    def _focused(self, event: Any) -> Any:
        """Focus the step's own button, as the one that was clicked is gone."""
        return event.then(None, None, None, js=_FOCUS, **QUIET)
