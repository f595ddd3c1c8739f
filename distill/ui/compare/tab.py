"""Compare: one problem answered by the same loaded student with its adapter off and on; below, what training changed.

What is shown is made in panes.py and outcome.py, what a run recorded is read in recorded_answers.py, and the answers
come from evaluation/side_by_side.py through answering.py, and torch with them only when somebody asks for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr

from distill.config.messages import listed
from distill.data.families import FAMILIES, IMPOSSIBLE
from distill.data.problems import examples, showcase
from distill.data.sources import about
from distill.evaluation.coverage import LARGEST
from distill.runs.views import RunView, has_adapter
from distill.ui.actions import upload_name
from distill.ui.compare import outcome, panes, recorded_answers
from distill.ui.compare.answer_markdown import LATEX
from distill.ui.compare.answering import answer
from distill.ui.compare.panes import SIDES, Live
from distill.ui.compare.recorded_answers import Chosen
from distill.ui.errors import catch_errors
from distill.ui.html import NO_RUN, words
from distill.ui.session import PageSession, find_run, going
from distill.ui.traffic import MODEL

SOURCES = [("Showcase", "showcase"), ("Held out", "judged"), ("My own", "own")]
_EXAMPLES = [(outcome.short(problem.question, 70), problem.id) for problem in showcase()]
_LEAD = (
    "<h2>The same student, before and after</h2><p class='quiet'>Choose a problem and press the button: one loaded "
    "model answers it twice, with its adapter off and with it on.</p>"
)
_HOW = (
    "<p><b>Adapter</b>: the small set of weights that training added (LoRA). With it off, the model is exactly what it "
    "was before. <b>The digits</b> after “model” and “adapter” are the beginning of a digest of the very files that "
    "were loaded, which no other file has; the adapter's is the sha256 of adapter/adapter_model.safetensors. "
    "<b>Greedy</b>: always the likeliest next token, so that a question always gets the same answer. <b>Token</b>: a "
    "piece of a word.</p>"
)
_WAITING = "One question is answered at a time here: waiting for its turn …"
_CHOOSE = """element.addEventListener('click', (event) => {
  const row = event.target.closest('[data-key]');
  if (!row) return;
  document.getElementById('compare-top')?.scrollIntoView({block: 'start'});
  trigger('select', {key: row.dataset.key});
});"""
_SETTLE = 0.3  # seconds until nothing more arrives of what was cancelled

TOPICS = {  # what the families are about, as a visitor would say it
    "adding and taking away": ("in_all", "left", "gained", "at_first", "two_changes", "parts"),
    "comparing": ("more", "fewer", "difference", "times", "times_as_many", "times_both", "more_than", "both_known"),
    "sharing": ("each", "half", "share"),
    "groups": ("groups", "packed", "left_over", "added"),
    "buying": ("unit_price", "change", "two_prices", "discount", "saving"),
    "time": ("time_between",),
    "area": ("rectangle",),
    "rates": ("rate",),
    "averages": ("average",),
    "two questions in one": ("two_questions",),
    "sums that can’t be done": (IMPOSSIBLE,),
}


@dataclass(frozen=True)
class Parts:
    """The components that the handlers read and write."""

    source: gr.Radio
    example: gr.Dropdown
    judged: gr.Dropdown
    own: gr.Textbox
    own_answer: gr.Textbox
    presses: list[gr.Button]
    also: gr.Checkbox
    go: gr.Button
    stop: gr.Button
    said: gr.HTML
    question: gr.Markdown
    heads: dict[str, gr.HTML]
    texts: dict[str, gr.Markdown]
    teachers: gr.Markdown
    live: gr.State

    @property
    def choice(self) -> list[Any]:
        return [self.source, self.example, self.judged]

    @property
    def answers(self) -> list[Any]:
        return [self.question, *self.heads.values(), *self.texts.values(), self.teachers]


def build(session: PageSession) -> None:
    """The tab."""
    with gr.Column(elem_id="compare"):
        parts = _top(session)
        with gr.Column(elem_id="compare-below"):
            session.live("compare-summary", gr.HTML(outcome.summary(None)), outcome.summary, tab="compare")
            with gr.Row(elem_classes="wide-gap"):
                with gr.Column(min_width=300, scale=4):
                    session.live("compare-families", gr.HTML(outcome.families(None)), outcome.families, tab="compare")
                with gr.Column(min_width=320, scale=7):
                    flips = gr.HTML(outcome.flipped(None), elem_id="compare-flips", js_on_load=_CHOOSE)
                    session.live("compare-flips", flips, outcome.flipped, tab="compare")
    _follow(session, parts)
    _wire(session, parts, flips)


def _top(session: PageSession) -> Parts:
    """Choice, buttons and panes."""
    gr.HTML(_LEAD, elem_id="compare-top")
    with gr.Row(elem_id="compare-choice", equal_height=False):
        source = gr.Radio(SOURCES, value="showcase", label="Problem", min_width=300, elem_id="compare-source")
        with gr.Column(min_width=300, scale=2):
            example = gr.Dropdown(
                _EXAMPLES, value=showcase()[0].id, label="Showcase problem", elem_id="compare-example"
            )
            with gr.Column(visible=False, min_width=0) as listed:
                # Any value is let through: after a restart of the server the browser still holds one of before.
                judged = gr.Dropdown([], label="Held-out problem", allow_custom_value=True, elem_id="compare-judged")
            with gr.Column(visible=False, min_width=0, elem_id="compare-own") as typed:
                with gr.Row():
                    own = gr.Textbox(label="Your question", lines=3, max_lines=8, scale=3, min_width=260)
                    own_answer = gr.Textbox(
                        label="Right answer, if you know it", max_lines=1, min_width=220, placeholder="such as 62"
                    )
                session.live("compare-learnt", gr.HTML(learnt(None), elem_id="compare-learnt"), learnt, tab="compare")
                with gr.Row(elem_id="compare-examples"):
                    gr.HTML("<span class='quiet'>Or take an example:</span>")
                    presses = [gr.Button(_title(problem.id), size="sm", min_width=0) for problem in examples()]
    for name, component in (("showcase", example), ("judged", listed), ("own", typed)):
        session.live(f"compare-{name}", component, _shows(name), tab="compare", inputs=[source])
    with gr.Row(elem_id="compare-buttons"):
        go = gr.Button(
            "Answer with both", variant="primary", elem_id="compare-go", interactive=False, scale=0, min_width=180
        )
        stop = gr.Button("Stop", elem_id="compare-stop", interactive=False, scale=0, min_width=90)
        also = gr.Checkbox(label="Ask the teachers too, one after another", elem_id="compare-also", container=False)
    session.live("compare-hint", gr.HTML(hint(None), elem_id="compare-hint"), hint, tab="compare", key=going)
    said = gr.HTML(_status(""), elem_id="compare-said")
    question = gr.Markdown(elem_id="compare-question", latex_delimiters=LATEX, elem_classes="model-text")
    heads, texts = {}, {}
    with gr.Row(elem_id="compare-sides", equal_height=False):
        for side in SIDES:
            with gr.Column(min_width=300, elem_classes=["pane", side]):
                heads[side] = gr.HTML(panes.head(None, side))
                texts[side] = gr.Markdown(elem_classes="model-text", latex_delimiters=LATEX, elem_id=f"compare-{side}")
    teachers = gr.Markdown(elem_id="compare-teachers", latex_delimiters=LATEX, elem_classes="model-text")
    with gr.Accordion("What the words mean", open=False):
        gr.HTML(_HOW)
    live = gr.State(None)
    choice, ask = (source, example, judged, own, own_answer, presses), (also, go, stop, said)
    return Parts(*choice, *ask, question, heads, texts, teachers, live)


def _title(example: str) -> str:
    """What the button of an example says: "Bus driver" of "example:bus-driver"."""
    return example.partition(":")[2].replace("-", " ").capitalize()


def _shows(name: str) -> Callable[..., dict]:
    return lambda run, source: gr.update(visible=source == name)


def _follow(session: PageSession, parts: Parts) -> None:
    """The parts above that follow the run and what is chosen."""
    inputs = [*parts.choice, parts.live]

    def follow(name: str, component: Any, draw: Callable[..., str]) -> None:
        def drawn(run: RunView | None, *choice: Any) -> Any:
            known = panes.seen(run, *choice)
            return gr.skip() if isinstance(known, Live) and known.going else draw(known, choice[0])

        session.live(f"compare-{name}", component, drawn, tab="compare", inputs=inputs)

    follow("question", parts.question, panes.question)
    follow("teachers", parts.teachers, lambda known, _: panes.teachers(known))
    for side in SIDES:
        follow(f"head-{side}", parts.heads[side], lambda known, _, side=side: panes.head(known, side))
        follow(f"text-{side}", parts.texts[side], lambda known, _, side=side: panes.text(known, side))
    session.live("compare-choices", parts.judged, choices, tab="compare", inputs=[parts.judged])
    session.live("compare-ready", parts.go, lambda run: gr.Button(interactive=ready(run)), tab="compare")
    session.live("compare-also", parts.also, can_ask, tab="compare")


def choices(run: RunView | None, judged: str | None) -> dict:
    """The judged problems to choose from; the first where the one chosen is none of the run's."""
    every = recorded_answers.pairs(run.folder) if run else ()
    found = [outcome.choice(pair) for pair in recorded_answers.offered(every)]
    known = any(str(pair.key) == judged for pair in every)
    return gr.update(choices=found) if known or not found else gr.update(choices=found, value=found[0][1])


def can_ask(run: RunView | None) -> dict:
    """The box that asks the teachers, for a run that has some."""
    count = len(run.config.teachers) if run and run.config else 0
    if run is not None and not count:
        return gr.update(interactive=False, label="This run has no teachers to ask")
    which = f"the {count} teachers" if count > 1 else "the teacher" if count else "the teachers"
    return gr.update(interactive=count > 0, label=f"Ask {which} too{', one after another' if count > 1 else ''}")


def ready(run: RunView | None) -> bool:
    """Whether the run has an adapter to compare."""
    return run is not None and has_adapter(run.folder)


def hint(run: RunView | None) -> str:
    """What is to be known before the button is pressed, "" where nothing is."""
    if run is None:
        text = f"{NO_RUN} The student can be compared with itself once it has trained."
    elif not ready(run) and run.final:
        text = (
            "This run ended before it had trained anything, so there is nothing to compare: resume it, or open another."
        )
    elif not ready(run):
        text = (
            "The student has no adapter yet. Its answers can be compared when training is done or stopped; until then "
        )
        text += "you see here what the run recorded."
    elif not run.final:
        text = "This run is being trained: “after” is the adapter that was kept when it was last stopped."
    elif going():
        text = "A run is training here too, so answers come more slowly."
    else:
        return ""
    return f"<p class='quiet'>{text}</p>"


def learnt(run: RunView | None) -> str:
    """What a question may be about: what the run taught its student, "" where it taught nothing."""
    if run is None or run.config is None or (run.final and not ready(run)):
        return ""
    data, does = run.config.data, "has learnt" if ready(run) else "is learning"
    if data.source != "problems":
        called = "an uploaded file" if data.path and upload_name(data.path) else about(data)["called"]
        return f"<p class='quiet'>This student {does} from the problems of {words(called)}.</p>"
    families = data.families or FAMILIES
    count = sum(family != IMPOSSIBLE for family in families)
    kinds = f"{count} kinds" if count > 1 else "one kind"
    topics = listed([topic for topic, within in TOPICS.items() if set(within) & set(families)])
    return (
        f"<p class='quiet'>This student {does} {kinds} of everyday sums in English, with whole numbers up to about "
        f"{LARGEST}: {topics}.</p>"
    )


def _status(text: str) -> str:
    return f"<p role='status'>{text}</p>"


# --- what happens ----------------------------------------------------------------------------------------------------


def _wire(session: PageSession, parts: Parts, flips: gr.HTML) -> None:
    """Ask, Stop, and choosing another problem, which stops too."""

    def answered(oauth_token: gr.OAuthToken | None, *values: Any) -> Iterator[dict[Any, Any]]:
        for text, live in answer(session.who(None, oauth_token), *values):
            yield _updates(parts, text, live)

    def again(event: gr.EventData) -> tuple[str, str, str]:
        return _status(_WAITING), "judged", str(event.key)

    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    inputs = [session.run_id, *parts.choice, parts.own, parts.own_answer, parts.also]
    outputs = [parts.said, parts.stop, parts.live, *parts.answers]
    model = {"concurrency_id": MODEL, "concurrency_limit": 1, "trigger_mode": "multiple", **quiet}
    asks = [parts.go.click, parts.own.submit, parts.own_answer.submit]
    asked = gr.on(asks, lambda: _status(_WAITING), None, parts.said, queue=False, **quiet)
    picked = flips.select(again, None, [parts.said, parts.source, parts.judged], queue=False, **quiet)
    running = [event.then(catch_errors(answered), inputs, outputs, **model) for event in (asked, picked)]
    gr.on([*asks, flips.select], None, cancels=running)  # whatever is still being answered: this visitor asks anew
    # In the queue their outcome could be lost together with what they cancel.
    cancel = {"cancels": running, "queue": False, **quiet}

    def stopped(live: Live | None) -> dict[Any, Any]:
        time.sleep(_SETTLE)
        return _updates(parts, "Stopped.", replace(live, going=False)) if live else {parts.said: _status("")}

    def forget(live: Live | None, run_id: str, *choice: Any) -> dict[Any, Any]:
        if live and live.going:
            time.sleep(_SETTLE)
        known = panes.seen(find_run(run_id), *choice, None)
        quiet = {parts.live: None, parts.said: _status(""), parts.stop: gr.Button(interactive=False)}
        return quiet | _panes(parts, known, choice[0])

    parts.stop.click(stopped, parts.live, outputs, **cancel)
    chosen = [parts.source.input, parts.example.input, parts.judged.input, session.run_id.change]
    for button, problem in zip(parts.presses, examples(), strict=True):
        fill = partial(tuple, (problem.question, problem.answer))
        button.click(fill, None, [parts.own, parts.own_answer], queue=False, **quiet)
    chosen += [button.click for button in parts.presses]
    gr.on(chosen, forget, [parts.live, session.run_id, *parts.choice], outputs, **cancel)


def _updates(parts: Parts, text: str, live: Live) -> dict[Any, Any]:
    doing = {parts.said: _status(text), parts.stop: gr.Button(interactive=live.going), parts.live: live}
    return doing | _panes(parts, live, live.of[1])


def _panes(parts: Parts, known: Live | Chosen | None, source: str) -> dict[Any, Any]:
    return {
        parts.question: panes.question(known, source),
        parts.teachers: panes.teachers(known),
        **{parts.heads[side]: panes.head(known, side) for side in SIDES},
        **{parts.texts[side]: panes.text(known, side) for side in SIDES},
    }
