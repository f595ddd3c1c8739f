"""Uploaded files: kept by digest, columns guessed, wrong rows named by line and in the visitor's name for the file."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from configure_cases import edited

from distill.config.errors import UserError
from distill.ui.actions import upload_name, uploads
from distill.ui.configure.uploads import store_upload, trial
from distill.ui.configure.validation import FILE, check

GUESS = {"question": "question", "solution": "solution", "answer": None, "family": None, "messages": None}
ROWS = "".join(f"What is {i} + {i}?;{i} + {i} = {2 * i}. #### {2 * i};plus\n" for i in range(120))


def uploaded(tmp_path, text, name="mine.csv", **values):
    """A draft with such a file uploaded, its likely columns chosen."""
    path = tmp_path / name
    path.write_text(text)
    found = store_upload(path)
    columns = {f"data__columns__{part}": column or "" for part, column in found.guess.items()}
    return edited("tiny-ce", data__source="file", upload=found.stored, file=name, **{**columns, **values})


def test_a_file_is_kept_by_what_is_in_it(tmp_path):
    (tmp_path / "a.csv").write_text("question;solution;topic\n" + ROWS)
    found = store_upload(tmp_path / "a.csv")
    assert (uploads() / found.stored).read_bytes() == (tmp_path / "a.csv").read_bytes()
    assert upload_name(uploads() / found.stored) == found.stored
    assert found.columns == ("question", "solution", "topic")
    assert found.guess == {**GUESS, "family": "topic"}
    (tmp_path / "b.CSV").write_bytes((tmp_path / "a.csv").read_bytes())
    assert store_upload(tmp_path / "b.CSV").stored == found.stored
    assert not list(uploads().glob("*.csv.*"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"x", "not a JSONL, CSV or Parquet file"),
        ("a.csv", b"", "no rows"),
        ("a.jsonl", b'[{"question": "q"}]', "an object on each line"),
        ("a.csv", b"a,a\n1,2\n", "two columns"),
        ("a.csv", b"a,b\n" + b"x" * 20_000_001, "MB, more than 20"),
        ("a.csv", b"\0\1", "not UTF-8"),
    ],
)
def test_what_is_no_table_is_not_kept(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    before = set(uploads().glob("*"))
    with pytest.raises(UserError, match=said):
        store_upload(path)
    assert set(uploads().glob("*")) == before


def test_the_same_file_from_two_visitors_at_once(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("question;solution\nat once?;#### 1\n")
    both, copyfile = threading.Barrier(2, timeout=20), shutil.copyfile

    def slowly(*places):
        copyfile(*places)
        both.wait()  # both have copied, none has finished

    monkeypatch.setattr(shutil, "copyfile", slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(store_upload, [path, path])
    assert first == second and (uploads() / first.stored).read_bytes() == path.read_bytes()
    assert not list(uploads().glob("*.csv.*"))


def test_nothing_is_left_of_an_upload_that_fails(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("question;solution\nno room?;#### 2\n")

    def full(_, target):
        Path(target).write_text("quest")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    before = set(uploads().glob("*"))
    with pytest.raises(UserError, match=r"a\.csv can't be kept on this server \(no space left on device\)"):
        store_upload(tmp_path / "a.csv")
    assert set(uploads().glob("*")) == before


def test_a_good_file_is_no_fault(tmp_path):
    draft = uploaded(tmp_path, "question;solution;topic\n" + ROWS, data__train=40, data__held_out=10)
    checked = check(draft, public=True)
    assert checked.faults == {}
    notes, refusal = trial(checked.config, draft.file)
    assert refusal == "" and any("validation" in note for note in notes)


def test_wrong_rows_are_named_by_line_at_the_file(tmp_path):
    text = '{"question": "a", "solution": "#### 1"}\n{"question": "b"}\n{"question": "c", "solution": "#### 3"}\n'
    draft = uploaded(tmp_path, text, "rows.jsonl")
    assert check(draft, public=True).faults == {
        FILE: "Line 2 of rows.jsonl has no 'solution': correct it or leave it out."
    }


def test_a_column_that_is_not_there_is_said_in_words(tmp_path):
    draft = uploaded(tmp_path, "question;solution;topic\n" + ROWS, data__columns__answer="nowhere")
    said = check(draft, public=True).faults[FILE]
    assert said.startswith("mine.csv has no column 'nowhere', which “Answer” names")


def test_too_few_rows_to_judge_by_are_said_before_the_start(tmp_path):
    draft = uploaded(tmp_path, "question;solution;topic\n" + ROWS)
    config = check(draft, public=True).config
    _, refusal = trial(config, draft.file)
    assert "of mine.csv are held out" in refusal and "480 are asked for" in refusal


def test_a_draft_without_the_file_says_so(tmp_path):
    draft = uploaded(tmp_path, "question;solution;topic\n" + ROWS)
    assert list(check(replace(draft, upload=""), public=True).faults) == [FILE]
