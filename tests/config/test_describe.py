"""Every method and its settings are said in plain words, with what was set and nothing else."""

import pytest

from distill.config.method import describe, described
from distill.objectives import KINDS, called


def test_every_method_has_a_name_of_its_own():
    assert len({method.name for method in KINDS.values()}) == len(KINDS)
    assert called("logits") == "teachers' probabilities (logits)"
    assert called("of-later") == "of-later"


@pytest.mark.parametrize(
    ("kind", "set_", "words"),
    [
        ("task", {}, "worked solutions (task), weight 1"),
        ("logits", {"divergence": "jsd", "beta": 0.1, "scaling": "continuous"}, "Jensen-Shannon with beta 0.1, cont"),
        ("logits", {"divergence": "reverse", "temperature": 4}, "reverse KL, temperature 4, the 64 likeliest tokens"),
        ("logits", {"source": "live"}, "all tokens, live"),
        ("features", {"loss": "cka", "count": 1, "layers": "last"}, "cka, 1 pair of layers (last)"),
        ("geometry", {"mode": "deku"}, "weight 0.5: mode deku, biased similarity at 0.75 of the depth, learned gate"),
        ("gkd", {"beta": 0}, "50% of steps on its own answers, the others on the solutions, forward KL"),
        (
            "gkd",
            {"lmbda": 0.25, "seq_kd": True, "beta": 1},
            "25% of steps on its own answers, the others on theirs, re",
        ),
        ("cross_tokenizer", {"tau": 10}, "ALM, tau 10, prior gate"),
        ("cross_tokenizer", {"shared": 0.5}, "tokens of both times 0.5, the 64 likeliest tokens"),
        ("cross_tokenizer", {"loss": "xtoken", "top_k": 8}, "X-Token, the 8 likeliest tokens"),
        ("response", {}, "each problem answered once by every teacher, kept those that are right, the likeliest token"),
        ("response", {"samples": 4, "problems": "share", "top_p": 0.9}, "4 times by one of the teachers, kept those"),
        ("response", {"samples": 4}, "temperature 0.8"),
    ],
)
def test_what_was_set_is_said(kind, set_, words):
    assert words in described(KINDS[kind](**set_), ["a", "b"])


def test_who_counts_is_said_only_of_several_and_who_is_heard_only_of_some():
    assert describe(KINDS["features"](), ["a", "b"]).endswith(", prior gate")
    assert "gate" not in describe(KINDS["features"](), ["a"])
    assert describe(KINDS["features"](teachers=["a"]), ["a", "b"]).endswith("(uniform), of a")
    assert describe(KINDS["features"](teachers=["a", "b"]), ["a", "b", "c"]).endswith("prior gate, of a and b")
