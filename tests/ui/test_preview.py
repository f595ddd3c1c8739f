"""What the page shows of the data before a run: exactly what the student reads, made without torch in the page."""

import json
import os
import subprocess
import sys

import pytest
from end_to_end_cases import ROOT

from distill.config.errors import UserError
from distill.config.run_config import load, to_yaml
from distill.data.problems import generate
from distill.data.sources import split_of_question
from distill.models.loading import load_tokenizer
from distill.ui.configure.preview import _child, preview, preview_in_child

TIMEOUT = 120

# A page: no torch, and a child that is started once. (Without a Python to start, only what was kept can be given.)
PAGE = """
import json, os, sys
from distill.config.run_config import ConfigError, load
from distill.ui.configure.preview import preview_in_child

path = sys.argv[1]
asked = ["data.source=file", f"data.path={path}", "data.held_out=20", "data.validation=10"]
first = preview_in_child(load("tiny", asked), 4)
assert "torch" not in sys.modules and "transformers" not in sys.modules
first[0]["prompt"] = "changed by whoever shows it"
python, sys.executable = sys.executable, "/no/python"
again = preview_in_child(load("tiny-ce", [*asked, "budget.steps=7", "name=other"]), 4)
for changed in (["budget.max_length=64"], ["data.held_out=21"]):
    try:
        preview_in_child(load("tiny", [*asked, *changed]), 4)
    except OSError:
        continue
    raise AssertionError("what was kept is not what was asked for")
os.utime(path, ns=(0, 0))
try:
    preview_in_child(load("tiny", asked), 4)
    raise AssertionError("the file has changed")
except OSError:
    pass
sys.executable = python
try:
    preview_in_child(load("tiny", [*asked, "data.columns.solution=none"]), 4)
except ConfigError as error:
    print(json.dumps([again, str(error)]))
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A file of 400 rows."""
    path = tmp_path_factory.mktemp("preview") / "rows.jsonl"
    lines = [{"question": p.question, "solution": p.solution} for p in generate("train", 400)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_preview_is_what_the_student_reads():
    found = preview(load("tiny"), 12)
    problems = generate("train", 12)
    tokenizer = load_tokenizer(ROOT / "assets" / "zoo" / "student-tiny")
    for row, problem in zip(found, problems, strict=True):
        chat = [{"role": "user", "content": problem.question}]
        assert row["prompt"] == tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert row["completion"] == problem.solution + "<|im_end|>"
        assert (row["truncated"], row["family"]) == (False, problem.family)
        tokens = tokenizer(row["prompt"] + row["completion"], add_special_tokens=False).input_ids
        assert len(tokens) == row["prompt_tokens"] + row["completion_tokens"]
        assert len(tokenizer(row["prompt"], add_special_tokens=False).input_ids) == row["prompt_tokens"]


def test_what_is_cut_is_shown_cut():
    (whole,) = preview(load("tiny"), 1)
    (cut,) = preview(load("tiny", [f"budget.max_length={whole['prompt_tokens'] + 5}"]), 1)
    assert cut["truncated"] and cut["completion_tokens"] == 5
    assert cut["completion"] and whole["completion"].startswith(cut["completion"])
    (none,) = preview(load("tiny", ["budget.max_length=16"]), 1)
    assert (none["completion"], none["completion_tokens"], none["prompt_tokens"]) == ("", 0, 16)
    assert whole["prompt"].startswith(none["prompt"]) and none["prompt"] != whole["prompt"]


def test_only_rows_that_are_trained_on_are_shown(rows):
    found = preview(load("tiny", ["data.source=file", f"data.path={rows}", "data.held_out=20", "data.train=7"]), 10)
    assert len(found) == 7
    questions = {json.loads(line)["question"] for line in rows.read_text().splitlines()}
    shown = {question for question in questions for row in found if question in row["prompt"]}
    assert len(shown) == 7 and {split_of_question(question) for question in shown} == {"train"}
    with pytest.raises(UserError, match="but 480 are asked for: ask for"):
        preview(load("tiny-ce", ["data.source=file", f"data.path={rows}"]))


def test_a_page_without_torch_gets_the_same_from_a_child_and_keeps_it(rows):
    expected = preview_in_child(
        load("tiny", ["data.source=file", f"data.path={rows}", "data.held_out=20", "data.validation=10"]), 4
    )
    done = subprocess.run(
        [sys.executable, "-c", PAGE, str(rows)], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    found, sentence = json.loads(done.stdout)
    assert found == expected
    assert sentence.startswith("rows.jsonl has no column 'none', which data.columns.solution names: ")


def test_a_page_with_torch_reads_nobodys_file_itself(rows, monkeypatch):
    """What a child can't be started for is not made here instead; what ships is."""
    monkeypatch.setattr(sys, "executable", "/no/python")
    assert "torch" in sys.modules and len(preview_in_child(load("tiny", ["budget.max_length=77"]), 2)) == 2
    for asked in (["data.source=file", f"data.path={rows}", "data.held_out=22"], ["student=nobody/nothing"]):
        with pytest.raises(OSError, match="/no/python"):
            preview_in_child(load("tiny", asked), 2)


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = load("tiny", ["data.source=hub", "data.dataset=openai/gsm8k", "data.subset=main"])
    with pytest.raises(UserError) as caught:
        _child(to_yaml(asked), 2)
    assert str(caught.value) == (
        "The data set openai/gsm8k (main) can't be loaded: the Hub can't be reached, so check the network or use a "
        "file (data.source=file)."
    )


def test_a_child_that_breaks_off_is_said_to(monkeypatch):
    with pytest.raises(UserError, match=r"The preview could not be made \(ValueError: .*\): check the student and"):
        _child(to_yaml(load("tiny")), "ten")
    assert os.environ.get("PYTHONIOENCODING") is None
