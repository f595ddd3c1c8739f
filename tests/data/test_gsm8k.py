"""GSM8K: the real layout through the real client, from a stand-in for the Hub; and the real rows, where they are."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from hub_stand_in import HubStandIn

from distill.config.errors import UserError
from distill.config.run_config import parse
from distill.data.grading import grade
from distill.data.problems import generate
from distill.data.sources import split_problems
from distill.data.tables import read_rows
from distill.ui.configure.preview import preview

REAL = Path(__file__).parents[3] / "shared/data/gsm8k/train.jsonl"
CARD = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train-*}
  - {split: test, path: main/test-*}
- config_name: socratic
  data_files:
  - {split: train, path: socratic/train-*}
---
"""
ROWS = [
    {"question": p.question, "answer": re.sub(r"(\d+ \* \d+) = (\d+)", r"\1 = <<\1=\2>>\2", p.solution)}
    for p in generate("train", 300)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set laid out as openai/gsm8k is."""
    path = tmp_path_factory.mktemp("gsm8k")
    (path / "README.md").write_text(CARD)
    for place, rows in {"main/train": ROWS, "main/test": ROWS[:20], "socratic/train": ROWS[:10]}.items():
        (path / place).parent.mkdir(exist_ok=True)
        datasets.Dataset.from_list(rows).to_parquet(path / f"{place}-00000-of-00001.parquet")
    return path


def config(**data):
    data = {"columns": {"solution": "answer"}, "train": 40, "held_out": 20, "validation": 4, **data}
    return parse({"student": "student-tiny", "objectives": ["task"], "data": data})


def test_its_layout_is_read_and_calculator_marks_are_left_out(folder):
    said = {}
    asked = config(source="hub", dataset=str(folder), subset="main")
    found = split_problems(asked.data, {"train": 40, "held_out": 20}, said.__setitem__)
    assert sum("<<" in row["answer"] for row in ROWS) > 50
    assert re.match(r"\d+ of 300 solutions of .* hold marks for a calculator, such as <<", said["calculator_marks"])
    plain = {p.question: p.solution for p in generate("train", 300)}
    for problem in found["train"] + found["held_out"]:
        assert problem.solution == plain[problem.question]  # what else there is stays as it was
        assert grade(problem.solution, problem.answer).right
    assert not [row for row in preview(asked, 10) if "<<" in row["completion"] + row["prompt"]]


def test_a_folder_is_read_as_it_is_now(folder, tmp_path):
    """The library keeps what it once read of a folder: a run after a change would learn the old rows."""
    copy = tmp_path / "gsm8k"
    shutil.copytree(folder, copy)
    asked = config(source="hub", dataset=str(copy), subset="main").data
    before = split_problems(asked, {"held_out": 20})["held_out"]
    changed = [{**row, "question": "Now: " + row["question"]} for row in ROWS]
    datasets.Dataset.from_list(changed).to_parquet(copy / "main/train-00000-of-00001.parquet")
    after = split_problems(asked, {"held_out": 20})["held_out"]
    assert not any(problem.question.startswith("Now: ") for problem in before)
    assert all(problem.question.startswith("Now: ") for problem in after)


def test_what_is_no_mark_stays(tmp_path):
    path = tmp_path / "a.jsonl"
    kept = "cout << a >> b; <<EOF x=1>> <<thought=2>> 3 >> 1 = 1. #### 62"
    path.write_text(json.dumps({"question": "q", "answer": kept}) + "\n")
    said = {}
    for split in ("train", "held_out", "validation", "probe"):  # wherever the one row fell
        try:
            found = split_problems(config(source="file", path=str(path)).data, {split: 1}, said.__setitem__)[split]
        except UserError:
            continue
        assert [problem.solution for problem in found] in ([kept], [])
    assert "calculator_marks" not in said


def test_it_is_fetched_by_the_real_client(folder, tmp_path):
    """Over HTTP, in a process that takes the stand-in for the Hub."""
    code = (
        "import json, sys; from distill.config.run_config import parse\n"
        "from distill.data.sources import split_problems\n"
        "from distill.config.errors import UserError\n"
        "for over in ({'subset': 'main'}, {}, {'subset': 'main', 'dataset': 'openai/gsm'}):\n"
        "    data = {'source': 'hub', 'dataset': 'openai/gsm8k', 'columns': {'solution': 'answer'}, **over}\n"
        "    asked = parse({'student': 'student-tiny', 'objectives': ['task'], 'data': data}).data\n"
        "    try: print(json.dumps([p.question for p in split_problems(asked, {'held_out': 20})['held_out']]))\n"
        "    except UserError as error: print(json.dumps(str(error)))\n"
    )
    with HubStandIn() as hub:
        hub.add_dataset("openai/gsm8k", folder)
        env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        env.pop("HF_HUB_OFFLINE", None)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows, which, missing = map(json.loads, done.stdout.splitlines())
    same = split_problems(config(source="hub", dataset=str(folder), subset="main").data, {"held_out": 20})
    assert rows == [problem.question for problem in same["held_out"]]
    assert which.endswith("data.subset must be one of its configurations (main, socratic).")
    assert "there is none of that name, or it is private or gated" in missing


@pytest.mark.skipif(not REAL.exists(), reason="GSM8K itself is not here")
def test_all_real_rows_are_read_and_their_answers_are_found_right():
    asked = config(source="file", path=str(REAL))
    assert len(read_rows(REAL, asked.data.columns)) == 7473
    said = {}
    everything = {"train": 10_000, "validation": 10_000, "probe": 10_000, "held_out": 1000}
    found = split_problems(asked.data, everything, said.__setitem__)
    problems = [problem for split in found.values() for problem in split]
    assert len(problems) > 6900 and len({problem.question for problem in problems}) == len(problems)
    assert said.keys() == {"calculator_marks", "few_rows:train", "few_rows:validation", "few_rows:probe"}
    assert said["calculator_marks"].startswith("7,378 of 7,473 solutions")
    gold = {line["question"].strip(): line["answer"] for line in map(json.loads, REAL.open())}
    right = sum(grade(p.solution, gold[p.question].split("####")[1].strip()).right for p in problems)
    assert right / len(problems) >= 0.999
    assert not [p for p in problems if "<<" in p.solution or ">>" in p.solution]
