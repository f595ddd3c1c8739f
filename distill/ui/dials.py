"""Every setting a visitor can change, in plain words: what it is called, what it means, when it matters.

Ranges, defaults and choices are not written here: fields.py takes them from config.py. A new objective is one entry
in OBJECTIVES. This module knows nothing of components.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distill.data.families import FAMILIES


@dataclass(frozen=True)
class Field:
    """A setting: `key` is its dotted path in the config, "objectives.KIND" the switch of an objective.

    `words`: what each choice means. `when`: (another key, the values of it with which this setting matters). `only`:
    with other values it must not be in the config at all. `rare`: it lies under "More dials". `group`: the heading it
    stands under. `widget`: "model" or "column" where a list with free text is meant.
    """

    key: str
    label: str
    help: str
    words: Mapping[Any, str] = field(default_factory=dict)
    when: tuple[str, tuple[Any, ...]] | None = None
    only: bool = False
    rare: bool = False
    group: str = ""
    widget: str = ""


@dataclass(frozen=True)
class Objective:
    """Something the student is trained on: `kind` as in the config, its switch and weight, and its own dials.

    `short`: what it is called where there is little room; `weight`: what its weight means.
    """

    kind: str
    title: str
    short: str
    help: str
    weight: str
    dials: tuple[Field, ...] = ()

    @property
    def key(self) -> str:
        return f"objectives.{self.kind}"

    @property
    def fields(self) -> tuple[Field, ...]:
        """The switch, the weight and the dials."""
        switch = Field(self.key, self.title, self.help)
        return switch, Field(f"{self.key}.weight", f"Weight of {self.short}", self.weight), *self.dials


AUTOMATIC = "auto"  # a choice that follows another setting

STUDENT = (
    Field("student.model", "Student", "The model that will learn.", widget="model"),
    Field(
        "student.revision",
        "Version on the Hub",
        "A branch, tag or commit. Empty: the newest. Models of the zoo have none.",
        rare=True,
    ),
)

PROBLEMS = (
    Field(
        "data.source",
        "Where the problems come from",
        "The student learns from these and is judged on others of the same source.",
        {"problems": "Made here: word problems", "file": "A file of mine", "hub": "A data set of the Hub"},
    ),
    Field(
        "data.families",
        "Kinds of problems",
        "As many of each as of any other.",
        {name: family.title for name, family in FAMILIES.items()},
        when=("data.source", ("problems",)),
        only=True,
    ),
    Field(
        "data.dataset",
        "Data set",
        "Its id on the Hub, such as openai/gsm8k.",
        when=("data.source", ("hub",)),
        only=True,
    ),
    Field(
        "data.subset",
        "Configuration",
        "Only where the data set has several, such as main.",
        when=("data.source", ("hub",)),
        only=True,
    ),
    Field(
        "data.split",
        "Split",
        "Which of its splits to read, such as train. It is divided again here.",
        when=("data.source", ("hub",)),
        only=True,
    ),
    *(
        Field(
            f"data.columns.{part}",
            label,
            text,
            when=("data.source", ("file", "hub")),
            only=True,
            widget="column",
            group="Which column is which",
        )
        for part, label, text in (
            ("question", "Question", "What the student is asked."),
            ("solution", "Worked solution", "What it learns to write. It should end with the answer."),
            ("answer", "Answer", "To grade by. Empty: what the solution ends with, such as #### 62."),
            ("family", "Kind of problem", "Accuracy is shown for each kind. Empty: all are one kind."),
        )
    ),
    Field("data.train", "To learn from", "Problems the student is trained on.", group="How many"),
    Field("data.held_out", "To be judged on", "Kept apart, and asked before and after.", group="How many"),
    Field(
        "data.new_phrasing",
        "In new wordings",
        "Asked in wordings that training never shows.",
        when=("data.source", ("problems",)),
        group="How many",
    ),
    Field(
        "data.validation",
        "For measuring on the way",
        "Kept apart too: for the accuracy curve, and for a gate that learns from benefit.",
        rare=True,
    ),
    Field("data.seed", "Which problems are drawn", "Any whole number. Another number draws others.", rare=True),
)

_GATE = "objectives.geometry.gate"
OBJECTIVES = (
    Objective(
        "task",
        "Worked solutions",
        "the solutions",
        "The student learns to write the solution of each problem, word by word (cross-entropy).",
        "How much this counts beside the other aims.",
    ),
    Objective(
        "geometry",
        "The teachers' sense of what is alike",
        "the geometry",
        "Problems that the teachers find alike should be alike for the student (gated CKA). Any teachers will do, "
        "whatever their width and tokenizer.",
        "How much this counts beside the solutions.",
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
                when=(f"{_GATE}.kind", ("prior", "meta")),
            ),
            Field(
                "objectives.geometry.layer",
                "Depth of the comparison",
                "At what fraction of the layers, 1 being the last.",
            ),
            Field(
                f"{_GATE}.epsilon",
                "Share that is always spread evenly (epsilon)",
                "So that no teacher is ever quite unheard.",
                when=(f"{_GATE}.kind", ("prior", "meta")),
                rare=True,
            ),
            Field(
                f"{_GATE}.balance",
                "Penalty for hearing few teachers",
                "Of a gate that is trained. Empty: 0.5 for meta, 0 for learned.",
                when=(f"{_GATE}.kind", ("learned", "meta")),
                rare=True,
            ),
            Field(
                f"{_GATE}.every",
                "Steps between measurements of benefit",
                "How often meta asks which teacher helps.",
                when=(f"{_GATE}.kind", ("meta",)),
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
                when=("objectives.geometry.window", ("bank",)),
                rare=True,
            ),
        ),
    ),
)

_HOW_LONG, _ADAPTER = "How long", "What is trained (LoRA: small additions to the student's layers)"
BUDGET = (
    Field("budget.steps", "Steps", "How often the student is changed.", group=_HOW_LONG),
    Field("budget.batch_size", "Problems at a time", "Read before each change (batch size).", group=_HOW_LONG),
    Field(
        "budget.accumulation",
        "Batches to a step",
        "More than one for large steps in little memory (accumulation).",
        group=_HOW_LONG,
    ),
    Field("budget.learning_rate", "Learning rate", "How far each step goes. Too high: it forgets.", group=_HOW_LONG),
    Field("lora.r", "Size of the additions (rank)", "Larger can learn more, and takes more memory.", group=_ADAPTER),
    Field("lora.alpha", "Their strength (alpha)", "They are scaled by alpha over rank.", group=_ADAPTER),
    Field("lora.dropout", "Left out at random (dropout)", "A fraction, against learning by heart.", group=_ADAPTER),
    Field(
        "lora.quantize",
        "Squeeze the student",
        "To fit large students into little GPU memory; needs an NVIDIA GPU.",
        {"": "not at all", "8bit": "8bit: to about half", "4bit": "4bit: to about a quarter"},
        group=_ADAPTER,
    ),
    Field("seed", "Seed", "The same number gives the same run again.", group="Chance and answers"),
    Field(
        "evaluation.max_new_tokens",
        "Longest answer",
        "In tokens. Too short, and right answers are cut off.",
        group="Chance and answers",
    ),
    Field("budget.max_length", "Longest text read", "In tokens. What is longer is cut, and counted.", rare=True),
    Field("budget.warmup", "Warm-up", "A fraction of the steps in which the learning rate rises.", rare=True),
    Field(
        "budget.schedule",
        "Learning rate over the steps",
        "How it changes once the warm-up is over.",
        {
            "cosine": "cosine: falls slowly, then fast, then slowly",
            "linear": "linear: falls evenly",
            "constant": "constant: stays",
        },
        rare=True,
    ),
    Field("budget.weight_decay", "Weight decay", "Pulls what is trained towards 0.", rare=True),
    Field("budget.max_grad_norm", "Largest change in a step", "Longer gradients are cut to this. 0: never.", rare=True),
    Field("lora.targets", "Layers that are trained", "all-linear, or names such as q_proj, v_proj.", rare=True),
    Field("budget.save_every", "Steps between checkpoints", "What a broken-off run goes on from.", rare=True),
    Field("budget.threads", "Threads", "Cores to use. 0: all of them.", rare=True),
    Field("budget.teacher_batch_size", "Texts a teacher reads at once", "Fewer take less memory.", rare=True),
    Field("evaluation.batch_size", "Problems answered at once", "Fewer take less memory.", rare=True),
    Field("probe.every", "Steps between looks", "How often agreement is measured and samples are taken.", rare=True),
    Field("probe.texts", "Texts of a look", "More make the agreement curves steadier.", rare=True),
    Field("probe.characters", "Characters of such a text", "Longer texts are cut there.", rare=True),
    Field("probe.samples", "Sample problems", "Answered at every second look, for you to read.", rare=True),
    Field("probe.problems", "Problems counted on the way", "Answered at every second look, for the curve.", rare=True),
)

METHOD = tuple(field for objective in OBJECTIVES for field in objective.fields)
STEPS: dict[str, tuple[str, tuple[Field, ...]]] = {
    "student": ("Student", STUDENT),
    "teachers": ("Teachers", ()),
    "problems": ("Problems", PROBLEMS),
    "method": ("Method", METHOD),
    "budget": ("Budget", BUDGET),
    "review": ("Review", ()),
}
FIELDS: dict[str, Field] = {field.key: field for _, fields in STEPS.values() for field in fields}
