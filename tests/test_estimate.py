"""What is said of a run before it starts: time, memory, disk, and why this machine can't."""

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import yaml

from distill import assets, costs, runs
from distill.__main__ import main
from distill.config import load, parse
from distill.costs import Job
from distill.estimate import estimate, lines, text
from distill.events import EventWriter, Status
from distill.facts import describe_model
from distill.machine import Machine
from distill.offers import card, cards

ROOT = Path(__file__).parents[1]
TWO_CORES = Machine(cores=2, memory_gb=23.5)  # where the constants were measured
GPU = Machine(cores=8, memory_gb=64, device="cuda", gpu_gb=80, disk_mb=200_000, dtype="bfloat16")
TASK = {"student": "student-tiny", "objectives": [{"kind": "task"}]}
DEKU = [model for model in load("deku").teachers if "MiniCPM" not in model.model]


@pytest.fixture(autouse=True)
def nothing_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def of(preset, *overrides, machine=TWO_CORES, earlier=()):
    return estimate(load(preset, list(overrides)), machine, earlier)


def large(*overrides):
    """The preset `deku` without the teacher that can't be loaded."""
    teachers = json.dumps([teacher.model for teacher in DEKU])
    return load("deku", [f"teachers={teachers}", *overrides])


# --- time ---


@pytest.mark.parametrize(
    ("preset", "overrides", "took"),
    [
        ("tiny", [], 64.0),  # README: from a fresh clone on two quiet cores
        ("tiny", [], 68.6),
        ("tiny-ce", ["budget.steps=70", "data.train=960"], 24.1),
    ],
)
def test_what_was_measured_lies_well_within(preset, overrides, took):
    found = of(preset, *overrides)
    low, high = found.seconds
    assert 0.6 * took <= low < took < high <= 1.6 * took
    assert found.obstacle is None


def test_each_stage_is_about_what_it_was():
    found = of("tiny").stages
    for stage, took in {"signals": 21.2, "train": 35.3, "evaluate": 5.0}.items():
        assert found[stage] == pytest.approx(took, rel=0.25), stage


@pytest.mark.parametrize(
    ("stage", "less", "more"),
    [
        ("train", "budget.steps=100", "budget.steps=200"),
        ("train", "budget.batch_size=32", "budget.batch_size=64"),
        ("train", "budget.accumulation=1", "budget.accumulation=2"),
        ("train", "probe.every=50", "probe.every=5"),
        ("train", "objectives.geometry.gate=prior", "objectives.geometry.gate={kind: meta, every: 1}"),
        ("signals", "teachers=[qwen2-tiny]", "teachers=[qwen2-tiny, phi3-tiny]"),
        ("signals", "teachers=[phi3-tiny]", "teachers=[nemotron-tiny]"),  # longer in its tokens
        ("signals", "data.train=960", "data.train=1920"),
        ("evaluate", "evaluation.max_new_tokens=32", "evaluation.max_new_tokens=64"),
        ("evaluate", "data.held_out=120", "data.held_out=480"),
        ("train", "student=student-tiny", "student=smollm2-tiny"),
        ("train", "budget.threads=0", "budget.threads=1"),
    ],
)
def test_more_to_do_takes_longer(stage, less, more):
    few, many = of("tiny", less), of("tiny", more)
    assert many.stages[stage] > 1.02 * few.stages[stage]
    assert many.seconds[0] > few.seconds[0] and many.seconds[1] > few.seconds[1]


@pytest.mark.parametrize(
    ("preset", "stage", "less", "more"),
    [
        ("tiny-response", "signals", "objectives.response.problems=share", "objectives.response.problems=each"),
        ("tiny-response", "signals", "objectives.response.samples=1", "objectives.response.samples=4"),
        ("tiny-response", "signals", "objectives.response.max_new_tokens=16", "objectives.response.max_new_tokens=64"),
        ("tiny-logits", "train", "objectives.logits.source=stored", "objectives.logits.source=live"),
        ("tiny-logits", "signals", "objectives.logits.source=live", "objectives.logits.source=stored"),
        ("tiny-gkd", "train", "objectives.gkd.lmbda=0", "objectives.gkd.lmbda=1"),
        ("tiny-gkd", "train", "objectives.gkd.max_new_tokens=16", "objectives.gkd.max_new_tokens=64"),
        ("tiny-gkd", "signals", "objectives.gkd.seq_kd=false", "objectives.gkd.seq_kd=true"),
    ],
)
def test_more_asked_of_teachers_takes_longer(preset, stage, less, more):
    assert of(preset, more).stages[stage] > 1.02 * of(preset, less).stages[stage]


@pytest.mark.parametrize(
    ("preset", "less", "more"),
    [
        ("tiny-logits", "objectives.logits.top_k=8", "objectives.logits.top_k=64"),
        ("tiny-features", "objectives.features.count=1", "objectives.features.count=2"),
        ("tiny-cross-tokenizer", "objectives.cross_tokenizer.shared=0", "objectives.cross_tokenizer.shared=1"),
        ("tiny-cross-tokenizer", "objectives.cross_tokenizer.loss=alm", "objectives.cross_tokenizer.loss=uld"),
    ],
)
def test_more_kept_of_each_token_takes_more_disk(preset, less, more):
    assert of(preset, more).disk_mb > 1.2 * of(preset, less).disk_mb


def test_likely_tokens_take_eight_bytes_each_on_disk():
    few, many = (of("tiny-logits", f"objectives.logits.top_k={k}").disk_mb for k in (1, 101))
    tokens = 1920 * 0.5 * 64  # of the solutions, as the sibling cuts them
    assert (many - few) * 2**20 == pytest.approx(100 * 8 * tokens, rel=0.1)


def test_teachers_that_stay_take_memory_together():
    pair = ["teachers=[{model: sibling-tiny, name: a}, {model: sibling-tiny, name: b}]"]
    live, stored = "objectives.logits.source=live", "objectives.logits.source=stored"
    assert of("tiny-logits", live, machine=GPU).gpu_gb > of("tiny-logits", stored, machine=GPU).gpu_gb
    assert of("tiny-logits", live, *pair, machine=GPU).gpu_gb > of("tiny-logits", live, machine=GPU).gpu_gb


def test_large_models_are_taken_to_answer_as_long_as_they_may():
    asked = "objectives=[{kind: response, max_new_tokens: %d}]"
    short, long = (estimate(large(asked % tokens), GPU, ()).stages["signals"] for tokens in (256, 1024))
    assert long > 2 * short


def test_what_is_asked_of_teachers_is_said():
    assert "6 teachers write 1,920 answers to the training problems between them, once" in of("tiny-response").notes
    assert any("stays in memory while the student trains" in line for line in lines(of("tiny-gkd")))


def test_runs_of_other_methods_say_nothing(finished):
    earlier = [finished("tiny-features", 3.0)]
    assert of("tiny-cross-tokenizer", earlier=earlier) == of("tiny-cross-tokenizer", earlier=[])
    assert "from 1 earlier run here" in of("tiny-features", earlier=earlier).notes


def test_teachers_that_nobody_asks_cost_nothing():
    unasked = estimate(parse({**TASK, "teachers": ["qwen2-tiny", "phi3-tiny"]}), TWO_CORES, ())
    assert unasked == estimate(parse(TASK), TWO_CORES, ())
    assert unasked.stages["signals"] == 0 and not any("asked before" in note for note in unasked.notes)
    assert any("less if these teachers have been asked before" in note for note in of("tiny").notes)


def test_more_cores_and_gpus_are_faster():
    eight, gpu = Machine(8, 23.5), estimate(large(), GPU, ())
    assert of("tiny", machine=eight).seconds[1] < of("tiny").seconds[1]
    assert gpu.seconds[1] < estimate(large(), eight, ()).seconds[0] and gpu.gpu_gb > 8
    assert any("has not been measured" in note for note in gpu.notes)
    assert gpu.seconds[1] > 5 * gpu.seconds[0]  # and so not much is claimed


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        ((46, 100), "about 1 to 2 min"),
        ((30.4, 64.9), "about 30 to 65 s"),
        ((2, 3), "about 5 s"),
        ((110, 118), "about 2 min"),
        ((280, 2900), "about 5 to 49 min"),
        ((4000, 9000), "about 1 to 3 hours"),
        ((90_000, 400_000), "about 1 to 5 days"),
        (None, "an unknown time"),
    ],
)
def test_an_interval_in_words(seconds, words):
    assert text(seconds) == words


# --- what has been run here already ---


@pytest.fixture
def finished(tmp_path):
    """`finished(preset, factor, ...)`: a run that took `factor` times what is expected of each stage."""

    def run(preset, factor, *overrides, hardware="CPU, 2 cores, 23.5 GB of memory", **seconds):
        asked = load(preset, list(overrides))
        facts = describe_model(asked.student), tuple(map(describe_model, asked.teachers))
        expected = costs.stages(Job(asked, *facts, 120.0), TWO_CORES)
        folder = runs.create(asked, tmp_path / "runs")
        took = {stage: factor * value for stage, value in expected.items()} | seconds
        (folder / "report.json").write_text(json.dumps({"seconds": took, "hardware": hardware}))
        with EventWriter(folder / "events.jsonl") as writer:
            writer.write(Status(state="done"))
        return runs.view(folder)

    return run


def test_earlier_runs_of_the_same_models_correct_it(finished):
    plain = of("tiny", "budget.steps=70")
    earlier = [finished("tiny", 3.0), finished("tiny", 3.0, "budget.steps=60")]
    found = of("tiny", "budget.steps=70", earlier=earlier)
    for stage in ("signals", "train", "evaluate"):
        assert found.stages[stage] == pytest.approx(3 * plain.stages[stage])
    assert "from 2 earlier runs here" in found.notes
    assert found.seconds[1] / found.seconds[0] < plain.seconds[1] / plain.seconds[0]


def test_a_run_of_a_few_steps_does_not_correct_a_long_one(finished):
    assert of("tiny", earlier=[finished("tiny", 30.0, "budget.steps=2")]) == of("tiny", earlier=[])


def test_a_run_of_the_same_folder_is_known_however_it_is_named(finished, tmp_path, monkeypatch):
    shutil.copytree(assets.ZOO / "student-tiny", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    run = finished("tiny-ce", 2.0, "student=mine")
    assert "from 1 earlier run here" in of("tiny-ce", "student=./mine", earlier=[run]).notes


def test_the_runs_kept_on_this_disk_are_looked_at(finished, tmp_path, monkeypatch):
    finished("tiny-ce", 2.0)
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    assert "from 1 earlier run here" in estimate(load("tiny-ce"), TWO_CORES).notes


def test_teachers_asked_before_say_nothing_of_how_long_asking_takes(finished):
    found = of("tiny", earlier=[finished("tiny", 1.0, signals=0.2)])
    assert found.stages["signals"] == of("tiny").stages["signals"]


def test_runs_of_other_models_or_machines_say_nothing(finished):
    others = [
        finished("tiny-ce", 9.0),
        finished("tiny", 9.0, "teachers=[qwen2-tiny]"),
        finished("tiny", 9.0, "student=phi3-tiny"),
        finished("tiny", 9.0, hardware="CPU, 12 cores, 23.5 GB of memory"),
        finished("tiny", 9.0, hardware="NVIDIA L4 with 22 GB, 2 cores, 23.5 GB of memory"),
        runs.view(runs.create(load("tiny"), finished("tiny", 9.0, "seed=1", hardware="").folder.parent)),
    ]
    assert of("tiny", earlier=others) == of("tiny")


# --- memory, disk and data ---


def test_memory_and_disk_are_about_what_they_were():
    found = of("tiny")
    assert found.memory_gb == pytest.approx(982 / 1024, rel=0.15) and found.gpu_gb is None
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
    assert found.obstacle is None and "isn't known yet" in lines(found)[1]
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
    assert "no zoo model" in of("tiny", "student=student-tny").obstacle


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
    assert sorted(each.name for each in offered) == assets.preset_names()
    tiny, deku = offered[0], next(each for each in offered if each.name == "deku")
    assert (tiny.seconds, tiny.memory, tiny.available, tiny.why) == ("about 1 to 2 min", "0.9 GB of memory", True, None)
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
    assert sorted(row.split()[1] for row in rows) == assets.preset_names() and rows[0].split()[1] == "tiny"


def test_it_imports_nothing_slow():
    code = (
        "import sys; from distill.estimate import Machine, describe_model; from distill.offers import cards\n"
        "cards(Machine.here())\n"
        "describe_model('Qwen/Qwen2.5-0.5B-Instruct')\n"
        "print([name for name in ('torch', 'gradio', 'numpy', 'transformers', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
