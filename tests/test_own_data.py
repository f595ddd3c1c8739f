"""A run on rows of one's own, from a CSV file to the report, and what is said where the file is wrong."""

import csv
import json

import pytest
import yaml
from end_to_end_cases import MINI, distill, only_run, write

from distill.__main__ import main
from distill.data.problems import generate
from distill.data.sources import split_of_question
from distill.models.conversation import turns_of
from distill.runs.events import Evaluation, Probe, Warning, latest_by_step, read

HELD_OUT = 20
OWN = {
    **MINI,
    "name": "own",
    "teachers": ["gemma2-tiny"],
    "budget": {**MINI["budget"], "steps": 4},
    "probe": {"texts": 24, "every": 4, "samples": 1},
}


def table(folder, n=400):
    path = folder / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Problem", "Worked", "Final", "Kind"])
        for problem in generate("train", n, seed=3):
            writer.writerow([problem.question, problem.solution, problem.answer, problem.family])
    return path


def config(path, **data):
    columns = {"question": "Problem", "solution": "Worked", "answer": "Final", "family": "Kind"}
    rows = {"source": "file", "path": str(path), "columns": columns}
    return {**OWN, "data": {**rows, "train": 48, "held_out": HELD_OUT, "validation": 12, **data}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run on 400 rows."""
    folder = tmp_path_factory.mktemp("own")
    done = distill("run", write(config(table(folder)), folder), "--runs", folder / "runs", "--json")
    assert done.returncode == 0, done.stderr
    return only_run(folder / "runs")


def test_a_run_on_rows_ends_with_a_report(finished):
    report = json.loads((finished / "report.json").read_text())
    events, _ = read(finished / "events.jsonl")
    assert report["steps"] == 4
    assert report["before"]["n"] == report["after"]["n"] == HELD_OUT
    assert report["new_phrasing"] is None
    assert len(report["by_family"]) > 3
    assert report["cka"].keys() == {"gemma2-tiny"} and report["cka"]["gemma2-tiny"]["n"] == 24
    assert {e.split for e in events if isinstance(e, Evaluation)} >= {"held_out"}
    assert "new_phrasing" not in {e.split for e in events if isinstance(e, Evaluation)}
    assert len(latest_by_step(events, Probe)) == 2
    assert not [e.text for e in events if isinstance(e, Warning)]


def test_it_is_judged_on_rows_it_was_not_trained_on_and_graded_by_their_answers(finished):
    answers = json.loads((finished / "answers.json").read_text())["after"]
    right = {problem.question: problem.answer for problem in generate("train", 400, seed=3)}
    assert len(answers) == HELD_OUT
    for answer in answers:
        assert split_of_question(answer["question"]) == answer["split"] == "held_out"
        assert answer["answer"] == right[answer["question"]]


def test_it_can_be_judged_again_on_more_rows_but_not_on_more_than_there_are(finished):
    report = json.loads((finished / "report.json").read_text())
    again = distill("evaluate", finished, "--problems", HELD_OUT, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["after"] == report["after"]
    many = distill("evaluate", finished, "--problems", 300)
    assert many.returncode == 1
    assert "but 300 are asked for: ask for" in many.stderr and "Traceback" not in many.stderr


def test_its_student_can_be_judged_on_other_problems(finished, capsys):
    pytest.importorskip("reasoning_gym")
    other = ["data.source=reasoning_gym", "data.families=[chain_sum, gsm_symbolic]", "evaluation.max_new_tokens=8"]
    assert main(["evaluate", str(finished), "--problems", "6", "--set", *other]) == 0
    done = capsys.readouterr()
    assert "6 problems of reasoning-gym (chain_sum, gsm_symbolic) twice" in done.err
    lines = done.out.splitlines()
    assert lines[0].split("  ")[-1].strip() == "reasoning-gym (chain_sum, gsm_symbolic)"
    assert "95%" in lines[1] and "n = 6" in lines[1] and "n = 6" in lines[2]
    assert main(["evaluate", str(finished), "--set", "budget.steps=1"]) == 2
    assert "only data.* and evaluation.*" in capsys.readouterr().err


def test_a_file_that_is_wrong_fails_the_run_with_the_line(tmp_path):
    path = table(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:16], "a question,,,", *lines[16:]]))
    done = distill("run", write(config(path), tmp_path), "--runs", tmp_path / "runs")
    assert done.returncode == 1
    assert "Line 17 of rows.csv has no 'Worked'" in done.stderr and "Traceback" not in done.stderr
    stored = yaml.safe_load((only_run(tmp_path / "runs") / "config.yaml").read_text())
    assert stored["data"]["path"] == str(path)


def test_a_run_on_conversations_is_learnt_by_all_models_turn_by_turn(tmp_path):
    """Teachers write and read what the student does; the preface of facts and the turns before reach all of them."""
    chats = []
    for problem in generate("train", 300, seed=3):
        facts, _, asked = problem.question.rpartition(". ")
        turns = [("system", facts), ("user", asked), ("assistant", problem.solution)]
        turns += [("user", f"And twice that, {problem.id}?"), ("assistant", problem.solution)]
        chats.append({"messages": [{"role": role, "content": text} for role, text in turns if text]})
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    settings = {
        **OWN,
        "teachers": ["gemma2-tiny"],
        "objectives": [*OWN["objectives"], {"kind": "response", "keep": "all", "max_new_tokens": 8}],
        "data": {"source": "file", "path": str(tmp_path / "chats.jsonl"), "train": 32, "held_out": 8, "validation": 4},
        "budget": {"steps": 2, "batch_size": 8},
        "evaluation": {"max_new_tokens": 8},
    }
    done = distill("run", write(settings, tmp_path), "--runs", tmp_path / "runs", "--json")
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path / "runs")
    answers = json.loads((folder / "answers.json").read_text())["after"]
    assert len(answers) == 8 and all(len(turns_of(answer["question"])) >= 3 for answer in answers)
    said = {event.code: event.text for event in read(folder / "events.jsonl")[0] if isinstance(event, Warning)}
    assert said["column_taken:messages"] == "The conversations of chats.jsonl are read from its column 'messages'."
    assert "answers_not_judged" in said
