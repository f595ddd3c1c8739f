"""Every method of distillation from config to report, on the shipped zoo: it trains, says so, and can be loaded."""

import json
import shutil
import time

import pytest
import torch
from end_to_end_cases import MINI, TIMEOUT, begin, distill, kill_worker, only_run, write

from distill import assets, runs
from distill import config as configs
from distill.config import teachers_of
from distill.data.prompts import end_token, render
from distill.demands import is_live
from distill.errors import ConfigError, UserError
from distill.evaluation.again import end_as_trained
from distill.events import EventWriter, Metric, Stage, Warning, latest_by_step, read
from distill.finish import keep_model
from distill.generation import end_tokens
from distill.hardware import detect
from distill.models import load_tokenizer
from distill.objectives.task import ANSWER
from distill.pipeline import Pipeline
from distill.progress import Stopped
from distill.runs import home
from distill.training.student import load_adapter, load_student
from distill.ui.train import STAGES

SMALL = {
    **MINI,
    "data": {"train": 24, "held_out": 6, "new_phrasing": 0, "validation": 4},
    "budget": {**MINI["budget"], "steps": 3, "batch_size": 4, "accumulation": 2, "threads": 1},
    "probe": {"texts": 8, "every": 3, "samples": 0, "problems": 0},
    "evaluation": {"max_new_tokens": 24},
}
SIBLING = ["sibling-tiny"]  # the student's own tokenizer
STRANGERS = ["gemma2-tiny", "minicpm3-tiny"]  # two others


def pipeline_of(folder, objectives, teachers, stop=lambda: False, **changes):
    settings = {**SMALL, "objectives": objectives, "teachers": teachers}
    for key, value in changes.items():
        settings[key] = {**settings.get(key, {}), **value} if isinstance(value, dict) else value
    run = runs.create(configs.parse(settings), folder)
    return Pipeline(run, configs.load(run / "config.yaml"), detect(), EventWriter(run / "events.jsonl"), stop)


def carried_out(pipeline):
    """The report, and the metrics of each step."""
    pipeline.run()
    keep_model(pipeline, finished=True)
    check(pipeline)
    report = json.loads((pipeline.folder / "report.json").read_text())
    return report, latest_by_step(read(pipeline.folder / "events.jsonl")[0], Metric)


def check(pipeline):
    """What must hold whatever the method: everything needed was said, every term is there, and the adapter loads."""
    config, distiller, signals = pipeline.config, pipeline.distiller, pipeline.trainer.train_dataset.signals
    for one in config.objectives:
        for teacher in teachers_of(one, config):
            needs = distiller.objectives[one.kind].needs - {"live"}
            assert {need for need in needs if teacher.name not in signals.get(need, {})} == set(), one.kind
            assert not is_live(one) or teacher.name in distiller.objectives[one.kind].live
    metrics = latest_by_step(read(pipeline.folder / "events.jsonl")[0], Metric)
    assert len(metrics) == config.budget.steps
    for kind in distiller.objectives:
        assert all(torch.tensor(metric.terms[kind]).isfinite() for metric in metrics)
        assert any(metric.terms[kind] != 0 for metric in metrics), kind
    student, tokenizer = load_student(config.student, config.lora, pipeline.hardware, config.seed)
    load_adapter(student, pipeline.folder / "adapter")
    ids = tokenizer(render(tokenizer, "Ann has 3 pens. How many?"), return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        now, trained = (model.eval()(**ids).logits for model in (student, pipeline.student))
        with student.disable_adapter():
            before = student(**ids).logits
    assert torch.equal(now, trained) and not torch.allclose(now, before, atol=1e-4)


def warnings_of(pipeline):
    return {e.code: e.text for e in read(pipeline.folder / "events.jsonl")[0] if isinstance(e, Warning)}


# --- teachers' answers -----------------------------------------------------------------------------------------------


def test_teachers_share_the_problems_and_their_right_answers_are_learnt(tmp_path):
    pipeline = pipeline_of(tmp_path, [{"kind": "response", "problems": "share", "max_new_tokens": 90}], STRANGERS)
    report, _ = carried_out(pipeline)
    counts = report["responses"]
    assert {name: part["asked"] for name, part in counts.items()} == dict.fromkeys(STRANGERS, 12)
    said = [e for e in read(pipeline.folder / "events.jsonl")[0] if isinstance(e, Stage)]
    assert any(stage.text.startswith("Of 24 answers to 24 problems") for stage in said)
    assert {stage.name for stage in said} <= {name for name, _ in STAGES}  # the page knows them all
    assert all(0 < part["kept"] == part["right"] <= part["finished"] for part in counts.values())
    texts = pipeline.trainer.train_dataset
    assert len(texts.families) == sum(part["kept"] for part in counts.values())
    assert set(texts.origins) == {ANSWER}
    card = (pipeline.folder / "README.md").read_text()
    assert all(f"| {name} | 12 | {part['finished']} |" in card for name, part in counts.items())


def test_the_majority_of_several_samples_is_learnt_once(tmp_path):
    response = {"kind": "response", "keep": "majority", "samples": 2, "max_new_tokens": 90}
    report, _ = carried_out(pipeline_of(tmp_path, [response], STRANGERS[:1]))
    (part,) = report["responses"].values()
    assert part["asked"] == 48 and 0 < part["kept"] <= 24


def test_answers_and_solutions_stay_beside_what_was_said_of_them(tmp_path):
    """Rows are dropped on the way: texts, origins, families, prompts and signals must stay in step."""
    objectives = [{"kind": "task"}, {"kind": "response", "max_new_tokens": 90}, {"kind": "cross_tokenizer"}]
    pipeline = pipeline_of(tmp_path, objectives, STRANGERS)
    carried_out(pipeline)
    texts = pipeline.trainer.train_dataset
    signals, families = texts.signals, sorted({p.family for p in pipeline.problems["train"]})
    by_question = {p.question: p for split in pipeline.problems.values() for p in split}
    assert list(texts.origins) == sorted(texts.origins)
    for row, example in enumerate(texts.examples):
        prompt = pipeline.tokenizer.decode(example.input_ids[: example.completion_start])
        (problem,) = [p for question, p in by_question.items() if question in prompt]
        assert pipeline.families[texts.families[row]] == problem.family and problem.family in families
        for teacher in STRANGERS:
            assert len(signals["chunk_of"][teacher].row(row)) == example.labelled
            chunks = len(signals["chunk_logprobs"][teacher].row(row))
            assert 0 < chunks == int(signals["chunk_of"][teacher].row(row).max()) + 1


def test_answers_longer_than_the_student_may_read_are_left_out_and_counted(tmp_path):
    objectives = [{"kind": "task"}, {"kind": "response", "keep": "all", "max_new_tokens": 90}]
    pipeline = pipeline_of(tmp_path, objectives, STRANGERS[:1], budget={"max_length": 68})
    report, _ = carried_out(pipeline)
    (part,) = report["responses"].values()
    texts = pipeline.trainer.train_dataset
    assert part["too_long"] > 0 and part["kept"] == sum(origin == ANSWER for origin in texts.origins)
    answers = [e for e, origin in zip(texts.examples, texts.origins, strict=False) if origin == ANSWER]
    assert all(not example.truncated and example.ends[-1] == -1 for example in answers)
    assert f"{part['too_long']} of " in warnings_of(pipeline)["answers_too_long"]


@pytest.mark.parametrize(
    ("objectives", "changes", "sentence"),
    [
        ([{"kind": "response", "max_new_tokens": 4}], {}, "raise objectives.response.max_new_tokens"),
        ([{"kind": "task"}, {"kind": "response", "max_new_tokens": 4}], {}, "None of the teachers' 24 answers"),
        ([{"kind": "gkd", "seq_kd": True, "max_new_tokens": 4}], {}, "raise objectives.gkd.max_new_tokens"),
        (
            [{"kind": "response", "keep": "all", "max_new_tokens": 90}, {"kind": "geometry"}],
            {"budget": {"max_length": 16}},
            "raise budget.max_length",
        ),
    ],
)
def test_no_answer_to_learn_from_is_said_in_a_sentence(tmp_path, objectives, changes, sentence):
    pipeline = pipeline_of(tmp_path, objectives, SIBLING, **changes)
    pipeline.load()
    with pytest.raises(UserError, match=sentence):
        pipeline.ask_teachers()


def test_a_stop_among_the_answers_loses_one_shard_at_most_and_nothing_is_said_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "home"))
    response = {"kind": "response", "problems": "share", "max_new_tokens": 24, "keep": "all"}
    teachers = ["sibling-tiny", "gemma2-tiny"]

    def stages(folder):
        return [e for e in read(folder / "events.jsonl")[0] if isinstance(e, Stage) and "sibling" in e.text]

    def half():  # the first shard is kept, the second is being written
        return len(list((home().cache / "responses").glob("*/answers-*.json"))) == 1

    data, budget = {"train": 256, "seed": 5}, {"max_length": 64}
    first = pipeline_of(tmp_path / "runs", [{"kind": "task"}, response], teachers, half, data=data, budget=budget)
    with pytest.raises(Stopped):
        first.run()
    (shard,) = (home().cache / "responses").glob("*/answers-*.json")
    kept = shard.read_bytes()
    seen = len(stages(first.folder))
    again = Pipeline(first.folder, first.config, first.hardware, EventWriter(first.folder / "events.jsonl"), lambda: 0)
    again.load()
    with pytest.raises(Stopped):  # nor does stopping again ask for anything twice
        again.should_stop = half
        again.ask_teachers()
    resumed = stages(first.folder)[seen:]
    found = next(stage for stage in resumed if stage.total > 1)
    assert (found.done, found.total, found.seconds_left) == (64, 128, None)  # what was found took no time
    again.should_stop = lambda: False
    train, _ = again.ask_teachers()
    assert shard.read_bytes() == kept
    assert sum(origin == ANSWER for origin in train.origins) == sum(
        p["kept"] for p in again.preparation.responses.values()
    )
    third = Pipeline(first.folder, first.config, first.hardware, EventWriter(first.folder / "events.jsonl"), lambda: 0)
    third.load()
    assert third.ask_teachers()[0].examples == train.examples
    texts = [e.text for e in read(first.folder / "events.jsonl")[0] if isinstance(e, Warning)]
    assert texts and len(texts) == len(set(texts))


def test_a_run_killed_among_the_answers_goes_on_with_those_that_were_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    response = {"kind": "response", "max_new_tokens": 90, "keep": "all"}
    settings = {**SMALL, "name": "killed", "teachers": STRANGERS[:1], "objectives": [response]}
    settings["data"] = {**SMALL["data"], "train": 320}
    first = begin("run", write(settings, tmp_path), "--runs", tmp_path / "runs", "--json")
    ends = time.monotonic() + TIMEOUT
    while not (shards := sorted(tmp_path.rglob("answers-*.json"))) and time.monotonic() < ends:
        time.sleep(0.01)
    folder = only_run(tmp_path / "runs")
    kill_worker(folder)
    first.communicate(timeout=30)
    shards = {file: file.stat().st_mtime_ns for file in sorted(tmp_path.rglob("answers-*.json"))}
    assert 0 < len(shards) < 5  # of five
    done = distill("resume", folder, "--json")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("answers-*.json"))) == 5
    assert all(file.stat().st_mtime_ns == when for file, when in shards.items())  # none was asked for again
    (counts,) = json.loads(done.stdout.strip().splitlines()[-1])["responses"].values()
    assert counts["asked"] == 320 and counts["kept"] == counts["finished"] > 0


# --- token by token --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["stored", "live"])
def test_logits(tmp_path, source):
    pipeline = pipeline_of(tmp_path, [{"kind": "logits", "source": source, "temperature": 2.0, "top_k": 8}], SIBLING)
    report, metrics = carried_out(pipeline)
    assert report["teachers"] == SIBLING and report["responses"] == {}
    assert "chunk_topk_ids" in pipeline.trainer.train_dataset.signals or source == "live"
    said = [e.text for e in read(pipeline.folder / "events.jsonl")[0] if isinstance(e, Stage)]
    assert ("loading sibling-tiny, who stays (1 of 1)" in said) == (source == "live")
    assert metrics[0].terms["logits"] > 0.1  # nats times T^2: the student is no expert


def test_stored_logits_are_the_live_ones_where_characters_are_several_tokens(tmp_path):
    """The bytes of an emoji all end where it does: a teacher with the same tokenizer speaks of each of them."""
    file = tmp_path / "rows.jsonl"
    rows = (
        {"question": f"What is {i} + {i}?", "solution": f"\U0001f60a \u7b54: {2 * i}\n#### {2 * i}"} for i in range(90)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    terms = {}
    for how in ({"source": "stored", "top_k": 448}, {"source": "live"}):
        data = {**SMALL["data"], "source": "file", "path": str(file), "validation": 0}
        pipeline = pipeline_of(tmp_path / "runs", [{"kind": "logits", **how}], SIBLING, data=data, budget={"steps": 1})
        terms[how["source"]] = carried_out(pipeline)[1][0].terms["logits"]
    assert terms["stored"] == pytest.approx(terms["live"], rel=1e-4)


def test_texts_longer_than_a_teacher_can_read_are_announced(tmp_path):
    folder = shutil.copytree(assets.ZOO / "gemma2-tiny", tmp_path / "short")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 48}))
    pipeline = pipeline_of(tmp_path / "runs", [{"kind": "cross_tokenizer"}], [str(folder)])
    pipeline.load()
    train, _ = pipeline.ask_teachers()
    said = warnings_of(pipeline)["teacher_truncated:short"]
    cut = sum(train.signals["chunk_of"]["short"].row(row)[-1] == -1 for row in range(len(train)))
    assert cut > 0 and said.startswith(f"{cut} of 24 train texts are longer than the teacher 'short' can read")


@pytest.mark.parametrize(
    ("loss", "layers"), [("mse", "uniform"), ("cosine", "last"), ("cka", "random"), ("nbs", "cka_argmax")]
)
def test_features(tmp_path, loss, layers):
    pipeline = pipeline_of(tmp_path, [{"kind": "features", "loss": loss, "layers": layers}], STRANGERS)
    carried_out(pipeline)
    maps = pipeline.preparation.maps
    assert maps.keys() == set(STRANGERS) and all(len(pairs) == 2 for pairs in maps.values())
    stored = pipeline.trainer.train_dataset.signals["chunk_hidden"]
    for teacher, pairs in maps.items():
        assert stored[teacher].values.shape[1] == len({block for _, block in pairs})


@pytest.mark.parametrize("seq_kd", [False, True])
def test_gkd(tmp_path, seq_kd):
    gkd = {"kind": "gkd", "lmbda": 0.5, "seq_kd": seq_kd, "max_new_tokens": 90}
    pipeline = pipeline_of(tmp_path, [gkd], SIBLING, budget={"steps": 6})
    report, metrics = carried_out(pipeline)
    own = [metric.metrics["gkd/own"] for metric in metrics]
    assert set(own) == {0.0, 1.0}  # both kinds of steps
    assert (set(pipeline.trainer.train_dataset.origins or [0]) == {ANSWER}) == seq_kd
    assert bool(report["responses"]) == seq_kd


def test_seq_kd_that_would_never_be_read_is_refused():
    with pytest.raises(ConfigError, match=r"objectives\.gkd\.seq_kd is true, but lmbda is 1"):
        configs.parse({**SMALL, "teachers": SIBLING, "objectives": [{"kind": "gkd", "seq_kd": True, "lmbda": 1}]})


@pytest.mark.parametrize("how", [{"loss": "alm", "shared": 0.5}, {"loss": "xtoken"}, {"loss": "uld"}])
def test_across_tokenizers(tmp_path, how):
    pipeline = pipeline_of(tmp_path, [{"kind": "cross_tokenizer", "top_k": 8, **how}], STRANGERS)
    _, metrics = carried_out(pipeline)
    assert {f"cross_tokenizer/{teacher}" for teacher in STRANGERS} <= metrics[0].metrics.keys()


ALL = [
    {"kind": "task"},
    {"kind": "response", "teachers": STRANGERS, "problems": "share", "max_new_tokens": 90},
    {"kind": "logits", "teachers": SIBLING, "top_k": 8},
    {"kind": "features", "teachers": ["gemma2-tiny", "sibling-tiny"], "layers": "cka_argmax"},
    {"kind": "geometry"},
    {"kind": "gkd", "teachers": SIBLING, "lmbda": 0.5, "max_new_tokens": 32},
    {"kind": "cross_tokenizer", "teachers": ["minicpm3-tiny"], "loss": "xtoken", "top_k": 8},
]


def test_all_of_them_together_stopped_and_resumed(tmp_path):
    """One run straight through, one stopped among its steps and gone on with: the same bytes, and a true report."""
    budget = {"steps": 4, "save_every": 1}
    pipeline = pipeline_of(tmp_path, ALL, [*STRANGERS, *SIBLING], budget=budget)
    report, metrics = carried_out(pipeline)
    weights = {one.kind: one.weight for one in pipeline.config.objectives}
    for metric in metrics:
        assert metric.loss == pytest.approx(sum(weights[kind] * metric.terms[kind] for kind in weights))
    assert report["responses"].keys() == set(STRANGERS)  # the sibling was asked for none
    assert report["gate"].keys() == report["cka"].keys() == {*STRANGERS, *SIBLING}
    card = (pipeline.folder / "README.md").read_text()
    assert all(f"({kind}), weight" in card for kind in weights)

    def halfway():
        return bool(list(stopped.folder.glob("checkpoints/checkpoint-2")))

    stopped = pipeline_of(tmp_path, ALL, [*STRANGERS, *SIBLING], halfway, budget=budget)
    with pytest.raises(Stopped):
        stopped.run()
    writer = EventWriter(stopped.folder / "events.jsonl")
    resumed = Pipeline(stopped.folder, stopped.config, stopped.hardware, writer, lambda: False)
    again, _ = carried_out(resumed)
    assert again["digests"] == report["digests"]
    assert again["warnings"] == report["warnings"]
    trained = pipeline.distiller.training_state()
    assert trained.keys() == resumed.distiller.training_state().keys() and trained  # projectors
    assert all(torch.equal(value, trained[name]) for name, value in resumed.distiller.training_state().items())


# --- a base student --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["stored", "live", "xtoken"])
def test_a_base_students_answers_end_at_its_teachers_end_too(tmp_path, method):
    student = shutil.copytree(assets.ZOO / "student-tiny", tmp_path / "base")
    tokenizer = load_tokenizer(student)
    own, theirs = tokenizer.pad_token_id, end_token(tokenizer)
    tokenizer.chat_template, tokenizer.eos_token = None, tokenizer.pad_token
    (student / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(student)
    (student / "generation_config.json").write_text("{}")
    objective = {"kind": "logits", "source": method}
    if method == "xtoken":
        objective = {"kind": "cross_tokenizer", "loss": method}
    pipeline = pipeline_of(tmp_path / "runs", [objective], SIBLING, student=str(student))
    carried_out(pipeline)
    said = warnings_of(pipeline).get("ends_differ", "")
    assert ("answers end at either" in said) == (method != "xtoken")
    assert end_tokens(pipeline.student, pipeline.tokenizer) == sorted([own, theirs])
    signals = pipeline.trainer.train_dataset.signals
    if method != "live":
        # What ends the teacher's answers stands for what ends the student's; a bridge maps the teacher's own tokens.
        ending = own if method == "stored" else theirs
        assert signals["chunk_topk_ids"]["sibling-tiny"].row(0)[-1, 0] == ending
        assert signals["chunk_single"]["sibling-tiny"].row(0)[-1]
    again, tokenizer = load_student(pipeline.config.student, pipeline.config.lora, pipeline.hardware, 0)
    assert end_tokens(again, tokenizer) == [own]
    end_as_trained(again, pipeline.folder / "adapter")
    assert end_tokens(again, tokenizer) == sorted([own, theirs])
