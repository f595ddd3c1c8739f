"""How much each teacher counts: a gate gives every teacher a share on every text, g [B, T], rows summing to 1.

    uniform   1/T
    learned   softmax(linear(s)), as on the model card: trained by the geometry loss itself
    prior     (1 - eps) softmax(-BPB / tau) + eps / T: a teacher that finds the text likely is believed
    meta      (1 - eps) softmax(-BPB / tau + a(s)) + eps / T, with a trained only by what helped the task

s is the student's pooled state, BPB a teacher's negative log-likelihood of the text in bits per byte, which needs no
shared tokenizer (CA-MKD, 2201.00007). Why not simply learn it: alignment is nearly linear in g and has its optimum at a
vertex, so a gate trained on it collapses on the teacher that is most like the student already (docs/methods.md, "2. The
gated mixture").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.cka import TINY
from distill.losses.precision import full_precision
from distill.objectives.base import Signals

KINDS = ("uniform", "learned", "prior", "meta")


class Gate(nn.Module):
    """A gate over named teachers, in this order.

    tau: temperature of the prior in bits per byte. epsilon: the share that is always spread evenly. balance: weight of
    the penalty on uneven use of a trained gate; None means 0.5 for meta and 0 for learned, as on the card.
    """

    def __init__(
        self,
        kind: str,
        teachers: Sequence[str],
        student_width: int,
        tau: float = 0.1,
        epsilon: float = 0.2,
        balance: float | None = None,
    ):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"a gate is one of {', '.join(KINDS)}, not {kind!r}")
        self.kind = kind
        self.teachers = tuple(teachers)
        self.tau = tau
        self.epsilon = epsilon
        self.balance = balance if balance is not None else 0.5 * (kind == "meta")
        if kind in ("learned", "meta"):
            self.linear = nn.Linear(student_width, len(self.teachers))
        if kind == "meta":
            nn.init.zeros_(self.linear.weight)  # starts as the prior
            nn.init.zeros_(self.linear.bias)
            self.register_buffer("benefit_T", torch.zeros(len(self.teachers)))

    @property
    def needs_bpb(self) -> bool:
        """Whether `weights` reads the teachers' bits per byte."""
        return self.kind in ("prior", "meta")

    @full_precision
    def weights(self, pooled_student_BD: Tensor, bpb_BT: Tensor | None = None) -> Tensor:
        """g [B, T]. `bpb_BT` is read by prior and meta only."""
        T = len(self.teachers)
        if self.kind == "uniform":
            return pooled_student_BD.new_full((len(pooled_student_BD), T), 1 / T)
        if self.kind == "learned":
            # The card's gate reads the state as it is, its sharpness at the mercy of the model's scale: kept as it is.
            return self.linear(pooled_student_BD).softmax(-1)
        logits_BT = -bpb_BT / self.tau
        if self.kind == "meta":
            # Ours reads a scale-free state, since models' hidden states differ in size a hundredfold, and only reads
            # it: the gate must not reshape the student to suit itself.
            state_BD = pooled_student_BD.detach()
            logits_BT = logits_BT + self.linear(F.rms_norm(state_BD, state_BD.shape[-1:], eps=1e-6))
        return (1 - self.epsilon) * logits_BT.softmax(-1) + self.epsilon / T

    def loss(self, pooled_student_BD: Tensor, bpb_BT: Tensor | None = None) -> Tensor | None:
        """What trains the gate besides the geometry loss, without gradient to the student; None if nothing does."""
        if self.kind == "meta":
            return self.meta_loss(self.weights(pooled_student_BD, bpb_BT), self.benefit_T)
        if self.kind == "learned" and self.balance:
            return self.balance_loss(self.weights(pooled_student_BD.detach()))
        return None

    @full_precision
    def meta_loss(self, g_BT: Tensor, benefit_T: Tensor) -> Tensor:
        """-sum_t gbar_t r_t / |r| + balance: a larger share to teachers whose pull lowers the task loss (2306.06634).

        gbar is the mean of g over the batch. A benefit of zero (none measured yet) leaves only the balance.
        """
        direction_T = benefit_T / torch.linalg.vector_norm(benefit_T).clamp_min(TINY)
        return self.balance_loss(g_BT) - (g_BT.mean(0) * direction_T).sum()

    @full_precision
    def balance_loss(self, g_BT: Tensor) -> Tensor:
        """balance * T * sum_t gbar_t^2: smallest (= balance) when the batch as a whole uses all teachers alike."""
        return self.balance * len(self.teachers) * g_BT.mean(0).square().sum()

    def set_benefit(self, r_T: Tensor) -> None:
        """Record how much each teacher's pull lowers the task loss (meta only), in any scale; saved with the gate."""
        self.benefit_T.copy_(r_T)


def gate_entropy(g_BT: Tensor) -> Tensor:
    """Mean entropy of the rows of g in nats: 0 when every text has one teacher, ln T when all share alike."""
    return torch.special.entr(g_BT).sum(-1).mean()


class Shares:
    """The fixed gate of a method that listens to teachers token by token: g [B, T] over `teachers`, in this order.

    `gate`: keyword arguments of `Gate`, whose kind is uniform or prior.
    """

    def __init__(self, teachers: Sequence[str], gate: Mapping[str, Any] | None = None):
        self.teachers = tuple(teachers)
        self._gate = Gate(teachers=self.teachers, student_width=0, **(gate or {"kind": "uniform"}))

    @property
    def needs(self) -> frozenset[str]:
        """The signals that the shares depend on; a single teacher has all, whatever the gate."""
        return frozenset({"nll_per_byte"} if self._gate.needs_bpb and len(self.teachers) > 1 else ())

    def of(self, signals: Signals, rows: int, device: torch.device | str = "cpu") -> Tensor:
        """g [rows, T], float32, rows summing to 1; reads `nll_per_byte` [rows] (nats) where `needs` says so."""
        nothing = torch.zeros(rows, 0, device=device)
        if not self.needs:
            return nothing.new_full((rows, len(self.teachers)), 1 / len(self.teachers))
        nats = [signals["nll_per_byte"][teacher].to(nothing) for teacher in self.teachers]
        return self._gate.weights(nothing, torch.stack(nats, dim=1) / math.log(2)).detach()
