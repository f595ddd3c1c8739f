"""Rows from files that people upload: what is read, what is refused, and that every wrong row is named by its line."""

import json
import random

import pytest

from distill.config.errors import UserError
from distill.config.run_config import ColumnsConfig, ConfigError
from distill.data import tables
from distill.data.tables import Row, columns_of, guess_columns, read_rows

PLAIN = ColumnsConfig()
ALL = ColumnsConfig(answer="answer", family="kind")


@pytest.fixture
def file(tmp_path):
    """`file(name, content)` -> its path; text is written as UTF-8."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(path, columns=PLAIN, kind=UserError):
    with pytest.raises(kind) as caught:
        read_rows(path, columns)
    text = str(caught.value)
    assert "\n" not in text and text.endswith((".", "?"))
    return text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "question,solution,answer,kind\nHow many?,1 + 1 = 2,2,sum\n"),
        ("a.csv", b"\xef\xbb\xbfquestion,solution,answer,kind\r\nHow many?,1 + 1 = 2,2,sum\r\n"),
        ("a.csv", "kind;solution;question;answer\nsum; 1 + 1 = 2 ;How many?;2"),
        ("a.TSV", "question\tsolution\tanswer\tkind\nHow many?\t1 + 1 = 2\t2\tsum\n"),
        ("a.csv", '"question","solution","answer","kind"\n"How many?","1 + 1 = 2","2","sum"\n'),
        ("a.jsonl", '{"question": "How many?", "solution": "1 + 1 = 2", "answer": 2, "kind": "sum", "more": [1]}'),
        ("a.jsonl", b'\xef\xbb\xbf{"question":"How many?","solution":" 1 + 1 = 2\\n","answer":"2","kind":"sum"}\r\n'),
    ],
)
def test_a_row_is_the_same_from_every_kind_of_file(file, name, content):
    (row,) = read_rows(file(name, content), ALL)
    assert (row.question, row.solution, row.answer, row.family) == ("How many?", "1 + 1 = 2", "2", "sum")
    (row,) = read_rows(file(name, content), PLAIN)
    assert (row.answer, row.family) == (None, None)


def test_lines_are_those_of_the_file_whatever_lies_between(file):
    csv = 'question,solution\na,"one\ntwo"\n\n\nb,"x, ""y"""\n'
    assert read_rows(file("a.csv", csv), PLAIN) == [Row(2, "a", "one\ntwo"), Row(6, "b", 'x, "y"')]
    jsonl = '\n{"question": "a\u2028b", "solution": "ü"}\n   \n{"question": "c", "solution": "d"}\n'
    assert read_rows(file("a.jsonl", jsonl), PLAIN) == [Row(2, "a\u2028b", "ü"), Row(4, "c", "d")]


def test_only_the_first_rows_are_read_where_that_is_asked(file):
    path = file("a.csv", "question,solution\na,b\nc,d\ne\n")
    assert [row.line for row in read_rows(path, PLAIN, limit=2)] == [2, 3]
    assert "Line 4 of a.csv" in refused(path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "question,solution\na,b\nc,\n", "Line 3 of a.csv has no 'solution': correct it or leave it out."),
        ("a.csv", "question,solution\na,  \n", "Line 2 of a.csv has no 'solution'"),
        ("a.csv", "question,solution\na,b,c\n", "Line 2 of a.csv has 3 fields where the header has 2"),
        ("a.csv", "question,solution\na\n", "Line 2 of a.csv has 1 field where the header has 2"),
        ("a.csv", 'question,solution\na,"b"c\n', "Line 2 of a.csv can't be read as CSV ("),
        ("a.csv", 'question,solution\na,b\nc,"d\n', "Line 3 of a.csv can't be read as CSV (unexpected end of data)"),
        (
            "a.csv",
            b"question,solution\na,b\nc,\xe9t\xe9\n",
            "Line 3 of a.csv has characters in 'solution' that are not",
        ),
        ("a.csv", f"question,solution\na,{'x' * 200_001}\n", "Line 2 of a.csv has 200,001 characters in 'solution'"),
        ("a.csv", "", "a.csv has no rows"),
        ("a.csv", "question,solution\n", "a.csv has no rows"),
        ("a.csv", "question,x,x\na,b,c\n", "a.csv has two columns named 'x': rename one of them."),
        ("a.csv", '"quest"ion,solution\na,b\n', "The header of a.csv can't be read as CSV"),
        ("a.csv", "question,solution\n".encode("utf-16"), "a.csv is not UTF-8 text: save it as UTF-8."),
        ("a.jsonl", '{"question": "a", "solution": "b"}\n{"question": "a"}\n', "Line 2 of a.jsonl has no 'solution'"),
        ("a.jsonl", '{"question": "a", "solution": 3}\n', "Line 1 of a.jsonl has a value in 'solution' that is not"),
        (
            "a.jsonl",
            '{"question": "a", "solution": "b"}\n{"question": \n',
            "Line 2 of a.jsonl is not valid JSON (expect",
        ),
        ("a.jsonl", '{"question": "a", "solution": "b"}\n' + "[" * 99_999, "Line 2 of a.jsonl is not valid JSON (it "),
        ("a.jsonl", '{"question": "a", "solution": "b"}\n7', "Line 2 of a.jsonl is not a JSON object"),
        ("a.jsonl", '{"question": "\\ud800", "solution": "b"}', "Line 1 of a.jsonl has characters in 'question' that"),
        ("a.json", '[\n{"question": "a", "solution": "b"}\n]', "a.json is one JSON list: give JSONL"),
        ("a.json", '[{"question": "a", "solution": "b"}]', "a.json is a JSON list: give JSONL"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(file, name, content, sentence):
    assert refused(file(name, content)).startswith(sentence)


def test_at_most_five_wrong_lines_are_named_and_all_are_counted(file):
    lines = [json.dumps({"question": "a", "solution": "b"}), *["{}"] * 7]
    text = refused(file("a.jsonl", "\n".join(lines)))
    assert text.startswith("7 lines of a.jsonl are wrong (line 2 has no 'question'; line 3 has")
    assert "line 6 has no 'question'; and 2 more): correct them" in text and "line 7" not in text


def test_answers_and_families_may_be_numbers_and_must_be_there(file):
    row = {"question": "a", "solution": "b", "answer": 2.5, "kind": 3}
    assert read_rows(file("a.jsonl", json.dumps(row)), ALL)[0] == Row(1, "a", "b", "2.5", "3")
    for wrong, sentence in [
        ({"answer": True}, "has a value in 'answer' that is not text"),
        ({"answer": None}, "has no 'answer'"),
        ({"kind": "x" * 81}, "has 81 characters in 'kind', more than 80"),
    ]:
        assert sentence in refused(file("a.jsonl", json.dumps({**row, **wrong})), ALL)


def test_a_column_that_is_not_there_is_named_with_those_that_are(file):
    path = file("a.csv", "question,solutions\na,b\n")
    assert refused(path, kind=ConfigError) == (
        "a.csv has no column 'solution', which data.columns.solution names: did you mean 'solutions'?"
    )
    said = refused(path, ColumnsConfig(solution="xyz"), kind=ConfigError)
    assert said.endswith("names: choose 'solutions'.")  # never the column of the questions
    said = refused(path, ColumnsConfig(solution="xyz", family="solutions"), kind=ConfigError)
    assert said.endswith("names: it has only 'question' and 'solutions'.")
    assert "data.columns.family" in refused(path, ColumnsConfig(solution="solutions", family="f"), kind=ConfigError)


def test_files_that_are_not_there_or_of_another_kind(file, tmp_path):
    assert "There is no file" in refused(tmp_path / "no.csv", kind=ConfigError)
    assert "There is no file" in refused(tmp_path, kind=ConfigError)
    assert "There is no file" in refused("~nobody-of-this-name/a.csv", kind=ConfigError)
    assert "end in .jsonl, .csv or .parquet" in refused(file("a.xlsx", "x"), kind=ConfigError)


def test_what_is_too_large_is_refused_before_it_is_read(file, tmp_path):
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as stream:
        stream.truncate(tables.MAX_BYTES + 1_000_000)
    assert refused(huge) == "huge.csv has 21 MB, more than 20: give fewer rows."
    many = file("many.jsonl", '{"question": "a", "solution": "b"}\n' * (tables.MAX_ROWS + 1))
    assert refused(many).startswith("many.jsonl has more than 100,000 rows")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_very_many_columns_are_refused_at_once(file, kind):
    names = [f"c{i}" for i in range(20_000)]
    content = ",".join(names) + "\n" if kind == "csv" else json.dumps(dict.fromkeys(names, "")) + "\n"
    said = refused(file(f"a.{kind}", content))
    assert said == f"a.{kind} has 20,000 columns, more than 1,000: leave out those without a use."


def test_the_columns_of_a_file_and_its_first_rows(file):
    found = columns_of(file("a.csv", "id,problem,answer\n1,a,b\n2,c,d\n3,e,f\n4,g\n"))
    assert found.names == ["id", "problem", "answer"]
    assert [row["problem"] for row in found.examples] == ["a", "c", "e"]
    found = columns_of(file("a.jsonl", '{"q": "a", "n": [1, "ü"]}\nbroken\n{"q": "\\ud800", "later": null}\n'))
    assert found.names == ["q", "n", "later"]
    assert found.examples == [{"q": "a", "n": '[1, "ü"]'}, {"q": "\ufffd", "later": "null"}]
    with pytest.raises(UserError, match=r"2 lines of a.jsonl are wrong \(line 1 is not"):
        columns_of(file("a.jsonl", "x\ny\n"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["question", "answer"], ("question", "answer", None, None, None)),  # GSM8K
        (["Problem", "Solution", "Answer", "Subject"], ("Problem", "Solution", "Answer", "Subject", None)),
        (["prompt", "completion"], ("prompt", "completion", None, None, None)),
        (["instruction", "input", "output"], ("instruction", "output", None, None, None)),
        (
            ["Teacher solution", "question", "final-answer"],
            ("question", "Teacher solution", "final-answer", None, None),
        ),
        (["id", "messages", "source"], (None, None, None, None, "messages")),  # Tulu
        (["prompt", "prompt_id", "messages"], (None, None, None, None, "messages")),  # UltraChat
        (["messages", "question", "answer"], ("question", "answer", None, None, None)),
        (["x", "y"], (None, None, None, None, None)),
    ],
)
def test_which_column_is_what_is_guessed_from_its_name(names, expected):
    assert tuple(guess_columns(names).values()) == expected


def test_no_file_however_broken_ends_in_anything_but_rows_or_a_sentence(file):
    rng = random.Random(0)
    good = {
        "a.csv": b'question,solution\na,"b\nc"\nd,"e ""f"""\n' * 3,
        "a.jsonl": b'{"question": "a", "solution": "b"}\n{"question": "\\u00fc", "solution": "d"}\n' * 3,
    }
    for _ in range(150):
        for name, content in good.items():
            damaged = bytearray(content)
            for _ in range(rng.randrange(1, 6)):
                damaged[rng.randrange(len(damaged))] = rng.choice(b'"\\,;\n\r\t{}[]\xff\x00\xed\xa0a0')
            path = file(name, bytes(damaged))
            for read in (columns_of, lambda path: read_rows(path, PLAIN)):
                try:
                    read(path)
                except UserError as error:
                    assert str(error).endswith((".", "?"))
                    str(error).encode()
