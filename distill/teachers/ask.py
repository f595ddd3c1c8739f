"""Gather what a run trains on: the texts, every teacher's signals about them, and both as the student reads them.

The teachers are asked one after another, each in memory only while it answers; what they say is kept in the bank for
the next run. This module knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distill.config.errors import UserError
from distill.config.paths import home
from distill.config.progress import OnProgress, ShouldStop
from distill.config.requirements import heard
from distill.config.run_config import ModelRef, RunConfig
from distill.data.encoding import Example, encode_many
from distill.models.chat_template import template_of
from distill.models.distributed import main_first
from distill.models.hardware import Hardware
from distill.models.hub_lookup import look_up
from distill.models.references import model_path
from distill.teachers.alignment import END, aligned
from distill.teachers.ragged import Ragged
from distill.teachers.requests import Blocks, of_probe, of_train
from distill.teachers.signal_cache import SignalBank
from distill.teachers.signals import Text
from distill.training.dataset import TrainingSet

Warn = Callable[[str, str], None]  # code, plain words
Said = dict[str, dict[str, Tensor | Ragged]]  # signal -> teacher -> a row a text


@dataclass(frozen=True)
class Asking:
    """How teachers are asked: on which machine, who hears of progress and of what is odd, and whether to stop."""

    config: RunConfig
    hardware: Hardware
    progress: Callable[[str, str], OnProgress]
    warn: Warn
    should_stop: ShouldStop

    def how(self, teacher: ModelRef, text: str) -> dict:
        """The keyword arguments that every bank's `ask` takes; `text` says what is done, `teacher` is filled in."""
        number = [t.name for t in self.config.teachers].index(teacher.name) + 1
        said = f"asking teacher {number} of {len(self.config.teachers)} ({teacher.name}), {text}"
        return {
            "revision": teacher.revision,
            "dtype": getattr(torch, self.hardware.suited_to(look_up(teacher).parameters).dtype),
            "device": self.hardware.device,
            "batch_size": self.config.budget.teacher_batch_size,
            "on_progress": self.progress("signals", said),
            "should_stop": self.should_stop,
        }


@dataclass(frozen=True)
class Texts:
    """Texts of one split: (question, solution), the number of each one's family, and whose solution it is."""

    split: str
    pairs: Sequence[Text]
    families: Sequence[int]
    origins: Sequence[int] | None = None  # None: all are the data's

    def of(self, rows: Sequence[int]) -> Texts:
        """These rows only."""
        origins = self.origins and [self.origins[row] for row in rows]
        return Texts(self.split, [self.pairs[row] for row in rows], [self.families[row] for row in rows], origins)


def say_unheard(config: RunConfig, warn: Warn) -> None:
    """Warn of teachers that no objective listens to."""
    listened_to = heard(config)
    unheard = [teacher.name for teacher in config.teachers if teacher not in listened_to]
    if unheard:
        warn(
            "teachers_unasked",
            f"Of the teachers listed, no objective listens to {', '.join(unheard)}: add one, such as geometry.",
        )


def ask(
    asking: Asking, probe: Sequence[Text], train: Sequence[Text], layer: float, pooling: str, blocks: Blocks
) -> tuple[Said, Said]:
    """What every teacher that is listened to says of the probe texts and of the training texts, in one sitting each.

    Of the probe texts `pooled`, `pooled_layers` and for some gates more; of the others what its listeners want. `layer`
    and `pooling` say how to look, `blocks` at which blocks' hidden states. Either list may be empty.
    """
    config, bank = asking.config, SignalBank(home().cache / "signals", on_warning=asking.warn)
    said: tuple[Said, Said] = ({}, {})
    for teacher in heard(config):
        asked = [(said[0], probe, of_probe(config, teacher.name, layer, pooling))] if probe else []
        of_texts = of_train(config, teacher.name, layer, pooling, blocks) if train else None
        asked += [(said[1], train, of_texts)] if of_texts else []
        if not asked:
            continue
        how = asking.how(teacher, f"{sum({id(texts): len(texts) for _, texts, _ in asked}.values()):,} texts")
        questions = [question for _, *question in asked]
        with main_first():  # one process asks, the others read what it was told
            answers = bank.ask_each(teacher.name, model_path(teacher), questions, **how)
        for (gathered, *_), found in zip(asked, answers, strict=True):
            for name, values in found.items():
                gathered.setdefault(name, {})[teacher.name] = values
    return said


def training_set(
    texts: Texts,
    said: Said,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    warn: Warn,
    readers: Mapping[str, PreTrainedTokenizerBase] | None = None,
    same: Collection[str] = (),
) -> TrainingSet:
    """The texts as the student reads them, with the rows of the signals that belong to them, aligned to its tokens.

    `readers` {teacher: tokenizer}: teachers that stay loaded, whose own prompts are needed. `same`: the teachers (with
    the student's own tokenizer) whose tokens are compared with its own, one by one. Others' tokens stay their own.
    """
    probing = texts.split == "probe"  # its texts are only read: one whose answer was cut off still says something
    encoded = encode_many(tokenizer, texts.pairs, max_length, keep_unlabelled=probing, drop_long=not probing)
    if texts.pairs and not encoded.kept:
        raise UserError(f"budget.max_length is {max_length} tokens, and all texts are longer: raise it.")
    if encoded.dropped:
        warn(
            f"too_long:{texts.split}",
            f"{encoded.dropped} of {len(texts.pairs)} {texts.split} texts are longer than budget.max_length "
            f"({max_length} tokens) and are left out, since half a solution teaches no end: raise it.",
        )
    if encoded.truncated:
        warn(
            f"truncated:{texts.split}",
            f"{encoded.truncated} of {len(texts.pairs)} {texts.split} texts are longer than budget.max_length "
            f"({max_length} tokens) and are read up to there.",
        )
    for teacher, tokens in said.get("tokens", {}).items():
        short = sum(not len(row) or int(row[-1, 1]) != END for row in map(tokens.row, range(len(tokens))))
        if short:
            warn(
                f"teacher_truncated:{teacher}",
                f"{short} of {len(tokens)} {texts.split} texts are longer than the teacher {teacher!r} can read, which "
                "says nothing of their ends: lower budget.max_length or choose another teacher.",
            )
    kept, rest = encoded.kept, texts.of(encoded.kept)
    prompts = {name: own_prompts(rest.pairs, reader) for name, reader in (readers or {}).items()}
    ours = [example.input_ids[: example.completion_start] for example in encoded.examples]
    return TrainingSet(
        encoded.examples,
        _by_rows(said, kept, encoded.examples, same),
        rest.families,
        tokenizer.pad_token_id,
        rest.origins,
        {name: ids for name, ids in prompts.items() if ids != ours},
    )


def own_prompts(texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The tokens of each question in the template of `tokenizer`'s model, up to what opens the answer."""
    template = template_of(tokenizer)
    prompts = [template.render(*text) for text in texts]
    return tokenizer(prompts, add_special_tokens=False)["input_ids"] if prompts else []


_BY_TOKEN = ("tokens", "token_logprobs", "topk_logprobs", "topk_ids", "hidden")


def _by_rows(said: Said, kept: Sequence[int], examples: Sequence[Example], same: Collection[str]) -> Said:
    """The rows that are kept; what teachers said of their tokens as what they said of chunks of the student's."""
    ends = [example.ends for example in examples]
    ids = [example.input_ids[example.completion_start :] for example in examples]
    index = torch.as_tensor(kept, dtype=torch.long)
    found: Said = {
        name: {teacher: values[index] for teacher, values in by_teacher.items()}
        for name, by_teacher in said.items()
        if name not in _BY_TOKEN
    }
    for teacher, tokens in said.get("tokens", {}).items():
        of_tokens = {name: said[name][teacher].rows(kept) for name in _BY_TOKEN[1:] if teacher in said.get(name, {})}
        for name, values in aligned(ends, tokens.rows(kept), of_tokens, ids if teacher in same else None).items():
            if name == "chunk_hidden":  # by far the largest: half the memory, and more digits than it has
                values = Ragged(values.values.half(), values.lengths)
            found.setdefault(name, {})[teacher] = values
    return found
