"""What a teacher can be asked about a text, and asking it: one forward pass for all that it says of whole texts, one
for all that it says of their tokens (tokens.py).

Each teacher reads the text in its own chat template and its own tokens, so no signal depends on a shared tokenizer.
This module knows nothing of files, caches or students.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill.data.encoding import IGNORED, Example, collate, cut, encode_many
from distill.errors import UserError
from distill.losses.chunked import logprobs_of
from distill.losses.cka import layer_at, pool, stack_layers
from distill.losses.head import Head
from distill.progress import OnProgress, ShouldStop, check
from distill.ragged import Ragged
from distill.readout import device_of, read_states
from distill.teachers.tokens import LIKELIHOODS, TOKENWISE, read_tokens, real_head

Signal = Literal["pooled", "nll_per_byte", "pooled_layers", "tokens", "token_logprobs", "topk", "hidden"]
SIGNALS: tuple[Signal, ...] = ("pooled", "nll_per_byte")  # what is asked where nothing is said
WHOLE: tuple[Signal, ...] = (*SIGNALS, "pooled_layers")  # of a text as a whole
ALL_SIGNALS: tuple[Signal, ...] = (*WHOLE, *TOKENWISE)
_ANSWERS = {"topk": ("topk_logprobs", "topk_ids")}  # what is answered in other names than asked

Text = tuple[str, str]  # question, solution
_LAYERS_SHARE = 4  # a batch of which every layer is wanted is so many times smaller


@dataclass(frozen=True)
class Request:
    """What is asked of a teacher.

    `layer` is a fraction of its depth (it matters to `pooled` alone) and `pooling` "rms" or "mean" (to `pooled` and
    `pooled_layers`). `max_length` limits the teacher's tokens, None: what the model was made for. `max_characters` cuts
    question and solution together, alike for every tokenizer. `system` is the text of a system turn. `top_k` and
    `temperature` are of `topk`, `layers` (numbers of this teacher's blocks) of `hidden`.
    """

    needs: frozenset[str] = frozenset(SIGNALS)
    layer: float = 0.75
    pooling: Literal["rms", "mean"] = "rms"
    max_length: int | None = None
    max_characters: int | None = None
    system: str | None = None
    top_k: int = 0
    temperature: float = 1.0
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.needs) - set(ALL_SIGNALS))
        if unknown:
            raise ValueError(f"There is no signal {unknown[0]!r}: choose from {', '.join(ALL_SIGNALS)}.")
        if "topk" in self.needs and self.top_k < 1:
            raise ValueError("The signal 'topk' needs a top_k of at least 1.")
        if "hidden" in self.needs and not self.layers:
            raise ValueError("The signal 'hidden' needs the layers it is to be of.")

    @property
    def answers(self) -> tuple[str, ...]:
        """The names of what is answered, in a fixed order: those of `needs`, but for topk two."""
        return tuple(name for need in ALL_SIGNALS if need in self.needs for name in _ANSWERS.get(need, (need,)))


def need_of(answer: str) -> Signal:
    """What has to be asked for this answer."""
    return next((need for need, answers in _ANSWERS.items() if answer in answers), answer)


def compute(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    request: Request,
    batch_size: int = 64,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
) -> dict[str, Tensor | Ragged]:
    """The `request.answers` for n >= 1 texts on the CPU, in the order of the texts; float32 [n, ...] of whole texts.

    `pooled` [n, D]: the hidden states after block `layer_at(...)`, pooled over the content tokens of question and
    solution ("rms") or over all tokens ("mean"). `nll_per_byte` [n]: the negative log-likelihood of the solution given
    the prompt, in nats per UTF-8 byte of the solution; the end token is no part of it. (Divide by ln 2 for bits.)
    An empty solution is certain: 0. `pooled_layers` [n, 1 + layers, D]: as `pooled`, of the embeddings and after every
    block (after the last: normed). It takes layers times the room, so ask it of few texts. What is said of tokens is
    Ragged, a row a text: see `read_tokens`.

    The end token is read with the tokens only: it would change the card's mean, so both together take two passes.
    Texts of like length share a batch. `on_progress(done, n)` follows each; `should_stop` is asked before each. Raises
    UserError for a text of whose solution `max_length` leaves nothing, where more than `pooled` is asked for.
    """
    passes = [request.needs & frozenset(part) for part in (WHOLE, TOKENWISE)]
    passes = [needs for needs in passes if needs]
    found = {}
    for number, needs in enumerate(passes):

        def tell(done: int, total: int, number: int = number) -> None:
            if on_progress is not None:
                on_progress((number * total + done) // len(passes), total)

        found |= _pass(model, tokenizer, texts, replace(request, needs=needs), batch_size, tell, should_stop)
    return {name: found[name] for name in request.answers}


def _pass(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    request: Request,
    batch_size: int,
    tell: OnProgress,
    should_stop: ShouldStop | None,
) -> dict[str, Tensor | Ragged]:
    tokenwise = not request.needs & frozenset(WHOLE)
    examples = encode_many(
        tokenizer,
        texts,
        request.max_length or getattr(model.config.get_text_config(), "max_position_embeddings", None),
        end=tokenwise,
        system=request.system,
        max_characters=request.max_characters,
        keep_unlabelled=True,
    ).examples
    check_vocabulary(max(max(example.input_ids) for example in examples), model)
    if tokenwise or "nll_per_byte" in request.needs:
        _check_labelled([cut(*text, request.max_characters) for text in texts], examples)
    likelihoods = request.needs & (LIKELIHOODS | {"nll_per_byte"})
    ask = partial(read_tokens if tokenwise else read, head=real_head(model, tokenizer) if likelihoods else None)
    if "pooled_layers" in request.needs:  # the states of all layers are in memory at once
        batch_size = max(1, batch_size // _LAYERS_SHARE)
    order = sorted(range(len(examples)), key=lambda row: -len(examples[row].input_ids))
    parts: dict[str, list] = {name: [] for name in request.answers}
    for start in range(0, len(order), batch_size):
        check(should_stop)
        rows = order[start : start + batch_size]
        some = [examples[row] for row in rows]
        for name, values in ask(some, model, pad_id=tokenizer.pad_token_id, request=request).items():
            parts[name].append(values)
        tell(start + len(rows), len(order))
    back = torch.tensor(order).argsort()
    if tokenwise:
        return {name: Ragged.cat(values).rows(back) for name, values in parts.items()}
    return {name: torch.cat(values)[back] for name, values in parts.items()}


@torch.inference_mode()
def read(
    examples: Sequence[Example], model: PreTrainedModel, head: Head | None, pad_id: int | None, request: Request
) -> dict[str, Tensor]:
    """The signals of one batch, in one forward pass. Logits are made only where they predict a solution's token.

    `head`, of the tokens that there are; it may be None where no likelihood is needed.
    """
    device = device_of(model)
    batch = {name: tensor.to(device) for name, tensor in collate(examples, pad_id).items()}
    layer = layer_at(request.layer, model.config.get_text_config().num_hidden_layers)
    representation, likelihood, layers = (name in request.needs for name in WHOLE)
    states_BLD, out = read_states(
        model,
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        # Where one layer is wanted, the others' are not kept in memory.
        output_hidden_states=layers or ([layer] if representation else False),
        use_cache=False,
    )
    signals = {}
    # The card's mean weighs all real tokens; "rms" only those that say what the text is about.
    mask_BL = batch["attention_mask" if request.pooling == "mean" else "content_mask"]
    if representation:
        signals["pooled"] = pool(out.hidden_states[layer].float(), mask_BL, request.pooling).cpu()
    if layers:
        every = [pool(states_BLD.float(), mask_BL, request.pooling) for states_BLD in out.hidden_states]
        signals["pooled_layers"] = stack_layers(every).cpu()
    if likelihood:
        wanted_BL = batch["labels"][:, 1:] != IGNORED  # position i predicts token i + 1
        logprobs_N = logprobs_of(head, states_BLD[:, :-1][wanted_BL], batch["labels"][:, 1:][wanted_BL]).float()
        nll_B = torch.zeros(len(examples), device=device).index_add_(0, wanted_BL.nonzero()[:, 0], -logprobs_N)
        bytes_B = torch.tensor([example.completion_bytes for example in examples], device=device)
        signals["nll_per_byte"] = (nll_B / bytes_B.clamp_min(1)).cpu()
    return signals


def check_vocabulary(highest: int, model: PreTrainedModel) -> None:
    """Raise UserError where the `highest` token that a tokenizer made is none that the model's weights know."""
    rows = model.get_input_embeddings().num_embeddings
    if highest >= rows:
        raise UserError(
            f"Its tokenizer knows token {highest} and its weights only {rows} tokens: they are not of one model, so "
            "copy both again."
        )


def _check_labelled(texts: Sequence[Text], examples: Sequence[Example]) -> None:
    for (question, solution), example in zip(texts, examples, strict=True):
        if solution and not example.labelled:  # its likelihood would be 0/0
            raise UserError(
                f"The text that begins {question[:40]!r} is too long: nothing of its solution is left within "
                f"{len(example.input_ids)} tokens, so raise the limit or leave it out."
            )
