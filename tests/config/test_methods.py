"""Every method of distillation from config to report, on the shipped zoo: it trains, says so, and can be loaded."""

import json
import shutil

import pytest
import torch
from methods_cases import SIBLING, SMALL, STRANGERS, carried_out, pipeline_of, warnings_of

from distill.config import paths
from distill.config import run_config as configs
from distill.config.errors import ConfigError, Stopped
from distill.models.chat_template import end_token
from distill.models.generation import end_tokens
from distill.models.loading import load_tokenizer
from distill.models.student import end_as_trained, load_student
from distill.objectives.task import ANSWER
from distill.runs.events import EventWriter, Stage, read
from distill.training.pipeline import Pipeline

# --- token by token --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["stored", "live"])
def test_logits(tmp_path, source):
    pipeline = pipeline_of(tmp_path, [{"kind": "logits", "source": source, "temperature": 2.0, "top_k": 8}], SIBLING)
    report, metrics = carried_out(pipeline)
    assert report["teachers"] == SIBLING and report["responses"] == {}
    assert "chunk_topk_ids" in pipeline.trainer.train_dataset.signals or source == "live"
    said = [e.text for e in read(pipeline.folder / "events.jsonl")[0] if isinstance(e, Stage)]
    assert ("loading sibling-tiny, which stays in memory (1 of 1)" in said) == (source == "live")
    assert metrics[0].terms["logits"] > 0.1  # nats times T^2: the student is no expert


def test_stored_logits_are_the_live_ones_where_characters_are_several_tokens(tmp_path):
    """The bytes of an emoji all end where it does: a teacher with the same tokenizer speaks of each of them."""
    file = tmp_path / "rows.jsonl"
    rows = (
        {"question": f"What is {i} + {i}?", "solution": f"\U0001f60a \u7b54: {2 * i}\n#### {2 * i}"} for i in range(90)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    terms = {}
    for how in ({"source": "stored", "top_k": 1536}, {"source": "live"}):
        data = {**SMALL["data"], "source": "file", "path": str(file), "validation": 0}
        pipeline = pipeline_of(tmp_path / "runs", [{"kind": "logits", **how}], SIBLING, data=data, budget={"steps": 1})
        terms[how["source"]] = carried_out(pipeline)[1][0].terms["logits"]
    assert terms["stored"] == pytest.approx(terms["live"], rel=1e-4)


def test_texts_longer_than_a_teacher_can_read_are_announced(tmp_path):
    folder = shutil.copytree(paths.ZOO / "gemma2-tiny", tmp_path / "short")
    config = json.loads((folder / "config.json").read_text())
    # Its longest question has 64 tokens, and its longest text 83.
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 68}))
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
    student = shutil.copytree(paths.ZOO / "student-tiny", tmp_path / "base")
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
