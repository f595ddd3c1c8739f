"""The presets that reproduce a document: what each asks for, and each end to end in miniature, with zoo models."""

import json

import pytest

from benchmarks.minis import STAND_INS, as_asked, mini
from distill.config import paths
from distill.config import run_config as configs
from distill.data.problems import generate
from distill.models.hardware import Machine, detect
from distill.models.metadata import describe_model
from distill.runs import store
from distill.runs.estimate import estimate
from distill.runs.events import EventWriter
from distill.training.artifacts import keep_model
from distill.training.pipeline import Pipeline

DOCUMENTS = sorted(STAND_INS)
TEACHERS = {
    "deku": ["qwen2-tiny", "phi3-tiny", "minicpm3-tiny"],
    "deku-kernel": ["qwen2-tiny", "phi3-tiny"],
    "reasoning-traces": ["qwen2-tiny"],
    "gkd-0.5b-from-3b": ["sibling-tiny"],
    "gkd-4b-tulu": ["sibling-tiny"],
    "teacher-file": [],
}
GPU = Machine(cores=8, memory_gb=64, device="cuda", gpu_gb=80, disk_mb=200_000, dtype="bfloat16")


def test_each_says_what_its_document_says():
    deku, traces = configs.load("deku"), configs.load("reasoning-traces")
    assert deku.student.model == "Qwen/Qwen2.5-0.5B-Instruct" and len(deku.teachers) == 6
    geometry = deku.geometry
    assert (geometry.mode, geometry.gate.kind, geometry.similarity, geometry.pooling) == (
        *("deku", "learned", "biased", "mean"),
    )
    kernel = configs.load("deku-kernel")
    assert (kernel.geometry.mode, kernel.geometry.gate.kind) == ("kernel", "prior")
    assert kernel.teachers == deku.teachers and "MiniCPM3-4B stands in" in deku.description
    response = traces.objective("response")
    assert [t.model for t in traces.teachers] == ["Qwen/Qwen3-4B-Thinking-2507"]
    assert (traces.student.model, traces.data.dataset, traces.data.subset) == (
        *("google/gemma-3-1b-it", "openai/gsm8k", "main"),
    )
    assert (response.prefill, response.temperature, response.top_p, response.max_new_tokens) == (
        *("<think>\n", 0.2, 0.9, 1024),
    )
    assert (traces.lora.r, traces.lora.alpha, traces.lora.quantize, traces.budget.epochs) == (16, 16, "4bit", 4)
    small, large = configs.load("gkd-0.5b-from-3b"), configs.load("gkd-4b-tulu")
    assert small.budget.batch_size * small.budget.accumulation == 32 and small.budget.max_length == 32768
    assert (small.student.model, small.teachers[0].model) == ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-3B")
    assert large.student.model == "burtenshaw/Qwen3-4B-SFT-Codeforces" and "assumed" in large.description
    file = configs.load("teacher-file")
    assert file.student.model == "Qwen/Qwen2.5-0.5B" and not file.teachers and paths.ships(file.data.path)


@pytest.mark.parametrize("preset", DOCUMENTS)
def test_what_each_needs_is_known_before_anything_is_fetched(preset, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    config = configs.load(preset)
    for ref in (config.student, *config.teachers):
        facts = describe_model(ref)
        assert facts.known and not facts.refusal, ref.model
    found = estimate(config, GPU, ())
    assert 1 < found.gpu_gb < 80 and 1 < found.memory_gb < 64 and found.obstacle is None


def test_thoughts_make_long_texts():
    def of(tokens):
        asked = ["budget.batch_size=8", f"objectives=[{{kind: response, max_new_tokens: {tokens}}}]"]
        return estimate(configs.load("reasoning-traces", asked), GPU, ())

    long, short = of(1024), of(64)
    assert long.gpu_gb > 2 * short.gpu_gb and long.stages["train"] > 2 * short.stages["train"]


@pytest.mark.parametrize("preset", DOCUMENTS)
def test_each_runs_from_its_settings_to_the_report(preset, tmp_path):
    rows = [{"question": p.question, "answer": p.solution} for p in generate("train", 160, seed=3)]
    settings = mini(preset, "student-tiny", TEACHERS[preset], as_asked(preset, rows, tmp_path), tokens=40)
    settings["lora"]["quantize"] = None
    settings["budget"] |= {"threads": 1, "save_every": 100}
    config = configs.parse(settings)
    as_it_is = configs.load(preset)
    assert [one.kind for one in config.objectives] == [one.kind for one in as_it_is.objectives]
    assert config.budget.epochs == as_it_is.budget.epochs
    run = store.create(config, tmp_path / "runs")
    with EventWriter(run / "events.jsonl") as writer:
        pipeline = Pipeline(run, configs.load(run / "config.yaml"), detect(), writer, lambda: False)
        pipeline.run()
        keep_model(pipeline, finished=True)
    report = json.loads((run / "report.json").read_text())
    assert report["before"]["n"] == report["after"]["n"] == 8
    epochs = config.budget.epochs
    assert report["steps"] == (2 if epochs is None else report["steps"] // epochs * epochs) > 0
    kept = sorted(int(path.name) for path in run.glob("epochs/*"))
    assert kept == list(range(1, (epochs or 0) + 1))
    if preset == "reasoning-traces":
        texts = pipeline.trainer.train_dataset
        learnt = [e.input_ids[e.completion_start :] for e in texts.examples]
        assert learnt and all(pipeline.tokenizer.decode(ids).startswith("<think>\n") for ids in learnt)
        assert "each beginning with <think>" in (run / "README.md").read_text()
