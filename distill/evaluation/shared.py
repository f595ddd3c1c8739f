"""Answers by all processes of a run together: each writes a share, and every one has them all in the end.

This module knows nothing of runs or adapters, nor of how answers are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill.config.errors import ShouldStop, Stopped
from distill.data.problems import Problem
from distill.evaluation.answering import Answer, answer_problems
from distill.models import distributed
from distill.models.generation import ALONE, Completion, Sitting


def answer_together(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    max_new_tokens: int = 64,
    batch_size: int = 256,
    sitting: Sitting = ALONE,
) -> list[Answer]:
    """As `answer_problems`, on every process alike. Raises `Stopped` on all where any has been asked to stop."""
    if distributed.size() == 1 or not problems:
        return answer_problems(model, tokenizer, problems, max_new_tokens, batch_size, sitting)
    share = distributed.share(problems)
    ours = _of_one_process(sitting, len(share), len(problems))
    answers = distributed.all_or_none(
        lambda: answer_problems(model, tokenizer, share, max_new_tokens, batch_size, ours)
    )
    return distributed.whole(answers, len(problems))


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
