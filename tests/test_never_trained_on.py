"""What a run is judged by is never trained on: a test that tries, on what the trainer reads and what was answered."""

import json
import random

import pytest
from end_to_end_cases import MINI

from distill.config import run_config as configs
from distill.data.problems import generate
from distill.data.reasoning_gym import gym_problems
from distill.data.splits import key_of, split_of_question
from distill.models.hardware import detect
from distill.runs import store
from distill.runs.events import Evaluation, EventWriter, Sample, read
from distill.training.pipeline import Pipeline

DISGUISES = (
    str.upper,
    str.title,
    lambda q: "  " + q.replace(" ", " \n  ") + "\t",
    lambda q: q.replace(" ", "\u00a0"),  # no-break spaces
    lambda q: q.replace("e", "e\u200b"),  # zero-width spaces
    lambda q: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in q),  # full-width letters
)
SETS = ["gsm_symbolic", "basic_arithmetic", "leg_counting"]


def rows(folder):
    """A file that does its worst: problems of three sources, each disguised and repeated, in no order."""
    made = gym_problems(SETS, {"train": 60, "held_out": 60, "validation": 40}, 0, lambda code, text: None)
    problems = [*generate("train", 120), *generate("held_out", 60), *(p for split in made.values() for p in split)]
    rng = random.Random(0)
    lines = [
        {"question": hide(p.question), "solution": p.solution, "family": rng.choice("ab")}
        for p in problems
        for hide in (str, *rng.sample(DISGUISES, 2))
    ]
    rng.shuffle(lines)
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"source": "file", "path": str(path), "columns": {"family": "family"}}


SOURCES = {
    "file": rows,
    "gym": lambda folder: {"source": "reasoning_gym", "families": SETS},
    "generated": lambda folder: {"new_phrasing": 20},
}


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_judged_by_is_never_trained_on(source, tmp_path):
    if source != "generated":
        pytest.importorskip("reasoning_gym")
    settings = {
        **MINI,
        "objectives": ["task"],
        "data": {"train": 150, "held_out": 20, "validation": 12, "new_phrasing": 0, **SOURCES[source](tmp_path)},
        "budget": {**MINI["budget"], "steps": 2, "max_length": 2048, "threads": 1},
        "probe": {"texts": 12, "every": 1, "samples": 2, "problems": 6},
        "evaluation": {"max_new_tokens": 2},
    }
    run = store.create(configs.parse(settings), tmp_path / "runs")
    with EventWriter(run / "events.jsonl") as writer:
        pipeline = Pipeline(run, configs.load(run / "config.yaml"), detect(), writer, lambda: False)
        pipeline.load()
        pipeline.evaluate("before")
        train, probe = pipeline.ask_teachers()
        pipeline.build(train, probe)
        pipeline.train(train, probe)
        pipeline.evaluate("after")
    read_by_trainer = [key_of(pipeline.tokenizer.decode(example.input_ids)) for example in train.examples]
    answers = json.loads((run / "answers.json").read_text())
    judged = {key_of(answer["question"]) for phase in ("before", "after") for answer in answers[phase]}
    assert len(read_by_trainer) == 150 and len(judged) == 20 + settings["data"]["new_phrasing"]
    trained = {key_of(problem.question) for problem in pipeline.problems["train"]}
    assert all(any(key in text for key in trained) for text in read_by_trainer)  # so the next line says something
    assert not [key for key in judged if any(key in text for text in read_by_trainer)]
    counted = {key_of(problem.question) for problem in pipeline.problems["validation"]}
    assert not counted & (trained | judged)
    if source != "generated":
        assert len(trained) == 150  # each question once
        assert {split_of_question(a["question"]) for a in answers["after"]} == {"held_out"}
    _the_samples_are_its_own(source, run, counted)


def _the_samples_are_its_own(source, run, counted):
    events, _ = read(run / "events.jsonl")
    samples = [event for event in events if isinstance(event, Sample)]
    assert samples and all(sample.question and sample.answer for sample in samples)
    assert ({key_of(sample.question) for sample in samples} <= counted) == (source != "generated")
    during = [event for event in events if isinstance(event, Evaluation) and event.phase == "during"]
    assert during and {event.n for event in during} == {6}
