"""How long a run takes, said before it starts: by what it asks for, and by what has been run here already."""

import json
import shutil

import pytest
from estimate_cases import GPU, TWO_CORES, fetch_nothing, large, of

from distill.config import paths
from distill.config.run_config import load, parse
from distill.models.hardware import Machine
from distill.models.metadata import describe_model
from distill.runs import store, time_model
from distill.runs.estimate import GENERATED_CHARACTERS, estimate, lines, text
from distill.runs.events import EventWriter, Status
from distill.runs.time_model import Job

TASK = {"student": "student-tiny", "objectives": [{"kind": "task"}]}


@pytest.fixture(autouse=True)
def nothing_fetched(tmp_path, monkeypatch):
    fetch_nothing(tmp_path, monkeypatch)


# --- time ---


@pytest.mark.parametrize(
    ("preset", "overrides", "took"),
    [
        ("tiny", [], 109.4),  # README: two threads of one quiet core of an AMD EPYC
        ("tiny-ce", [], 60.1),
    ],
)
def test_what_was_measured_lies_well_within(preset, overrides, took):
    found = of(preset, *overrides)
    low, high = found.seconds
    assert 0.6 * took <= low < took < high <= 1.6 * took
    assert found.obstacle is None


def test_each_stage_is_about_what_it_was():
    found = of("tiny").stages
    for stage, took in {"signals": 46.5, "train": 39.2, "evaluate": 11.1}.items():
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
        ("prepare", "data.validation=192", "data.validation=20000"),
        ("signals", "probe.texts=4", "probe.texts=512"),
        ("train", "probe.problems=0", "probe.problems=512"),
        ("evaluate", "data.held_out=120", "data.held_out=480"),
        ("train", "student=student-tiny", "student=smollm2-tiny"),
        ("train", "budget.threads=0", "budget.threads=1"),
    ],
)
def test_more_to_do_takes_longer(stage, less, more):
    few, many = of("tiny", less), of("tiny", more)
    assert many.stages[stage] > 1.02 * few.stages[stage]
    assert many.seconds[0] > few.seconds[0] and many.seconds[1] > few.seconds[1]


def test_a_million_validation_problems_are_no_run_of_a_minute():
    """Nothing is trained on them, but they are all drawn: 9 minutes where they are generated, and a GiB of memory."""
    few, many = of("tiny-ce"), of("tiny-ce", "data.validation=1000000")
    assert many.seconds[0] > few.seconds[1] + 300 and many.memory_gb > few.memory_gb + 0.8


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
    tokens = 960 * 0.5 * 64  # of the solutions, as the sibling cuts them
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
    assert "6 teachers write 2,304 answers to the training problems between them, once" in of("tiny-response").notes
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
        expected = time_model.stages(Job(asked, *facts, GENERATED_CHARACTERS), TWO_CORES)
        folder = store.create(asked, tmp_path / "runs")
        took = {stage: factor * value for stage, value in expected.items()} | seconds
        (folder / "report.json").write_text(json.dumps({"seconds": took, "hardware": hardware}))
        with EventWriter(folder / "events.jsonl") as writer:
            writer.write(Status(state="done"))
        return store.view(folder)

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
    shutil.copytree(paths.ZOO / "student-tiny", tmp_path / "mine")
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
        store.view(store.create(load("tiny"), finished("tiny", 9.0, "seed=1", hardware="").folder.parent)),
    ]
    assert of("tiny", earlier=others) == of("tiny")
