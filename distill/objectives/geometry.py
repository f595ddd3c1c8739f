"""Geometry: texts that the teachers find alike should be alike for the student. Three ways of saying so.

    kernel        The teachers' U-centred kernels are mixed text by text, and the student's kernel is compared with the
                  mixture. No heads, any widths; the gate gets no gradient.
    deku          The model card's recipe: a trainable linear head takes each teacher to the student's width, the gate
                  mixes the results, and CKA compares the mixture with the student.
    deku_frozen   The same with frozen orthogonal heads.

The card's recipe has a defect, which this module measures instead of hiding: as soon as heads have the rank of the
batch, heads alone can reach CKA = 1 for any student. So deku carries *shadow* heads and a shadow gate, equal to the
real ones at the start and trained on the same loss for the *initial* student. What they gain, the student need not have
learnt: `head_attributable_fraction`.

Formulas: shared maths.md section 2. This module knows nothing of where signals come from or how the loop runs.
Shape suffixes: n texts, T teachers, D student width, E a teacher's width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from distill.losses.cka import check_batch, cka, kernel_cka, mixture_kernel, nbs, unit_kernel
from distill.losses.precision import full_precision
from distill.models.pooling import layer_at, pool
from distill.objectives.base import Batch, CoupledObjective, ObjectiveOutput, Signals, StudentOutputs, seeded
from distill.objectives.gate import Gate, gate_entropy
from distill.objectives.heads import FrozenLinear, Heads

INITIAL_STUDENT = "__student__"  # the initial student's vectors sit among the teachers' in the signal `pooled`
HEADS = {"kernel": None, "deku": nn.Linear, "deku_frozen": FrozenLinear}  # mode -> what a head is made of
SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "debiased": partial(cka, kind="debiased"),
    "biased": partial(cka, kind="biased"),
    "nbs": nbs,
}


class GeometryObjective(CoupledObjective):
    """1 - similarity(student, gated mixture of teachers), over n >= 4 texts at once.

    teacher_widths: {teacher: width}, in the order of the gate's columns. gate: keyword arguments of `Gate` (kind, tau,
    epsilon, balance). layer: fraction of the student's depth. pooling: "rms" or "mean" (`models.pooling.pool`).
    similarity: for the deku modes; kernel always compares U-centred kernels.

    Signals read: `pooled` {teacher: [n, E]}; for prior and meta gates `nll_per_byte` {teacher: [n]} in nats; and, where
    `wants_initial_student`, pooled["__student__"] [n, D] if there. Without it there is no shadow.
    """

    kind = "geometry"

    def __init__(
        self,
        *,
        teacher_widths: Mapping[str, int],
        student_width: int,
        student_layers: int,
        mode: str = "kernel",
        gate: Mapping[str, Any] | None = None,
        similarity: str = "debiased",
        pooling: str = "rms",
        layer: float = 0.75,
        weight: float = 0.5,
        seed: int = 0,
    ):
        super().__init__(weight)
        self.mode = mode
        self.teachers = tuple(teacher_widths)
        self.layer = layer_at(layer, student_layers)
        self.pooling = pooling
        self.similarity = SIMILARITIES[similarity]
        with seeded(seed):
            self.gate = Gate(teachers=self.teachers, student_width=student_width, **(gate or {"kind": "prior"}))
            linear = HEADS[mode]
            self.heads = Heads(teacher_widths.values(), student_width, linear) if linear else None
        self.wants_initial_student = mode == "deku"  # only trainable heads can do the student's work
        if self.wants_initial_student:
            self.shadow_gate, self.shadow_heads = copy.deepcopy(self.gate), copy.deepcopy(self.heads)
        self.needs = frozenset({"pooled", "nll_per_byte"} if self.gate.needs_bpb else {"pooled"})

    def auxiliary_parameters(self) -> Iterator[nn.Parameter]:
        """The shadow's, and a meta gate's: the geometry term reaches none of them."""
        if self.wants_initial_student:
            yield from self.shadow_gate.parameters()
            yield from self.shadow_heads.parameters()
        if self.gate.kind == "meta":
            yield from self.gate.parameters()

    def represent(self, outputs: StudentOutputs, batch: Batch) -> Tensor:
        """The student's pooled states z [B, D] after block `self.layer`.

        "mean" is the card's and weighs every real token; "rms" only those that say what the text is about.
        """
        return self.represent_layer(self.layer, outputs, batch)

    def represent_layer(self, layer: int, outputs: StudentOutputs, batch: Batch) -> Tensor:
        """The same after block `layer`; of the embeddings, 0."""
        mask_BL = batch["attention_mask"] if self.pooling == "mean" else batch["content_mask"]
        return pool(outputs.hidden[layer], mask_BL, self.pooling)

    @full_precision
    def couple(self, z_nD: Tensor, signals: Signals) -> ObjectiveOutput:
        """Terms: geometry; auxiliary: gate (meta, or a balanced learned gate) and shadow (deku, initial student given).

        Raises ValueError when n < 4.
        """
        check_batch(len(z_nD))
        pooled, bpb_nT = self._pooled(signals, z_nD), self._bits_per_byte(signals, z_nD)
        g_nT = self._shares(self.gate, z_nD, bpb_nT)
        similarity = self._to_mixture(z_nD, g_nT, pooled, self.heads)
        extra = {"gate": self.gate.loss(z_nD, bpb_nT)}
        if self.wants_initial_student and INITIAL_STUDENT in signals["pooled"]:
            z0_nD = signals["pooled"][INITIAL_STUDENT].to(z_nD)
            g0_nT = self._shares(self.shadow_gate, z0_nD, bpb_nT)
            extra["shadow"] = 1 - self._to_mixture(z0_nD, g0_nT, pooled, self.shadow_heads)
            if self.gate.kind == "learned":
                extra["shadow_gate"] = self.shadow_gate.loss(z0_nD)
        extra = {name: loss for name, loss in extra.items() if loss is not None}
        return ObjectiveOutput(
            terms={"geometry": 1 - similarity, **extra},
            metrics=self._metrics(similarity, g_nT),
            auxiliary=frozenset(extra),
        )

    @full_precision
    def per_teacher(self, z_nD: Tensor, signals: Signals) -> dict[str, Tensor]:
        """{teacher: 1 - similarity to this teacher alone}, differentiable in z: the pulls that a meta gate weighs."""
        check_batch(len(z_nD))
        pooled = self._pooled(signals, z_nD)
        if self.heads is None:
            student_nn = unit_kernel(z_nD)
            similarities = [kernel_cka(student_nn, unit_kernel(x_nE)) for x_nE in pooled]
        else:
            similarities = [self.similarity(z_nD, x_nD) for x_nD in self.heads(pooled)]
        return {teacher: 1 - value for teacher, value in zip(self.teachers, similarities, strict=True)}

    @full_precision
    def gate_weights(self, z_nD: Tensor, signals: Signals) -> Tensor:
        """The gate's g [n, T], detached, columns in the order of `teachers`: for diagnostics."""
        return self.gate.weights(z_nD, self._bits_per_byte(signals, z_nD)).detach()

    def _pooled(self, signals: Signals, like: Tensor) -> list[Tensor]:
        return [signals["pooled"][teacher].to(like) for teacher in self.teachers]

    def _bits_per_byte(self, signals: Signals, like: Tensor) -> Tensor | None:
        """[n, T], or None for a gate that doesn't ask. The signal is in nats."""
        if not self.gate.needs_bpb:
            return None
        return torch.stack([signals["nll_per_byte"][t].to(like) for t in self.teachers], dim=1) / math.log(2)

    def _shares(self, gate: Gate, z_nD: Tensor, bpb_nT: Tensor | None) -> Tensor:
        """g [n, T]; only the card's gate is trained through the similarity, and only in the card's modes."""
        g_nT = gate.weights(z_nD, bpb_nT)
        return g_nT if gate.kind == "learned" and self.heads is not None else g_nT.detach()

    def _to_mixture(self, z_nD: Tensor, g_nT: Tensor, pooled: Sequence[Tensor], heads: Heads | None) -> Tensor:
        """How alike the geometry of z and that of the gated mixture of teachers are, a scalar."""
        if heads is None:
            kernels_Tnn = torch.stack([unit_kernel(x_nE) for x_nE in pooled])
            return kernel_cka(unit_kernel(z_nD), mixture_kernel(g_nT, kernels_Tnn))
        return self.similarity(z_nD, torch.einsum("nt,tnd->nd", g_nT, torch.stack(heads(pooled))))

    @torch.no_grad()
    def _metrics(self, similarity: Tensor, g_nT: Tensor) -> dict[str, float]:
        """The similarity, the gate's entropy a text (nats), its mean share a teacher, and the norm of the heads."""
        metrics = {"similarity": similarity, "gate_entropy": gate_entropy(g_nT)}
        metrics |= {f"gate/{teacher}": share for teacher, share in zip(self.teachers, g_nT.mean(0), strict=True)}
        if self.heads is not None:
            metrics["head_norm"] = self.heads.norm()
        return {name: float(value) for name, value in metrics.items()}


def head_attributable_fraction(l0: float, l_shadow: float, l_deku: float) -> float | None:
    """HAF = (L0 - L_shadow) / (L0 - L_deku): the part of the fall of the loss that heads get from an untaught student.

    Near 1, the fall says nothing of the student. None when the loss has fallen by less than .001, which is noise: there
    is nothing to attribute.
    """
    fall = l0 - l_deku
    return (l0 - l_shadow) / fall if fall > 1e-3 else None
