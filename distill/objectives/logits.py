"""Logits: at every token of a solution the student's next-token distribution should be its teachers'.

    loss = T^2 sum over labelled tokens and teachers of share(row) * divergence / labelled tokens of the whole step

both distributions being softmax(logits / T); the factor keeps gradients of the same size at every T (Hinton et al.
1503.02531). What the teachers say is `stored` (each was asked once: its k likeliest tokens, and the rest as one) or
`live` (they stay loaded: all their logits). They have the student's tokenizer. Formulas: losses/divergences.py.

Shape suffixes: B rows, M labelled tokens of
the longest row, m labelled tokens in all, D width, V vocabulary, k a teacher's stored tokens, T teachers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from distill.config.method import Listening, SharesConfig, Temperature, TopK, gate_setting
from distill.config.settings import among, setting
from distill.losses import IGNORED
from distill.objectives.base import Batch, Models, Objective, ObjectiveOutput, Signals, StudentOutputs, items_of

if TYPE_CHECKING:
    from torch import Tensor

    from distill.losses.head import Head
    from distill.teachers.live import LiveTeacher

NAMES = {"forward": "forward KL", "reverse": "reverse KL"}  # of divergences


class LogitsConfig(Listening):
    """The teachers' next-token distribution, times T^2 (Hinton et al. 2015); teachers with the student's tokenizer.

    `stored`: asked once, the `top_k` likeliest tokens and the rest as one; `live`: teachers stay loaded, all exact.
    `beta` and `scaling` are of divergence `jsd`: `continuous` divides by beta (1 - beta), so that the ends are the KLs.
    """

    kind: Literal["logits"] = "logits"
    gate: SharesConfig = gate_setting(SharesConfig(), rare=True)
    temperature: Temperature = setting(
        1.0,
        "Softness of the probabilities (temperature)",
        "1: unchanged. Higher: unlikely tokens count more. The loss is multiplied by its square.",
    )
    divergence: Literal["forward", "reverse", "jsd"] = setting(
        "forward",
        "How they are compared (divergence)",
        "Forward spreads over all that a teacher finds likely; reverse settles on some of it.",
        {
            "forward": "forward: by the tokens that the teacher finds likely (forward KL)",
            "reverse": "reverse: by the tokens that the student finds likely (reverse KL)",
            "jsd": "jsd: between the two (generalised Jensen-Shannon)",
        },
    )
    beta: float = setting(
        0.5,
        "Between forward and reverse (beta)",
        "Near 0: like forward. Near 1: like reverse.",
        when=among("divergence", "jsd"),
        gt=0,
        lt=1,
    )
    scaling: Literal["plain", "continuous"] = setting(
        "plain",
        "Scaling of the loss near the ends",
        "How far jsd shrinks when beta nears 0 or 1.",
        {
            "plain": "plain: it vanishes there, as in TRL",
            "continuous": "continuous: divided by beta (1 - beta), so that its ends are forward and reverse",
        },
        when=among("divergence", "jsd"),
    )
    source: Literal["stored", "live"] = setting(
        "stored",
        "When the teachers are asked",
        "Asking once takes disk space; asking at every step takes memory and time.",
        {
            "stored": "stored: once, before training; the likeliest tokens are kept on disk",
            "live": "live: at every step; they stay in memory, and every token counts",
        },
    )
    top_k: TopK = setting(
        64,
        "Tokens kept at each position (top-k)",
        "The likeliest; all others count as one.",
        when=among("source", "stored"),
    )

    title: ClassVar[str] = "The teachers' probabilities"
    help: ClassVar[str] = (
        "At each word of the solution the student should find the same next words likely as the teachers (logits, "
        "Hinton's method). For teachers with the student's own tokenizer."
    )
    name: ClassVar[str] = "teachers' probabilities"
    noun: ClassVar[str] = "probabilities"
    short: ClassVar[str] = "the probabilities"
    takes: ClassVar[str] = "it learns which next words they find likely"
    distance: ClassVar[tuple[str, str]] = (
        "probabilities",
        "how far the student's next words are from a teacher's likely ones",
    )
    same_tokenizer: ClassVar[bool] = True
    teaches_ends: ClassVar[bool] = True

    @property
    def live(self) -> bool:
        return self.source == "live"

    @property
    def lists(self) -> int:
        return self.top_k if self.source == "stored" else 0

    def said(self) -> frozenset[str]:
        return frozenset({"tokens", "topk"} if self.source == "stored" else ())

    def build(self, models: Models) -> LogitsObjective:
        names = models.names(self)
        return LogitsObjective(
            teachers=names,
            divergence=self.divergence,
            beta=self.beta,
            scaling=self.scaling,
            temperature=self.temperature,
            source=self.source,
            gate=self.gate.model_dump(),
            weight=self.weight,
            vocabulary=models.common(names),
            live={name: models.live[name] for name in names} if self.live else None,
        )

    def describe(self) -> Iterable[str]:
        yield jensen_shannon(self.beta, self.scaling) if self.divergence == "jsd" else NAMES[self.divergence]
        yield f"temperature {self.temperature:g}"
        yield f"the {self.top_k:,} likeliest tokens, stored" if self.source == "stored" else "all tokens, live"


def jensen_shannon(beta: float, scaling: str = "plain") -> str:
    """What a generalised Jensen-Shannon divergence is called."""
    return f"Jensen-Shannon with beta {beta:g}{', continuous' if scaling == 'continuous' else ''}"


STORED = frozenset({"chunk_of", "chunk_single", "chunk_topk_logprobs", "chunk_topk_ids"})
SCALINGS = ("plain", "continuous")


class LogitsObjective(Objective):
    """teachers: in the order of the gate. divergence: forward, reverse or jsd, with its beta and scaling (plain or
    continuous). temperature: T, at which stored log-probabilities were asked for. gate: keyword arguments of `Shares`.
    vocabulary: how many tokens the student and the teachers have in common; logits beyond are padding. live: {teacher:
    LiveTeacher} for source "live".

    Accumulated micro-batches add up, and a batch without labelled tokens costs 0. A labelled token that a stored
    teacher did not read as the same token (in no chunk, or in one of several tokens) costs nothing with that teacher.
    Metrics: of several teachers "logits/<teacher>", its own loss (the mean over the tokens it spoke of, times T^2),
    whatever its share.
    """

    kind = "logits"

    def __init__(
        self,
        *,
        teachers: Sequence[str],
        vocabulary: int,
        divergence: str = "forward",
        beta: float = 0.5,
        scaling: str = "plain",
        temperature: float = 1.0,
        source: str = "stored",
        gate: Mapping[str, Any] | None = None,
        weight: float = 1.0,
        live: Mapping[str, LiveTeacher] | None = None,
    ):
        from distill.losses.divergences import resolved
        from distill.objectives.gate import Shares

        resolved(divergence, beta)  # or ValueError
        if scaling not in SCALINGS:
            raise ValueError(f"the scaling of a divergence is one of {', '.join(SCALINGS)}, not {scaling!r}")
        if source not in ("stored", "live"):
            raise ValueError(f"teachers' logits are stored or live, not {source!r}")
        missing = [teacher for teacher in teachers if source == "live" and teacher not in (live or {})]
        if missing:
            raise ValueError(f"source 'live' needs teacher {missing[0]!r} loaded")
        shares = Shares(teachers, gate)
        super().__init__(weight, (STORED if source == "stored" else frozenset({"live"})) | shares.needs)
        self.shares = shares
        self.vocabulary = vocabulary
        self.temperature = temperature
        self.how = {"kind": divergence, "beta": beta, "continuous": scaling == "continuous"}
        # No submodules: they are neither trained nor saved.
        self.live = {teacher: live[teacher] for teacher in teachers} if source == "live" else {}

    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        import torch

        labelled_BL = batch["labels"][:, 1:] != IGNORED
        states_mD, _ = outputs.predicting(batch["labels"])
        head = outputs.head.sliced(self.vocabulary)
        if self.live:
            losses_mT = self._of_live(states_mD, head, batch)
            heard_mT = torch.ones_like(losses_mT, dtype=torch.bool)
        else:
            losses_mT, heard_mT = self._of_stored(states_mD, head, batch["signals"], labelled_BL.sum(1))
        losses_mT = self.temperature**2 * losses_mT
        g_BT = self.shares.of(batch.get("signals", {}), len(labelled_BL), states_mD.device)
        weight_mT = g_BT.to(losses_mT)[labelled_BL.nonzero()[:, 0]]
        loss = (weight_mT * losses_mT).sum() / items_of(batch, len(states_mD))
        return ObjectiveOutput({"logits": loss}, self._metrics(losses_mT.detach(), heard_mT))

    def _of_live(self, states_mD: Tensor, head: Head, batch: Batch) -> Tensor:
        import torch

        from distill.losses.chunked import divergence_of_states

        found = []
        for teacher in self.live.values():
            theirs, states_mE = teacher.head.sliced(self.vocabulary), teacher.states(batch)
            result = divergence_of_states(states_mD, head, states_mE, theirs, temperature=self.temperature, **self.how)
            found.append(result.losses_m)
        return torch.stack(found, dim=1)

    def _of_stored(self, states_mD: Tensor, head: Head, signals: Signals, count_B: Tensor) -> tuple[Tensor, Tensor]:
        """(divergences [m, T], whether the teacher spoke of the token [m, T]); the student's logits are made once."""
        import torch

        from distill.losses.chunked import in_chunks
        from distill.objectives.chunks import Chunks

        listed, heard = [], []
        for teacher in self.shares.teachers:
            chunks = Chunks.of(signals["chunk_of"][teacher].to(states_mD.device), count_B)
            said = (signals[name][teacher].to(states_mD.device) for name in ("chunk_topk_logprobs", "chunk_topk_ids"))
            logprobs_hk, ids_hk = (chunks.chosen(values_BCk)[chunks.group_k] for values_BCk in said)
            # Where nothing was said, all k tokens are unknown ones: both sides are one bucket, and exactly alike.
            logprobs_mk = logprobs_hk.new_zeros(len(states_mD), logprobs_hk.shape[1])
            ids_mk = ids_hk.new_full(logprobs_mk.shape, self.vocabulary)
            # A chunk of several tokens has one distribution, its first token's, which is not that of the others.
            alike_h = chunks.chosen(signals["chunk_single"][teacher].to(states_mD.device))[chunks.group_k]
            alike_m = chunks.member_m.clone()
            alike_m[chunks.member_m] = alike_h
            logprobs_mk[alike_m], ids_mk[alike_m] = logprobs_hk[alike_h], ids_hk[alike_h]
            listed += [logprobs_mk, ids_mk]
            heard.append(alike_m)
        return in_chunks(self._bucketed, head, states_mD, *listed), torch.stack(heard, dim=1)

    def _bucketed(self, logits_cV: Tensor, *listed: Tensor) -> Tensor:
        """[c, T]; `listed`: of each teacher in turn the log-probabilities [c, k] and the tokens [c, k]."""
        import torch

        from distill.losses.divergences import buckets, divergence, with_tail

        scaled_cV = logits_cV if self.temperature == 1 else logits_cV / self.temperature
        losses = []
        for logprobs_ck, ids_ck in zip(listed[::2], listed[1::2], strict=True):
            log_t = with_tail(logprobs_ck, ids_ck < self.vocabulary)
            losses.append(divergence(buckets(scaled_cV, ids_ck), log_t, **self.how))
        return torch.stack(losses, dim=1)

    def _metrics(self, losses_mT: Tensor, heard_mT: Tensor) -> dict[str, float]:
        if losses_mT.shape[1] < 2:
            return {}
        counts = heard_mT.sum(0).tolist()
        sums = (losses_mT * heard_mT).sum(0).tolist()
        named = zip(self.shares.teachers, sums, counts, strict=True)
        return {f"logits/{teacher}": total / count for teacher, total, count in named if count}
