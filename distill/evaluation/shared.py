"""Answers by all processes of a run together: each writes a share, and every one has them all in the end.

This module knows nothing of runs or adapters, nor of how answers are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill import together
from distill.data.problems import Problem
from distill.evaluation.generate import Answer, answer_problems
from distill.generation import Completion
from distill.progress import OnProgress, ShouldStop, Stopped


def answer_together(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    max_new_tokens: int = 64,
    batch_size: int = 256,
    *,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
    known: Mapping[int, Completion] | None = None,
    on_batch: Callable[[dict[int, Completion]], None] | None = None,
) -> list[Answer]:
    """As `answer_problems`, on every process alike. Raises `Stopped` on all where any has been asked to stop."""
    ours = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    if together.size() == 1 or not problems:
        return answer_problems(
            model, tokenizer, problems, **ours,
            on_progress=on_progress, should_stop=should_stop, known=known, on_batch=on_batch,
        )  # fmt: skip
    total, processes, first = len(problems), together.size(), together.rank()
    share = together.share(problems)
    if together.is_sharded():  # they read the student's weights together, so each must write as long as the others
        known, on_batch = None, _between(should_stop)
        should_stop = None
    mine = {place: known[at] for place in range(len(share)) if known and (at := first + place * processes) in known}

    def keep(written: dict[int, Completion]) -> None:
        at = {first + place * processes: completion for place, completion in written.items()}
        on_batch({place: completion for place, completion in at.items() if place < total})

    answers = together.all_or_none(
        lambda: answer_problems(
            model,
            tokenizer,
            share,
            **ours,
            on_progress=on_progress and (lambda done, _: on_progress(min(done * processes, total), total)),
            should_stop=should_stop,
            known=mine,
            on_batch=on_batch if together.is_sharded() else on_batch and keep,
        )
    )
    return together.whole(answers, total)


def _between(should_stop: ShouldStop | None) -> Callable[[dict[int, Completion]], None] | None:
    """Asks all processes after each batch: within one, those whose answers have ended are asked nothing any more."""

    def ask(written: dict[int, Completion]) -> None:
        if together.any_of(should_stop()):
            raise Stopped

    return should_stop and ask
