"""Tables as people have them: read whole under their default columns, or refused by the name of their layout."""

import json
import math

import datasets
import pytest

from distill.config.errors import UserError
from distill.config.run_config import ColumnsConfig, ConfigError, parse
from distill.data.layouts import guess_columns
from distill.data.sources import split_problems
from distill.data.tables import read_rows
from distill.models.conversation import told
from distill.ui.configure.uploads import store_upload

USER, GPT = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}


def turns(*said):
    """turns("u: q", "a: s") -> a list of {role, content}."""
    roles = {"s": "system", "d": "developer", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": roles[text[0]], "content": text[3:]} for text in said]


def read(tmp_path, *records, name="rows.jsonl", columns=None):
    """([(question as people read it, solution)], {code: warning})"""
    path, said = tmp_path / name, {}
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    rows = read_rows(path, columns or ColumnsConfig(), warn=said.__setitem__)
    return [(told(row.question), row.solution) for row in rows], said


@pytest.mark.parametrize(
    ("record", "pairs"),
    [
        ({"question": "q", "answer": "48 / 2 = 24. #### 24"}, [("q", "48 / 2 = 24. #### 24")]),  # GSM8K
        ({"instruction": "i", "input": "", "output": "o"}, [("i", "o")]),  # Alpaca
        ({"instruction": "i", "input": "x", "output": "o"}, [("i\n\nx", "o")]),
        ({"instruction": "i", "context": "c", "response": "r", "category": "qa"}, [("i\n\nc", "r")]),  # Dolly
        ({"system_prompt": "s", "question": "q", "response": "r"}, [("System: s\n\nUser: q", "r")]),  # OpenOrca
        ({"system_prompt": "", "question": "q", "response": "r"}, [("q", "r")]),
        ({"query": "q", "response": "r", "original_question": "o"}, [("q", "r")]),  # MetaMath
        ({"problem": "p", "solution": "s", "messages": turns("u: p", "a: s")}, [("p", "s")]),  # NuminaMath
        ({"problem": "p", "solution": "\\boxed{2}", "level": "1", "type": "t"}, [("p", "\\boxed{2}")]),  # MATH
        ({"problem": "p", "generated_solution": "s", "expected_answer": "2"}, [("p", "s")]),  # OpenMathInstruct
        ({"prompt": "p", "completion": "c"}, [("p", "c")]),
        ({"prompt": turns("s: f", "u: p"), "completion": turns("a: c")}, [("System: f\n\nUser: p", "c")]),  # TRL
        ({"prompt": turns("u: p"), "completion": "c"}, [("p", "c")]),
        (
            {"prompt": turns("u: p", "a: x", "u: y"), "completion": turns("a: c")},
            [("User: p\n\nAssistant: x\n\nUser: y", "c")],  # what the prompt holds is not learnt
        ),
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, [("p", "c")]),  # DPO
        ({"prompt": "p", "chosen": turns("u: p", "a: c"), "rejected": turns("u: p", "a: r")}, [("p", "c")]),
        ({"chosen": turns("u: p", "a: c"), "rejected": turns("u: p", "a: r")}, [("p", "c")]),
        ({"messages": turns("u: p", "a: c")}, [("p", "c")]),
        ({"conversations": [USER, GPT]}, [("q", "a")]),  # ShareGPT
        ({"conversations": [{"from": "system", "value": "s"}, USER, GPT]}, [("System: s\n\nUser: q", "a")]),
        ({"conversations": {"from": ["human", "gpt"], "value": ["q", "a"]}}, [("q", "a")]),
        ({"conversations": ["q", "a"], "source": "x"}, [("q", "a")]),  # LIMA
        ({"conversations": json.dumps([USER, GPT])}, [("q", "a")]),
        ({"conversations": [USER, GPT], "system": "s"}, [("System: s\n\nUser: q", "a")]),
        ({"inputs": "q", "targets": "a"}, [("q", "a")]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_layout_is_read_with_default_columns(tmp_path, record, pairs):
    found, said = read(tmp_path, record, record)
    assert found == pairs * 2
    if "rejected" in record:
        assert "nothing in 'rejected' is learnt" in said["rejected_unread"]
    names = {"question", "solution"} - record.keys()
    assert bool(names) == any(code.startswith("column_taken") for code in said)
    store_upload(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"text": "t"}, "is a table of plain texts (text): give a question and a solution in each row."),
        ({"content": "t", "url": "u"}, "is a table of plain texts (content)"),
        ({"question": "q", "options": ["A)1", "B)2"], "rationale": "r", "correct": "A"}, "multiple choice (options)"),
        ({"question": "q", "choices": ["1", "2"], "answer": 0}, "is a table of multiple choice (choices): put the cho"),
        ({"question": "q", "A": "1", "B": "2", "C": "3", "D": "4", "answer": "A"}, "multiple choice (A to D)"),
        ({"question": "q", "opa": "1", "opb": "2", "cop": 1}, "is a table of multiple choice"),
        ({"prompt": "p", "completion": "c", "label": False}, "is a table of judged answers (KTO's"),
        ({"context": "c", "question": "q", "answers": {"text": ["a"]}}, "is a table of passages (SQuAD's"),
        ({"message_id": "1", "parent_id": None, "text": "t", "role": "prompter"}, "is a tree of messages"),
        ({"premise": "p", "hypothesis": "h", "label": 1}, "is a table of pairs of sentences"),
        ({"translation": {"en": "a", "de": "b"}}, "is a table of translations"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_layout_without_questions_and_solutions_is_refused_by_its_name(tmp_path, record, name):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, record)
    assert str(caught.value).startswith("rows.jsonl is ") and name in str(caught.value)
    with pytest.raises(UserError) as uploaded:  # at once, before any column is chosen
        store_upload(tmp_path / "rows.jsonl")
    assert str(uploaded.value) == str(caught.value)


@pytest.mark.parametrize(
    ("record", "columns"),
    [
        ({"question": "q", "answer": "a"}, {"question": "question", "solution": "reply"}),
        ({"question": "q", "answer": "a"}, {"question": "question", "solution": "questions"}),
        ({"question": "q", "final": "a", "kind": "k"}, {"solution": "fin", "family": "kind"}),
        ({"instruction": "q", "output": "a"}, {"question": "instructions", "solution": "output"}),
    ],
)
def test_no_column_in_use_is_proposed(tmp_path, record, columns):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, record, columns=ColumnsConfig(**columns))
    proposed = str(caught.value).partition("names: ")[2]
    assert not [name for name in columns.values() if repr(name) in proposed and name in record]


def test_what_belongs_to_a_problem_and_is_not_read_is_said(tmp_path):
    record = {"question": "q", "solution": "s", "options": ["x"], "context": "c", "id": 7, "source": "web"}
    found, said = read(tmp_path, record)
    assert found == [("q", "s")] and said.keys() == {"columns_unread"}
    assert said["columns_unread"].startswith("rows.jsonl has 'options' and 'context' beside what is read of it:")


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (18, "18"),
        (18.0, "18"),
        (0.5, "0.5"),
        (-3, "-3"),
        ("18", "18"),
        (10**18, str(10**18)),
        ("3 * 6 = 18. #### 18", "18"),
        ("Infinity", "Infinity"),  # a limit may be that
    ],
)
def test_answers_are_text_or_numbers(tmp_path, answer, known):
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": "q", "solution": "s", "answer": answer}))
    assert read_rows(tmp_path / "a.jsonl", ColumnsConfig(answer="answer"))[0].answer == known


@pytest.mark.parametrize("missing", [None, math.nan, math.inf, -math.inf, "", "  ", "NaN", "nan", "<NA>"])
@pytest.mark.parametrize("column", ["question", "solution", "answer", "kind"])
def test_what_is_missing_is_named_by_its_line_whatever_stands_for_it(tmp_path, column, missing):
    good = {"question": "q", "solution": "s", "answer": 1.5, "kind": "k"}
    with pytest.raises(UserError) as caught:
        read(tmp_path, good, {**good, column: missing}, columns=ColumnsConfig(answer="answer", family="kind"))
    assert str(caught.value) == f"Line 2 of rows.jsonl has no {column!r}: correct it or leave it out."


def test_numbers_too_large_for_json_and_parquets_nan_are_missing(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "q", "solution": "s", "answer": 1e999}\n')
    rows = {"question": ["q"], "solution": ["s"], "answer": [math.nan]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "a.parquet")
    for name, unit in (("a.jsonl", "Line"), ("a.parquet", "Row")):
        with pytest.raises(UserError, match=rf"^{unit} 1 of {name} has no 'answer'"):
            read_rows(tmp_path / name, ColumnsConfig(answer="answer"))


@pytest.mark.parametrize("value", [True, ["a"], {"a": 1}])
def test_other_answers_are_named(tmp_path, value):
    record = {"question": "q", "solution": "s", "answer": value}
    with pytest.raises(UserError, match=r"^Line 1 of rows\.jsonl has a value in 'answer' that is not text"):
        read(tmp_path, record, columns=ColumnsConfig(answer="answer"))


def test_gsm8ks_own_file_with_default_columns_gives_its_golds(tmp_path):
    path = tmp_path / "train.jsonl"
    lines = [
        {"question": f"What is {i} + 1?", "answer": f"{i} + 1 = <<{i}+1={i + 1}>>{i + 1}\n#### {i + 1}"}
        for i in range(99)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = parse(
        {"student": "student-tiny", "objectives": ["task"], "data": {"source": "file", "path": str(path)}}
    ).data
    said = {}
    found = split_problems(data, {"train": 40, "held_out": 5}, said.__setitem__)
    for problem in found["train"] + found["held_out"]:
        number = int(problem.question.split()[2]) + 1
        assert (problem.answer, problem.solution) == (str(number), f"{number - 1} + 1 = {number}\n#### {number}")
    assert said["column_taken:solution"] == "The solutions of train.jsonl are read from its column 'answer'."


def test_a_data_set_of_the_hub_is_read_and_refused_alike(tmp_path):
    alpaca = [{"instruction": f"i {n}", "input": f"x {n}", "output": "o"} for n in range(40)]
    for name, records in {"alpaca": alpaca, "texts": [{"text": "t"}]}.items():
        (tmp_path / name).mkdir()
        datasets.Dataset.from_list(records).to_parquet(tmp_path / name / "train.parquet")

    def draw(name):
        data = {"source": "hub", "dataset": str(tmp_path / name)}
        asked = parse({"student": "student-tiny", "objectives": ["task"], "data": data}).data
        return split_problems(asked, {"train": 40}, optional=["validation", "probe"])["train"]

    found = {problem.question for problem in draw("alpaca")}
    assert len(found) > 15 and found <= {f"i {n}\n\nx {n}" for n in range(40)}
    with pytest.raises(UserError, match="texts is a table of plain texts"):
        draw("texts")


@pytest.mark.parametrize(
    ("names", "question", "solution", "messages"),
    [
        (["instruction", "context", "response", "category"], "instruction", "response", None),
        (["system_prompt", "question", "response"], "question", "response", None),
        (["chosen", "rejected"], None, None, "chosen"),
        (["conversations", "id"], None, None, "conversations"),
        (["problem", "solution", "messages"], "problem", "solution", None),
    ],
)
def test_the_page_proposes_a_layouts_columns(names, question, solution, messages):
    guess = guess_columns(names)
    assert (guess["question"], guess["solution"], guess["messages"]) == (question, solution, messages)
