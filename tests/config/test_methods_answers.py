"""Teachers' answers from config to report: shared, chosen, kept through stops and kills, and learnt."""

import json
import time

import pytest
from end_to_end_cases import TIMEOUT, begin, distill, kill_worker, only_run, write
from methods_cases import SIBLING, SMALL, STRANGERS, carried_out, pipeline_of, warnings_of

from distill.config.errors import Stopped, UserError
from distill.config.paths import home
from distill.objectives.task import ANSWER
from distill.runs.events import EventWriter, Stage, Warning, read
from distill.training.pipeline import Pipeline
from distill.ui.train.tab import STAGES


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


def test_where_the_data_has_no_solution_the_teachers_is_learnt_in_its_place(tmp_path):
    data = {"train": 24, "labelled": 6}
    pipeline = pipeline_of(tmp_path, ["task", "geometry"], STRANGERS, data=data)
    report, _ = carried_out(pipeline)
    problems = pipeline.problems["train"]
    assert all(problem.solution and problem.answer for problem in problems[:6])
    assert not any(problem.solution or problem.answer for problem in problems[6:])
    assert {name: part["asked"] for name, part in report["responses"].items()} == dict.fromkeys(STRANGERS, 9)
    kept = sum(part["kept"] for part in report["responses"].values())
    assert 0 < kept <= 18 and len(pipeline.trainer.train_dataset.examples) == 6 + kept
    alone = pipeline_of(tmp_path, ["task"], [], data=data, budget={"batch_size": 3})  # a step takes 3 x 2
    carried_out(alone)
    assert len(alone.trainer.train_dataset.examples) == 6


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
