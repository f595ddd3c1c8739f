"""How slots are filled: articles, capitals, numbers in words, money before a note, invented words, typos."""

import random
import re

import pytest

from distill.data import telling
from distill.data.families import VARIANTS
from distill.data.problems import generate
from distill.data.telling import spelt, tell
from distill.data.wordings import Wording, Wordings, known_words


def told(monkeypatch, text, facts=(12, 8), variant="in_all", money=None):
    everything = {section: (Wording(text, "here", "0"),) for section in [variant]}
    monkeypatch.setattr(telling, "wordings", lambda: Wordings(everything, everything))
    monkeypatch.setattr(telling, "_COMPOSED", 0)
    if money:
        monkeypatch.setattr(telling, "_MONEY", [money])
        monkeypatch.setattr(telling, "_NOTES", [money])
    return tell(random.Random(1), VARIANTS[variant], facts, "held_out")[0]


@pytest.mark.parametrize(
    ("text", "facts", "money", "found"),
    [
        ("A {a} m rope, a {b} m rope.", (12, 8), None, "A 12 m rope, an 8 m rope."),
        ("A {$a} rope and a {$b} one.", (12, 80), "${}", "A $12 rope and an $80 one."),
        (
            "Pays with a {$a} note, not a {$b} bill.",
            (50, 5),
            "{} euros",
            "Pays with a 50 euro note, not a 5 euro bill.",
        ),
        ("{a} and {b}. a ewe is here, as usual.", (12, 8), None, "12 and 8. a ewe is here, as usual."),
    ],
)
def test_articles_and_money(monkeypatch, text, facts, money, found):
    for chance in ("_FILLER", "_CLOSER", "_IN_WORDS", "_ONE_IN_WORDS"):
        monkeypatch.setattr(telling, chance, 0)
    assert told(monkeypatch, text, facts, money=money) == found


def test_a_slot_that_begins_a_sentence_has_a_capital_and_typed_words_stay(monkeypatch):
    for chance in ("_FILLER", "_CLOSER"):
        monkeypatch.setattr(telling, chance, 0)
    monkeypatch.setattr(telling, "_IN_WORDS", 1)
    text = told(monkeypatch, 'she has {a}. {b} came. "{she} is here," i said', (31, 100))
    assert re.fullmatch(r'she has thirty-one\. One hundred came\. "S?[Hh]e is here," i said', text)


def test_numbers_in_words():
    words = [spelt(value) for value in (2, 19, 20, 21, 99, 100)]
    assert words == ["two", "nineteen", "twenty", "twenty-one", "ninety-nine", "one hundred"]


def test_what_is_invented_is_a_new_word():
    rng = random.Random(3)
    words = {telling._invented(rng) for _ in range(20_000)}
    assert len(words) > 5000 and not words & (known_words() | telling._REAL)


def test_a_typo_leaves_numbers_in_words_alone():
    rng = random.Random(4)
    for _ in range(500):
        assert {"twelve", "seventeen"} <= set(telling._with_a_typo(rng, "twelve pears and seventeen oranges").split())


def test_training_texts_are_typed_as_people_type_and_judging_texts_are_clean():
    trained = [p.question for p in generate("train", 2000)]
    judged = [p.question for p in generate("held_out", 1000)]
    assert 0.02 < sum(text == text.lower() for text in trained) / 2000 < 0.15
    assert any("’" in text for text in trained) and not any("’" in text for text in judged)
    assert not any(re.search(r"[{}\[\]|]|  ", text) for text in trained + judged)
