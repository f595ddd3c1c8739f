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

Formulas: docs/methods.md. Shape suffixes: n texts, T teachers, D student width, E a teacher's width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from distill.config.messages import fault
from distill.config.method import GateConfig, Method, Names, gate_setting, teachers_setting, weight_setting
from distill.config.settings import AUTOMATIC, Weight, among, setting
from distill.losses import SMALLEST_BATCH
from distill.losses.precision import full_precision
from distill.objectives.base import Batch, CoupledObjective, Models, ObjectiveOutput, Signals, StudentOutputs, seeded

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distill.config.run_config import RunConfig
    from distill.objectives.gate import Gate
    from distill.objectives.heads import Heads

INITIAL_STUDENT = "__student__"  # the initial student's vectors sit among the teachers' in the signal `pooled`
# What is done where it is not said: as on the model card in the deku modes, else what we found better.
_CARD = {"gate": "learned", "similarity": "biased", "pooling": "mean"}
_OURS = {"gate": "prior", "similarity": "debiased", "pooling": "rms"}


class GeometryConfig(Method):
    """Gated CKA with the teachers. `layer` is a fraction of the depth; what is left out follows the mode."""

    kind: Literal["geometry"] = "geometry"
    weight: Weight = weight_setting(0.5)
    teachers: Names = teachers_setting(rare=True)
    mode: Literal["deku", "deku_frozen", "kernel"] = setting(
        "kernel",
        "How student and teachers are compared",
        "Their vectors differ in width, so they are compared by way of something else.",
        {
            "kernel": "kernel: directly, by which problems each finds similar; nothing in between can cheat",
            "deku": "deku: through trained heads (maps to the student's width), as on the Deku model card",
            "deku_frozen": "deku_frozen: through random heads that are not trained",
        },
    )
    gate: GateConfig | None = gate_setting(None, validate_default=True)
    similarity: Literal["debiased", "biased", "nbs"] | None = setting(
        None,
        "Similarity measure",
        "The formula for how far two models find the same texts similar.",
        {
            AUTOMATIC: "automatic: as suits the comparison",
            "debiased": "debiased: CKA that is 0 for unrelated models, however few the texts",
            "biased": "biased: CKA as on the card; high for small batches whatever the models",
            "nbs": "nbs: like CKA, but more sensitive to what varies little",
        },
        rare=True,
        validate_default=True,
    )
    pooling: Literal["rms", "mean"] | None = setting(
        None,
        "How a text becomes one vector (pooling)",
        "A model has a vector for each token; a text is compared as one.",
        {
            AUTOMATIC: "automatic: as suits the comparison",
            "rms": "rms: the mean of its tokens, each scaled to the same size",
            "mean": "mean: the plain mean, as on the card",
        },
        rare=True,
        validate_default=True,
    )
    layer: float = setting(
        0.75, "Depth of the comparison", "At what fraction of the layers, 1 being the last.", gt=0, le=1
    )
    window: Literal["gradcache", "bank"] = setting(
        "gradcache",
        "How accumulated batches are compared",
        "Only matters where several batches make a step.",
        {
            "gradcache": "gradcache: as one large batch, exactly",
            "bank": "bank: each batch with a memory of earlier ones, cheaper",
        },
        rare=True,
    )
    bank_size: int = setting(
        256,
        "Texts in the memory",
        "How many earlier texts the bank holds.",
        when=among("window", "bank"),
        rare=True,
        ge=1,
        le=65536,
    )
    control: Literal["none", "permuted", "detached"] = setting(
        "none",
        "Control",
        "For studies: spoils the method on purpose. What a spoiled one gains too, the method did not give.",
        {
            "none": "none: the method as it is",
            "permuted": "permuted: each text is compared with what the teachers see in another text",
            "detached": "detached: the student is not pulled; only heads and gate learn",
        },
        rare=True,
    )

    title: ClassVar[str] = "The teachers' sense of similarity"
    help: ClassVar[str] = (
        "Problems that the teachers find similar should be similar for the student (gated CKA). Any teachers will do, "
        "whatever their width and tokenizer."
    )
    name: ClassVar[str] = "teachers' geometry"
    noun: ClassVar[str] = "the geometry"
    short: ClassVar[str] = "the geometry"
    takes: ClassVar[str] = "it learns which problems they find <i>similar</i>"
    compares_texts: ClassVar[bool] = True

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

    def signals(self, teachers: int) -> frozenset[str]:
        return frozenset({"pooled", "nll_per_byte"} if self.gate.kind in ("prior", "meta") else {"pooled"})

    def check(self, config: RunConfig) -> None:
        budget = config.budget
        if self.window == "bank" or self.gate.kind == "meta":  # at first the bank is empty; meta looks at one batch
            texts, made_of = budget.batch_size, "budget.batch_size makes"
        else:
            texts, made_of = budget.batch_size * budget.accumulation, "budget.batch_size times budget.accumulation make"
        need = f"but a geometry batch needs at least {SMALLEST_BATCH} texts: raise it."
        if texts < SMALLEST_BATCH:
            raise fault("", f"{made_of} {texts}, {need}")
        if config.data.train < SMALLEST_BATCH:
            raise fault("data.train", f" is {config.data.train}, {need}")
        if self.gate.kind == "meta" and not config.data.validation:
            raise fault("data.validation", " is 0, but a 'meta' gate measures benefit on those problems: raise it.")

    def check_processes(self, processes: int, batch_size: int, config: RunConfig) -> str | None:
        if self.window != "bank":
            return None
        return "objectives.geometry.window is 'bank', which one process fills: set it to gradcache."

    def trained(self, student_width: int, teacher_widths: Mapping[str, int]) -> int:
        heads = 2 if "deku" in self.mode else 0  # and their shadows
        return heads * sum(teacher_widths.values()) * student_width

    def build(self, models: Models) -> GeometryObjective:
        return GeometryObjective(
            teacher_widths={name: models.teacher_widths[name] for name in models.names(self)},
            student_width=models.student_width,
            student_layers=models.student_layers,
            seed=models.seed,
            mode=self.mode,
            gate=self.gate.model_dump(include={"kind", "tau", "epsilon", "balance"}),
            similarity=self.similarity,
            pooling=self.pooling,
            layer=self.layer,
            weight=self.weight,
            control=self.control,
        )

    def describe(self) -> Iterable[str]:
        yield f"mode {self.mode}"
        yield f"{self.similarity} similarity at {self.layer:g} of the depth"


class GeometryObjective(CoupledObjective):
    """1 - similarity(student, gated mixture of teachers), over n >= 4 texts at once.

    teacher_widths: {teacher: width}, in the order of the gate's columns. gate: keyword arguments of `Gate` (kind, tau,
    epsilon, balance). layer: fraction of the student's depth. pooling: "rms" or "mean" (`models.pooling.pool`).
    similarity: for the deku modes; kernel always compares U-centred kernels. control: "none"; "permuted" compares each
    text of a batch with the teachers' view of the text before it, "detached" sends the student a gradient of zero.

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
        control: str = "none",
    ):
        from torch import nn

        from distill.models.pooling import layer_at
        from distill.objectives.gate import Gate
        from distill.objectives.heads import FrozenLinear, Heads

        super().__init__(weight)
        self.mode = mode
        self.teachers = tuple(teacher_widths)
        self.layer = layer_at(layer, student_layers)
        self.pooling = pooling
        self.similarity = similarity_of(similarity)
        self.control = control
        with seeded(seed):
            self.gate = Gate(teachers=self.teachers, student_width=student_width, **(gate or {"kind": "prior"}))
            linear = {"kernel": None, "deku": nn.Linear, "deku_frozen": FrozenLinear}[mode]
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
        from distill.models.pooling import pool

        mask_BL = batch["attention_mask"] if self.pooling == "mean" else batch["content_mask"]
        return pool(outputs.hidden[layer], mask_BL, self.pooling)

    @full_precision
    def couple(self, z_nD: Tensor, signals: Signals) -> ObjectiveOutput:
        """Terms: geometry; for its own parameters gate (meta, or a balanced learned gate), and shadow (deku).

        The latter where the initial student is given. Raises ValueError when n < 4.
        """
        from distill.losses.cka import check_batch

        check_batch(len(z_nD))
        if self.control == "detached":
            z_nD = z_nD.detach() + 0 * z_nD
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
        return ObjectiveOutput({"geometry": 1 - similarity, **extra}, self._metrics(similarity, g_nT))

    @full_precision
    def per_teacher(self, z_nD: Tensor, signals: Signals) -> dict[str, Tensor]:
        """{teacher: 1 - similarity to this teacher alone}, differentiable in z: the pulls that a meta gate weighs."""
        from distill.losses.cka import check_batch, kernel_cka, unit_kernel

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
        turn = self.control == "permuted"
        return [signals["pooled"][teacher].to(like).roll(int(turn), 0) for teacher in self.teachers]

    def _bits_per_byte(self, signals: Signals, like: Tensor) -> Tensor | None:
        """[n, T], or None for a gate that doesn't ask. The signal is in nats."""
        import torch

        if not self.gate.needs_bpb:
            return None
        return torch.stack([signals["nll_per_byte"][t].to(like) for t in self.teachers], dim=1) / math.log(2)

    def _shares(self, gate: Gate, z_nD: Tensor, bpb_nT: Tensor | None) -> Tensor:
        """g [n, T]; only the card's gate is trained through the similarity, and only in the card's modes."""
        g_nT = gate.weights(z_nD, bpb_nT)
        return g_nT if gate.kind == "learned" and self.heads is not None else g_nT.detach()

    def _to_mixture(self, z_nD: Tensor, g_nT: Tensor, pooled: Sequence[Tensor], heads: Heads | None) -> Tensor:
        """How alike the geometry of z and that of the gated mixture of teachers are, a scalar."""
        import torch

        from distill.losses.cka import kernel_cka, mixture_kernel, unit_kernel

        if heads is None:
            kernels_Tnn = torch.stack([unit_kernel(x_nE) for x_nE in pooled])
            return kernel_cka(unit_kernel(z_nD), mixture_kernel(g_nT, kernels_Tnn))
        return self.similarity(z_nD, torch.einsum("nt,tnd->nd", g_nT, torch.stack(heads(pooled))))

    def _metrics(self, similarity: Tensor, g_nT: Tensor) -> dict[str, float]:
        """The similarity, the gate's entropy a text (nats), its mean share a teacher, and the norm of the heads."""
        from distill.objectives.gate import gate_entropy

        g_nT = g_nT.detach()
        metrics = {"similarity": similarity.detach(), "gate_entropy": gate_entropy(g_nT)}
        metrics |= {f"gate/{teacher}": share for teacher, share in zip(self.teachers, g_nT.mean(0), strict=True)}
        if self.heads is not None:
            metrics["head_norm"] = self.heads.norm().detach()
        return {name: float(value) for name, value in metrics.items()}


def similarity_of(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The similarity of two sets of vectors that goes by this name."""
    from distill.losses.cka import cka, nbs

    return nbs if name == "nbs" else partial(cka, kind=name)


def head_attributable_fraction(l0: float, l_shadow: float, l_deku: float) -> float | None:
    """HAF = (L0 - L_shadow) / (L0 - L_deku): the part of the fall of the loss that heads get from an untaught student.

    Near 1, the fall says nothing of the student. None when the loss has fallen by less than .001, which is noise: there
    is nothing to attribute.
    """
    fall = l0 - l_deku
    return (l0 - l_shadow) / fall if fall > 1e-3 else None
