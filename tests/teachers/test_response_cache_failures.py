"""Teachers' answers through stops, kills and damage, and failures in a sentence."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from responses_cases import DRAWN, QUESTIONS, ask, files
from safetensors.torch import load_file, save_file

from distill.config.errors import Stopped, UserError
from distill.models.loading import load_model
from distill.teachers.response_cache import ResponseBank, ResponseRequest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bank(tmp_path, warnings):
    return ResponseBank(tmp_path / "cache", shard=4, on_warning=lambda *warning: warnings.append(warning))


# --- stops, kills and damage ----------------------------------------------------------------------------------------


def test_stopped_in_the_middle_it_keeps_what_is_finished(bank, folder, tmp_path):
    seen = []
    with pytest.raises(Stopped):
        bank.ask(
            "qwen",
            folder,
            QUESTIONS,
            DRAWN,
            batch_size=4,
            on_progress=lambda *now: seen.append(now),
            should_stop=lambda: seen[-1][0] >= 12,  # in the middle of the second shard
        )
    assert len(files(bank)) == 1
    found, seen = ask(bank, folder, request=DRAWN)
    assert seen[0] == (8, 20)
    assert found == ask(ResponseBank(tmp_path / "other", shard=4), folder, request=DRAWN)[0]


KILLED = """
import sys
from pathlib import Path
from distill.teachers.response_cache import ResponseBank, ResponseRequest

def pause(done, total):
    print(done, flush=True)
    if done == 6:  # in the middle of the second shard
        sys.stdin.read()

questions = [f"What is {i} + 1?" for i in range(10)]
bank = ResponseBank(Path(sys.argv[1]), shard=4)
bank.ask("qwen", Path(sys.argv[2]), questions, ResponseRequest(max_new_tokens=6), batch_size=2, on_progress=pause)
"""


def test_killed_in_the_middle_it_goes_on_where_it_was(bank, warnings, folder):
    command = [sys.executable, "-c", KILLED, str(bank.cache_dir), str(folder)]
    killed = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in killed.stdout:
        if line.strip() == "6":
            break
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    killed.stdin.close(), killed.stdout.close()
    found, seen = ask(bank, folder, [f"What is {i} + 1?" for i in range(10)])
    assert seen[0] == (4, 10) and len(found) == 10 and not warnings


def cut_short(file):
    file.write_bytes(file.read_bytes()[:-9])


def empty(file):
    file.write_bytes(b"")


def no_object(file):
    file.write_text("[1]")


def another_answer(file):
    stored = json.loads(file.read_text())
    stored["answers"][0][0][0] += "!"
    file.write_text(json.dumps(stored))


def not_text(file):
    file.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize("damage", [cut_short, empty, no_object, another_answer, not_text])
def test_damage_is_seen_told_and_made_good(bank, warnings, folder, damage):
    first, _ = ask(bank, folder)
    damaged = files(bank)[1]
    damage(damaged)
    again, seen = ask(bank, folder)
    assert again == first and seen[0][0] in (6, 8)  # one shard is asked again
    assert [code for code, _ in warnings] == ["answers_damaged"]
    assert str(damaged) in warnings[0][1] and warnings[0][1].endswith("so its questions are asked again.")
    assert ask(bank, folder)[1] == [(10, 10)] and len(warnings) == 1


def test_another_shards_file_under_this_name_is_damage(bank, warnings, folder):
    ask(bank, folder, QUESTIONS[:6])  # four questions, and two
    one, other = files(bank)
    shutil.copy(*(one, other) if len(json.loads(one.read_text())["answers"]) == 4 else (other, one))
    assert ask(bank, folder, QUESTIONS[:6])[1][0] == (4, 6) and "another number" in warnings[0][1]


# --- failures in a sentence -----------------------------------------------------------------------------------------


def refused(bank, path, match, **how):
    with pytest.raises(UserError, match=match) as error:
        ask(bank, path, **how)
    text = str(error.value)
    assert "\n" not in text and len(text) < 600 and text.endswith("."), text
    assert not files(bank)


def test_what_a_teacher_cannot_do_names_it(bank, copied):
    refused(
        bank,
        copied,
        r"'qwen' can't be asked.*512 tokens.*lower max_new_tokens",
        request=ResponseRequest(max_new_tokens=512),
    )
    weights = load_file(copied / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    refused(bank, copied, "'qwen' can't be asked. Its logits are not finite")
    os.truncate(copied / "model.safetensors", 100_000)
    refused(bank, copied, "is cut short")


def test_a_tokenizer_of_another_model_is_one_sentence(bank, copied):
    model = load_model(copied)
    model.resize_token_embeddings(60)
    model.save_pretrained(copied)
    refused(bank, copied, r"'qwen' can't be asked.*not from the same model")


def test_an_unwritable_folder_is_one_sentence(bank, folder):
    bank.cache_dir.write_text("a file where the folder should be")
    refused(bank, folder, r"The teachers' answers can't be kept in .*DISTILL_HOME")
