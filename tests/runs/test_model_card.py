"""The model card says what the student was trained on, and no number that the report has not."""

import pytest
from model_card_cases import report

from distill.config.run_config import load
from distill.runs.model_card import model_card


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("tiny", "- worked solutions (task), weight 1\n- teachers' answers (response), weight 1: each problem"),
        ("tiny", "- teachers' geometry (geometry), weight 0.5: mode kernel"),
        ("tiny-response", "- teachers' answers (response), weight 1: each problem answered once by"),
        ("tiny-logits", "- teachers' probabilities (logits), weight 1: forward KL"),
        ("tiny-features", "- teachers' hidden states (features), weight"),
        ("tiny-gkd", "- corrections of its own answers (gkd), weight"),
        ("tiny-cross-tokenizer", "- likelihoods across tokenizers (cross_tokenizer), weight"),
    ],
)
def test_every_method_is_named_with_its_settings(preset, words):
    assert words in model_card(report(), load(preset))


def test_how_many_answers_were_kept_is_said():
    counts = {"asked": 320, "finished": 318, "right": None, "kept": 300}
    card = model_card(report(responses={"qwen2-tiny": counts}), load("tiny-response"))
    assert "Of the teachers' 320 answers to the training problems 300 were kept" in card
    assert "| qwen2-tiny | 320 | 318 | – | 300 |" in card
    for nothing in ({}, {"responses": {}}, {"responses": None}):
        assert "were kept to learn from" not in model_card(report(**nothing), load("tiny"))


def test_agreement_without_a_gate_has_no_column_of_weights():
    cka = {"qwen2-tiny": {"before": 0.25, "after": None, "null95": None, "n": 128}}
    card = model_card(report(cka=cka), load("tiny-gkd"))
    assert "| qwen2-tiny | 0.250 | – |\n" in card and "gate weight" not in card
    card = model_card(report(cka=cka, gate={"qwen2-tiny": 1.0}), load("tiny"))
    assert "| qwen2-tiny | 0.250 | – | 1.00 |" in card and "mean gate weight" in card
