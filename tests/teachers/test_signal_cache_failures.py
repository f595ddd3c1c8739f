"""The bank through kills, stops and damage, and its failures in a sentence. With real tiny teachers on disk."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from bank_cases import TEXTS, ask, files, same
from safetensors.torch import load_file, save_file

from distill.config.errors import Stopped, UserError
from distill.models.loading import load_model
from distill.teachers.signal_cache import SignalBank
from distill.teachers.signals import Request

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bank(tmp_path, warnings):
    return SignalBank(tmp_path / "cache", shard=4, on_warning=lambda *warning: warnings.append(warning))


# --- kills and damage -----------------------------------------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
from distill.data.problems import generate
from distill.teachers.signal_cache import SignalBank
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
from distill.config.errors import UserError
from distill.data.problems import generate
from distill.teachers.signal_cache import SignalBank
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
    with pytest.raises(UserError, match=r"teacher 'qwen' can't be asked.*not from the same model") as error:
        ask(bank, copied)
    one_sentence(error)
