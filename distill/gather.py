"""Gather what a run trains on: every teacher's signals about its texts, and the texts as the student reads them.

The teachers are asked one after another, each in memory only while it answers; what they say is kept in the bank for
the next run. This module knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedTokenizerBase

from distill.config import RunConfig, model_path
from distill.data.prompts import encode_many
from distill.errors import UserError
from distill.hardware import Hardware
from distill.losses.cka import layer_at
from distill.objectives.base import Signals
from distill.objectives.build import signals_needed
from distill.progress import OnProgress, ShouldStop
from distill.runs import home
from distill.teachers.bank import SignalBank
from distill.teachers.signals import Request, Text
from distill.training.dataset import TrainingSet

Warn = Callable[[str, str], None]  # code, plain words


def ask_all(
    config: RunConfig,
    hardware: Hardware,
    train: Sequence[Text],
    probe: Sequence[Text],
    student_layers: int,
    progress: Callable[[str, str], OnProgress],
    warn: Warn,
    should_stop: ShouldStop,
) -> tuple[Signals, Signals]:
    """{signal: {teacher: [n, ...]}} of all teachers about the `train` and the `probe` texts.

    Of the probe texts every layer is asked too (`pooled_layers`), to compare all layers with the student's. Both are
    empty where no objective needs any signal.
    """
    geometry, needs = config.geometry, signals_needed(config.objectives)
    if not needs:
        if config.teachers:
            warn(
                "teachers_unasked",
                "Teachers are listed, but no objective asks them anything: add one, such as geometry.",
            )
        return {}, {}
    bank = SignalBank(home().cache / "signals", on_warning=warn)
    # The student's own layer, as a fraction of its depth, says how deep to look in a teacher.
    layer = layer_at(geometry.layer, student_layers) / student_layers
    request = Request(needs, layer, geometry.pooling)
    questions = [(train, request), (probe, replace(request, needs=needs | {"pooled_layers"}))]
    signals: tuple[dict[str, dict], dict[str, dict]] = ({}, {})
    count = len(train) + len(probe)
    for number, teacher in enumerate(config.teachers, 1):
        text = f"asking teacher {number} of {len(config.teachers)} ({teacher.name}), {count:,} texts"
        answers = bank.ask_each(
            teacher.name,
            model_path(teacher),
            questions,
            revision=teacher.revision,
            dtype=getattr(torch, hardware.dtype),
            device=hardware.device,
            batch_size=config.budget.teacher_batch_size,
            on_progress=progress("signals", text),
            should_stop=should_stop,
        )
        for gathered, found in zip(signals, answers, strict=True):
            for name, values in found.items():
                gathered.setdefault(name, {})[teacher.name] = values
    return signals


def training_set(
    split: str,
    texts: Sequence[Text],
    families: Sequence[int],
    signals: Signals,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    warn: Warn,
) -> TrainingSet:
    """The texts as the student reads them, with the rows of the signals that belong to them."""
    probing = split == "probe"  # its texts are only read: one whose answer was cut off still says something
    encoded = encode_many(tokenizer, texts, max_length, keep_unlabelled=probing)
    if texts and not encoded.kept:
        raise UserError(f"budget.max_length is {max_length} tokens, which leaves nothing of any answer: raise it.")
    if encoded.truncated:
        warn(
            f"truncated:{split}",
            f"{encoded.truncated} of {len(texts)} {split} texts are longer than budget.max_length "
            f"({max_length} tokens) and were cut; {encoded.dropped} lost their whole answer and are left out.",
        )
    kept = torch.as_tensor(encoded.kept, dtype=torch.long)
    return TrainingSet(
        encoded.examples,
        {name: {t: values[kept] for t, values in by.items()} for name, by in signals.items()},
        [families[row] for row in encoded.kept],
        tokenizer.pad_token_id,
    )
