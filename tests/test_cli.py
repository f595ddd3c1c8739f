"""The command line: its words, its exit statuses, and how it follows a worker, here one that trains nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from distill import __main__ as cli
from distill.__main__ import main, spread
from distill.config.errors import ConfigError
from distill.config.run_config import load
from distill.models.hardware import Machine
from distill.runs import format, store
from distill.runs.events import Evaluation, EventWriter, Metric, Status

ROOT = Path(__file__).parents[1]
REPORT = {
    "before": {"n": 240, "correct": 49, "accuracy": 0.204, "ci95": [0.158, 0.26]},
    "after": {"n": 240, "correct": 207, "accuracy": 0.8625, "ci95": [0.813, 0.9]},
    "flips": {"fixed": 160, "broken": 2},
    "mcnemar_p": 1e-9,
    "cka": {"qwen2-tiny": {"before": 0.5, "after": 0.75, "null95": 0.018}},
    "new_phrasing": {"after": {"n": 120, "correct": 84, "accuracy": 0.7, "ci95": [0.61, 0.77]}},
    "by_family": {"rate": {"n": 20, "before": 0.1, "after": 0.9}},
    "seconds": {"train": 70.0, "total": 112.0},
    "peak_rss_mb": 2048,
    "warnings": ["CKA was above .9 before training"],
}
# A worker but for the training: it claims the run, counts steps, heeds STOP and ends as it is told.
WORKER = """
import json, sys, time
from distill.runs.events import *
from distill.runs.process import claim
folder, ending = Path(sys.argv[1]), sys.argv[2]
claim(folder)
events = EventWriter(folder / "events.jsonl")
events.write(Stage(name="signals", text="Teacher 1 of 1 (qwen2-tiny) is reading texts", done=1, total=2))
events.write(Status(state="training"))
for step in range(1, 10**6 if ending == "endless" else 21):
    events.write(Metric(step=step, steps=20, loss=1 / step, seconds_left=2.0))
    if ending == "endless":
        time.sleep(0.02)
    if (folder / "STOP").exists():
        events.write(Status(state="stopped"))
        sys.exit(130)
if ending == "done":
    (folder / "report.json").write_text(sys.argv[3])
    events.write(Warning(code="headroom", text="little headroom"))
    events.write(Status(state="done"))
elif ending == "crash":
    sys.exit("MemoryError: all gone")
else:
    events.write(Status(state="failed", reason="the loss is not a number: lower budget.learning_rate."))
    sys.exit(2 if ending == "config" else 1)
"""


@pytest.fixture
def folder(tmp_path):
    return store.create(load("tiny", ["budget.steps=20"]), tmp_path)


def follow(folder, ending, as_json=False):
    with open(folder / "stdout.log", "ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, folder, ending, json.dumps(REPORT)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    store.remember(folder, worker.pid)
    with cli._interrupts() as interrupts:
        return cli._watch(worker, folder, format.Progress(sys.stderr), interrupts, as_json)


def test_a_run_to_its_end(folder, capsys):
    assert follow(folder, "done") == 0
    said = capsys.readouterr()
    assert "86.2% (95%: 81.3-90.0, n = 240)" in said.out and "160 fixed, 2 broken, p < 0.001" in said.out
    assert "0.50 -> 0.75 (chance: 0.02)" in said.out and "1 min 52 s" in said.out and str(folder) in said.out
    assert "after, new wordings  70.0%" in said.out
    assert "Teacher 1 of 1 (qwen2-tiny) is reading texts (1/2)" in said.err and "warning: little headroom" in said.err
    assert "step 20 of 20, loss 0.050" in said.err


def test_json_is_the_only_line_on_stdout(folder, capsys):
    assert follow(folder, "done", as_json=True) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and json.loads(out) == REPORT


@pytest.mark.parametrize(("ending", "status"), [("fail", 1), ("config", 2)])
def test_a_failed_run_says_why_and_where_its_output_is(folder, capsys, ending, status):
    assert follow(folder, ending) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1] == (
        f"Run {folder.name} failed: the loss is not a number: lower budget.learning_rate. "
        f"Its full output is in {folder / 'stdout.log'}."
    )


def test_a_crash_tells_its_last_words(folder, capsys):
    assert follow(folder, "crash") == 1
    assert "MemoryError: all gone" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_run_and_keeps_it(folder, capsys, number):
    before = signal.getsignal(number)

    def interrupt():
        while store.view(folder).step < 1:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    assert follow(folder, "endless") == 130
    assert store.view(folder).state == "stopped" and f"resume {folder.name}" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_progress_is_a_line_each_tenth_where_there_is_no_terminal(folder, capsys):
    progress = format.Progress(sys.stderr)
    with EventWriter(folder / "events.jsonl") as writer:
        for step in range(1, 101):
            writer.write(Metric(step=step, steps=100, loss=1.0))
    progress.update(store.view(folder))
    progress.update(store.view(folder))
    assert len(capsys.readouterr().err.splitlines()) == 11


def test_accuracy_says_whether_it_is_of_before_or_of_which_step(folder, capsys):
    progress = format.Progress(sys.stderr)
    score = {"n": 4, "correct": 1, "accuracy": 0.25, "ci95": [0.05, 0.7]}
    with EventWriter(folder / "events.jsonl") as writer:
        writer.write(Evaluation(phase="before", split="held_out", step=0, **score))
        writer.write(Evaluation(phase="during", split="validation", step=35, **score))
    progress.update(store.view(folder))
    before, during = capsys.readouterr().err.splitlines()
    assert before.startswith("before: held out problems 25.0% (")
    assert during.startswith("step 35: validation problems 25.0% (") and "n = 4" in during


# --- what is asked wrongly ---


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["run", "tny"], "There is no preset 'tny': did you mean 'tiny'?"),
        (["run", "tiny", "--set", "budget.step=3"], "budget.step is not a setting: did you mean budget.steps?"),
        (["run", "tiny", "--set", "seed=1", "budget.steps=0"], "budget.steps is 0: it must be at least 1."),
        (
            ["run", "tiny-ce", "--set", "student=student-tny"],
            "The student 'student-tny' can't be used: not found: 'student-tny'. Enter owner/name, a folder, or pick a "
            "bundled model: did you mean 'student-tiny'?",
        ),
        (["show", "tinny"], "There is no run or preset 'tinny': did you mean 'tiny'?"),
        (["stop", "abc"], "There is no run 'abc' in {runs}: there is none yet."),
        (["resume", "abc"], "There is no run 'abc' in {runs}: there is none yet."),
    ],
)
def test_one_sentence_and_exit_2(tmp_path, capsys, argv, expected):
    assert main([*argv, "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.err == expected.format(runs=tmp_path) + "\n" and said.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "argv", [[], ["trian"], ["run"], ["run", "tiny", "--sett", "a=1"], ["evaluate", "x", "--problems", "0"]]
)
def test_an_unknown_command_exits_2(capsys, argv):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


def test_an_unwritable_folder_exits_2(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("distill.models.references.check_models", lambda config: None)  # the zoo may not be made yet
    assert main(["run", "tiny", "--runs", str(tmp_path / "file")]) == 2
    assert "can't be written to" in capsys.readouterr().err


def test_set_takes_one_or_several():
    several = spread(["run", "tiny", "--set", "a=1", "b=2", "--json", "--set", "c=[x=y]"])
    assert several == ["run", "tiny", "--set", "a=1", "--set", "b=2", "--json", "--set", "c=[x=y]"]
    assert spread(["run", "--set", "a=1", "tiny"]) == ["run", "--set", "a=1", "tiny"]


# --- lists and shows ---


def test_list_and_show(folder, tmp_path, capsys):
    with EventWriter(folder / "events.jsonl") as writer:
        writer.write(Metric(step=7, steps=20, loss=1.0))
        writer.write(Status(state="stopped"))
    (folder / "report.json").write_text(json.dumps(REPORT))
    assert main(["list", "--runs", str(tmp_path)]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[1].split()[:6] == [folder.name, "tiny", "stopped", "7/20", "20.4%", "86.2%"]
    assert main(["show", folder.name[:8], "--runs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "stopped at step 7 of 20" in shown and "10.0%" in shown and f"resume {folder.name}" in shown


def test_show_a_preset_is_a_config_to_start_from(capsys, tmp_path):
    assert main(["show", "tiny-deku"]) == 0
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out)
    assert load(tmp_path / "mine.yaml") == load("tiny-deku")


def test_what_is_shown_can_be_read_by_programs(folder, tmp_path, capsys):
    assert main(["show", "tiny", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["config"]["name"] == "tiny" and said["seconds"][0] < said["seconds"][1] and said["memory_gb"] > 0.3
    assert said["disk_mb"] > 1 and {"here", "obstacle", "flavor", "gpu_gb"} <= set(said)
    (folder / "report.json").write_text(json.dumps(REPORT))
    assert main(["show", folder.name, "--json", "--runs", str(tmp_path)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["id"], said["state"], said["report"]) == (folder.name, "queued", REPORT)


def test_a_preset_that_is_too_much_for_here_says_where_it_can_be_done(capsys, monkeypatch):
    monkeypatch.setattr(Machine, "here", classmethod(lambda *_: Machine(2, 8.0)))
    assert main(["show", "deku"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("# ")]
    assert said[1].startswith("# not available on this machine: needs ")
    assert said[-1].startswith("# python -m distill submit deku --flavor ")


def test_no_runs_yet(tmp_path, capsys):
    assert main(["list", "--runs", str(tmp_path / "none")]) == 0
    assert "python -m distill run tiny" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (7.4, "7 s"), (59.9, "1 min 0 s"), (110, "1 min 50 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds, words):
    assert format.duration(seconds) == words


def test_an_incomplete_report_is_still_shown():
    assert format.summary({}) == "The report is empty."
    assert "warning" in format.summary({"warnings": [{"code": "x", "text": "y"}, {"code": "x", "text": "y"}]})
    assert ConfigError.exit_code == 2
