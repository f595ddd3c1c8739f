"""The methods of distillation in plain words: what each is called, and how it is set, for the page, cards and reports.

This module knows nothing of who shows them, or of how a method is carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distill.config.messages import listed
from distill.config.objectives import (
    CrossTokenizerConfig,
    FeaturesConfig,
    GeometryConfig,
    GkdConfig,
    LogitsConfig,
    ObjectiveConfig,
    ResponseConfig,
)

NAMES = {
    "task": "worked solutions",
    "response": "teachers' answers",
    "logits": "teachers' probabilities",
    "features": "teachers' inner states",
    "geometry": "teachers' geometry",
    "gkd": "corrections of its own answers",
    "cross_tokenizer": "likelihoods across tokenizers",
}
_DIVERGENCES = {"forward": "forward KL", "reverse": "reverse KL"}
_KEPT = {
    "all": "all of them",
    "right": "those that are right",
    "shortest": "the shortest right one to a problem",
    "majority": "the shortest of those with the commonest result to a problem",
}
_CHUNKS = {"alm": "ALM", "xtoken": "X-Token", "uld": "ULD"}


def called(kind: str) -> str:
    """ "teachers' probabilities (logits)"; of an unknown kind, its own name."""
    return f"{NAMES[kind]} ({kind})" if kind in NAMES else kind


def settings(objective: ObjectiveConfig, teachers: Sequence[str]) -> str:
    """How a method is set, "forward KL, temperature 2, ..."; "" where nothing can be set but the weight.

    `teachers`: the run's. With several, who counts for what is said too; with fewer than all, which.
    """
    if objective.kind not in _SAY:
        return ""
    heard = objective.teachers or teachers
    gate = [f"{objective.gate.kind} gate"] if len(heard) > 1 and objective.kind != "response" else []
    fewer = [f"of {listed(heard)}"] if len(heard) < len(teachers) else []
    return ", ".join([*_SAY[objective.kind](objective), *gate, *fewer])


def said(objective: ObjectiveConfig, teachers: Sequence[str]) -> str:
    """A method with all that was set: name, weight and settings."""
    more = settings(objective, teachers)
    return f"{called(objective.kind)}, weight {objective.weight:g}{': ' if more else ''}{more}"


def _response(one: ResponseConfig) -> Iterable[str]:
    who = "every teacher" if one.problems == "each" else "one of the teachers"
    yield f"each problem answered {'once' if one.samples == 1 else f'{one.samples} times'} by {who}"
    yield f"kept {_KEPT[one.keep]}"
    yield f"temperature {one.temperature:g}" if one.temperature else "the likeliest token each time"
    if one.top_p < 1:
        yield f"top-p {one.top_p:g}"
    yield f"at most {one.max_new_tokens:,} tokens"
    if one.prefill.strip():
        yield f"each beginning with {one.prefill.strip()}"


def _logits(one: LogitsConfig) -> Iterable[str]:
    yield _jsd(one.beta, one.scaling) if one.divergence == "jsd" else _DIVERGENCES[one.divergence]
    yield f"temperature {one.temperature:g}"
    yield f"the {one.top_k:,} likeliest tokens, stored" if one.source == "stored" else "all tokens, live"


def _features(one: FeaturesConfig) -> Iterable[str]:
    yield one.loss
    yield f"{one.count} {'pair' if one.count == 1 else 'pairs'} of layers ({one.layers})"


def _geometry(one: GeometryConfig) -> Iterable[str]:
    yield f"mode {one.mode}"
    yield f"{one.similarity} similarity at {one.layer:g} of the depth"


def _gkd(one: GkdConfig) -> Iterable[str]:
    yield f"{one.lmbda:.0%} of steps on its own answers, the others on {'theirs' if one.seq_kd else 'the solutions'}"
    yield _DIVERGENCES["forward"] if one.beta == 0 else _DIVERGENCES["reverse"] if one.beta == 1 else _jsd(one.beta)
    yield f"temperature {one.temperature:g} of sampling"
    yield f"at most {one.max_new_tokens:,} tokens"


def _cross_tokenizer(one: CrossTokenizerConfig) -> Iterable[str]:
    yield _CHUNKS[one.loss]
    if one.loss == "alm":
        yield f"tau {one.tau:g}"
    if one.loss == "alm" and one.shared:
        yield f"tokens of both times {one.shared:g}"
    if one.loss != "alm" or one.shared:
        yield f"the {one.top_k:,} likeliest tokens"


_SAY = {
    "response": _response,
    "logits": _logits,
    "features": _features,
    "geometry": _geometry,
    "gkd": _gkd,
    "cross_tokenizer": _cross_tokenizer,
}


def _jsd(beta: float, scaling: str = "plain") -> str:
    return f"Jensen-Shannon with beta {beta:g}{', continuous' if scaling == 'continuous' else ''}"
