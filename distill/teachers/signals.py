"""What a teacher can be asked about a text, and asking it: one forward pass for all that it says of whole texts and of
every token of their solutions (how likely it was, what else might have come, its hidden states).

Each teacher reads the text in its own chat template and its own tokens, so no signal depends on a shared tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill.config.errors import OnProgress, ShouldStop, UserError, raise_if_stopped
from distill.data.encoding import IGNORED, Example, collate, cut, encode_many
from distill.losses.chunked import ELEMENTS
from distill.losses.head import Head
from distill.models.chat_template import has_end
from distill.models.lm_head import check_vocabulary, device_of, head_of, read_states
from distill.models.pooling import layer_at, pool, stack_layers
from distill.teachers.ragged import Ragged

Signal = Literal["pooled", "nll_per_byte", "pooled_layers", "tokens", "token_logprobs", "topk", "hidden"]
SIGNALS: tuple[Signal, ...] = ("pooled", "nll_per_byte")  # what is asked where nothing is said
WHOLE: tuple[Signal, ...] = (*SIGNALS, "pooled_layers")  # of a text as a whole
TOKENWISE: tuple[Signal, ...] = ("tokens", "token_logprobs", "topk", "hidden")  # of its solution's tokens
ALL_SIGNALS: tuple[Signal, ...] = (*WHOLE, *TOKENWISE)
LIKELIHOODS = frozenset({"token_logprobs", "topk"})  # of tokens: those that take logits
_ANSWERS = {"topk": ("topk_logprobs", "topk_ids")}  # what is answered in other names than asked

Text = tuple[str, str]  # question, solution
_LAYERS_SHARE = 4  # a batch of which every layer is wanted is so many times smaller
_TINY = 1e-6  # of hidden states' root mean square: below, a state is nothing and stays nothing


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
    Ragged, a row a text: see `of_tokens`.

    The end token is read along, and counts for what is said of tokens alone: no token before it knows of it. Texts of
    like length share a batch. `on_progress(done, n)` follows each; `should_stop` is asked before each. Raises UserError
    for a text of whose solution `max_length` leaves nothing, where more than `pooled` is asked for.
    """
    examples = _examples(model, tokenizer, texts, request)
    head = real_head(model, tokenizer) if request.needs & (LIKELIHOODS | {"nll_per_byte"}) else None
    if "pooled_layers" in request.needs:  # the states of all layers are in memory at once
        batch_size = max(1, batch_size // _LAYERS_SHARE)
    order = sorted(range(len(examples)), key=lambda row: -len(examples[row].input_ids))
    parts: dict[str, list] = {name: [] for name in request.answers}
    for start in range(0, len(order), batch_size):
        raise_if_stopped(should_stop)
        rows = order[start : start + batch_size]
        some = [examples[row] for row in rows]
        for name, values in read(some, model, head, tokenizer.pad_token_id, request).items():
            parts[name].append(values)
        if on_progress is not None:
            on_progress(start + len(rows), len(order))
    back = torch.tensor(order).argsort()
    return {
        name: Ragged.cat(values).rows(back) if isinstance(values[0], Ragged) else torch.cat(values)[back]
        for name, values in parts.items()
    }


def _examples(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], request: Request
) -> list[Example]:
    """The texts as this model reads them, checked."""
    tokenwise = bool(request.needs & frozenset(TOKENWISE))
    examples = encode_many(
        tokenizer,
        texts,
        request.max_length or getattr(model.config.get_text_config(), "max_position_embeddings", None),
        end=tokenwise or has_end(tokenizer),
        system=request.system,
        max_characters=request.max_characters,
        keep_unlabelled=True,
    ).examples
    check_vocabulary(max(max(example.input_ids) for example in examples), model)
    if tokenwise or "nll_per_byte" in request.needs:
        _check_labelled([cut(*text, request.max_characters) for text in texts], examples)
    return examples


@torch.inference_mode()
def read(
    examples: Sequence[Example], model: PreTrainedModel, head: Head | None, pad_id: int | None, request: Request
) -> dict[str, Tensor | Ragged]:
    """The signals of one batch, in one forward pass. Logits are made only where they predict a solution's token.

    `head`, of the tokens that there are; it may be None where no likelihood is needed.
    """
    said: dict[str, Tensor | Ragged] = {"tokens": tokens_of(examples)} if "tokens" in request.needs else {}
    if request.needs == {"tokens"}:
        return said
    layer = layer_at(request.layer, model.config.get_text_config().num_hidden_layers)
    # Where some layers are wanted, the others' are not kept in memory.
    some = [layer] * ("pooled" in request.needs) + list(request.layers) * ("hidden" in request.needs)
    batch = {name: tensor.to(device_of(model)) for name, tensor in collate(examples, pad_id).items()}
    states_BLD, out = read_states(
        model,
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        output_hidden_states="pooled_layers" in request.needs or sorted(set(some)) or False,
        use_cache=False,
    )
    said |= _pooled(examples, batch, out.hidden_states, layer, request)
    likely = {"token_logprobs"} if "nll_per_byte" in request.needs else set()  # the logits are made once
    asked = replace(request, needs=request.needs | likely)
    found = of_tokens(examples, batch["labels"], states_BLD, out.hidden_states, head, asked)
    if likely:
        said["nll_per_byte"] = _nll_per_byte(examples, found["token_logprobs"])
    return {name: values for name, values in (said | found).items() if name in request.answers}


def _pooled(
    examples: Sequence[Example], batch: dict[str, Tensor], hidden_states, layer: int, request: Request
) -> dict[str, Tensor]:
    """The states of whole texts, their end tokens left out."""
    # The card's mean weighs all real tokens; "rms" only those that say what the text is about.
    mask_BL = batch["content_mask"]
    if request.pooling == "mean":
        mask_BL = batch["attention_mask"].clone()
        for row, example in enumerate(examples):
            if _has_ended(example):
                mask_BL[row, len(example.input_ids) - 1] = 0
    said = {}
    if "pooled" in request.needs:
        said["pooled"] = pool(hidden_states[layer].float(), mask_BL, request.pooling).cpu()
    if "pooled_layers" in request.needs:
        every = [pool(states_BLD.float(), mask_BL, request.pooling) for states_BLD in hidden_states]
        said["pooled_layers"] = stack_layers(every).cpu()
    return said


def _nll_per_byte(examples: Sequence[Example], logprobs: Ragged) -> Tensor:
    """[n] of log-probabilities of the labelled tokens, the end token's left out."""
    rows = [logprobs.row(row) for row in range(len(examples))]
    nats = [row[:-1].sum() if _has_ended(e) else row.sum() for e, row in zip(examples, rows, strict=True)]
    return -torch.stack(nats) / torch.tensor([max(1, example.completion_bytes) for example in examples])


def _has_ended(example: Example) -> bool:
    """Whether its last token is an end token."""
    return example.ends[-1:] == [-1]


def _check_labelled(texts: Sequence[Text], examples: Sequence[Example]) -> None:
    for (question, solution), example in zip(texts, examples, strict=True):
        if solution and not example.labelled:  # its likelihood would be 0/0
            raise UserError(
                f"The text that begins {question[:40]!r} is too long: nothing of its solution is left within "
                f"{len(example.input_ids)} tokens, so raise the limit or leave it out."
            )


# --- of every token of a solution ------------------------------------------------------------------------------------
# Rows of unlike length, a text each: a token is one that the teacher's own tokenizer makes of the solution, the end
# token included where the answer has ended.


def real_head(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Head:
    """The head of the tokens that there are: many a model has more logits than its tokenizer has tokens."""
    head = head_of(model)
    return head.sliced(min(head.vocabulary, max(tokenizer.get_vocab().values()) + 1))


def tokens_of(examples: Sequence[Example]) -> Ragged:
    """int32 [m, 2]: (id, end) of the labelled tokens, m in all, the end as in `Example.ends`; no model is asked."""
    pairs = [pair for e in examples for pair in zip(e.input_ids[e.completion_start :], e.ends, strict=True)]
    lengths = torch.tensor([example.labelled for example in examples])
    return Ragged(torch.tensor(pairs, dtype=torch.int32).view(-1, 2), lengths)


def of_tokens(
    examples: Sequence[Example],
    labels_BL: Tensor,
    states_BLD: Tensor,
    hidden_states,
    head: Head | None,
    request: Request,
) -> dict[str, Ragged]:
    """What `request` needs of the labelled tokens (m in all) of a batch that has been read, on the CPU.

    token_logprobs  float32 [m]            log p(token | all before it), nats
    topk_logprobs   float32 [m, k]         the k likeliest in its place, the likeliest first, at `request.temperature`;
    topk_ids        int32 [m, k]           k is `request.top_k`, or as many tokens as there are
    hidden          float16 [m, layers, D] the states of the token itself after the blocks `request.layers` (0: the
                                           embeddings; after the last block: normed), each divided by its RMS over D

    `states_BLD` are what the head reads, `hidden_states` the states by block. `head`, of the tokens that there are,
    makes the logits, a few positions at a time, and only those that predict a labelled token; it may be None where
    neither likelihoods nor topk are needed.
    """
    lengths = torch.tensor([example.labelled for example in examples])
    labelled_BL, found = labels_BL != IGNORED, {}
    if "hidden" in request.needs:
        found["hidden"] = torch.stack([_unit(hidden_states[b][labelled_BL]) for b in request.layers], 1)
    if request.needs & LIKELIHOODS:
        predicting_mD, targets_m = states_BLD[:, :-1][labelled_BL[:, 1:]], labels_BL[labelled_BL]
        found |= _likelihoods(head, predicting_mD, targets_m, request)
    return {name: Ragged(values.cpu(), lengths) for name, values in found.items()}


def _likelihoods(head: Head, states_mD: Tensor, targets_m: Tensor, request: Request) -> dict[str, Tensor]:
    k = min(request.top_k, head.vocabulary)
    said, values, ids = [torch.empty(0)], [torch.empty(0, k)], [torch.empty(0, k, dtype=torch.int32)]
    size = max(1, ELEMENTS // head.vocabulary)
    for states_cD, targets_c in zip(states_mD.split(size), targets_m.split(size), strict=True):
        logits_cV = head.logits(states_cD)
        if "token_logprobs" in request.needs:
            said.append((logits_cV.gather(1, targets_c[:, None])[:, 0] - logits_cV.logsumexp(-1)).float().cpu())
        if "topk" in request.needs:
            top = (logits_cV / request.temperature).log_softmax(-1).topk(k, sorted=True)
            values.append(top.values.float().cpu())
            ids.append(top.indices.int().cpu())
    found = {"token_logprobs": torch.cat(said)} if "token_logprobs" in request.needs else {}
    return found | ({"topk_logprobs": torch.cat(values), "topk_ids": torch.cat(ids)} if "topk" in request.needs else {})


def _unit(states_mD: Tensor) -> Tensor:
    states_mD = states_mD.float()
    return (states_mD / states_mD.square().mean(-1, keepdim=True).sqrt().clamp_min(_TINY)).half()
