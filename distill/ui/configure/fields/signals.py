"""The dials of the methods that follow teachers token by token: probabilities, inner states, likelihoods of chunks."""

from __future__ import annotations

from distill.ui.configure.fields.field import Field, Objective, above, among, both, either
from distill.ui.configure.fields.shared import shares, teachers

_BESIDE = "How much this counts beside the other aims."
_LOSS = "objectives.cross_tokenizer.loss"

LOGITS = Objective(
    "logits",
    "The teachers' probabilities",
    "the probabilities",
    "At each word of the solution the student should find the same next words likely as the teachers (logits, "
    "Hinton's method). For teachers with the student's own tokenizer.",
    _BESIDE,
    (
        Field(
            "objectives.logits.temperature",
            "Softness of the probabilities (temperature)",
            "1: as they are. Higher: unlikely words count more. The loss is multiplied by its square.",
        ),
        Field(
            "objectives.logits.divergence",
            "How they are compared (divergence)",
            "Forward spreads over all that a teacher finds likely; reverse settles on some of it.",
            {
                "forward": "forward: by the words that the teacher finds likely (forward KL)",
                "reverse": "reverse: by the words that the student finds likely (reverse KL)",
                "jsd": "jsd: between the two (generalised Jensen-Shannon)",
            },
        ),
        Field(
            "objectives.logits.beta",
            "Between forward and reverse (beta)",
            "Near 0: as forward. Near 1: as reverse.",
            when=among("objectives.logits.divergence", "jsd"),
        ),
        Field(
            "objectives.logits.scaling",
            "Size of the loss near the ends",
            "How far jsd shrinks when beta nears 0 or 1.",
            {
                "plain": "plain: it vanishes there, as in TRL",
                "continuous": "continuous: divided by beta (1 - beta), so that its ends are forward and reverse",
            },
            when=among("objectives.logits.divergence", "jsd"),
        ),
        Field(
            "objectives.logits.source",
            "When the teachers are heard",
            "Once takes disk, always takes memory and time.",
            {
                "stored": "stored: once, before training; the likeliest words are kept on disk",
                "live": "live: at each step; they stay in memory, and every word counts",
            },
        ),
        Field(
            "objectives.logits.top_k",
            "Words kept at each place (top-k)",
            "The likeliest; all others count as one.",
            when=among("objectives.logits.source", "stored"),
        ),
        teachers("logits", "probabilities"),
        *shares("logits", "probabilities", rare=True),
    ),
)

FEATURES = Objective(
    "features",
    "The teachers' inner states",
    "the inner states",
    "While it reads the solution the student should have in mind, layer by layer, what the teachers have (hidden "
    "states, features). Any teachers will do.",
    _BESIDE,
    (
        Field(
            "objectives.features.loss",
            "How inner states are compared",
            "With mse and cosine a trained map does part of the work, so that a falling loss proves little.",
            {
                "mse": "mse: by distance, through a trained map to the teacher's width",
                "cosine": "cosine: by direction, through such a map",
                "cka": "cka: by which pieces of text each finds alike, with nothing in between",
                "nbs": "nbs: as cka, less blind to what varies little",
            },
        ),
        Field(
            "objectives.features.layers",
            "Which layers are paired",
            "It matters little; random is the control that the others must beat.",
            {
                "uniform": "uniform: evenly spaced, each with the teacher's at the same depth",
                "last": "last: the last ones of both",
                "random": "random: drawn once",
                "cka_argmax": "cka_argmax: evenly spaced, each with the teacher's that is most alike at first",
            },
        ),
        Field("objectives.features.count", "Pairs of layers", "More take more disk, and more time."),
        *shares("features", "inner states"),
        teachers("features", "inner states", rare=True),
    ),
)

CROSS_TOKENIZER = Objective(
    "cross_tokenizer",
    "Likelihoods across tokenizers",
    "the likelihoods",
    "As probabilities, for teachers that cut text into other tokens: both are compared on pieces of text that end at "
    "the same character. Any teachers will do.",
    _BESIDE,
    (
        Field(
            _LOSS,
            "What is compared on a piece of text",
            "The first needs the least disk.",
            {
                "alm": "alm: how likely each finds the piece (approximate likelihood matching)",
                "xtoken": "xtoken: the next words, the teacher's translated into the student's (X-Token)",
                "uld": "uld: probabilities by size, whatever the words (ULD); only to compare with",
            },
        ),
        Field(
            "objectives.cross_tokenizer.tau",
            "Softness of the likelihoods (tau, ALM)",
            "1: as they are. Large, such as its authors' 100: unlikely pieces still count.",
            when=among(_LOSS, "alm"),
        ),
        Field(
            "objectives.cross_tokenizer.shared",
            "Weight of words that both have",
            "Compares their probabilities too, where a piece is one token of both. 0: not at all.",
            when=among(_LOSS, "alm"),
        ),
        Field(
            "objectives.cross_tokenizer.top_k",
            "Words kept for each piece (top-k)",
            "The likeliest; all others count as one.",
            when=either(
                among(_LOSS, "xtoken", "uld"),
                both(among(_LOSS, "alm"), above("objectives.cross_tokenizer.shared", 0)),
            ),
        ),
        *shares("cross_tokenizer", "likelihoods"),
        teachers("cross_tokenizer", "likelihoods", rare=True),
    ),
)
