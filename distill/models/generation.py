"""Answers of a model: many at once, with a KV cache; or one, piece by piece, for somebody who watches.

Greedy unless a `Sampling` is given. Generation stops at every token that may end this model's answers.
Whoever calls decides which weights answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from distill.config.errors import OnProgress, ShouldStop, UserError, raise_if_stopped
from distill.models import distributed
from distill.models.chat_template import end_token
from distill.models.cpu_bfloat16 import in_float32
from distill.models.lm_head import check_vocabulary, device_of
from distill.models.sampling import Draw, Finite, Sampling, Within, copies


@dataclass(frozen=True)
class Completion:
    """What a model wrote: its text, its tokens (without the one that ended it), and whether it came to an end."""

    text: str
    tokens: tuple[int, ...]
    finished: bool


@dataclass(frozen=True)
class Manner:
    """How answers are written: greedily without `sampling` (what holds of it: sampling.py).

    `ends` are the tokens that end one (None: all that may; [] means that none is known). With `keep_special`, special
    tokens the model writes stay in the text, all but padding and its end; else what a tokenizer calls special is left
    out. Logits that are not finite are an error where it samples, and where it is `finite`.
    """

    sampling: Sampling | None = None
    ends: Sequence[int] | None = None
    keep_special: bool = False
    finite: bool = False


@dataclass(frozen=True)
class Sitting:
    """Who follows the writing of many answers, and what of them is `known`, by their places, as it was heard before.

    `on_progress(done, total)` counts finished answers; `should_stop` is asked at every token, and raises `Stopped`;
    `on_batch({place: completion})` hears of each batch that is finished.
    """

    on_progress: OnProgress | None = None
    should_stop: ShouldStop | None = None
    known: Mapping[int, Completion] = field(default_factory=dict)
    on_batch: Callable[[dict[int, Completion]], None] | None = None


_CACHES = ("past_key_values", "cache", "cache_params", "state")  # what models call it; Mamba's is the second
PLAIN = Manner()
ALONE = Sitting()  # nobody follows, and nothing is known


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every token that may end an answer: the template's, the tokenizer's and the `eos_token_id` of the checkpoint (of
    its generation_config.json, else of its config.json).

    A base student distilled from an instruct teacher knows several; missing one means that answers never end.
    """
    configured = getattr(model.generation_config, "eos_token_id", None)
    found = {*configured} if isinstance(configured, list | tuple) else {configured}
    found = (found | {tokenizer.eos_token_id}) - {None}
    if tokenizer.chat_template or not found:
        found.add(end_token(tokenizer))
    return sorted(found)


def end_also_at(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Iterable[str]) -> None:
    """From now on answers of `model` end at these tokens too: a base student may end as its teachers do."""
    vocabulary = tokenizer.get_vocab()
    model.generation_config.eos_token_id = sorted(
        {*end_tokens(model, tokenizer), *(vocabulary[token] for token in tokens if token in vocabulary)}
    )


def generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int = 64,
    batch_size: int = 256,
    manner: Manner = PLAIN,
    sitting: Sitting = ALONE,
) -> list[Completion]:
    """Completions of rendered prompts, in their order.

    Prompts of like length share a batch, padded on the left; a batch whose rows are all known to the sitting is not
    written again, and the others are the batches they would have been. The model's train/eval mode is restored. Raises
    `Stopped` where the sitting says so, UserError for an empty prompt, for tokens that the weights lack,
    or for logits that are not finite (see Manner).
    """
    ids = tokenizer(list(prompts), add_special_tokens=False)["input_ids"] if prompts else []
    if any(not row for row in ids):
        raise UserError(
            f"Prompt {next(i for i, row in enumerate(ids) if not row)} is empty: there is nothing to answer."
        )
    check_vocabulary(max(map(max, ids), default=0), model)
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    ends = end_tokens(model, tokenizer) if manner.ends is None else list(manner.ends)
    numbers = copies(ids)
    results: dict[int, Completion] = {}
    with evaluating(model), in_float32(model):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            if all(row in sitting.known for row in rows):
                results |= {row: sitting.known[row] for row in rows}
                continue
            batch = [ids[row] for row in rows]
            drawn = _draws(manner.sampling, batch, [numbers[row] for row in rows], max_new_tokens)
            watched = {"stopping_criteria": StoppingCriteriaList([_Watch(ends, start, len(order), sitting)])}
            written = _write(model, batch, ends, max_new_tokens, [Finite()] * manner.finite + drawn, **watched)
            found = [_completion(tokenizer, tokens, ends, manner) for tokens in written]
            results |= zip(rows, found, strict=True)
            if sitting.on_batch is not None:
                sitting.on_batch({row: results[row] for row in rows})
            if sitting.on_progress is not None:
                sitting.on_progress(start + len(rows), len(order))
    return [results[row] for row in range(len(ids))]


def generate_ids(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    ends: Sequence[int],
    max_new_tokens: int = 64,
    sampling: Sampling | None = None,
    vocabulary: int | None = None,
    numbers: Sequence[int] | None = None,
) -> list[list[int]]:
    """The tokens that follow each prompt (tokens, at least one each), in one batch; the one that ended it included.

    As `generate_batch` in all else; its last token is in `ends`, or there are `max_new_tokens` of them. All are among
    the first `vocabulary` (None: all that the model has logits for, tokens or not). `numbers`: which copy of the same
    prompt each is, where others are answered elsewhere (None: counted here).
    """
    if not prompts:
        return []
    rows = [list(prompt) for prompt in prompts]
    with evaluating(model), in_float32(model):
        within = [] if vocabulary is None else [Within(vocabulary)]
        drawn = _draws(sampling, rows, copies(rows) if numbers is None else list(numbers), max_new_tokens)
        written = _write(model, rows, list(ends), max_new_tokens, within + drawn)
    return [tokens[: _end(tokens, ends) + 1] for tokens in written]


def _write(
    model: PreTrainedModel,
    rows: list[list[int]],
    ends: list[int],
    max_new_tokens: int,
    processors: list[LogitsProcessor],
    **more,
) -> list[list[int]]:
    """What follows each row; after its end a row is filled with an end, so the first end is the end."""
    filler = ends[0] if ends else 0
    input_ids, attention_mask = _left_padded(rows, filler, device_of(model))
    how = GenerationConfig(max_new_tokens=max_new_tokens, eos_token_id=ends or None, pad_token_id=filler)
    # Weights that processes share are joined for reading, and kept for the next step: not as tensors of inference.
    reading = torch.no_grad() if distributed.is_sharded() else torch.inference_mode()
    with reading, _generating_by(model, how):
        written = model.generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            generation_config=how,
            logits_processor=LogitsProcessorList(processors),
            **more,
        )
    return written[:, input_ids.shape[1] :].tolist()


@contextmanager
def _generating_by(model: PreTrainedModel, how: GenerationConfig) -> Iterator[None]:
    """The model's own generation config is `how` within: the library fills in from it whatever `how` leaves open, and a
    checkpoint may ask for anything there (Qwen2.5: sampling and a repetition penalty; others: stop strings, beams).
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    own, base.generation_config = base.generation_config, how
    try:
        yield
    finally:
        base.generation_config = own


def _draws(
    sampling: Sampling | None, rows: list[list[int]], numbers: list[int], max_new_tokens: int
) -> list[LogitsProcessor]:
    return [] if sampling is None else [Draw(sampling, rows, numbers, max(map(len, rows)), max_new_tokens)]


def follow(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, max_new_tokens: int = 256
) -> Iterator[Completion]:
    """One greedy completion as it grows, after each of its tokens and at its end: the last is `generate_batch`'s.

    A plain loop and no thread: closing the iterator stops the work. A character of several tokens is shown whole.
    """
    ends = set(end_tokens(model, tokenizer))
    input_ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]], device=device_of(model))
    tokens: list[int] = []
    shown, kept, ended = "", {}, False
    with evaluating(model), in_float32(model):
        while len(tokens) < max_new_tokens:
            with torch.inference_mode():  # never across a yield, or the reader would be in it too
                step = model(input_ids=input_ids, use_cache=True, logits_to_keep=1, **kept)
                token = int(step.logits[0, -1].argmax())
            ended = token in ends
            if ended:
                break
            tokens.append(token)
            kept = {name: got for name in _CACHES if (got := getattr(step, name, None)) is not None}
            following = input_ids.new_tensor([[token]])
            input_ids = following if kept else torch.cat([input_ids, following], dim=1)
            text = _decode(tokenizer, tokens)
            if text.startswith(shown) and not text.endswith("\ufffd"):
                shown = text
            if len(tokens) < max_new_tokens:
                yield Completion(shown, tuple(tokens), finished=False)
    yield Completion(_decode(tokenizer, tokens), tuple(tokens), finished=ended)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Dropout off within; every module's own mode as it was afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class _Watch(StoppingCriteria):
    """Ends no answer itself: it counts those that ended and asks whether to stop, at every token."""

    def __init__(self, ends: list[int], before: int, total: int, sitting: Sitting):
        self.ends, self.before, self.total = torch.tensor(ends, dtype=torch.long), before, total
        self.on_progress, self.should_stop = sitting.on_progress, sitting.should_stop
        self.ended: Tensor | None = None
        self.told = 0

    def __call__(self, input_ids: Tensor, scores: Tensor | None, **kwargs) -> Tensor:
        raise_if_stopped(self.should_stop)
        none = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        if self.on_progress is not None:
            ended = torch.isin(input_ids[:, -1], self.ends.to(input_ids.device))
            self.ended = ended if self.ended is None else self.ended | ended
            if (done := int(self.ended.sum())) > self.told:
                self.told = done
                self.on_progress(self.before + done, self.total)
        return none


def _completion(tokenizer: PreTrainedTokenizerBase, tokens: list[int], ends: list[int], manner: Manner) -> Completion:
    end = _end(tokens, ends)
    finished, tokens = end < len(tokens), tokens[:end]
    if manner.keep_special:
        text = _decode(tokenizer, [token for token in tokens if token != tokenizer.pad_token_id], skip=False)
    else:
        text = _decode(tokenizer, tokens)
    return Completion(text, tuple(tokens), finished)


def _end(tokens: Sequence[int], ends: Sequence[int]) -> int:
    """Where the first token stands that ends an answer; behind all of them if none does."""
    return next((at for at, token in enumerate(tokens) if token in ends), len(tokens))


def _decode(tokenizer: PreTrainedTokenizerBase, tokens: list[int], skip: bool = True) -> str:
    return tokenizer.decode(tokens, skip_special_tokens=skip, clean_up_tokenization_spaces=False)


def _left_padded(rows: list[list[int]], filler: int, device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = [[filler] * (width - len(row)) + row for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
