"""Made-up students and teachers for the tests of the logits objective, and what it must say of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.losses.divergences import divergence
from distill.losses.head import Head
from distill.objectives.base import StudentOutputs
from distill.objectives.logits import LogitsObjective

B, L, D, E, V, K = 3, 6, 4, 5, 9, 3
LABELS = torch.tensor([[-100, -100, 3, 1, 2, 8], [-100, 4, 0, 7, -100, -100], [-100, -100, -100, -100, 5, 1]])
LABELLED = LABELS[:, 1:] != -100
NAMES = ("a.b", "c")  # dots are allowed in names
NLL = {"a.b": torch.tensor([0.5, 0.9, 0.4]), "c": torch.tensor([0.6, 0.4, 0.5])}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


HEAD = Head(drawn(V + 2, D, seed=5))  # two rows of padding: no tokens
TEACHER_HEADS = {name: Head(drawn(V + 3, E, seed=6 + i)) for i, name in enumerate(NAMES)}
TEACHER_STATES = {name: drawn(B, L, E, seed=8 + i) for i, name in enumerate(NAMES)}


@dataclass
class Loaded:
    """A teacher of known states: what LiveTeacher is to the objective."""

    head: Head
    states_BLE: Tensor

    def states(self, batch) -> Tensor:
        return self.states_BLE[: len(batch["labels"]), :-1][batch["labels"][:, 1:] != -100]


def loaded(names=NAMES) -> dict[str, Loaded]:
    return {name: Loaded(TEACHER_HEADS[name], TEACHER_STATES[name]) for name in names}


def teacher_logits(name: str) -> Tensor:
    return TEACHER_HEADS[name].logits(TEACHER_STATES[name])


def stored(temperature: float = 1.0, k: int = K, labels_BL: Tensor = LABELS, names=NAMES, beyond: bool = True):
    """The signals that a bank would give: of each labelled token the k likeliest, padded; NLL of each text.

    `beyond`: whether the teacher's padding is among its logits, as it is in reality.
    """
    counts = (labels_BL[:, 1:] != -100).sum(1)
    M = int(counts.max())
    signals = {"chunk_of": {}, "chunk_single": {}, "chunk_topk_logprobs": {}, "chunk_topk_ids": {}, "nll_per_byte": NLL}
    for name in names:
        z_BLV = teacher_logits(name)[..., : None if beyond else V]
        values, ids = (z_BLV[:, :-1] / temperature).log_softmax(-1).topk(k, dim=-1)
        chunk_of, said, which = torch.full((B, M), -1), torch.zeros(B, M, k), torch.zeros(B, M, k, dtype=torch.long)
        for b in range(B):
            n = int(counts[b])
            chunk_of[b, :n] = torch.arange(n)
            said[b, :n], which[b, :n] = values[b][LABELLED[b]].float(), ids[b][LABELLED[b]]
        signals["chunk_of"][name], signals["chunk_single"][name] = chunk_of, chunk_of >= 0
        signals["chunk_topk_logprobs"][name], signals["chunk_topk_ids"][name] = said, which
    return signals


def objective(names=NAMES, source="stored", **kwargs) -> LogitsObjective:
    live = loaded(names) if source == "live" else None
    return LogitsObjective(teachers=names, vocabulary=V, source=source, live=live, **kwargs)


def batch(temperature: float = 1.0, **kwargs) -> dict:
    return {"labels": LABELS, "signals": stored(temperature, **kwargs)}


def outputs(seed: int = 0) -> StudentOutputs:
    return StudentOutputs(drawn(B, L, D, seed=seed).requires_grad_(), HEAD)


def expected(s: StudentOutputs, name: str, kind="forward", temperature=1.0, **how) -> Tensor:
    """[m], by the plain reference on the tokens both have."""
    z_s, z_t = HEAD.logits(s.states_BLD)[..., :V], teacher_logits(name)[..., :V]
    log_s, log_t = ((z[:, :-1][LABELLED] / temperature).log_softmax(-1) for z in (z_s, z_t))
    return temperature**2 * divergence(log_s, log_t, kind, **how)


HOW = (
    {"divergence": "forward"},
    {"divergence": "reverse", "temperature": 2.0},
    {"divergence": "jsd", "beta": 0.3, "temperature": 2.0},
    {"divergence": "jsd", "beta": 0.3, "scaling": "continuous"},
)


def plain(how: dict) -> dict:
    """`HOW` as the reference has it."""
    told = {"kind": how["divergence"], "temperature": how.get("temperature", 1.0)}
    return told | ({"beta": how["beta"], "continuous": "scaling" in how} if "beta" in how else {})
