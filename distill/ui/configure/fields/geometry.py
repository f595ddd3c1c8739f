"""The dials of geometry: which problems the teachers find alike. Words only."""

from __future__ import annotations

from distill.ui.configure.fields.field import AUTOMATIC, Field, Objective, among
from distill.ui.configure.fields.shared import teachers

_GATE = "objectives.geometry.gate"

GEOMETRY = Objective(
    "geometry",
    "The teachers' sense of what is alike",
    "the geometry",
    "Problems that the teachers find alike should be alike for the student (gated CKA). Any teachers will do, "
    "whatever their width and tokenizer.",
    "How much this counts beside the other aims.",
    (
        Field(
            "objectives.geometry.mode",
            "How student and teachers are compared",
            "Their vectors differ in width, so they are compared by way of something else.",
            {
                "kernel": "kernel: directly, by which problems each finds alike; nothing in between can cheat",
                "deku": "deku: through trained heads (maps to the student's width), as on the Deku model card",
                "deku_frozen": "deku_frozen: through heads that stay as they were drawn",
            },
        ),
        Field(
            f"{_GATE}.kind",
            "Who is listened to (the gate)",
            "For every problem the gate gives each teacher a share.",
            {
                "uniform": "uniform: all teachers alike",
                "prior": "prior: whoever finds the text likely is believed",
                "learned": "learned: whatever lowers the loss; tends to settle on one teacher",
                "meta": "meta: as prior, moved towards teachers that helped with the problems",
            },
        ),
        Field(
            f"{_GATE}.tau",
            "Sharpness of the gate (tau)",
            "In bits per byte. Small: only the surest teacher counts. Large: all count alike.",
            when=among(f"{_GATE}.kind", "prior", "meta"),
        ),
        Field(
            "objectives.geometry.layer",
            "Depth of the comparison",
            "At what fraction of the layers, 1 being the last.",
        ),
        teachers("geometry", "the geometry", rare=True),
        Field(
            f"{_GATE}.epsilon",
            "Share that is always spread evenly (epsilon)",
            "So that no teacher is ever quite unheard.",
            when=among(f"{_GATE}.kind", "prior", "meta"),
            rare=True,
        ),
        Field(
            f"{_GATE}.balance",
            "Penalty for hearing few teachers",
            "Of a gate that is trained. Empty: 0.5 for meta, 0 for learned.",
            when=among(f"{_GATE}.kind", "learned", "meta"),
            rare=True,
        ),
        Field(
            f"{_GATE}.every",
            "Steps between measurements of benefit",
            "How often meta asks which teacher helps.",
            when=among(f"{_GATE}.kind", "meta"),
            rare=True,
        ),
        Field(
            "objectives.geometry.similarity",
            "Measure of likeness",
            "The formula for how far two models find the same texts alike.",
            {
                AUTOMATIC: "as suits the comparison",
                "debiased": "debiased: CKA that is 0 for strangers, however few the texts",
                "biased": "biased: CKA as on the card; high for small batches whatever the models",
                "nbs": "nbs: as CKA, less blind to what varies little",
            },
            rare=True,
        ),
        Field(
            "objectives.geometry.pooling",
            "How a text becomes one vector (pooling)",
            "A model has a vector for each token; a text is compared as one.",
            {
                AUTOMATIC: "as suits the comparison",
                "rms": "rms: the mean of its tokens, each scaled to the same size",
                "mean": "mean: the plain mean, as on the card",
            },
            rare=True,
        ),
        Field(
            "objectives.geometry.window",
            "How accumulated batches are compared",
            "Only matters where several batches make a step.",
            {
                "gradcache": "gradcache: as one large batch, exactly",
                "bank": "bank: each batch with a memory of earlier ones, cheaper",
            },
            rare=True,
        ),
        Field(
            "objectives.geometry.bank_size",
            "Texts in the memory",
            "How many earlier texts the bank holds.",
            when=among("objectives.geometry.window", "bank"),
            rare=True,
        ),
    ),
)
