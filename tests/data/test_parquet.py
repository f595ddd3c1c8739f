"""Parquet files give the rows that CSV gives; what is damaged, or unpacks to too much, is one sentence."""

import datetime
import json
import random
import resource
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.config.errors import UserError
from distill.config.run_config import ColumnsConfig, ConfigError
from distill.data import parquet, tables
from distill.data.problems import generate
from distill.data.tables import columns_of, guess_columns, read_rows
from distill.models.conversation import told
from distill.ui.actions import upload_name, uploads
from distill.ui.configure.uploads import store_upload

PROBLEMS = generate("train", 300)
PLAIN = ColumnsConfig()
CHAT = ColumnsConfig(messages="messages")


@pytest.fixture
def file(tmp_path):
    """`file(columns)` -> the path of a Parquet file that holds them."""

    def write(columns, name="a.parquet", **how):
        pq.write_table(pa.table(columns), tmp_path / name, **how)
        return tmp_path / name

    return write


def of(problems):
    return {"question": [p.question for p in problems], "solution": [p.solution for p in problems]}


def refused(path, columns=PLAIN, kind=UserError):
    with pytest.raises(kind) as caught:
        read_rows(path, columns)
    said = str(caught.value)
    assert "\n" not in said and said[-1] in ".?"
    return said


@pytest.mark.parametrize("how", [{}, {"use_dictionary": False, "compression": "zstd"}, {"row_group_size": 70}])
def test_rows_are_those_of_a_text_file(file, tmp_path, how):
    lines = [{**row, "level": i, "kind": "a"} for i, row in enumerate(zip_rows(of(PROBLEMS)))]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = file({**of(PROBLEMS), "level": list(range(300)), "kind": ["a"] * 300}, **how)
    columns = ColumnsConfig(answer="level", family="kind")
    assert read_rows(path, columns) == read_rows(tmp_path / "a.jsonl", columns)
    assert columns_of(path) == columns_of(tmp_path / "a.jsonl")
    assert len(read_rows(path, PLAIN, 7)) == 7


def zip_rows(columns):
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_conversations_are_read_as_from_a_text_file(file, tmp_path):
    turns = [
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"Question {i}?"},
            {"role": "assistant", "content": f"Answer {i}."},
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": "Yes."},
        ]
        for i in range(100)
    ]
    path = file({"id": list(range(100)), "messages": turns})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"messages": t}) + "\n" for t in turns))
    rows = read_rows(path, CHAT)
    assert rows == read_rows(tmp_path / "a.jsonl", CHAT)
    last, first = rows[14:16]
    assert (first.line, told(first.question), first.solution) == (
        8,
        "System: Be brief.\n\nUser: Question 7?",
        "Answer 7.",
    )
    whole = f"{told(first.question)}\n\nAssistant: Answer 7.\n\nUser: Sure?"
    assert (last.line, told(last.question), last.solution) == (8, whole, "Yes.")
    assert guess_columns(columns_of(path).names)["messages"] == "messages"


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        (None, "has no list of turns ({role, content}) in 'messages'"),
        ([{"role": "user", "content": "q"}], "has no user's turn that an assistant's follows in 'messages'"),
        ([{"role": "assistant", "content": "a"}], "has no user's turn that an assistant's follows in 'messages'"),
        ([{"role": "user", "content": "q"}, {"role": "assistant", "content": " "}], "has a turn without text"),
    ],
)
def test_a_conversation_that_is_none_is_named(file, turns, said):
    good = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert refused(file({"messages": [good, turns, good]}), CHAT).startswith(f"Row 2 of a.parquet {said}")


def test_wrong_rows_and_columns_are_named(file):
    assert refused(file({"question": ["a", None], "solution": ["b", "c"]})).startswith("Row 2 of a.parquet has no 'que")
    assert "has a value in 'solution' that is not text" in refused(file({"question": ["a"], "solution": [1.5]}))
    assert "no column 'solution'" in refused(file({"question": ["a"], "answers": ["b"]}), kind=ConfigError)
    assert refused(file({"question": pa.array([], pa.string()), "solution": pa.array([], pa.string())})).startswith(
        "a.parquet has no rows"
    )
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    assert "characters in 'question' that are not UTF-8" in refused(file({"question": broken, "solution": ["b"]}))


def test_other_columns_are_of_no_concern(file):
    odd = {"when": [datetime.datetime(2025, 1, 1)], "bytes": [b"\xff\0"], "deep": [[[{"a": 1}]]], "none": [None]}
    path = file({"question": ["a"], "solution": ["b"], **odd})
    assert [row.question for row in read_rows(path, PLAIN)] == ["a"]
    assert columns_of(path).names == ["question", "solution", *odd]


def test_what_is_no_parquet_file_is_one_sentence(tmp_path):
    for content in (b"", b"PAR1", b"question,solution\na,b\n"):
        (tmp_path / "a.parquet").write_bytes(content)
        assert refused(tmp_path / "a.parquet").startswith("a.parquet can't be read as Parquet (")


def test_a_small_file_that_stands_for_a_large_one_is_refused_without_unpacking_it(file, monkeypatch):
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 90_000, pa.int32()), pa.array(["x" * 5_000_000]))
    path = file({"question": many, "solution": many})  # 900 GB
    assert path.stat().st_size < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(path) == "a.parquet has a value of more than 1 MB in 'question': leave it out."
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes
    turn = pa.array([{"role": "user", "content": "x"}])
    path = file({"messages": pa.ListArray.from_arrays([0, 1_500_000], turn.take(pa.array([0] * 1_500_000)))})
    assert "has a list of 1,500,000 items in 'messages', more than 1,000" in refused(path, CHAT)
    long = pa.array(["x"] * (tables.MAX_ROWS + 1))
    assert "more than 100,000 rows" in refused(file({"question": long, "solution": long}))
    monkeypatch.setattr(parquet, "MAX_UNPACKED", 2_000_000)
    path = file({"question": [f"{i}" + "x" * 9_990 for i in range(300)], "solution": ["a"] * 300}, use_dictionary=False)
    assert path.stat().st_size < 1_000_000 and "unpacks to 3 MB, more than is read (2 MB" in refused(path)


def test_no_damage_ends_in_anything_but_rows_or_a_sentence(file):
    content = file({**of(PROBLEMS[:40]), "messages": [[{"role": "user", "content": "a"}]] * 40}).read_bytes()
    rng = random.Random(0)
    path = file({"x": [1]})
    for _ in range(120):
        damaged = bytearray(content)
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(bytes(damaged[: rng.choice([len(damaged)] * 3 + [rng.randrange(len(damaged))])]))
        for read in (columns_of, lambda path: read_rows(path, PLAIN)):
            try:
                read(path)
            except UserError as error:
                assert str(error).endswith((".", "?"))


@pytest.mark.parametrize(("answer", "known"), [("18.00", "18"), ("1.50", "1.50"), (f"1{'0' * 30}", f"1{'0' * 30}")])
def test_answers_may_be_decimals(file, answer, known):
    """Those of 38 digits too, for which Python's arithmetic of decimals has no room."""
    column = pa.array([Decimal(answer)], pa.decimal128(38, 2 if "." in answer else 0))
    path = file({"question": ["q"], "solution": ["s"], "answer": column})
    assert read_rows(path, ColumnsConfig(answer="answer"))[0].answer == known


def test_it_can_be_uploaded(file):
    found = store_upload(file(of(PROBLEMS), "Mine.PARQUET"))
    assert found.stored.endswith(".parquet") and found.guess["solution"] == "solution"
    assert upload_name(uploads() / found.stored) == found.stored
