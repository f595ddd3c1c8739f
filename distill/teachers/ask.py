"""Ask every teacher that is listened to, one after another, what it says of the texts.

Each is in memory only while it answers; what they say is kept in the bank for the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.config.errors import OnProgress, ShouldStop
from distill.config.paths import home
from distill.config.requirements import heard
from distill.config.run_config import ModelRef, RunConfig
from distill.models.distributed import main_first
from distill.models.hardware import Machine
from distill.models.hub_lookup import look_up
from distill.models.references import model_path
from distill.teachers.ragged import Ragged
from distill.teachers.requests import Blocks, of_probe, of_train
from distill.teachers.signal_cache import SignalBank
from distill.teachers.signals import Text

Warn = Callable[[str, str], None]  # code, plain words
Said = dict[str, dict[str, Tensor | Ragged]]  # signal -> teacher -> a row a text


@dataclass(frozen=True)
class Asking:
    """How teachers are asked: on which machine, who hears of progress and of what is odd, and whether to stop."""

    config: RunConfig
    hardware: Machine
    progress: Callable[[str, str], OnProgress]
    warn: Warn
    should_stop: ShouldStop

    def how(self, teacher: ModelRef, text: str) -> dict:
        """The keyword arguments that every bank's `ask` takes; `text` says what is done, `teacher` is filled in."""
        number = [t.name for t in self.config.teachers].index(teacher.name) + 1
        said = f"Teacher {number} of {len(self.config.teachers)} ({teacher.name}) {text}"
        return {
            "revision": teacher.revision,
            "dtype": getattr(torch, self.hardware.suited_to(look_up(teacher).parameters).dtype),
            "device": self.hardware.device,
            "batch_size": self.config.budget.teacher_batch_size,
            "on_progress": self.progress("signals", said),
            "should_stop": self.should_stop,
        }


def say_unheard(config: RunConfig, warn: Warn) -> None:
    """Warn of teachers that no objective listens to."""
    listened_to = heard(config)
    unheard = [teacher.name for teacher in config.teachers if teacher not in listened_to]
    if unheard:
        warn(
            "teachers_unasked",
            f"No objective uses these teachers: {', '.join(unheard)}. Add one, such as geometry.",
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
        how = asking.how(teacher, "is reading texts")
        questions = [question for _, *question in asked]
        with main_first():  # one process asks, the others read what it was told
            answers = bank.ask_each(teacher.name, model_path(teacher), questions, **how)
        for (gathered, *_), found in zip(asked, answers, strict=True):
            for name, values in found.items():
                gathered.setdefault(name, {})[teacher.name] = values
    return said
