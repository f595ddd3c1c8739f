"""Distillation from teachers with any tokenizer: what they and the student say of the same chunks of the same solution.

    alm       how likely each chunk is, as a whole: tau * binary KL at temperature tau (losses/cross_tokenizer.py)
    xtoken    which of the teacher's tokens come where a chunk begins, the student's tokens taken to the teacher's
    uld       how sure of itself the model is there, whatever of: a baseline

To know: xtoken and uld look at the first token of a chunk only (X-Token's authors average over all of them). Where a
chunk is " =" for the student and " ", "=" for the teacher, they don't see what follows the space: alone, and with few
teachers, xtoken can leave a student worse off, and uld did with six. alm sees whole chunks.

`shared` adds, where a chunk is one token of both, a KL on the tokens that both have. ALM's loss is multiplied by tau
as Hinton's is by T^2: the KL goes down as 1 / tau where tau is large, and a weight of 1 would mean nothing.
Shape suffixes: B rows, m labelled tokens in all,
c chunks, D width, V vocabulary, k a teacher's stored tokens, T teachers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from distill.config.messages import listed
from distill.config.method import Listening, TopK
from distill.config.settings import Weight, above, among, both, either, setting
from distill.losses import IGNORED
from distill.objectives.base import Batch, Models, Objective, ObjectiveOutput, Signals, StudentOutputs, items_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from distill.losses.head import Head
    from distill.objectives.chunks import Chunks
    from distill.teachers.token_map import Bridge

LOSSES = ("alm", "xtoken", "uld")
_LISTED = frozenset({"chunk_topk_logprobs", "chunk_topk_ids"})
_NAMES = {"alm": "ALM", "xtoken": "X-Token", "uld": "ULD"}


class CrossTokenizerConfig(Listening):
    """Teachers with any tokenizer, by chunks that end at the same character.

    `alm`: likelihoods of chunks at temperature `tau` (2503.20083), times tau; `shared` adds a KL on the tokens both
    have, where chunks are single tokens. `xtoken`: projected distributions (2605.21699); `uld`: sorted ones
    (2402.12030), a baseline. The last two, and `shared`, read the `top_k` likeliest tokens.
    """

    kind: Literal["cross_tokenizer"] = "cross_tokenizer"
    loss: Literal["alm", "xtoken", "uld"] = setting(
        "alm",
        "What is compared on a piece of text",
        "The first needs the least disk.",
        {
            "alm": "alm: how likely each finds the piece (approximate likelihood matching)",
            "xtoken": "xtoken: the next tokens, the teacher's translated into the student's (X-Token)",
            "uld": "uld: sorted probabilities, whatever the tokens (ULD); a baseline only",
        },
    )
    tau: float = setting(
        100.0,
        "Softness of the likelihoods (tau, ALM)",
        "1: unchanged. Large, such as its authors' 100: unlikely pieces still count.",
        when=among("loss", "alm"),
        gt=0,
        le=10_000,
    )
    shared: Weight = setting(
        0.0,
        "Weight of shared tokens",
        "Also compares probabilities where a piece is one token for both. 0: not at all.",
        when=among("loss", "alm"),
    )
    top_k: TopK = setting(
        64,
        "Tokens kept for each piece (top-k)",
        "The likeliest; all others count as one.",
        when=either(among("loss", "xtoken", "uld"), both(among("loss", "alm"), above("shared", 0))),
    )

    title: ClassVar[str] = "Likelihoods across tokenizers"
    help: ClassVar[str] = (
        "As probabilities, for teachers that cut text into other tokens: both are compared on pieces of text that end "
        "at the same character. Any teachers will do."
    )
    name: ClassVar[str] = "likelihoods across tokenizers"
    noun: ClassVar[str] = "likelihoods"
    short: ClassVar[str] = "the likelihoods"
    takes: ClassVar[str] = "it learns how likely they find each piece of a solution"
    distance: ClassVar[tuple[str, str]] = (
        "likelihoods",
        "how far the student is from finding pieces of text as likely as a teacher does",
    )
    by_character: ClassVar[bool] = True
    teaches_ends: ClassVar[bool] = True

    @property
    def lists(self) -> int:
        return self.top_k if self.loss != "alm" or self.shared > 0 else 0

    @property
    def bridged(self) -> bool:
        """Whether it must know which tokens of a teacher's are which of the student's."""
        return self.loss == "xtoken" or self.shared > 0

    def said(self) -> frozenset[str]:
        if self.loss != "alm":
            return frozenset({"tokens", "topk"})
        return frozenset({"tokens", "token_logprobs"} | ({"topk"} if self.shared else set()))

    def advice(self, same: Sequence[str]) -> Iterator[tuple[str, str]]:
        if same:
            yield (
                "tokenizer_shared",
                f"{listed([repr(name) for name in same])} {'has' if len(same) == 1 else 'have'} the student's own "
                "tokenizer: objectives.logits would be exact where objectives.cross_tokenizer is rough.",
            )

    def build(self, models: Models) -> CrossTokenizerObjective:
        names = models.names(self)
        return CrossTokenizerObjective(
            teachers=names,
            loss=self.loss,
            tau=self.tau,
            shared=self.shared,
            gate=self.gate.model_dump(),
            weight=self.weight,
            projections={name: models.projections[name] for name in names if name in models.projections},
            vocabulary=models.tokens,
        )

    def describe(self) -> Iterable[str]:
        yield _NAMES[self.loss]
        if self.loss == "alm":
            yield f"tau {self.tau:g}"
        if self.loss == "alm" and self.shared:
            yield f"tokens of both times {self.shared:g}"
        if self.lists:
            yield f"the {self.top_k:,} likeliest tokens"


class CrossTokenizerObjective(Objective):
    """sum over teachers and chunks of share(row) * loss(chunk) / labelled tokens of the whole optimiser step.

    teachers: in the order of the gate. loss: alm, xtoken or uld. tau: of alm. shared: the weight of the KL on shared
    tokens. gate: keyword arguments of `Shares`. projections: {teacher: Bridge}, read by xtoken and by `shared`.
    vocabulary: how many of the student's logits are tokens; None: as many as the bridges say, or all.

    So accumulated micro-batches add up, and a batch without chunks costs 0. Metrics: of several teachers
    "cross_tokenizer/<teacher>", its own loss (the mean over chunks) in this micro-batch, whatever its share.
    """

    kind = "cross_tokenizer"

    def __init__(
        self,
        *,
        teachers: Sequence[str],
        loss: str = "alm",
        tau: float = 100.0,
        shared: float = 0.0,
        gate: Mapping[str, Any] | None = None,
        weight: float = 1.0,
        projections: Mapping[str, Bridge] | None = None,
        vocabulary: int | None = None,
    ):
        from distill.objectives.gate import Shares

        if loss not in LOSSES:
            raise ValueError(f"a loss across tokenizers is one of {', '.join(LOSSES)}, not {loss!r}")
        bridged = loss == "xtoken" or shared > 0
        missing = [teacher for teacher in teachers if bridged and teacher not in (projections or {})]
        if missing:
            raise ValueError(f"loss {loss!r} with shared {shared:g} needs the projection of teacher {missing[0]!r}")
        shares = Shares(teachers, gate)
        needs = {"chunk_of"} | ({"chunk_logprobs"} if loss == "alm" else _LISTED) | shares.needs
        super().__init__(weight, frozenset(needs | ({"chunk_single"} | _LISTED if shared else set())))
        self.shares = shares
        self.loss = loss
        self.tau = tau
        self.shared = shared
        self.vocabulary = vocabulary
        for number, teacher in enumerate(teachers if bridged else ()):  # by number: names may contain dots
            made = projections[teacher]
            self.vocabulary = self.vocabulary or len(made.ids_Vk)
            for name in ("ids_Vk", "weights_Vk", "shared_T"):  # made again with the objective, so kept in no checkpoint
                self.register_buffer(f"{name}_{number}", getattr(made, name), persistent=False)

    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        import torch

        from distill.objectives.chunks import Chunks

        states_mD, targets_m = outputs.predicting(batch["labels"])
        count_B = (batch["labels"][:, 1:] != IGNORED).sum(1)
        head = outputs.head if self.vocabulary is None else outputs.head.sliced(self.vocabulary)
        g_BT = self.shares.of(batch["signals"], len(count_B), states_mD.device)
        logprobs_m = outputs.logprobs(batch["labels"], head.vocabulary) if self.loss == "alm" else None
        terms, metrics = [], {}
        for number, teacher in enumerate(self.shares.teachers):
            said = _said_by(teacher, self.needs, batch["signals"], states_mD.device)
            chunks = Chunks.of(said["chunk_of"], count_B)
            loss_c = self._losses(number, chunks, said, head, states_mD, logprobs_m)
            terms.append((g_BT[chunks.row_c, number].to(loss_c) * loss_c).sum())
            if len(self.shares.teachers) > 1 and len(loss_c):
                metrics[f"cross_tokenizer/{teacher}"] = loss_c.detach().mean().item()
        loss = torch.stack(terms).sum() / items_of(batch, len(targets_m))
        return ObjectiveOutput({"cross_tokenizer": loss}, metrics)

    def _losses(
        self,
        number: int,
        chunks: Chunks,
        said: dict[str, Tensor],
        head: Head,
        states_mD: Tensor,
        logprobs_m: Tensor | None,
    ) -> Tensor:
        """[c] of teacher `number`."""
        from distill.losses.chunked import in_chunks
        from distill.losses.cross_tokenizer import alm, projected_kl, shared_kl, uld_topk

        first_c = _first_tokens(chunks)
        listed = [chunks.chosen(said[name]) for name in ("chunk_topk_logprobs", "chunk_topk_ids") if name in said]
        if self.loss == "alm":
            own_c = logprobs_m.new_zeros(len(first_c)).index_add(0, chunks.group_k, logprobs_m[chunks.member_m])
            loss_c = self.tau * alm(own_c, chunks.chosen(said["chunk_logprobs"]), self.tau)
        elif self.loss == "xtoken":
            loss = partial(
                projected_kl,
                ids_Vk=self._bridge("ids_Vk", number),
                weights_Vk=self._bridge("weights_Vk", number),
                size_T=len(self._bridge("shared_T", number)),
            )
            loss_c = in_chunks(loss, head, states_mD[first_c], *listed)
        else:
            loss_c = in_chunks(uld_topk, head, states_mD[first_c], listed[0])
        if self.shared:
            single = chunks.chosen(said["chunk_single"]).nonzero()[:, 0]
            loss = partial(shared_kl, shared_T=self._bridge("shared_T", number))
            kl_s = in_chunks(loss, head, states_mD[first_c[single]], *(values[single] for values in listed))
            loss_c = loss_c.index_add(0, single, self.shared * kl_s.to(loss_c))
        return loss_c

    def _bridge(self, name: str, number: int) -> Tensor:
        return getattr(self, f"{name}_{number}")


def _said_by(teacher: str, needs: frozenset[str], signals: Signals, device: torch.device) -> dict[str, Tensor]:
    """What one teacher said, of all that is said of chunks."""
    return {name: signals[name][teacher].to(device) for name in needs if name.startswith("chunk_")}


def _first_tokens(chunks: Chunks) -> Tensor:
    """[c]: which labelled token (of all m) each chunk begins with; the state there predicts it."""
    members_k = chunks.member_m.nonzero()[:, 0]
    first_c = members_k.new_full((len(chunks.row_c),), len(chunks.member_m))
    return first_c.scatter_reduce(0, chunks.group_k, members_k, "amin")
