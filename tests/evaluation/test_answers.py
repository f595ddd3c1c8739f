"""An evaluation that was broken off goes on with its next batch: what was answered is kept, and asked no more."""

import json
import time

import pytest
from end_to_end_cases import MINI, TIMEOUT

from distill.config import run_config as configs
from distill.config.errors import Stopped
from distill.data.problems import generate
from distill.evaluation.answering import answer_problems
from distill.evaluation.answers_file import Answers
from distill.models.generation import Completion, Sitting
from distill.models.hardware import detect
from distill.runs import store
from distill.runs.events import EventWriter, Stage, read
from distill.training.pipeline import Pipeline

SAID = Completion("it is 4", (7, 8), True)


@pytest.fixture
def problems():
    return generate("held_out", 7)


@pytest.fixture
def answers(tmp_path):
    return Answers.load(tmp_path / "answers.json")


def test_what_is_kept_of_an_unfinished_phase_comes_back_for_the_same_questions(answers, problems):
    answers.keep("before", problems, {3: SAID, 0: Completion("two\nlines\u2028", (), False)})
    assert answers.kept("before", problems) == {3: SAID, 0: Completion("two\nlines\u2028", (), False)}
    assert answers.kept("after", problems) == {}
    assert answers.kept("before", [*problems[:3], problems[4]]) == {0: Completion("two\nlines\u2028", (), False)}
    assert not answers.has("before")


def test_a_line_that_a_kill_left_half_written_is_lost_alone(answers, problems):
    answers.keep("before", problems, {0: SAID, 1: SAID})
    file = answers.path.with_name("answers-before.jsonl")
    file.write_bytes(file.read_bytes()[:-9])
    answers.keep("before", problems, {2: SAID})
    assert answers.kept("before", problems).keys() == {0, 2}


def test_a_finished_or_forgotten_phase_keeps_no_parts(answers, problems, tiny):
    answers.keep("before", problems, {0: SAID})
    answers.keep("after", problems, {0: SAID})
    answers.put("before", answer_problems(*tiny("student-tiny"), problems[:2], max_new_tokens=2))
    answers.drop("after")
    assert [path.name for path in answers.path.parent.iterdir()] == ["answers.json"]


def test_batches_that_are_known_are_not_written_again(tiny, problems):
    model, tokenizer = tiny("student-tiny")
    whole = answer_problems(model, tokenizer, problems, 4, batch_size=2)
    kept, told = {}, []
    with pytest.raises(Stopped):
        sitting = Sitting(should_stop=lambda: len(kept) >= 4, on_batch=lambda batch: kept.update(batch))
        answer_problems(model, tokenizer, problems, 4, 2, sitting)
    assert len(kept) == 4
    known = {place: Completion("known", (), True) for place in kept}
    rest = {}
    sitting = Sitting(lambda *at: told.append(at), known=known, on_batch=rest.update)
    again = answer_problems(model, tokenizer, problems, 4, 2, sitting)
    assert {place for place, answer in enumerate(again) if answer.completion.text == "known"} == kept.keys()
    assert rest.keys() == set(range(7)) - kept.keys()
    assert all(rest[place] == whole[place].completion for place in rest)
    assert told[0][0] >= 4 and told[-1] == (7, 7)


def test_a_kill_in_the_middle_of_before_loses_no_finished_batch(tmp_path):
    settings = {
        **MINI,
        "teachers": [],
        "objectives": ["task"],
        "data": {**MINI["data"], "train": 8, "held_out": 80, "new_phrasing": 0, "validation": 4},
        "evaluation": {"max_new_tokens": 24, "batch_size": 4},
    }
    folder = store.create(configs.parse(settings), tmp_path)
    worker = store.start(folder)
    part, ends = folder / "answers-before.jsonl", time.monotonic() + TIMEOUT
    try:
        while not part.exists() or part.read_bytes().count(b"\n") < 9:
            assert time.monotonic() < ends
            time.sleep(0.005)
    finally:
        worker.kill()
        worker.wait()
    assert not (folder / "answers.json").exists()
    lines = [json.loads(line) for line in part.read_text().split("\n") if line.endswith("}")]
    assert 8 <= len(lines) < 80
    part.write_text("\n" + "\n".join(json.dumps({**line, "text": "kept"}) for line in lines))
    said = len(read(folder / "events.jsonl")[0])
    with EventWriter(folder / "events.jsonl") as writer:
        pipeline = Pipeline(folder, configs.load(folder / "config.yaml"), detect(), writer, lambda: False)
        pipeline.load()
        pipeline.evaluate("before")
    before = json.loads((folder / "answers.json").read_text())["before"]
    assert len(before) == 80
    assert {place for place, row in enumerate(before) if row["text"] == "kept"} == {line["place"] for line in lines}
    stages = [
        e for e in read(folder / "events.jsonl")[0][said:] if isinstance(e, Stage) and e.name == "evaluate-before"
    ]
    assert stages[1].done >= len(lines)
    assert not part.exists()
