"""The bank: asked once, kept, and only what is missing is asked. With real tiny teachers on disk."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bank_cases import TEXTS, ask, files, same
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from distill.models.loading import load_model, load_tokenizer
from distill.teachers.signal_cache import SignalBank
from distill.teachers.signals import SIGNALS, Request, compute
from distill.zoo.cards import CARDS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bank(tmp_path, warnings):
    return SignalBank(tmp_path / "cache", shard=4, on_warning=lambda *warning: warnings.append(warning))


def test_the_bank_says_what_the_teacher_says(bank, folder):
    found, seen = ask(bank, folder)
    expected = compute(load_model(folder), load_tokenizer(folder), TEXTS, Request())
    for name in SIGNALS:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-5)
    assert seen[0] == (0, 14) and seen[-1] == (14, 14) and seen == sorted(seen)
    assert len(files(bank)) == 8  # two signals, four shards


def test_what_was_said_is_kept_and_the_teacher_is_let_go(bank, folder):
    gc.collect()
    loaded = sum(isinstance(thing, PreTrainedModel) for thing in gc.get_objects())
    first, _ = ask(bank, folder)
    assert sum(isinstance(thing, PreTrainedModel) for thing in gc.get_objects()) == loaded
    again, seen = ask(bank, folder)
    assert same(again, first) and seen == [(14, 14)]


def test_nothing_is_loaded_where_nothing_is_missing(bank, folder):
    ask(bank, folder)
    code = f"""
import sys
from pathlib import Path
from distill.data.problems import generate
from distill.teachers.signal_cache import SignalBank
from distill.teachers.signals import Request
texts = [(p.question, p.solution) for p in generate("held_out", 14)]
bank = SignalBank(Path({str(bank.cache_dir)!r}), shard=4)
assert bank.ask("qwen", Path({str(folder)!r}), texts, Request())["pooled"].shape == (14, {CARDS["qwen2-tiny"].width})
assert not [name for name in sys.modules if "modeling_qwen2" in name]
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_only_what_is_missing_is_asked(bank, folder):
    ask(bank, folder, request=Request(needs=frozenset({"nll_per_byte"})))
    kept = {file: file.stat().st_mtime_ns for file in files(bank)}
    _, seen = ask(bank, folder, request=Request(layer=0.5))  # another layer: the likelihood is the same
    assert seen[0] == (0, 14) and len(files(bank)) == 8
    _, seen = ask(bank, folder, TEXTS[:8], Request(layer=0.5))  # fewer texts: whole shards are there
    assert seen == [(8, 8)]
    _, seen = ask(bank, folder, [*TEXTS[:8], ("Why?", "So.")], Request(layer=0.5))
    assert seen == [(8, 9), (9, 9)]
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


LAYERS = frozenset({"pooled", "nll_per_byte", "pooled_layers"})


def test_several_questions_are_put_to_a_teacher_that_is_loaded_once(bank, folder, monkeypatch):
    loaded, seen, load = [], [], AutoModelForCausalLM.from_pretrained

    def counted(path, **how):
        loaded.append(path)
        return load(path, **how)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    questions = [(TEXTS[:8], Request()), (TEXTS[8:], Request(needs=LAYERS))]
    train, probe = bank.ask_each("qwen", folder, questions, on_progress=lambda *now: seen.append(now))
    assert len(loaded) == 1
    assert seen[0] == (0, 14) and seen[-1] == (14, 14) and seen == sorted(seen)
    assert train.keys() == {"pooled", "nll_per_byte"} and probe.keys() == LAYERS
    assert same(train, ask(bank, folder, TEXTS[:8])[0])
    assert probe["pooled_layers"].shape == (6, 5, CARDS["qwen2-tiny"].width)
    torch.testing.assert_close(probe["pooled_layers"][:, 3], probe["pooled"])

    seen.clear()
    again = bank.ask_each("qwen", folder, questions, on_progress=lambda *now: seen.append(now))
    assert seen == [(14, 14)] and len(loaded) == 1
    assert same(again[0], train) and same(again[1], probe)


def test_layers_are_asked_for_where_all_else_is_kept_and_do_not_depend_on_the_one_that_is_read(bank, folder):
    ask(bank, folder)
    _, seen = ask(bank, folder, request=Request(needs=LAYERS))
    assert seen[0] == (0, 14) and len(files(bank)) == 12
    _, seen = ask(bank, folder, request=Request(needs=frozenset({"pooled_layers"}), layer=0.5))
    assert seen == [(14, 14)]
    _, seen = ask(bank, folder, request=Request(needs=frozenset({"pooled_layers"}), pooling="mean"))
    assert seen[0] == (0, 14)


@pytest.mark.parametrize(
    "other",
    [
        {"request": Request(layer=0.5)},
        {"request": Request(pooling="mean")},
        {"request": Request(max_characters=100)},
        {"request": Request(max_length=70)},
        {"request": Request(system="Think.")},
        {"dtype": torch.bfloat16},
        {"texts": [("Why?", "So.")] * 14},
    ],
    ids=range(7),  # a set would be said in another order by each of the processes that share the tests
)
def test_another_question_is_not_answered_from_memory(bank, folder, other):
    first, _ = ask(bank, folder)
    found, seen = ask(bank, folder, **other)
    assert seen[0] == (0, 14)
    assert not torch.equal(found["pooled"], first["pooled"])


def test_another_model_under_the_same_name_is_another_teacher(bank, copied, tmp_path):
    first, _ = ask(bank, copied)
    moved = copied.rename(tmp_path / "elsewhere")
    assert ask(bank, moved)[1] == [(14, 14)]  # a copy is the same model
    weights = load_file(moved / "model.safetensors")
    weights["model.norm.weight"] *= 1.5
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    found, seen = ask(bank, moved)
    assert seen[0] == (0, 14) and not torch.equal(found["nll_per_byte"], first["nll_per_byte"])
