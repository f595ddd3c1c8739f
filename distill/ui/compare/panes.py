"""The two panes of Compare, and the teachers' answers under them: pure functions from what is known to what is shown.

What is known is what a visitor saw answered (`Live`), else what the run recorded. This module imports no torch: a step
is whatever has the fields of evaluation.side_by_side.Step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from distill.data.grading import grade
from distill.runs.views import RunView
from distill.ui.charts.palette import teacher_style
from distill.ui.compare.answer_markdown import answer_markdown, found_in, question_markdown, verdict
from distill.ui.compare.recorded_answers import Chosen, Said, chosen
from distill.ui.html import words

SIDES = ("before", "after")
TITLES = {"before": ("Before", "adapter off"), "after": ("After", "adapter on")}

_WAITING = {
    "before": "The student's answer with its adapter off appears here.",
    "after": "The student's answer with its adapter on appears here.",
}
_NO_QUESTION = {
    "judged": "The held-out problems are listed here as soon as the run has asked them.",
    "own": "Type your question, then press Answer with both.",
}


@dataclass(frozen=True)
class Live:
    """What is being answered for one visitor, or was: `of` is (run, source, pick), `said` the last step of each side.

    A side is "before", "after" or "teacher:N", N its place in the run's config from 1; `names`: the teachers' by place.
    `base` and `adapter` are the digests of what answers, "" until it is loaded; `most` is the limit in tokens. `note`
    says why the student's answer is to be taken with care, "" where nothing is known against it.
    """

    of: tuple[str, str, str]
    question: str
    answer: str | None
    going: bool = True
    base: str = ""
    adapter: str = ""
    most: int = 0
    said: tuple[Any, ...] = ()
    names: tuple[str, ...] = ()
    note: str = ""

    def heard(self, step: Any) -> Live:
        """With a newer step of one side."""
        others = [other for other in self.said if other.side != step.side]
        at = next((k for k, other in enumerate(self.said) if other.side == step.side), len(others))
        return replace(self, said=(*others[:at], step, *others[at:]))

    def step(self, side: str) -> Any | None:
        """The newest step of a side."""
        return next((step for step in self.said if step.side == side), None)


def picked(run: RunView | None, source: str, example: str, judged: str | None) -> tuple[str, str, str]:
    """What `Live.of` is for this choice."""
    pick = {"showcase": example, "judged": judged}.get(source) or ""
    return run.id if run else "", source, str(pick)


def seen(run: RunView | None, source: str, example: str, judged: str | None, live: Live | None) -> Live | Chosen | None:
    """What the panes are about: what was answered for this very choice, else the recorded problem, None for neither."""
    if live is not None and live.of == picked(run, source, example, judged):
        return live
    return chosen(run, source, example, judged)


def question(known: Live | Chosen | None, source: str) -> str:
    """The question, as Markdown."""
    if known is None:
        return f"*{_NO_QUESTION.get(source, '')}*"
    return question_markdown(known.question, known.answer)


def head(known: Live | Chosen | None, side: str) -> str:
    """The head of a pane: which side it is, right or wrong, which weights answered and how."""
    title, adapter = TITLES[side]
    care = ""
    if isinstance(known, Live):
        judged, about = _live(known, side)
        care = f"<p class='care'>{words(known.note)}</p>" if known.note and side == "after" else ""
    else:
        said = getattr(known, side) if known else None
        judged, about = _recorded(known, said) if said else ("", "")
    return (
        f"<div class='side' data-side='{side}'><h3>{title} <small>{adapter}</small></h3>"
        f"<p class='verdict'>{judged}</p><p class='about'>{about}</p>{care}</div>"
    )


def _recorded(known: Chosen, said: Said) -> tuple[str, str]:
    return verdict(said.right, found_in(said.text), known.answer), words(said.when)


def _live(live: Live, side: str) -> tuple[str, str]:
    step = live.step(side)
    weights = f"model {_digest(live.base)}" + (f" + adapter {_digest(live.adapter)}" if side == "after" else "")
    how = f"greedy, up to {live.most:,} tokens"
    if step is not None:
        how += f" · {_tokens(step)}"
    about = f"<span>{weights}</span><span>{how}</span>" if live.base else ""
    return graded(live, step) if step else "<span class='quiet'>…</span>", about


def _tokens(step: Any) -> str:
    return f"{step.tokens:,} {'token' if step.tokens == 1 else 'tokens'}, {step.tokens_per_second:,.0f} a second"


def graded(live: Live, step: Any) -> str:
    """The verdict on a live answer, as HTML; while it is being written, that it is."""
    if not step.over:
        return "<span class='quiet'>writing …</span>" if live.going else "<span class='quiet'>stopped</span>"
    right = grade(step.text, live.answer).right if live.answer else None
    cut = "" if step.finished else f" <span class='quiet'>(cut off at {live.most:,} tokens)</span>"
    return verdict(right, found_in(step.text), live.answer) + cut


def _digest(sha: str) -> str:
    """The first 12 hex digits (or of a Hub id all), the rest where the pointer rests on it."""
    return f"<code title='{words(sha)}'>{words(sha if '@' in sha else sha[:12])}</code>"


def text(known: Live | Chosen | None, side: str) -> str:
    """What a side says, as Markdown."""
    if isinstance(known, Live):
        step = known.step(side)
        return answer_markdown(step.text, step.over) if step else "…"
    said = getattr(known, side) if known else None
    return answer_markdown(said.text) if said else f"*{_WAITING[side]}*"


def teacher_side(number: int) -> str:
    """The side of the teacher at this place, from 1: its name alone might be "before"."""
    return f"teacher:{number}"


def teachers(known: Live | Chosen | None) -> str:
    """What the teachers said, as Markdown; "" where they were not asked."""
    names = known.names if isinstance(known, Live) else ()
    steps = [(number, name, known.step(teacher_side(number))) for number, name in enumerate(names, 1)]
    asked = [(number, name, step) for number, name, step in steps if step is not None]
    if not asked:
        return ""
    parts = ["### The teachers"]
    for number, name, step in asked:
        style = teacher_style(number - 1)  # by its place in the run, as in every other picture
        swatch = (
            f"<svg viewBox='0 0 14 10' aria-hidden='true'><rect width='14' height='10' fill='{style.colour}'/></svg>"
        )
        parts.append(f"<div class='teacher'><h4>{swatch}{words(name)}</h4>")
        parts.append(f"<p class='verdict'>{graded(known, step)} <span class='about'>{_tokens(step)}</span></p>\n")
        parts.append(f"{answer_markdown(step.text, step.over)}\n\n</div>")
    return "\n".join(parts)


def outcome(live: Live) -> str:
    """What came of it, in one sentence, as HTML: also for those who hear the page rather than see it."""
    before, after = (live.step(side) for side in SIDES)
    if before is None or after is None:
        return ""
    if not live.answer:
        return "Both have answered, from the same loaded model: with its adapter off, and with it on."
    was, now = (grade(step.text, live.answer).right for step in (before, after))
    return {
        (False, True): "Fixed: wrong before, right after.",
        (True, False): "Broken: right before, wrong after.",
        (True, True): "Right both times.",
        (False, False): "Wrong both times.",
    }[was, now]
