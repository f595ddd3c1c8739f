"""What training does to the student's geometry, measured on a fixed set of held-out texts while it runs.

Head-free: the student's own pooled vectors against each teacher's, by debiased CKA, beside the line that chance reaches
in 95% of permutations. So the curves can't be fooled by projection heads or by small batches. Where it is asked for,
every layer of the student against every layer of each teacher too (layer 0 is the embeddings). Cheap: one forward pass
of the student; the teachers' vectors were asked for once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from distill.losses.cka import cka, layer_cka, null95, participation_ratio
from distill.models.generation import evaluating
from distill.models.pooling import stack_layers
from distill.objectives.gate import gate_entropy
from distill.objectives.geometry import GeometryObjective, head_attributable_fraction
from distill.training.dataset import TrainingSet
from distill.training.distiller import Distiller

NO_HEADROOM = 0.9  # a first CKA above this leaves nothing to gain
HEADS_TOOK_IT = 0.5  # a head-attributable fraction above this
COLLAPSED = 0.95  # one teacher's mean gate weight above this


@dataclass
class Reading:
    """One measurement. `cka` is debiased, in [-1, 1]; `gate` is None without one, `haf` outside deku mode."""

    n: int
    cka: dict[str, float]
    null95: float
    participation_ratio: float
    gate: dict | None = None  # {"mean": {teacher: w}, "by_family": {family: {teacher: w}}, "entropy": nats}
    haf: float | None = None
    loss: float | None = None  # the geometry loss on these texts, in deku mode: what haf is made from
    layers: dict[str, list[list[float]]] | None = None  # {teacher: [student layer][teacher layer]}: debiased CKA


@dataclass
class Probe:
    """A fixed set of texts, and the geometry objective whose gate and heads are looked at.

    Where nothing is trained on geometry, one that is no part of the training serves to look (`trained` False): there
    are curves then, and no gate. `texts` carry the signals that the objective needs and, to compare all layers,
    `pooled_layers`. `readings` holds what was read before, by an earlier sitting too: the first is what later ones are
    compared with.
    """

    texts: TrainingSet
    geometry: GeometryObjective
    family_names: Sequence[str]
    batch_size: int = 32
    trained: bool = True
    readings: list[Reading] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Apart from the other signals, which every look carries to the device: these are many times larger.
        signals = dict(self.texts.signals)
        self._teacher_layers = signals.pop("pooled_layers", {})
        self.texts = replace(self.texts, signals=signals)

    def measure(self, distiller: Distiller, layers: bool = False) -> Reading:
        """Read the student as it is now, with `layers` every layer of it; leaves its mode and all random generators as
        they were."""
        states = pooled_states(distiller, self.geometry, self.texts, self.batch_size, every_layer=layers)
        z_nD = states[:, self.geometry.layer] if layers else states
        signals = {
            name: {teacher: values.to(z_nD.device) for teacher, values in by_teacher.items()}
            for name, by_teacher in self.texts.signals.items()
        }
        pooled = signals["pooled"]
        teachers = self.geometry.teachers
        loss, shadow = self._losses(z_nD, signals)
        first = self.readings[0].loss if self.readings else loss
        reading = Reading(
            n=len(z_nD),
            cka={t: cka(z_nD, pooled[t], kind="debiased").item() for t in teachers},
            null95=null95(len(z_nD)),
            participation_ratio=participation_ratio(z_nD).item(),
            gate=self._gate(z_nD, signals) if self.trained else None,
            haf=None if loss is None else head_attributable_fraction(first, shadow, loss),
            loss=loss,
            layers=self._layers(states) if layers else None,
        )
        self.readings.append(reading)
        return reading

    def _layers(self, states_nLD: Tensor) -> dict[str, list[list[float]]] | None:
        """Every layer of the student against every one of each teacher; None if no teacher was asked for its layers."""
        tables = {
            teacher: layer_cka(states_nLD, self._teacher_layers[teacher].to(states_nLD.device)).tolist()
            for teacher in self._teacher_layers
        }
        return {t: [[round(value, 3) for value in row] for row in table] for t, table in tables.items()} or None

    def _gate(self, z_nD: Tensor, signals: dict) -> dict:
        g_nT = self.geometry.gate_weights(z_nD, signals)
        teachers = self.geometry.teachers
        families = torch.as_tensor(self.texts.families, device=g_nT.device)
        by_family = {
            self.family_names[number]: dict(zip(teachers, g_nT[families == number].mean(0).tolist(), strict=True))
            for number in sorted(set(self.texts.families))
        }
        mean = dict(zip(teachers, g_nT.mean(0).tolist(), strict=True))
        return {"mean": mean, "by_family": by_family, "entropy": gate_entropy(g_nT).item()}

    @torch.no_grad()
    def _losses(self, z_nD: Tensor, signals: dict) -> tuple[float | None, float | None]:
        """(geometry loss, what heads alone reach) on the probe texts; only deku's heads can take part of the fall."""
        if not self.geometry.wants_initial_student:
            return None, None
        terms = self.geometry.couple(z_nD, signals).terms
        return terms["geometry"].item(), terms["shadow"].item()

    def warnings(self) -> list[tuple[str, str]]:
        """(code, plain words) for whatever the readings so far give reason to say."""
        if not self.readings:
            return []
        first, last = self.readings[0], self.readings[-1]
        found = [
            (
                f"no_headroom:{teacher}",
                f"The student agreed with {teacher} almost fully before training (CKA {value:.2f}): "
                "there is little left for geometry to teach.",
            )
            for teacher, value in first.cka.items()
            if value > NO_HEADROOM
        ]
        if last.haf is not None and last.haf > HEADS_TOOK_IT:
            found.append(
                (
                    "heads_absorb",
                    f"About {min(last.haf, 1):.0%} of the fall of the geometry loss is the teachers' projection heads "
                    "adapting, not the student: look at the head-free CKA curves, or use mode kernel.",
                )
            )
        if last.gate:
            teacher, weight = max(last.gate["mean"].items(), key=lambda item: item[1])
            if len(last.gate["mean"]) > 1 and weight > COLLAPSED:
                found.append(
                    ("gate_collapsed", f"The gate listens to {teacher} alone (weight {weight:.2f}): use gate prior.")
                )
        if last.participation_ratio < 0.5 * first.participation_ratio:
            found.append(
                (
                    "narrowed",
                    f"The student's representation narrowed (participation ratio {first.participation_ratio:.1f} to "
                    f"{last.participation_ratio:.1f}): lower the weight of geometry.",
                )
            )
        return found


@torch.no_grad()
def pooled_states(
    distiller: Distiller, geometry: GeometryObjective, texts: TrainingSet, batch_size: int, every_layer: bool = False
) -> Tensor:
    """The student's pooled vectors [n, D] of `texts` as it is now, float32, with dropout off.

    With `every_layer` those of the embeddings and after every block, [n, 1 + layers, D].
    """
    device = next(distiller.parameters()).device
    parts = []
    with evaluating(distiller):
        for start in range(0, len(texts), batch_size):
            rows = range(start, min(start + batch_size, len(texts)))
            batch = {k: v.to(device) for k, v in texts.collate(rows).items() if isinstance(v, Tensor)}
            outputs = distiller.read(batch, hidden=True)
            layers = range(len(outputs.hidden)) if every_layer else [geometry.layer]
            parts.append(stack_layers([geometry.represent_layer(layer, outputs, batch) for layer in layers]))
    states_nLD = torch.cat(parts)
    return states_nLD if every_layer else states_nLD[:, 0]
