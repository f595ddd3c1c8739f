"""Whether two tokenizers are one: by what they do, never by their widths."""

import copy
import time
import unicodedata

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from distill.config import paths
from distill.models.loading import load_tokenizer
from distill.models.tokenizer_compat import PROBES, Reader
from distill.models.tokenizer_compat import pair as pair_of

TEACHERS = ["qwen2-tiny", "smollm2-tiny", "phi3-tiny", "gemma2-tiny", "minicpm3-tiny", "nemotron-tiny"]
PIECES = ["<unk>", *map(chr, range(32, 127)), "\n"]
TEMPLATE = (
    "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|ai|>{% endif %}"
)
TURNS = ("<|user|>", "<|ai|>", "<|end|>")


def compare(student, teacher, student_logits=None, teacher_logits=None):
    return pair_of(Reader(student, student_logits), Reader(teacher, teacher_logits))


@pytest.fixture(scope="module")
def zoo():
    """`zoo(name)` -> the tokenizer that a run would load."""
    found = {name: load_tokenizer(paths.ZOO / name) for name in ("student-tiny", *TEACHERS)}
    return found.__getitem__


def bpe(merges=("th", "he"), added=TURNS, cut=None, normalizer=None, unk="<unk>", **more):
    """A small BPE of single characters and `merges` of two."""
    words = [*PIECES, *merges]
    backend = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [tuple(m) for m in merges], unk_token=unk))
    backend.decoder = decoders.Fuse()
    if normalizer:
        backend.normalizer = normalizer
    if cut:
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(cut), "isolated")
    backend.add_special_tokens(
        [token if isinstance(token, AddedToken) else AddedToken(token, special=True) for token in added]
    )
    names = {"eos_token": "<|end|>", "unk_token": unk, **more}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


# --- the zoo -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEACHERS)
def test_no_teacher_of_the_zoo_has_the_students_tokenizer(zoo, name):
    pair = compare(zoo("student-tiny"), zoo(name), 1536, len(zoo(name)))
    assert not pair.same_tokenizer and pair.vocabulary == 0
    assert "for the student and" in pair.difference
    assert pair.round_trip is None and not pair.pad_is_end and pair.has_template == (True, True)
    assert pair.same_end == (pair.student_end == pair.teacher_end) == (name in ("qwen2-tiny", "smollm2-tiny"))
    assert pair.same_template == (name in ("qwen2-tiny", "smollm2-tiny"))


def test_a_longer_vocabulary_that_begins_alike_is_another(zoo):
    """qwen2-tiny's first 1536 tokens are the student's, but it goes on merging: words come out differently."""
    student, teacher = zoo("student-tiny"), zoo("qwen2-tiny")
    assert student.convert_ids_to_tokens(list(range(1536))) == teacher.convert_ids_to_tokens(list(range(1536)))
    assert not compare(student, teacher).same_tokenizer and not compare(teacher, student).same_tokenizer


def test_padded_logits_are_no_other_tokenizer(zoo, tmp_path):
    zoo("student-tiny").save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    pair = compare(zoo("student-tiny"), again, 1536, 1600)  # as Qwen2.5's 151,936 and 152,064
    assert pair.same_tokenizer and pair.difference is None
    assert pair.vocabulary == 1536 and pair.padded == (0, 64)
    assert compare(zoo("student-tiny"), again, 1564, 1600).vocabulary == 1536
    assert compare(zoo("student-tiny"), again).vocabulary == 1536
    assert compare(zoo("student-tiny"), again, 1528, 1536).vocabulary == 1528  # a logit short of a token


# --- what tells tokenizers apart -------------------------------------------------------------------------------------


def test_the_probes_are_composed_and_hold_what_they_should():
    assert all(unicodedata.is_normalized("NFC", probe) for probe in PROBES)
    text = "".join(PROBES)
    for kind in ("\u200d", "𝒜", "安", "\t", "\r\n", "   ", "\\frac", "1234567890", "<think>", "é"):
        assert kind in text


def test_equal_width_is_not_the_same_tokenizer():
    one, other = bpe(("th", "he")), bpe(("he", "th"))
    assert len(one) == len(other)
    assert compare(one, other).difference.startswith("in ")
    rare = compare(bpe(("zq", "th")), bpe(("qz", "th")))  # no probe holds either: the ids tell
    assert rare.difference == "token 97 is 'zq' for the student and 'qz' for the teacher"
    assert compare(one, bpe(("th", "he"))).same_tokenizer


def test_the_same_vocabulary_cut_by_another_rule_is_another_tokenizer():
    pair = compare(bpe(("12", "34")), bpe(("12", "34"), cut=r"\d"))
    assert not pair.same_tokenizer and pair.vocabulary == 0
    assert "'12' (id 97) for the student and '1' (id 18) for the teacher" in pair.difference


def test_what_only_one_has_learned_makes_it_another():
    end = {"added": (), "eos_token": "~"}
    shorter, longer = bpe(("th",), **end), bpe(("th", "zq"), **end)
    for tokenizer in (shorter, longer):
        tokenizer.chat_template = None
    assert longer.convert_ids_to_tokens(list(range(len(shorter)))) == shorter.convert_ids_to_tokens(
        list(range(len(shorter)))
    )
    assert "in 'zq'" in compare(shorter, longer).difference  # no probe holds it: its own text is tried
    assert "in 'zq'" in compare(longer, shorter).difference


def test_added_tokens_beyond_the_common_ones_are_harmless():
    """As Qwen3's <think> beside Qwen2.5: one id for the one, several for the other, and no logit in common."""
    pair = compare(bpe(), bpe(added=(*TURNS, "<think>", "</think>")), 128, 128)
    assert pair.same_tokenizer and pair.vocabulary == 102 and pair.padded == (26, 24)


def test_an_added_token_with_another_id_is_another_tokenizer():
    pair = compare(bpe(), bpe(added=("<|ai|>", "<|user|>", "<|end|>")))
    assert pair.difference == "token 99 is '<|user|>' for the student and '<|ai|>' for the teacher"
    assert pair.same_end and pair.same_template  # neither tells


def test_an_added_token_that_eats_blanks_is_another_tokenizer():
    eating = bpe(added=[AddedToken(token, special=True, rstrip=True) for token in TURNS])
    assert "in 'a <|ai|>\\n b'" in compare(bpe(), eating).difference


def test_ids_that_are_kept_free_may_be_named_later():
    """As in Llama 3, whose <|reserved_special_token_2|> is Llama 3.1's padding."""
    fine = bpe(added=(*TURNS, "<|fine|>"))
    assert compare(bpe(added=(*TURNS, "<|reserved_2|>")), fine).same_tokenizer
    assert not compare(bpe(added=(*TURNS, "<|tool|>")), fine).same_tokenizer


# --- what else matters of two models ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("normalizer", "into"),
    [(normalizers.Lowercase(), "'= ann ='"), (normalizers.Replace(Regex(" +"), " "), "'= two spaces ='")],
)
def test_a_tokenizer_that_changes_text_is_seen(normalizer, into):
    changed = compare(bpe(), bpe(normalizer=normalizer)).round_trip
    assert changed.startswith("the teacher's tokenizer turns ") and f" into {into[:6]}" in changed
    assert compare(bpe(normalizer=normalizer), bpe()).round_trip.startswith("the student's tokenizer")


@pytest.mark.parametrize("name", ["student-tiny", *TEACHERS])
def test_a_tokenizer_that_composes_or_knows_few_characters_changes_nothing(zoo, name):
    assert compare(zoo(name), zoo(name)).round_trip is None


def test_compatibility_forms_and_dropped_characters_are_changes(zoo):
    folding, dropping = copy.deepcopy(zoo("minicpm3-tiny")), bpe(unk=None)
    folding.backend_tokenizer.normalizer = normalizers.NFKC()
    assert "²" in compare(zoo("student-tiny"), folding).round_trip
    assert "teacher" in compare(zoo("student-tiny"), dropping).round_trip  # "é" goes without a trace


def test_a_tokenizer_that_knows_no_word_is_seen(zoo):
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "~": 1}, unk_token="<unk>"))
    nothing = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="~")
    assert "doesn't even know 'Ann'" in compare(zoo("student-tiny"), nothing).round_trip


def test_padding_with_the_end_is_seen():
    assert compare(bpe(), bpe(pad_token="<|end|>")).pad_is_end and compare(bpe(pad_token="<|end|>"), bpe()).pad_is_end
    assert not compare(bpe(pad_token="<|user|>"), bpe()).pad_is_end


def test_a_base_student_ends_otherwise():
    base, chat = bpe(added=(*TURNS, "<|stop|>"), eos_token="<|stop|>"), bpe()
    base.chat_template = None
    pair = compare(base, chat)
    assert pair.same_tokenizer and not pair.same_end and (pair.student_end, pair.teacher_end) == ("<|stop|>", "<|end|>")
    assert pair.has_template == (False, True) and not pair.same_template


def test_a_large_pair_takes_less_than_a_second():
    words = [f"w{i}" for i in range(150_000)]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<unk>", "~", *words])}, unk_token="<unk>"))
    large = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="~")
    began = time.process_time()
    assert compare(large, large, 150_002, 151_000).vocabulary == 150_002
    assert time.process_time() - began < 1
