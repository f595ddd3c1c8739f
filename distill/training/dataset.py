"""Texts as the trainer reads them: tokens, labels, and what each teacher signalled about the same text.

Signals are looked up by row, so the training loop never meets a teacher.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distill.config.errors import UserError
from distill.data.encoding import Example, collate, encode_many
from distill.models.chat_template import template_of
from distill.teachers.alignment import END, aligned
from distill.teachers.ask import Said, Warn
from distill.teachers.ragged import Ragged
from distill.teachers.signals import Text


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


@dataclass
class TrainingSet(torch.utils.data.Dataset):
    """`examples[i]` and row i of every signal belong to one text; `families[i]` is the number of its family.

    A signal has one value a text (a tensor) or one a token or chunk (Ragged, padded in the batch). `origins[i]` says
    whose solution it is (0 the data's, 1 a teacher's); `prompts` {teacher: ids a row} what a live teacher reads before
    the completion, for those whose prompt is not the student's.
    """

    examples: Sequence[Example]
    signals: Mapping[str, Mapping[str, Tensor | Ragged]]
    families: Sequence[int]
    pad_id: int
    origins: Sequence[int] | None = None
    prompts: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int]) -> dict:
        """The batch of these rows: ids, masks and labels [B, L], family [B], signals by teacher [B, ...]."""
        rows = list(rows)
        batch = collate([self.examples[row] for row in rows], self.pad_id)
        batch["family"] = torch.as_tensor([self.families[row] for row in rows])
        batch["completion_bytes"] = torch.as_tensor([self.examples[row].completion_bytes for row in rows])
        if self.origins is not None:
            batch["origin"] = torch.as_tensor([self.origins[row] for row in rows])
        if self.prompts:
            batch["prompts"] = {t: [torch.as_tensor(ids[row]) for row in rows] for t, ids in self.prompts.items()}
        batch["signals"] = {
            name: {teacher: _rows(name, values, rows) for teacher, values in by_teacher.items()}
            for name, by_teacher in self.signals.items()
        }
        return batch

    def whole(self) -> dict:
        """All rows as one batch."""
        return self.collate(range(len(self)))


def _rows(name: str, values: Tensor | Ragged, rows: list[int]) -> Tensor:
    if isinstance(values, Ragged):
        padded = values.padded(rows, -1 if name == "chunk_of" else 0)
        return padded.float() if padded.dtype == torch.float16 else padded
    return values[torch.as_tensor(rows, dtype=torch.long)]


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
