"""The zoo as it ships: small, safe, whole, and as good as its table says."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill.config.paths import ZOO
from distill.data.problems import generate
from distill.evaluation.answering import answer_problems, score
from distill.zoo.cards import CARDS, SIBLING, TEACHERS
from distill.zoo.make import PAGE, PROBLEMS, TABLE, markdown

ENTRIES = {entry["name"]: entry for entry in json.loads((ZOO / "zoo.json").read_text())}
CLASSES = {
    "qwen2-tiny": "Qwen2ForCausalLM",
    "smollm2-tiny": "LlamaForCausalLM",
    "phi3-tiny": "Phi3ForCausalLM",
    "gemma2-tiny": "Gemma2ForCausalLM",
    "minicpm3-tiny": "MiniCPM3ForCausalLM",
    "nemotron-tiny": "NemotronForCausalLM",
    "sibling-tiny": "Qwen2ForCausalLM",
    "student-tiny": "Qwen2ForCausalLM",
}


def test_it_is_small_and_holds_no_pickle():
    files = [path for path in ZOO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 24e6
    assert max(path.stat().st_size for path in files) <= 9e6
    assert {path.suffix for path in files} <= {".json", ".jinja", ".safetensors"}


@pytest.mark.parametrize("name", CARDS)
def test_each_model_is_what_its_card_says(name):
    model = AutoModelForCausalLM.from_pretrained(ZOO / name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(ZOO / name)
    entry = ENTRIES[name]
    assert type(model).__name__ == entry["architecture"] == CLASSES[name]
    assert model.config.hidden_size == entry["width"] == CARDS[name].width
    assert sum(p.numel() for p in model.parameters()) == entry["parameters"]
    assert len(tokenizer) == entry["vocabulary"]
    assert tokenizer.chat_template


def test_the_student_is_smaller_than_every_teacher_and_starts_low():
    student = ENTRIES["student-tiny"]
    assert all(student["parameters"] < ENTRIES[card.name]["parameters"] for card in TEACHERS)
    assert student["held_out"]["accuracy"] <= 0.25


def test_the_sibling_has_the_students_tokenizer_and_more_logits_than_tokens():
    files = [(ZOO / name / "tokenizer.json").read_bytes() for name in ("sibling-tiny", "student-tiny")]
    assert files[0] == files[1]
    logits = json.loads((ZOO / "sibling-tiny" / "config.json").read_text())["vocab_size"]
    assert logits == SIBLING.logits > ENTRIES["sibling-tiny"]["vocabulary"] == ENTRIES["student-tiny"]["vocabulary"]


@pytest.mark.parametrize("card", [*TEACHERS, SIBLING], ids=lambda card: card.name)
def test_teachers_are_competent_and_expert_in_two_families(card):
    entry = ENTRIES[card.name]
    assert entry["held_out"]["accuracy"] >= 0.8
    assert len(card.experts) == 2
    assert all(entry["by_family"][family] >= 0.95 for family in card.experts)


@pytest.mark.parametrize("name", ["qwen2-tiny", "student-tiny"])
def test_the_table_is_true(name):
    # Two of eight, to save time; the command that writes the table measures all.
    model = AutoModelForCausalLM.from_pretrained(ZOO / name, dtype=torch.float32).eval()
    answers = answer_problems(model, AutoTokenizer.from_pretrained(ZOO / name), generate("held_out", PROBLEMS), 96)
    assert score(answers).accuracy == pytest.approx(ENTRIES[name]["held_out"]["accuracy"], abs=0.01)


def test_its_page_holds_the_table():
    text = PAGE.read_text(encoding="utf-8")
    begin, end = (text.index(mark) for mark in TABLE)
    assert text[begin + len(TABLE[0]) : end].strip() == markdown(list(ENTRIES.values()))
