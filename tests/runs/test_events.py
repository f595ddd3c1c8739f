"""Events: what is written is read, whatever a kill, a full disk or a resume did to the file."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from distill.config.errors import UserError
from distill.runs import events
from distill.runs.events import Evaluation, EventWriter, Metric, Probe, Sample, Stage, Status, latest_by_step, read

EVERY_KIND = [
    Status(state="training", reason=None, resumed_from=25),
    Stage(name="signals", text="Teacher 4 of 6 (gemma2-tiny) is reading texts", done=3, total=6, seconds_left=3.5),
    Metric(
        step=1, steps=100, loss=1.5, terms={"task": 1.0}, metrics={"entropy": 0.5}, learning_rate=1e-3, grad_norm=2.0
    ),
    Probe(step=25, n=128, cka={"a": 0.5}, null95=0.02, participation_ratio=12.0, gate={"mean": {"a": 1.0}}, haf=None),
    Sample(step=25, problem="3 * 4 — 小", text="12\nline two", right=True),
    Evaluation(phase="after", split="held_out", step=100, n=240, correct=200, accuracy=0.83, ci95=[0.78, 0.88]),
    events.Warning(code="no_headroom", text="CKA is above .9 already"),
    events.Error(text="loss is not a number"),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def write(path, *what):
    with EventWriter(path) as writer:
        for event in what:
            writer.write(event)


def metric(step, loss=1.0):
    return Metric(step=step, steps=100, loss=loss)


def test_every_kind_comes_back_as_it_was(path):
    write(path, *EVERY_KIND)
    assert {event.kind for event in EVERY_KIND} == set(events.KINDS)
    assert read(path) == (EVERY_KIND, path.stat().st_size)
    for line in path.read_text().splitlines():
        assert list(json.loads(line))[:2] == ["t", "kind"]


def test_nan_infinity_and_foreign_numbers(path):
    class Scalar:  # as numpy's and torch's
        def item(self):
            return 0.25

    write(path, Metric(step=1, steps=2, loss=float("nan"), terms={"a": float("inf"), "b": Scalar()}))
    (event,), _ = read(path)
    assert event.loss is None and event.terms == {"a": None, "b": 0.25}


def test_an_unknown_state_is_refused():
    with pytest.raises(ValueError, match="trainning"):
        Status(state="trainning")


def test_only_new_bytes_are_read(path):
    assert read(path) == ([], 0)
    write(path, metric(1))
    first, offset = read(path)
    write(path, metric(2), metric(3))
    later, end = read(path, offset)
    assert [event.step for event in first + later] == [1, 2, 3]
    assert read(path, end) == ([], end)


def test_a_half_written_line_waits_for_its_end(path):
    write(path, metric(1), metric(2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    first, offset = read(path)
    assert [event.step for event in first] == [1]
    path.write_bytes(whole)
    assert [event.step for event in read(path, offset)[0]] == [2]


def test_after_a_kill_the_writer_starts_on_a_new_line(path):
    write(path, metric(1), metric(2))
    path.write_bytes(path.read_bytes()[:-5])
    write(path, metric(3))
    assert [event.step for event in read(path)[0]] == [1, 3]


def test_broken_and_unknown_lines_are_skipped(path):
    write(path, metric(1))
    with path.open("ab") as stream:
        stream.write(b"\xff\xfe\n{}\n[]\nnull\n\n" + b'{"kind": "news", "t": 1}\n{"kind": "metric", "t": 1}\n')
        stream.write(b'{"kind": "status", "t": 1, "state": "upset"}\n')
        stream.write(b'{"kind": "error", "t": 1.5, "text": "x", "added_later": 1}\n')
    write(path, metric(2))
    assert read(path)[0][1] == events.Error(text="x", t=1.5)
    assert [event.kind for event in read(path)[0]] == ["metric", "error", "metric"]


def test_what_holds_the_wrong_thing_is_a_broken_line(path):
    pairs = [("1", "{}"), ('"2"', "{}"), ("null", "{}"), ("3", "[]"), ("4", "null"), ("5", '{"a":1}')]
    lines = [f'{{"kind":"metric","t":1,"step":{step},"steps":9,"loss":1,"terms":{terms}}}' for step, terms in pairs]
    lines += ['{"kind":"status","t":1,"state":"training","resumed_from":"1"}', "[" * 100_000]
    path.write_text("\n".join(lines) + "\n")
    assert [event.step for event in read(path)[0]] == [1, 5]


def test_many_lines_read_at_once_are_what_each_is_alone(path):
    chance = random.Random(0)
    whole = [events.to_json({"t": 1.0, "kind": event.kind, **vars(event)}).encode() for event in EVERY_KIND]
    for _ in range(300):
        lines = [chance.choice(whole) for _ in range(chance.randint(1, 600))]
        for _ in range(chance.randint(0, 3)):
            broken = chance.randrange(len(lines))
            lines[broken] = lines[broken][: chance.randrange(len(lines[broken]) + 1)]
        path.write_bytes(b"\n".join(lines) + b"\n")
        assert read(path)[0] == [event for event in map(events.parse, lines) if event]


def test_several_processes_write_to_one_file(path):
    code = (
        "import sys; from distill.runs.events import *\n"
        "with EventWriter(sys.argv[1]) as w:\n"
        "    for step in range(200): w.write(Sample(step=step, problem=sys.argv[2], text='x' * 500, right=True))"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name], cwd=Path(__file__).parents[2]) for name in "ab"
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    found = read(path)[0]
    assert [event.step for event in found if event.problem == "a"] == list(range(200))
    assert len(found) == 400


def test_a_killed_writer_loses_nothing_it_wrote(path):
    code = (
        "import os, sys; from distill.runs.events import *\n"
        "w = EventWriter(sys.argv[1])\n"
        "for step in range(50): w.write(Metric(step=step, steps=50, loss=1.0))\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[2], timeout=60)
    assert [event.step for event in read(path)[0]] == list(range(50))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_said_in_one_sentence():
    with EventWriter("/dev/full") as writer, pytest.raises(UserError, match=r"no space left.*free some disk"):
        writer.write(metric(1))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="can't be written"):
        EventWriter(tmp_path / "nowhere" / "events.jsonl")


def test_after_a_resume_the_later_record_of_a_step_counts():
    seen = [
        *(metric(step, loss=9.0) for step in (1, 2, 3, 4, 5)),
        Status(state="training", resumed_from=2),
        *(metric(step, loss=1.0) for step in (3, 4)),
    ]
    assert [(event.step, event.loss) for event in latest_by_step(seen, Metric)] == [
        (1, 9.0),
        (2, 9.0),
        (3, 1.0),
        (4, 1.0),
    ]
    assert [event.loss for event in latest_by_step([metric(1, 9.0), metric(1, 1.0)], Metric)] == [1.0]


def test_samples_and_evaluations_of_one_step_are_kept_apart():
    def sample(problem):
        return Sample(step=25, problem=problem, text="", right=False)

    assert len(latest_by_step([sample("a"), sample("b"), sample("a")], Sample)) == 2
    scores = [
        Evaluation(phase="after", split=split, step=9, n=1, correct=1, accuracy=1.0, ci95=None)
        for split in ("held_out", "new_phrasing")
    ]
    assert latest_by_step(scores, Evaluation) == scores
