"""What the steps Student, Problems and Budget ask for, in plain words. This module knows nothing of components."""

from __future__ import annotations

from distill.config.settings import among, both
from distill.data.families import FAMILIES
from distill.ui.configure.fields.field import Field

STUDENT = (
    Field("student.model", "Student", "The model that will learn.", widget="model"),
    Field(
        "student.revision",
        "Version on the Hub",
        "A branch, tag or commit. Empty: the newest. Models of the zoo have none.",
        rare=True,
    ),
)

GYM = "data.families.reasoning_gym"  # the field of its data sets, which are the families there
_APART = among("data.columns.messages", None, "")  # a conversation holds both


def _ALWAYS(held: object) -> bool:
    return True


PROBLEMS = (
    Field(
        "data.source",
        "Where the problems come from",
        "The student learns from these and is judged on others of the same source.",
        {
            "problems": "Made here: word problems",
            "reasoning_gym": "Made here: Reasoning Gym",
            "file": "A file of mine",
            "hub": "A data set of the Hub",
        },
    ),
    Field(
        "data.families",
        "Kinds of problems",
        "As many of each as of any other.",
        {name: family.title for name, family in FAMILIES.items()},
        when=among("data.source", "problems"),
        only=True,
    ),
    Field(
        GYM,
        "Data sets of Reasoning Gym",
        "As many problems of each. Only the first has worked solutions: of the others, answers alone are shown.",
        {
            "gsm_symbolic": "School word problems in the manner of GSM8K",
            "basic_arithmetic": "Sums with several signs and brackets",
            "chain_sum": "Long sums",
            "decimal_chain_sum": "Sums of decimal numbers",
            "products": "Products of large numbers",
            "fraction_simplification": "Fractions to simplify",
            "gcd": "Greatest common divisors",
            "lcm": "Least common multiples",
            "simple_equations": "Equations with one unknown",
            "simple_geometry": "Angles of polygons",
            "number_sequence": "Sequences to continue",
            "leg_counting": "Legs of many animals",
            "letter_counting": "Letters in a text",
        },
        when=among("data.source", "reasoning_gym"),
        only=True,
        setting="data.families",
    ),
    Field(
        "data.dataset",
        "Data set",
        "Its id on the Hub, such as openai/gsm8k.",
        when=among("data.source", "hub"),
        only=True,
    ),
    Field(
        "data.subset",
        "Configuration",
        "Only where the data set has several, such as main.",
        when=among("data.source", "hub"),
        only=True,
    ),
    Field(
        "data.split",
        "Split",
        "Which of its splits to read, such as train. It is divided again here.",
        when=among("data.source", "hub"),
        only=True,
    ),
    *(
        Field(
            f"data.columns.{part}",
            label,
            text,
            when=both(among("data.source", "file", "hub"), when),
            only=True,
            widget="column",
            group="Which column is which",
        )
        for part, label, text, when in (
            ("question", "Question", "What the student is asked.", _APART),
            ("solution", "Worked solution", "What it learns to write. It should end with the answer.", _APART),
            ("answer", "Answer", "To grade by. Empty: what the solution ends with, such as #### 62.", _ALWAYS),
            ("family", "Kind of problem", "Accuracy is shown for each kind. Empty: all are one kind.", _ALWAYS),
            ("messages", "Conversation", "In place of question and solution: turns (messages). Else empty.", _ALWAYS),
        )
    ),
    Field("data.train", "To learn from", "Problems the student is trained on.", group="How many"),
    Field(
        "data.labelled",
        "Of these, with a solution",
        "Of the others the question alone is known, and the teachers write the solutions. 0: all have one.",
        group="How many",
    ),
    Field("data.held_out", "To be judged on", "Kept apart, and asked before and after.", group="How many"),
    Field(
        "data.new_phrasing",
        "In new wordings",
        "Asked in wordings that training never shows.",
        when=among("data.source", "problems"),
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

_HOW_LONG, _ADAPTER = "How long", "What is trained (LoRA: small additions to the student's layers)"
BUDGET = (
    Field(
        "budget.epochs",
        "Times over all texts (epochs)",
        "The adapter is kept after each. 0: as many steps as are given.",
        group=_HOW_LONG,
    ),
    Field(
        "budget.steps",
        "Steps",
        "How often the student is changed.",
        when=among("budget.epochs", None, "", 0),
        only=True,
        group=_HOW_LONG,
    ),
    Field("budget.batch_size", "Problems at a time", "Read before each change (batch size).", group=_HOW_LONG),
    Field(
        "budget.accumulation",
        "Batches to a step",
        "More than one for large steps in little memory (accumulation).",
        group=_HOW_LONG,
    ),
    Field(
        "budget.gradient_checkpointing",
        "Keep less in memory, compute twice (gradient checkpointing)",
        "Training takes much less memory, and about 40% longer.",
        group=_HOW_LONG,
    ),
    Field("budget.learning_rate", "Learning rate", "How far each step goes. Too high: it forgets.", group=_HOW_LONG),
    Field("lora.r", "Size of the additions (rank)", "Larger can learn more, and takes more memory.", group=_ADAPTER),
    Field("lora.alpha", "Their strength (alpha)", "They are scaled by alpha over rank.", group=_ADAPTER),
    Field("lora.dropout", "Left out at random (dropout)", "A fraction, against learning by heart.", group=_ADAPTER),
    Field(
        "lora.quantize",
        "Squeeze the student",
        "To fit large students into little memory (QLoRA). Quick on an NVIDIA GPU, slow on a CPU.",
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
    Field("budget.max_length", "Longest text read", "In tokens. What is longer is left out, and counted.", rare=True),
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
    Field(
        "report_to",
        "Trackers that get the numbers too",
        "Programs that keep and draw the curves of many runs. This page shows all of them without one.",
        {
            "trackio": "trackio: in files on this machine",
            "tensorboard": "tensorboard: in the run's folder",
            "wandb": "wandb: at Weights & Biases, or in files without an account",
        },
        rare=True,
    ),
)
