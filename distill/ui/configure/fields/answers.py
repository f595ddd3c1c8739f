"""The dials of the methods that learn from whole texts: solutions, the teachers' answers, the student's own answers."""

from __future__ import annotations

from distill.ui.configure.fields.field import Field, Objective, above, either
from distill.ui.configure.fields.shared import shares, teachers

_BESIDE = "How much this counts beside the other aims."

TASK = Objective(
    "task",
    "Worked solutions",
    "the solutions",
    "The student learns to write the solution of each problem, word by word (cross-entropy). Needs no teacher.",
    _BESIDE,
)

RESPONSE = Objective(
    "response",
    "The teachers' own answers",
    "the teachers' answers",
    "The teachers answer the training problems, and the student learns to write what they wrote (sequence-level). "
    "Any teachers will do.",
    _BESIDE,
    (
        Field(
            "objectives.response.problems",
            "Who answers what",
            "With many teachers, sharing takes a fraction of the time.",
            {
                "each": "each: every teacher answers every problem",
                "share": "share: the problems are divided among them",
            },
        ),
        Field(
            "objectives.response.keep",
            "Which answers are learnt from",
            "An answer is right where it ends with the right result, however it got there.",
            {
                "all": "all: every answer that has an end",
                "right": "right: those that are right",
                "shortest": "shortest: of the right ones to a problem, the shortest",
                "majority": "majority: the shortest with the result that most answers have; needs no solutions",
            },
        ),
        Field(
            "objectives.response.samples",
            "Answers to a problem (samples)",
            "How many each teacher that is asked gives. More take longer, and find more that are right.",
        ),
        Field(
            "objectives.response.temperature",
            "Variety of the teachers' answers (temperature)",
            "0: the likeliest word each time. Empty: 0 for one answer, 0.8 for several.",
        ),
        Field(
            "objectives.response.top_p",
            "Only words likely enough (top-p)",
            "Words are drawn from the likeliest that share this much of the probability. 1: from all.",
            when=either(above("objectives.response.temperature", 0), above("objectives.response.samples", 1)),
            rare=True,
        ),
        Field(
            "objectives.response.max_new_tokens",
            "Longest answer of a teacher",
            "In its tokens. A longer one is left out, and counted.",
            rare=True,
        ),
        Field(
            "objectives.response.prefill",
            "How their answers begin (prefill)",
            "`<think>\\n` (`\\n`: a new line) has them think first; the student learns it too. Empty: as they like.",
            rare=True,
        ),
        teachers("response", "their answers", rare=True),
    ),
)

GKD = Objective(
    "gkd",
    "The student's own answers, corrected",
    "the corrections",
    "The student answers while it trains, and at each word the teachers say what they would have found likely "
    "(on-policy, GKD). For teachers with the student's own tokenizer, which stay in memory. The slowest.",
    _BESIDE,
    (
        Field(
            "objectives.gkd.lmbda",
            "Share of steps on its own answers (lambda)",
            "The other steps correct it on given texts. 0: never its own. 1: always.",
        ),
        Field(
            "objectives.gkd.beta",
            "Whose likely words are compared (beta)",
            "0: those of the teacher (forward KL). 1: those of the student (reverse KL). Between: both.",
        ),
        Field(
            "objectives.gkd.seq_kd",
            "The given texts are the teachers' answers (sequence-level)",
            "Off: they are the worked solutions. On: the teachers answer the problems once before training.",
        ),
        teachers("gkd", "corrections"),
        Field(
            "objectives.gkd.temperature",
            "Variety of its own answers (temperature)",
            "Of drawing them only. Small: the likeliest words.",
            rare=True,
        ),
        Field(
            "objectives.gkd.max_new_tokens",
            "Longest answer of its own",
            "In tokens. What is longer has no end, and is counted.",
            rare=True,
        ),
        *shares("gkd", "corrections", rare=True),
    ),
)
