"""Generalised knowledge distillation (GKD, 2306.13649): teachers correct, token by token, what the student wrote.

    loss = sum over tokens y_i of sum_t g_t JSD_beta(p_t(. | y_<i), p_S(. | y_<i)) / tokens of the step

beta 0 is KL(p_t||p_S), 1 is KL(p_S||p_t). No gradient passes through the sampling, and the prompt has no part in it.
Whether a step reads the student's answers or the data's texts is decided by training/on_policy.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from distill.config.messages import fault
from distill.config.method import (
    Listening,
    Names,
    Rollout,
    SharesConfig,
    Temperature,
    gate_setting,
    teachers_setting,
)
from distill.config.settings import setting
from distill.losses import IGNORED
from distill.objectives.base import Batch, Models, Objective, ObjectiveOutput, StudentOutputs, items_of
from distill.objectives.logits import NAMES, jensen_shannon
from distill.objectives.response import ResponseConfig
from distill.objectives.task import ANSWER

if TYPE_CHECKING:
    from torch import Tensor

    from distill.teachers.live import LiveTeacher


class GkdConfig(Listening):
    """Generalised knowledge distillation (2306.13649): with probability `lmbda` a step learns from the student's own
    answers, else from the data or, with `seq_kd`, from the teachers' answers. `temperature` is of sampling only."""

    kind: Literal["gkd"] = "gkd"
    gate: SharesConfig = gate_setting(SharesConfig(), rare=True)
    lmbda: float = setting(
        0.5,
        "Share of steps on its own answers (lambda)",
        "The other steps correct it on given texts. 0: never on its own. 1: always.",
        ge=0,
        le=1,
    )
    beta: float = setting(
        0.5,
        "From forward to reverse KL (beta)",
        "0: by the teacher's likely tokens (forward KL). 1: by the student's (reverse KL). Between: by both.",
        ge=0,
        le=1,
    )
    seq_kd: bool = setting(
        False,
        "The given texts are the teachers' answers (sequence-level)",
        "Off: they are the worked solutions. On: the teachers answer the problems once before training.",
    )
    temperature: Temperature = setting(
        0.9,
        "Variety of its own answers (temperature)",
        "For sampling only. Small: the likeliest tokens.",
        rare=True,
    )
    max_new_tokens: int = setting(
        256,
        "Longest answer of its own",
        "In tokens. Longer answers are cut off, and counted.",
        rare=True,
        ge=1,
        le=131_072,
    )
    teachers: Names = teachers_setting()

    title: ClassVar[str] = "The student's own answers, corrected"
    help: ClassVar[str] = (
        "The student answers while it trains, and at each word the teachers say what they would have found likely "
        "(on-policy, GKD). For teachers with the student's own tokenizer, which stay in memory. The slowest."
    )
    name: ClassVar[str] = "corrections of its own answers"
    noun: ClassVar[str] = "corrections"
    short: ClassVar[str] = "the corrections"
    takes: ClassVar[str] = "they correct its own answers, word by word"
    distance: ClassVar[tuple[str, str]] = (
        "corrections",
        "how far the student's next words are from a teacher's likely ones, on the texts of a step",
    )
    same_tokenizer: ClassVar[bool] = True
    teaches_ends: ClassVar[bool] = True

    @model_validator(mode="after")
    def _consistent(self) -> GkdConfig:
        if self.seq_kd and self.lmbda == 1:
            raise fault(
                "seq_kd",
                " is true, but lmbda is 1: every step learns from the student's own answers, so that the teachers' "
                "would never be read: lower lmbda, or set seq_kd to false.",
            )
        return self

    @property
    def live(self) -> bool:
        return True

    def signals(self, teachers: int) -> frozenset[str]:
        return frozenset()  # how likely its teachers find a text it sees for itself, as they stay

    @property
    def answers(self) -> ResponseConfig | None:
        if not self.seq_kd:
            return None
        # TRL's: every answer, whatever it is worth
        asked = {"problems": "share", "keep": "all", "max_new_tokens": self.max_new_tokens}
        return ResponseConfig(teachers=self.teachers, **asked)

    @property
    def rollout(self) -> Rollout:
        return Rollout(self.lmbda, self.temperature, self.max_new_tokens)

    def build(self, models: Models) -> GkdObjective:
        names = models.names(self)
        return GkdObjective(
            live={name: models.live[name] for name in names},
            vocabulary=models.common(names),
            beta=self.beta,
            seq_kd=self.seq_kd,
            gate=self.gate.model_dump(),
            weight=self.weight,
        )

    def describe(self) -> Iterable[str]:
        others = "theirs" if self.seq_kd else "the solutions"
        yield f"{self.lmbda:.0%} of steps on its own answers, the others on {others}"
        ends = {0: NAMES["forward"], 1: NAMES["reverse"]}
        yield ends[self.beta] if self.beta in ends else jensen_shannon(self.beta)
        yield f"temperature {self.temperature:g} of sampling"
        yield f"at most {self.max_new_tokens:,} tokens"


class GkdObjective(Objective):
    """`live`: {teacher: LiveTeacher}; `vocabulary`: tokens that all of them and the student have in common.

    Reads batch["completion_bytes"] [B] for a gate of kind prior: a teacher is believed on the texts that it finds
    likely. With `seq_kd` a batch of the data counts only where a teacher wrote the text (batch["origin"]).
    """

    kind = "gkd"
    reads_own = True

    def __init__(
        self,
        *,
        live: Mapping[str, LiveTeacher],
        vocabulary: int,
        beta: float = 0.5,
        seq_kd: bool = False,
        gate: Mapping[str, Any] | None = None,
        weight: float = 1.0,
    ):
        from distill.objectives.gate import Shares

        super().__init__(weight, frozenset({"live"}))
        self.live = dict(live)  # no submodules: they are neither trained nor saved
        self.vocabulary = vocabulary
        self.beta = beta
        self.seq_kd = seq_kd
        self.shares = Shares(tuple(live), gate)

    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        import torch

        from distill.losses.chunked import divergence_of_states

        if self.seq_kd and "origin" in batch:
            theirs_B = batch["origin"] == ANSWER
            batch = {**batch, "labels": batch["labels"].masked_fill(~theirs_B[:, None], IGNORED)}
        states_mD, targets_m = outputs.predicting(batch["labels"])
        rows_m = (batch["labels"][:, 1:] != IGNORED).nonzero()[:, 0]
        head = outputs.head.sliced(self.vocabulary)
        found = [
            divergence_of_states(
                states_mD,
                head,
                teacher.states(batch),
                teacher.head.sliced(self.vocabulary),
                "jsd",
                beta=self.beta,
                targets_m=targets_m if self.shares.needs else None,
            )
            for teacher in self.live.values()
        ]
        g_BT = self._shares(batch, rows_m, [result.teacher_logprobs_m for result in found])
        losses_mT = torch.stack([result.losses_m for result in found], dim=1)
        loss = (g_BT[rows_m] * losses_mT).sum() / items_of(batch, len(targets_m))
        metrics = {}
        if len(self.live) > 1 and len(targets_m):
            means = losses_mT.detach().mean(0).tolist()
            metrics = {f"gkd/{teacher}": mean for teacher, mean in zip(self.live, means, strict=True)}
        return ObjectiveOutput({"gkd": loss}, metrics)

    def _shares(self, batch: Batch, rows_m: Tensor, logprobs: list[Tensor]) -> Tensor:
        """g [B, T]; the likelihoods are those of the completion, its end token included."""
        import torch

        size, device = len(batch["labels"]), rows_m.device
        if not self.shares.needs:
            return self.shares.of({}, size, device)
        bytes_B = batch["completion_bytes"].to(device).clamp_min(1)
        nats = {
            teacher: -torch.zeros(size, device=device).index_add_(0, rows_m, logprobs_m.float()) / bytes_B
            for teacher, logprobs_m in zip(self.live, logprobs, strict=True)
        }
        return self.shares.of({"nll_per_byte": nats}, size, device)
