"""Train: the run's stages, its curves, its log and its latest answers to three fixed problems; Resume."""

from __future__ import annotations

import math
import re

import gradio as gr

from distill.config.errors import UserError
from distill.config.paths import home
from distill.data.problems import Problem, showcase
from distill.models.conversation import told
from distill.runs import queue
from distill.runs.events import Sample, Stage
from distill.runs.format import stage_text
from distill.runs.views import RunView
from distill.ui import actions
from distill.ui.auth import Visitor
from distill.ui.charts import run_curves
from distill.ui.html import NO_RUN, left, state_words, words
from distill.ui.session import PageSession, recent_runs, require_run
from distill.ui.train import log

STAGES = (  # (the stage's name in events, before ":" or a number; what the page calls it)
    ("load", "Load the student"),
    ("evaluate-before", "Test before"),
    ("signals", "Ask the teachers"),
    ("train", "Train"),
    ("evaluate-after", "Test after"),
)


def build(session: PageSession) -> None:
    """The tab."""
    gr.HTML("<h2>The run, stage by stage</h2>")
    session.live("stages", gr.HTML(stages(None)), stages, tab="train")
    with gr.Row(elem_classes="wide-gap"):
        with gr.Column(min_width=320):
            session.live("loss", gr.HTML(run_curves.loss(None)), run_curves.loss, tab="train", mark=run_curves.moment())
        with gr.Column(min_width=320):
            session.live(
                "accuracy",
                gr.HTML(run_curves.accuracy(None)),
                run_curves.accuracy,
                tab="train",
                mark=run_curves.answered,
            )
    with gr.Row(elem_classes="wide-gap"):
        with gr.Column(min_width=320):
            gr.HTML("<h2>Log</h2>")
            with gr.Row():
                levels = log.LEVELS[:3] if session.public else log.LEVELS  # what a program prints may hold paths
                level = gr.Dropdown(list(levels), value=log.LEVELS[0], label="Show", min_width=140)
                search = gr.Textbox(label="Search", placeholder="text in the line", max_lines=1, min_width=140)
            session.live("log", gr.HTML(log.html(None)), log.html, tab="train", inputs=[level, search])
        with gr.Column(min_width=320):
            gr.HTML("<h2>Three fixed problems, as the student answers them now</h2>")
            session.live("samples", gr.HTML(samples(None)), samples, tab="train")
    with gr.Accordion("Learning rate, speed and memory", open=False):
        session.live("pace", gr.HTML(run_curves.pace(None)), run_curves.pace, tab="train", mark=run_curves.moment(60))
    _resume(session)
    with gr.Row():
        with gr.Column(min_width=320):
            session.live("queue", gr.HTML(queue_html(None)), queue_html, tab="train", key=_waiting)
        another = gr.Button(
            "Configure another run; it will wait for its turn", elem_id="another", size="sm", scale=0, min_width=320
        )
    session.opens(another.click, "configure")


def _resume(session: PageSession) -> None:
    """The controls of a run that ended early."""
    with gr.Accordion("Resume a run that was stopped or crashed", open=False, elem_id="resume-part") as part:
        gr.HTML("<p class='quiet'>It resumes from its last checkpoint. A blank field keeps the run's own setting.</p>")
        with gr.Row(equal_height=True):
            steps = gr.Textbox(label="Steps in all", placeholder="unchanged", max_lines=1, min_width=130)
            rate = gr.Textbox(label="Learning rate", placeholder="unchanged", max_lines=1, min_width=130)
            button = gr.Button("Resume", elem_id="resume", interactive=False, min_width=130)

    def can_resume(run: RunView | None, token: str) -> dict:
        mine = run is not None and session.who(token).owns(run.folder)
        return gr.Button(interactive=bool(mine and run.resumable))

    def resume(who: Visitor, run_id: str, steps: str | None, rate: str | None) -> str:
        return actions.resume(require_run(run_id).id, who, overrides(steps, rate))

    def opened(run: RunView | None) -> dict:
        return gr.Accordion(open=bool(run and run.resumable))

    session.live("resume-part", part, opened, tab="train")
    session.live("can-resume", button, can_resume, tab="train", inputs=[session.token])
    session.act(button.click, resume, [steps, rate], trains=True)


def overrides(steps: str | None, rate: str | None) -> list[str]:
    """What was typed beside Resume, as overrides of the budget; none for an empty field. Raises UserError."""
    changed = []
    if steps := (steps or "").strip():
        if not re.fullmatch(r"[0-9]{1,9}", steps) or int(steps) < 1:
            raise UserError(f"“Steps in all” is {steps[:40]!r}: give a whole number of at least 1, or leave it empty.")
        changed.append(f"budget.steps={int(steps)}")
    if rate := (rate or "").strip():
        if not re.fullmatch(r"[0-9]*\.?[0-9]+([eE][-+]?[0-9]{1,3})?", rate) or not 0 < float(rate) < math.inf:
            raise UserError(f"“Learning rate” is {rate[:40]!r}: give a number above 0 such as 3e-4, or leave it empty.")
        changed.append(f"budget.learning_rate={float(rate)!r}")
    return changed


def stages(run: RunView | None) -> str:
    """The stages of a run in order, each done, going on or still to come."""
    if run is None:
        return f"<p class='quiet'>{NO_RUN}</p>"
    now, detail = _present(run)
    items = []
    for number, (_, title) in enumerate(STAGES):
        here = number == now and not run.final
        state = "done" if number < now else "now" if here and run.state != "queued" else ""
        current = ' aria-current="step"' if state == "now" else ""
        more = f"<small>{words(detail)}</small>" if here and detail else ""
        items.append(f'<li class="{state}"{current}>{title}{more}</li>')
    return f'<ol class="stages">{"".join(items)}</ol>'


def _present(run: RunView) -> tuple[int, str]:
    """The number of the stage a run is in (len(STAGES): all done), and its details."""
    if run.state == "done":
        return len(STAGES), ""
    if run.state == "queued" or (run.final and run.last(Stage) is None):
        return 0, state_words(run)  # the last stage of a resumed run is from before
    stopping = state_words(run) if run.state == "stopping" else ""
    if run.state in ("training", "stopping") and run.step:
        return 3, ", ".join(part for part in (stopping, f"step {run.step:,} of {run.steps:,}") if part)
    stage = run.last(Stage)
    names = [name for name, _ in STAGES]
    at = names.index(stage.name) if stage and stage.name in names else 0
    at = 3 if run.state == "training" else at
    said = (stage_text(stage), left(stage.seconds_left)) if stage else ()
    detail = ", ".join(part for part in (stopping, *said) if part)
    return at, "" if run.state == "training" else detail


def samples(run: RunView | None) -> str:
    """The fixed problems with the student's latest answers, and whether earlier ones were right."""
    said: dict[str, list[Sample]] = {}
    for sample in run.series(Sample) if run else []:
        said.setdefault(sample.problem, []).append(sample)
    count = run.config.probe.samples if run and run.config else 3
    asked = [_asked(one) for one, *_ in said.values() if one.question]
    if not asked and run and run.config and run.config.data.source != "problems":
        return "<p class='quiet'>Some of the run's own problems, and the student's answers, appear here.</p>"
    asked = asked or showcase()[:count]
    return f'<div class="samples">{"".join(_sample(p, said.get(p.id, [])) for p in asked)}</div>'


def _asked(sample: Sample) -> Problem:
    """The problem that a sample answers, with the parts that are shown."""
    return Problem(sample.problem, "", sample.question, "", sample.answer)


def _sample(problem: Problem, said: list[Sample]) -> str:
    question = told(problem.question)
    question = question if len(question) < 180 else question[:177].rstrip() + "…"
    if not said:
        answer = "<blockquote class='quiet'>The student's answer appears here before the first step.</blockquote>"
    else:
        last = said[-1]
        wrong = f'<b class="wrong">wrong</b>: it is {words(problem.answer)}'
        verdict = '<b class="right">right</b>' if last.right else wrong
        past = ", ".join(f"step {s.step:,} {'right' if s.right else 'wrong'}" for s in said[:-1][-4:])
        answer = f"<blockquote>{words(last.text)}</blockquote><p class='verdict'>{verdict} at step {last.step:,}"
        answer += f" <span class='quiet'>(before that: {past})</span></p>" if past else "</p>"
    return f"<div><p class='question'>{words(question)}</p>{answer}</div>"


def _waiting() -> tuple[str, ...]:
    return tuple(queue.waiting(home().runs))


def queue_html(run: RunView | None) -> str:
    """The queue: one run trains at a time."""
    names = {one.id: one.name for one in recent_runs()}
    rows = [
        f'<li><a href="?run={words(name)}">run {words(name[:6])}</a> · {words(names.get(name, "?"))}</li>'
        for name in _waiting()
    ]
    if not rows:
        return "<h2>Queue</h2><p class='quiet'>One run trains at a time. Nothing is waiting.</p>"
    said = "<p class='quiet'>One run trains at a time; these wait, the next one first.</p>"
    return f"<h2>Queue</h2>{said}<ol class='queue'>{''.join(rows)}</ol>"
