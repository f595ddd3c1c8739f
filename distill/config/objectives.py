"""The methods of distillation as settings: one class for each `kind` of objective, all wrong combinations refused here.

What one method must know of the rest of a run (its teachers, its batch) is checked in config.py; how a method is
carried out is objectives/'s. This module knows nothing of tensors or files.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.config.messages import fault
from distill.config.settings import Count, Name, Settings, Weight

Temperature = Annotated[float, Field(gt=0, le=100)]
TopK = Annotated[int, Field(ge=1, le=4096)]
Names = Annotated[list[Name], Field(min_length=1)] | None


class TaskConfig(Settings):
    """Cross-entropy on the worked solution."""

    kind: Literal["task"] = "task"
    weight: Weight = 1.0


class GateConfig(Settings):
    """Who is listened to for which problem (maths.md section 2). `every`: steps between meta's measurements."""

    bare = "kind"
    kind: Literal["uniform", "learned", "prior", "meta"] = "prior"
    tau: Annotated[float, Field(gt=0, le=100)] = 0.1
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.2
    balance: Annotated[float, Field(ge=0, le=100)] | None = None  # None: 0.5 for meta, 0 for learned, as on the card
    every: Count = 50


# What a geometry objective does where it is not said: as on the model card in the deku modes, else what we found
# better.
_CARD = {"gate": "learned", "similarity": "biased", "pooling": "mean"}
_OURS = {"gate": "prior", "similarity": "debiased", "pooling": "rms"}


class GeometryConfig(Settings):
    """Gated CKA with the teachers. `layer` is a fraction of the depth; what is left out follows the mode."""

    kind: Literal["geometry"] = "geometry"
    weight: Weight = 0.5
    teachers: Names = None
    mode: Literal["deku", "deku_frozen", "kernel"] = "kernel"
    gate: GateConfig | None = Field(default=None, validate_default=True)
    similarity: Literal["debiased", "biased", "nbs"] | None = Field(default=None, validate_default=True)
    pooling: Literal["rms", "mean"] | None = Field(default=None, validate_default=True)
    layer: Annotated[float, Field(gt=0, le=1)] = 0.75
    window: Literal["gradcache", "bank"] = "gradcache"
    bank_size: Annotated[int, Field(ge=1, le=65536)] = 256

    @field_validator("gate", "similarity", "pooling", mode="before")
    @classmethod
    def _follow_mode(cls, value: Any, info: Any) -> Any:
        if value is not None:
            return value
        return _CARD[info.field_name] if info.data.get("mode", "").startswith("deku") else _OURS[info.field_name]

    @model_validator(mode="after")
    def _consistent(self) -> GeometryConfig:
        if self.mode == "kernel" and self.gate.kind == "learned":
            raise fault(
                "gate",
                " is 'learned', but mode 'kernel' lets no gradient reach the gate, so it would learn nothing: "
                "use 'prior' or 'meta', or mode 'deku'.",
            )
        if self.mode == "kernel" and self.similarity != "debiased":
            raise fault(
                "similarity", f" is {self.similarity!r}, but mode 'kernel' is defined for 'debiased' only: use that."
            )
        return self


class ResponseConfig(Settings):
    """Cross-entropy on the teachers' own answers to the training problems (sequence-level, Kim & Rush 2016).

    `problems`: every teacher answers `each`, or they `share` them. `keep`: which answers become texts to learn from.
    `temperature` 0 takes the likeliest token each time; None is 0 for one sample and 0.8 for several. `prefill`: what
    each answer begins with, put into the teacher's mouth ("<think>\\n"); a part of what is learnt.
    """

    kind: Literal["response"] = "response"
    weight: Weight = 1.0
    teachers: Names = None
    problems: Literal["each", "share"] = "each"
    samples: Annotated[int, Field(ge=1, le=64)] = 1
    keep: Literal["all", "right", "shortest", "majority"] = "right"
    temperature: Annotated[float, Field(ge=0, le=10)] | None = Field(default=None, validate_default=True)
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1, le=131_072)] = 256
    prefill: Annotated[str, Field(max_length=200)] = ""

    @field_validator("prefill", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return "" if value is None else value

    @field_validator("temperature", mode="before")
    @classmethod
    def _follow_samples(cls, value: Any, info: Any) -> Any:
        return value if value is not None else (0.0 if info.data.get("samples", 1) == 1 else 0.8)

    @model_validator(mode="after")
    def _consistent(self) -> ResponseConfig:
        if self.samples > 1 and self.temperature == 0:
            raise fault(
                "temperature",
                f" is 0, but samples is {self.samples}, and all of them would be the same: raise it, to 0.8 say.",
            )
        return self


class SharesConfig(Settings):
    """Who is listened to for which problem by methods that train no gate: as in GateConfig, without what is learned."""

    bare = "kind"
    kind: Literal["uniform", "prior"] = "prior"
    tau: Annotated[float, Field(gt=0, le=100)] = 0.1
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.2


class _Listening(Settings):
    """What the methods share that listen to several teachers token by token."""

    weight: Weight = 1.0
    teachers: Names = None
    gate: SharesConfig = SharesConfig()


class LogitsConfig(_Listening):
    """The teachers' next-token distribution, times T^2 (Hinton et al. 2015); teachers with the student's tokenizer.

    `stored`: asked once, the `top_k` likeliest tokens and the rest as one; `live`: teachers stay loaded, all exact.
    `beta` and `scaling` are of divergence `jsd`: `continuous` divides by beta (1 - beta), so that the ends are the KLs.
    """

    kind: Literal["logits"] = "logits"
    divergence: Literal["forward", "reverse", "jsd"] = "forward"
    beta: Annotated[float, Field(gt=0, lt=1)] = 0.5
    scaling: Literal["plain", "continuous"] = "plain"
    temperature: Temperature = 1.0
    source: Literal["stored", "live"] = "stored"
    top_k: TopK = 64


class FeaturesConfig(_Listening):
    """Hidden states at `count` pairs of layers, each compared on aligned chunks of the solutions."""

    kind: Literal["features"] = "features"
    loss: Literal["mse", "cosine", "cka", "nbs"] = "mse"
    layers: Literal["uniform", "last", "random", "cka_argmax"] = "uniform"
    count: Annotated[int, Field(ge=1, le=64)] = 2


class GkdConfig(_Listening):
    """Generalised knowledge distillation (2306.13649): with probability `lmbda` a step learns from the student's own
    answers, else from the data or, with `seq_kd`, from the teachers' answers. `temperature` is of sampling only."""

    kind: Literal["gkd"] = "gkd"
    lmbda: Annotated[float, Field(ge=0, le=1)] = 0.5
    beta: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: Temperature = 0.9
    seq_kd: bool = False
    max_new_tokens: Annotated[int, Field(ge=1, le=131_072)] = 256

    @model_validator(mode="after")
    def _consistent(self) -> GkdConfig:
        if self.seq_kd and self.lmbda == 1:
            raise fault(
                "seq_kd",
                " is true, but lmbda is 1: every step learns from the student's own answers, so that the teachers' "
                "would never be read: lower lmbda, or set seq_kd to false.",
            )
        return self


class CrossTokenizerConfig(_Listening):
    """Teachers with any tokenizer, by chunks that end at the same character.

    `alm`: likelihoods of chunks at temperature `tau` (2503.20083), times tau; `shared` adds a KL on the tokens both
    have, where chunks are single tokens. `xtoken`: projected distributions (2605.21699); `uld`: sorted ones
    (2402.12030), a baseline. The last two, and `shared`, read the `top_k` likeliest tokens.
    """

    kind: Literal["cross_tokenizer"] = "cross_tokenizer"
    loss: Literal["alm", "xtoken", "uld"] = "alm"
    tau: Annotated[float, Field(gt=0, le=10_000)] = 100.0
    shared: Weight = 0.0
    top_k: TopK = 64


ObjectiveConfig = Annotated[
    TaskConfig | GeometryConfig | ResponseConfig | LogitsConfig | FeaturesConfig | GkdConfig | CrossTokenizerConfig,
    Field(discriminator="kind"),
]


def reads_listed(objective: ObjectiveConfig) -> bool:
    """Whether its teachers list the likeliest tokens at each place of a text."""
    if objective.kind == "logits":
        return objective.source == "stored"
    return objective.kind == "cross_tokenizer" and (objective.loss != "alm" or objective.shared > 0)


KINDS = ("task", "response", "logits", "features", "geometry", "gkd", "cross_tokenizer")
