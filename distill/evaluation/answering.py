"""A model's answers to problems, and whether they are right; by one process, or by all of a run together.

How answers are written is in generation.py. Whoever calls decides which weights answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill.config.errors import ShouldStop, Stopped
from distill.data.grading import Grade, grade
from distill.data.problems import Problem
from distill.evaluation.score import Score
from distill.models import distributed
from distill.models.chat_template import template_of
from distill.models.generation import ALONE, Completion, Sitting, generate_batch


@dataclass(frozen=True)
class Answer:
    """A problem, what the model wrote about it, and whether that is right."""

    problem: Problem
    completion: Completion
    grade: Grade


def answer_problems(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    max_new_tokens: int = 64,
    batch_size: int = 256,
    sitting: Sitting = ALONE,
) -> list[Answer]:
    """The model's graded answers to `problems`, each asked in the model's own chat template; on every process alike.

    The places of a sitting are those of problems: what an earlier one wrote is kept. Raises `Stopped` on all processes
    where any has been asked to stop.
    """

    def answers(problems: Sequence[Problem], sitting: Sitting) -> list[Answer]:
        template = template_of(tokenizer)
        prompts = [template.render(problem.question) for problem in problems]
        completions = generate_batch(model, tokenizer, prompts, max_new_tokens, batch_size, sitting=sitting)
        return [Answer(p, c, grade(c.text, p.answer)) for p, c in zip(problems, completions, strict=True)]

    if distributed.size() == 1 or not problems:
        return answers(problems, sitting)
    share = distributed.share(problems)
    ours = _of_one_process(sitting, len(share), len(problems))
    return distributed.whole(distributed.all_or_none(lambda: answers(share, ours)), len(problems))


def _of_one_process(sitting: Sitting, size: int, total: int) -> Sitting:
    """The sitting of this process, which writes a share of `size` of the `total` answers."""
    processes, first, heard = distributed.size(), distributed.rank(), sitting.on_progress
    told = heard and (lambda done, _: heard(min(done * processes, total), total))
    if distributed.is_sharded():  # they read the student's weights together, so each must write as long as the others
        return Sitting(told, on_batch=_between(sitting.should_stop))
    at = {place: first + place * processes for place in range(size)}  # of all answers

    def keep(written: dict[int, Completion]) -> None:
        sitting.on_batch({at[place]: completion for place, completion in written.items() if at[place] < total})

    known = {place: sitting.known[whole] for place, whole in at.items() if whole in sitting.known}
    return Sitting(told, sitting.should_stop, known, sitting.on_batch and keep)


def _between(should_stop: ShouldStop | None) -> Callable[[dict[int, Completion]], None] | None:
    """Asks all processes after each batch: within one, those whose answers have ended are asked nothing any more."""

    def ask(written: dict[int, Completion]) -> None:
        if distributed.any_of(should_stop()):
            raise Stopped

    return should_stop and ask


def score(answers: Sequence[Answer]) -> Score:
    """The answers as a Score."""
    return Score.of_problems((answer.problem for answer in answers), (answer.grade.right for answer in answers))
