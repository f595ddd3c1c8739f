"""The bank: asked once, kept through kills, damage seen, failures in a sentence. With real tiny teachers on disk."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from distill.data.problems import generate
from distill.errors import UserError
from distill.models import load_model, load_tokenizer
from distill.progress import Stopped
from distill.teachers.bank import SignalBank
from distill.teachers.signals import SIGNALS, Request, compute

TEXTS = [(p.question, p.solution) for p in generate("held_out", 14)]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tiny_folder):
    return tiny_folder("qwen2-tiny")


@pytest.fixture
def copied(tiny_folder, tmp_path):
    """A teacher's folder of this test's own, to be damaged."""
    return Path(shutil.copytree(tiny_folder("qwen2-tiny"), tmp_path / "teacher"))


@pytest.fixture
def warnings():
    """What the bank of this test warned of: (code, text)."""
    return []


@pytest.fixture
def bank(tmp_path, warnings):
    return SignalBank(tmp_path / "cache", shard=4, on_warning=lambda *warning: warnings.append(warning))


def ask(bank, path, texts=TEXTS, request=None, name="qwen", **more):
    """What the bank says, and the progress it reported."""
    seen = []
    request = request or Request()
    return bank.ask(name, path, texts, request, on_progress=lambda *now: seen.append(now), **more), seen


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[s], expected[s]) for s in expected)


def files(bank):
    return sorted(bank.cache_dir.rglob("*.safetensors"))


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
from distill.teachers.bank import SignalBank
from distill.teachers.signals import Request
texts = [(p.question, p.solution) for p in generate("held_out", 14)]
bank = SignalBank(Path({str(bank.cache_dir)!r}), shard=4)
assert bank.ask("qwen", Path({str(folder)!r}), texts, Request())["pooled"].shape == (14, 128)
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
    assert probe["pooled_layers"].shape == (6, 5, 128)
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


# --- kills and damage -----------------------------------------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
from distill.data.problems import generate
from distill.teachers.bank import SignalBank
from distill.teachers.signals import Request

def pause(done, total):
    print(done, flush=True)
    if done == 10:  # in the middle of the third shard
        sys.stdin.read()

texts = [(p.question, p.solution) for p in generate("held_out", 14)]
SignalBank(Path(sys.argv[1]), shard=4).ask("qwen", Path(sys.argv[2]), texts, Request(), batch_size=2, on_progress=pause)
"""


def test_killed_in_the_middle_it_goes_on_where_it_was(bank, warnings, folder, tmp_path):
    command = [sys.executable, "-c", KILLED, str(bank.cache_dir), str(folder)]
    killed = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in killed.stdout:
        if line.strip() == "10":
            break
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    killed.stdin.close(), killed.stdout.close()
    assert len(files(bank)) == 4  # two whole shards of two signals

    found, seen = ask(bank, folder, batch_size=2)
    assert seen[0] == (8, 14)
    uninterrupted, _ = ask(SignalBank(tmp_path / "other", shard=4), folder, batch_size=2)
    assert same(found, uninterrupted) and not warnings


def test_stopped_it_keeps_what_is_finished(bank, folder):
    seen = []
    with pytest.raises(Stopped):
        bank.ask(
            "qwen", folder, TEXTS, Request(), on_progress=lambda *n: seen.append(n), should_stop=lambda: len(seen) > 2
        )
    assert ask(bank, folder)[1][0] == (8, 14)


def truncate(file):
    file.write_bytes(file.read_bytes()[:-7])


def empty(file):
    file.write_bytes(b"")


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def swap(file):
    save_file({"values": torch.zeros(4)}, file)


def write_over(file):
    file.write_bytes(b"not what it was" * 20)


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, swap, write_over])
def test_damage_is_seen_told_and_made_good(bank, warnings, folder, damage):
    first, _ = ask(bank, folder)
    damage(files(bank)[2])
    again, seen = ask(bank, folder)
    assert same(again, first) and seen[0][0] in (10, 12)  # one shard is asked for again
    assert [code for code, _ in warnings] == ["signals_damaged"]
    assert str(files(bank)[2]) in warnings[0][1] and "asked for again" in warnings[0][1]
    assert ask(bank, folder)[1] == [(14, 14)] and len(warnings) == 1


def test_what_a_killed_writer_left_is_ignored_and_swept_up(bank, folder):
    ask(bank, folder, TEXTS[:4])
    old, new = (files(bank)[0].parent / name for name in (".unfinished-old", ".unfinished-new"))
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 86400,) * 2)
    ask(bank, folder)
    assert not old.exists() and new.exists()  # the new one may be another run's, writing


# --- failures in a sentence -----------------------------------------------------------------------------------------


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text and len(text) < 600 and text.endswith("."), text
    return text


def test_numbers_that_are_not_finite_name_the_teacher_and_are_not_kept(bank, copied):
    weights = load_file(copied / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="teacher 'qwen' gives numbers that are not finite") as error:
        ask(bank, copied)
    one_sentence(error)
    assert not files(bank)


def test_a_text_too_long_names_the_teacher(bank, folder):
    with pytest.raises(UserError, match=r"teacher 'qwen' can't be asked.*begins 'x x .* is too long"):
        ask(bank, folder, [*TEXTS, ("x " * 2000, "So.")])
    assert ask(bank, folder, TEXTS[:12])[1] == [(12, 12)]  # what came before it is kept


def test_an_unwritable_folder_is_one_sentence(bank, folder):
    bank.cache_dir.write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"signals can't be kept in .*DISTILL_HOME") as error:
        ask(bank, folder)
    one_sentence(error)


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(bank, folder):
    # A limit on the size of a file fails as a full disk does: in the middle of a write.
    code = f"""
import resource, signal
from pathlib import Path
from distill.errors import UserError
from distill.data.problems import generate
from distill.teachers.bank import SignalBank
from distill.teachers.signals import Request
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
texts = [(p.question, p.solution) for p in generate("held_out", 14)]
try:
    SignalBank(Path({str(bank.cache_dir)!r}), shard=4).ask("qwen", Path({str(folder)!r}), texts, Request())
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("There is no room left to keep the teachers' signals in "), done
    assert not [file for file in bank.cache_dir.rglob("*") if file.is_file() and file.stat().st_size in (0, 1000)]
    assert ask(bank, folder)[0]["pooled"].isfinite().all()


def test_a_teacher_that_cannot_be_loaded_is_one_sentence(bank, copied):
    os.truncate(copied / "model.safetensors", 100_000)
    with pytest.raises(UserError, match="is cut short") as error:
        ask(bank, copied)
    one_sentence(error)
    assert not files(bank)


def test_a_tokenizer_of_another_model_is_one_sentence(bank, copied):
    model = load_model(copied)
    model.resize_token_embeddings(60)
    model.save_pretrained(copied)
    with pytest.raises(UserError, match=r"teacher 'qwen' can't be asked.*not of one model") as error:
        ask(bank, copied)
    one_sentence(error)
