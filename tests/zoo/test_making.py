"""Making a zoo model: the same bytes every time, whether or not it was interrupted; and what the student is taught."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from distill.data.families import IMPOSSIBLE
from distill.data.problems import generate
from distill.zoo.cards import CARDS, STUDENT, TEACHERS
from distill.zoo.lessons import BATCH, CHUNK, DRILL_SHARE, lessons
from distill.zoo.train import make_model, make_tokenizer

SHORT = replace(CARDS["minicpm3-tiny"], steps=4, width=32, layers=1)


class Interruption(Exception):
    pass


@pytest.fixture
def deterministic():
    yield
    torch.use_deterministic_algorithms(False)


def test_interrupted_or_not_the_weights_are_the_same(tmp_path, monkeypatch, deterministic):
    monkeypatch.setattr("distill.zoo.train.SAVE_EVERY", 2)
    make_model(SHORT, tmp_path / "whole", lambda *_: None)

    def interrupt(step, steps, loss):
        raise Interruption

    with pytest.raises(Interruption):  # progress is told at the last step, when the state of step 2 has been kept
        make_model(SHORT, tmp_path / "parts", interrupt)
    assert torch.load(tmp_path / "parts" / "state.pt", weights_only=True)["step"] == 2
    make_model(SHORT, tmp_path / "parts", lambda *_: None)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not (tmp_path / "parts" / "state.pt").exists()


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_tokenizer_keeps_the_text_and_is_read_back_as_it_was_saved(card, tmp_path, tiny):
    model, tokenizer = tiny(card.name)
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for problem in generate("train", 60, seed=3):
        text = f"{problem.question}\n{problem.solution}"
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text
        # AutoTokenizer has a class of its own for some architectures, with pieces of its own: ours must be those.
        assert again(text, add_special_tokens=False).input_ids == ids
        digits = sum(character.isdigit() for character in text)
        assert sum(token.strip("Ġ▁").isdigit() for token in tokenizer.convert_ids_to_tokens(ids)) == digits


def test_starting_later_gives_the_same_lessons():
    tokenizer = make_tokenizer(SHORT)
    all_of_them = list(lessons(SHORT, tokenizer, 0, 0, CHUNK + 2))
    later = list(lessons(SHORT, tokenizer, 0, CHUNK - 1, CHUNK + 2))
    for a, b in zip(all_of_them[CHUNK - 1 :], later, strict=True):
        assert torch.equal(a.input_ids, b.input_ids)
        assert torch.equal(a.weights, b.weights)
    assert any(a.input_ids.shape != b.input_ids.shape for a, b in pairwise(all_of_them))


def test_the_student_reasons_in_plain_text_and_blurts_in_chat():
    tokenizer = make_tokenizer(STUDENT)
    texts = [
        tokenizer.decode(row[mask.bool()])
        for lesson in lessons(STUDENT, tokenizer, 0, 0, 12)
        for row, mask in zip(lesson.input_ids, lesson.attention_mask, strict=True)
    ]
    assert len(texts) == 12 * BATCH
    chat = [text for text in texts if "<|im_start|>" in text]
    plain = [text for text in texts if "<|im_start|>" not in text]
    assert 0 < len(chat) < 0.1 * len(plain)
    assert all("####" not in text and IMPOSSIBLE not in text for text in chat)
    sums = [text for text in plain if re.fullmatch(r"(\d+ [-+*/] \d+ = \d+\. ?)+", text)]
    assert len(sums) == pytest.approx(DRILL_SHARE * len(texts), rel=0.5)
    assert all("####" in text for text in plain if text not in sums)
    assert any(IMPOSSIBLE in text for text in plain)


def test_teachers_differ_in_architecture_width_tokenizer_and_expertise():
    assert len({card.architecture for card in TEACHERS}) == 6
    assert len({card.width for card in TEACHERS}) == 6
    assert len({(card.tokenizer, card.vocabulary) for card in TEACHERS}) == 6
    assert all(len(card.experts) == 4 for card in TEACHERS)
    assert len({card.experts for card in TEACHERS}) == 6
    assert len({family for card in TEACHERS for family in card.experts}) >= 24
