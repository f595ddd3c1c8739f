"""What every objective is: a module that turns the student's outputs and a batch into named losses and metrics.

An objective states which teacher signals it needs, owns what it trains besides the student (a gate, heads), and
computes. Its file holds the settings that ask for it too, which pages and commands read: so torch, which takes seconds
to import, is imported where it computes, and an objective becomes an nn.Module when the first one is made.

A batch is a dictionary; all [B, L] tensors share one padding:
    input_ids, attention_mask, labels [B, L]    labels are -100 where no loss is wanted
    content_mask [B, L]                         1 on tokens that count for pooling (`data.encoding`)
    family [B]                                  the number of its problem family
    origin [B]                                  whose solution it is: 0 the data's, 1 a teacher's
    signals {signal: {teacher: [B, ...]}}       what the teachers said of these texts
    num_items                                   optional: labelled tokens in the whole optimiser step
    prompts {teacher: [B tensors]}              what live teachers read before the completion, where it is not input_ids
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from distill.losses import IGNORED

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distill.config.method import Method
    from distill.losses.head import Head
    from distill.teachers.live import LiveTeacher

Batch = Mapping[str, Any]
Signals = Mapping[str, Mapping[str, "Tensor"]]


@dataclass(frozen=True)
class StudentOutputs:
    """One forward of the student: the states that its `head` reads, so that logits are made where wanted only.

    `hidden` is transformers' hidden_states: [0] the embeddings, [l] after block l.
    """

    states_BLD: Tensor
    head: Head
    hidden: tuple[Tensor, ...] = ()
    _found: dict[tuple[int, int], tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def predicting(self, labels_BL: Tensor) -> tuple[Tensor, Tensor]:
        """(states [m, D] that predict the labelled tokens, those tokens [m]), row by row: position l predicts l + 1."""
        targets_BL = labels_BL[:, 1:]
        labelled_BL = targets_BL != IGNORED
        return self.states_BLD[:, :-1][labelled_BL], targets_BL[labelled_BL]

    def logprobs(self, labels_BL: Tensor, vocabulary: int | None = None) -> Tensor:
        """[m] log-probabilities (nats) of the labelled tokens, row by row, differentiable; of the first `vocabulary`
        logits. Found once for all objectives that ask for the same labels: the logits cost more than what follows."""
        head = self.head if vocabulary is None else self.head.sliced(vocabulary)
        from distill.losses.chunked import logprobs_of

        key = id(labels_BL), head.vocabulary
        if key not in self._found:
            # The labels are kept along, or others might come to have their id.
            self._found[key] = labels_BL, logprobs_of(head, *self.predicting(labels_BL))
        return self._found[key][1]


@dataclass(frozen=True)
class ObjectiveOutput:
    """What an objective found: scalar losses by name, and numbers to log.

    The loss that a run reports is the terms named as objectives are, weighted. Others train only parameters of the
    objective's own (a gate's balance, heads that serve to measure): they give the student no gradient.
    """

    terms: dict[str, Tensor]
    metrics: dict[str, float] = field(default_factory=dict)

    def total(self) -> Tensor:
        """The sum of all terms, unweighted: what to call `backward` on."""
        return sum(self.terms.values())


class Objective(ABC):
    """One reason to change the student, an nn.Module. The caller multiplies what it returns by `weight`."""

    kind: ClassVar[str]
    reads_hidden: ClassVar[bool] = False  # whether it looks at `StudentOutputs.hidden`
    reads_own: ClassVar[bool] = False  # whether it reads the student's own answers instead, in steps that have some
    averages: bool = False  # whether its loss is a mean over the micro-batch, not a share of the step's

    def __new__(cls, *args: Any, **kwargs: Any) -> Objective:
        return object.__new__(_module(cls))

    def __init__(self, weight: float = 1.0, needs: frozenset[str] = frozenset()):
        super().__init__()  # nn.Module's
        self.weight = weight
        self.needs = needs

    @abstractmethod
    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        """The losses of this batch."""

    def texts_of(self, batch: Batch) -> Batch:
        """What it reads of a micro-batch: the student's own answers, where there are some and it wants them."""
        return batch["own"] if self.reads_own and "own" in batch else batch

    def auxiliary_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that only auxiliary terms train; clipped with the student's, they would slow it down."""
        return iter(())


@cache
def _module(kind: type[Objective]) -> type[Objective]:
    """`kind` as an nn.Module."""
    from torch import nn

    return (
        kind if issubclass(kind, nn.Module) else type(kind.__name__, (kind, nn.Module), {"__module__": kind.__module__})
    )


class CoupledObjective(Objective):
    """An objective that compares the texts of a batch with one another, so that its loss is no sum over batches.

    `represent` maps a batch to one vector a text and may run on pieces of any size; `couple` needs all texts at once.
    A trainer that accumulates gradients collects the vectors of the whole window without gradients, makes them a leaf,
    calls `couple`, and feeds d loss / d z back through `represent` piece by piece (GradCache, 2101.06983): exact.
    """

    reads_hidden = True

    def signals_of(self, batch: Batch) -> Signals:
        """What it needs of a batch's signals: one row a text, so that those of several batches can be joined."""
        return {name: batch["signals"][name] for name in sorted(self.needs)}

    @abstractmethod
    def represent(self, outputs: StudentOutputs, batch: Batch) -> Tensor:
        """z [B, D], differentiable in the student."""

    @abstractmethod
    def couple(self, z_nD: Tensor, signals: Signals) -> ObjectiveOutput:
        """The losses of n texts, differentiable in z; `signals` hold their rows in the same order."""

    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        return self.couple(self.represent(outputs, batch), self.signals_of(batch))


def items_of(batch: Batch, labelled: int) -> Tensor | int:
    """What a sum over tokens is divided by: the labelled tokens of the whole optimiser step, at least 1.

    `labelled`: those of this batch, which count where the batch doesn't say.
    """
    items = batch.get("num_items")
    return max(labelled if items is None else items, 1)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Modules made inside start from the same values whatever was drawn before; the outer random stream is kept."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@dataclass(frozen=True)
class Models:
    """What objectives must know of the models to be made.

    `teachers`: all, in the order of the config, and `teacher_widths` where they are known. `tokens`: how many of the
    student's logits stand for a token, None: all. `vocabulary` {teacher: tokens it has in common with
    the student}, of teachers with its tokenizer. `live`: those that stay loaded. `maps` {teacher: (student block, index
    into the teacher's stored blocks), ...}, for features. `projections`: what cross_tokenizer needs of each teacher.
    """

    student_width: int
    student_layers: int
    teachers: Sequence[str]
    teacher_widths: Mapping[str, int]
    seed: int = 0
    tokens: int | None = None
    vocabulary: Mapping[str, int] = field(default_factory=dict)
    live: Mapping[str, LiveTeacher] = field(default_factory=dict)
    maps: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)
    projections: Mapping[str, Any] = field(default_factory=dict)

    def names(self, method: Method) -> list[str]:
        """The teachers that a method listens to, in the order of the run's."""
        return [name for name in self.teachers if method.teachers is None or name in method.teachers]

    def common(self, names: Sequence[str]) -> int:
        """How many tokens all of these teachers have in common with the student."""
        return min(self.vocabulary[name] for name in names)


def build_objectives(methods: Iterable[Method], models: Models) -> list[Objective]:
    """The objectives of a config's methods, in its order."""
    return [method.build(models) for method in methods]
