"""A visitor's question on its way through the models: what is being done, in words, and the answers so far.

The models come from evaluation/side_by_side.py, which is imported (and torch with it) only when somebody asks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.run_config import ModelRef, RunConfig
from distill.data.grading import grade
from distill.evaluation.coverage import outside
from distill.hub.fetch import fetch_models
from distill.models.hardware import is_zerogpu
from distill.runs.views import RunView
from distill.ui.auth import Visitor, check_access
from distill.ui.compare import panes, recorded_answers
from distill.ui.compare.panes import Live
from distill.ui.html import words
from distill.ui.session import going, require_run

_EVERY = 0.1  # seconds between two looks at an answer that grows
_LONGEST, _LONGEST_ANSWER = 8_000, 200  # characters that a visitor may type

Heard = tuple[str, Live]  # what is being done, as HTML; the answers so far


def answer(
    visitor: Visitor,
    run_id: str,
    source: str,
    example: str,
    judged: str | None,
    own: str,
    own_answer: str,
    teachers: bool,
) -> Iterator[Heard]:
    """What a visitor sees while the question they chose is answered. Raises UserError where it can't be."""
    run = require_run(run_id)
    known = recorded_answers.chosen(run, source, example, judged)
    if source == "own":
        known = _typed(own.strip(), own_answer.strip())
    if known is None or not known.question:
        raise UserError("There is no question yet: choose a problem, or type one of your own.")
    live = Live(panes.picked(run, source, example, judged), known.question, known.answer)
    if source == "own":
        live = replace(live, note=_caution(run.config, known.question) or "")
    try:
        yield _loading(run), live
        for now in _both(visitor, run, live):
            _, live = now
            yield now
        notes: list[str] = []
        for now in _teachers(visitor, run, live, notes) if teachers else ():
            _, live = now
            yield now
    except Exception:
        yield "", replace(live, going=False)  # else Stop would stay, and what the run recorded would not come back
        raise
    yield " ".join([panes.outcome(live), *map(words, notes)]), replace(live, going=False)


def _typed(question: str, answer: str) -> recorded_answers.Chosen:
    for what, text, most in (("question", question, _LONGEST), ("right answer", answer, _LONGEST_ANSWER)):
        if len(text) > most:
            raise UserError(f"Your {what} has {len(text):,} characters, and at most {most:,} are allowed: shorten it.")
    return recorded_answers.Chosen(question, answer or None)


def _caution(config: RunConfig | None, question: str) -> str | None:
    """Why the student's answer to a question that somebody typed is to be taken with care, as a sentence.

    None where the run may have taught such questions, and for runs on other data, of which that isn't known.
    """
    why = outside(question) if config and config.data.source == "problems" else None
    if why is None:
        return None
    return f"It was not trained on such questions here, so take this answer with care: {why[0].lower()}{why[1:]}"


def _models() -> Any:
    """Where models answer: in this process, or where ZeroGPU lends a GPU."""
    if is_zerogpu():
        from distill.hub import zerogpu

        return zerogpu
    from distill.evaluation import side_by_side

    return side_by_side


def _loading(run: RunView) -> str:
    name = words(run.config.student.name) if run.config else "the student"
    if is_zerogpu():
        return f"Waiting for a GPU (ZeroGPU lends one briefly, from your quota), then loading {name} …"
    if "distill.evaluation.side_by_side" not in sys.modules:
        return f"Loading PyTorch (a few seconds, the first time only), then {name} with its adapter …"
    return f"Loading {name} with its adapter, which takes some seconds the first time …"


def _admit(visitor: Visitor, model: ModelRef) -> None:
    """Raises UserError where a model isn't open to the visitor; what is open to some only is fetched as one of them."""
    shut = check_access(visitor, [model])
    fetch_models(shut, lambda text: lambda done, total: None, token=visitor.hub_token)


def _asked_both(visitor: Visitor, run_folder: Path, question: str) -> Iterator[Any]:
    _admit(visitor, configs.load(run_folder / "config.yaml").student)
    return _models().both(run_folder, question)


def _both(visitor: Visitor, run: RunView, live: Live) -> Iterator[Heard]:
    asked = _asked_both(visitor, run.folder, live.question)
    which = next(asked)
    ready = replace(live, base=which.base, adapter=which.adapter, most=which.max_new_tokens)
    slower = " A run is training here too, so this is slower." if going() else ""
    text = f"{words(which.name)} answers, with its adapter off and on.{slower}"
    with closing(asked):
        yield text, ready
        for heard in _paced(ready, asked):
            yield text, heard


def _teachers(visitor: Visitor, run: RunView, live: Live, notes: list[str]) -> Iterator[Heard]:
    """The teachers one after another. One that can't answer is noted, and the next is asked."""
    refs = run.config.teachers if run.config else []
    live = replace(live, names=tuple(ref.name for ref in refs))
    for number, ref in enumerate(refs, 1):
        text = f"Teacher {number} of {len(refs)} ({words(ref.name)}) is loading, then answers …"
        yield text, live
        try:
            _admit(visitor, ref)
            said = _models().answer_as_teacher(ref, live.question, live.most)
            steps = (replace(step, side=panes.teacher_side(number)) for step in said)
            for heard in _paced(live, steps):
                live = heard
                yield text, live
        except UserError as error:
            notes.append(str(error))


def _paced(live: Live, steps: Iterable[Any]) -> Iterator[Live]:
    """What is heard so far, a few times a second and whenever a side is over."""
    last = 0.0
    for step in steps:
        live = live.heard(step)
        if step.over or time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            yield live


def generate_once(visitor: Visitor, run_folder: Path, question: str, answer: str | None = None) -> dict[str, Any]:
    """Both answers to one question, for programs: {before, after, digests, decoding, note}.

    before and after: {text, right (None where no answer is given), tokens, seconds, finished}. note: why the answer is
    to be taken with care, None where nothing is known against it. Raises UserError.
    """
    _typed(question, answer or "")
    which, *steps = _asked_both(visitor, run_folder, question)
    last = {step.side: step for step in steps}
    found = {
        side: {
            "text": step.text,
            "right": grade(step.text, answer).right if answer else None,
            "tokens": step.tokens,
            "seconds": round(step.seconds, 3),
            "finished": step.finished,
        }
        for side, step in last.items()
    }
    return {
        **found,
        "digests": {"model": which.base, "adapter": which.adapter},
        "decoding": {"method": "greedy", "max_new_tokens": which.max_new_tokens},
        "note": _caution(configs.load(run_folder / "config.yaml"), question),
    }
