"""What is said of a run before it starts: memory, disk and data, why this machine can't, and how it is shown."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from estimate_cases import GPU, TWO_CORES, fetch_nothing, large, of

from distill.__main__ import main
from distill.config import paths
from distill.config.run_config import load, parse
from distill.models.hardware import Machine
from distill.runs.estimate import estimate, lines
from distill.runs.preset_cards import card, cards

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nothing_fetched(tmp_path, monkeypatch):
    fetch_nothing(tmp_path, monkeypatch)


# --- memory, disk and data ---


def test_memory_and_disk_are_about_what_they_were():
    found = of("tiny")
    assert found.memory_gb == pytest.approx(0.93, rel=0.15) and found.gpu_gb is None
    assert 10 <= found.disk_mb <= 15  # 4 MB of run, 6 MB of signals and 1 MB of all layers' states
    assert of("tiny", "budget.batch_size=256").memory_gb > found.memory_gb + 0.5


def test_one_teacher_is_in_memory_at_a_time():
    # The largest alone decides, but for its signals (the rest is the same).
    all_of_them, largest = (
        estimate(config, GPU, ()).gpu_gb
        for config in (large(), large("teachers=[nvidia/Nemotron-Mini-4B-Instruct]", "lora.r=16"))
    )
    assert all_of_them == pytest.approx(largest, rel=0.01)


def test_long_texts_of_a_file_take_longer(tmp_path):
    def told(words):
        file = tmp_path / f"{words}.jsonl"
        rows = [{"question": f"What is {n}? " + "word " * words, "solution": "It is 1."} for n in range(30)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return of("tiny", "data.source=file", f"data.path={file}", "budget.max_length=2048")

    short, long = told(10), told(200)
    assert long.seconds[0] > 2 * short.seconds[1] and long.memory_gb > short.memory_gb
    broken = of("tiny", "data.source=file", f"data.path={tmp_path / 'none.jsonl'}")
    assert broken.seconds is None and "There is no file" in broken.obstacle


def test_problems_of_reasoning_gym_are_measured():
    pytest.importorskip("reasoning_gym")
    long = of("tiny-ce", "data.source=reasoning_gym", "budget.max_length=1024")
    short = of("tiny-ce", "data.source=reasoning_gym", "data.families=[gcd]", "budget.max_length=1024")
    assert long.seconds[0] > 2 * short.seconds[0] > 0 and long.notes == short.notes
    assert "'gsm_symbolic'?" in of("tiny-ce", "data.source=reasoning_gym", "data.families=[gsm_symbolics]").obstacle


def test_a_data_set_still_to_be_fetched_is_taken_for_long():
    found = of("tiny", "data.source=hub", "data.dataset=org/unknown")
    assert found.seconds[0] > of("tiny").seconds[0]
    assert any("length of the texts of org/unknown" in note for note in found.notes)
    known = of("tiny", "data.source=hub", "data.dataset=openai/gsm8k", "budget.max_length=32768")
    assert not any("length of the texts" in note for note in known.notes) and known.memory_gb < 5


# --- what is in the way ---


def test_what_is_not_known_is_not_guessed():
    found = of("tiny", "student=some/model", "teachers=[qwen2-tiny, other/model]")
    assert (found.seconds, found.memory_gb, found.disk_mb, found.stages) == (None, None, None, {})
    assert found.obstacle is None and "not known yet" in lines(found)[1]
    for model in ("some/model", "other/model"):
        assert f"the size of {model} isn't known until it is fetched" in found.notes
    assert not any("qwen2-tiny" in note for note in found.notes)


def test_a_gpu_is_asked_for_where_there_is_none_and_it_would_take_days():
    said = estimate(large(), TWO_CORES, ()).obstacle
    assert said.startswith("needs a GPU with about 16 GB; this machine has none (without one, about ")
    small = Machine(8, 64, "cuda", 7.6, 200_000, "bfloat16")
    assert estimate(large(), small, ()).obstacle == "needs a GPU with about 16 GB; this machine's has 8"
    assert estimate(large(), GPU, ()).obstacle is None


def test_too_little_memory_or_disk():
    assert of("tiny", machine=Machine(2, 0.5)).obstacle == "needs 0.9 GB of memory; this machine has 0.5 GB"
    full = Machine(2, 23.5, disk_mb=150)
    assert of("tiny", machine=full).obstacle == "needs 200 MB of disk; this machine has 150 MB free"
    apple = Machine(8, 16, "mps")
    assert estimate(large(), apple, ()).obstacle == "needs 21 GB of memory; this machine has 16 GB"
    little = Machine(8, 64, "cuda", 80, 9_000, "bfloat16")
    assert estimate(large(), little, ()).obstacle.endswith("GB of disk; this machine has 9.4 GB free")


def test_the_network_is_needed_for_what_is_not_here(monkeypatch):
    found = estimate(large(), GPU, ())
    assert "needs the network to fetch 28.8 GB from the Hub" in found.notes
    assert any("gemma-2-2b-it asks for its licence" in note for note in found.notes)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert estimate(large(), GPU, ()).obstacle.startswith("needs 28.8 GB from the Hub, and HF_HUB_OFFLINE")
    assert of("tiny-ce", "student=some/model").obstacle.startswith("needs some/model from the Hub")
    assert of("tiny").obstacle is None


def test_what_can_never_run_here():
    apple = of("tiny", "lora.quantize=4bit", machine=Machine(8, 16, "mps"))
    assert apple.obstacle.startswith("lora.quantize 4bit works on NVIDIA GPUs and on CPUs, but not on Apple's")
    refused = estimate(load("deku", ["teachers=[openbmb/MiniCPM-2B-sft-bf16]"]), GPU, ()).obstacle
    assert refused.startswith("openbmb/MiniCPM-2B-sft-bf16 can't be used") and refused.endswith("in its place")
    assert "Not found" in of("tiny", "student=student-tny").obstacle


def test_quantized_students_take_less_of_a_gpu():
    light, plain = large("lora.quantize=4bit"), large()
    assert estimate(light, GPU, ()).gpu_gb < estimate(plain, GPU, ()).gpu_gb


def test_quantized_students_are_slow_on_a_cpu_and_may_train_there(monkeypatch):
    slow, plain = of("tiny", "lora.quantize=4bit"), of("tiny")
    assert slow.obstacle is None and slow.notes[-1].startswith("slow: lora.quantize 4bit")
    assert plain.stages["train"] < slow.stages["train"] and plain.stages["evaluate"] < slow.stages["evaluate"]
    assert slow.stages["signals"] == plain.stages["signals"]
    assert not any("slow" in note for note in estimate(large("lora.quantize=4bit"), GPU, ()).notes)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert of("tiny", "lora.quantize=4bit").obstacle.startswith("lora.quantize 4bit needs the package bitsandbytes")


def test_gradient_checkpointing_takes_less_memory_and_more_time_and_is_offered_where_it_helps():
    on = "budget.gradient_checkpointing=true"
    thrifty, plain = of("tiny", on), of("tiny")
    assert thrifty.memory_gb < plain.memory_gb and thrifty.stages["train"] > 1.2 * plain.stages["train"]
    assert thrifty.stages["evaluate"] == plain.stages["evaluate"]
    long = ("budget.max_length=1024", "budget.batch_size=64", "data.source=hub", "data.dataset=a/b")
    much = estimate(large(*long), GPU, ())
    less = estimate(large(*long, on), GPU, ())
    small = replace(GPU, gpu_gb=(much.gpu_gb + less.gpu_gb) / 2)
    said = estimate(large(*long), small, ()).obstacle
    assert said.endswith(" with budget.gradient_checkpointing: switch it on)"), said
    assert estimate(large(*long, on), small, ()).obstacle is None
    tiny = replace(GPU, gpu_gb=less.gpu_gb / 2)  # where it doesn't help it isn't spoken of
    assert "checkpointing" not in estimate(large(*long), tiny, ()).obstacle


# --- how it is shown ---


def test_every_preset_has_a_card_and_tiny_is_first():
    offered = cards(TWO_CORES)
    assert offered[0].name == "tiny"
    assert sorted(each.name for each in offered) == paths.preset_names()
    tiny, deku = offered[0], next(each for each in offered if each.name == "deku")
    assert (tiny.seconds, tiny.memory, tiny.available, tiny.why) == ("about 1 to 3 min", "0.9 GB of memory", True, None)
    assert not deku.available and deku.why.startswith("needs a GPU")
    assert all(each.title and each.description == load(each.name).description for each in offered)
    assert "of GPU memory" in card("deku", GPU).memory


def test_a_shown_preset_is_still_yaml_and_says_what_it_costs(capsys):
    assert main(["show", "deku"]) == 0
    shown = capsys.readouterr().out
    assert parse(yaml.safe_load(shown)) == load("deku")
    said = [line for line in shown.splitlines() if line.startswith("# ")]
    assert said[0].startswith("# time: about ") and "GB of memory" in said[0] and "of disk" in said[0]
    assert any("needs the network to fetch" in line for line in said)


def test_doctor_lists_the_presets(tmp_path, capsys):
    main(["doctor", "--runs", str(tmp_path)])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    rows = [line for line in lines if line.startswith("preset ")]
    assert sorted(row.split()[1] for row in rows) == paths.preset_names() and rows[0].split()[1] == "tiny"


def test_it_imports_nothing_slow():
    code = (
        "import sys; from distill.runs.estimate import Machine, describe_model\n"
        "from distill.runs.preset_cards import cards\n"
        "cards(Machine.here())\n"
        "describe_model('Qwen/Qwen2.5-0.5B-Instruct')\n"
        "print([name for name in ('torch', 'gradio', 'numpy', 'transformers', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
