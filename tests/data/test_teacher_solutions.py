"""Files of {"question", "teacher_solution"} lines, as people who distil write them, are read as given."""

import json

import datasets
import pytest
import yaml

from distill.config.run_config import ColumnsConfig, ConfigError, parse, to_yaml
from distill.data.grading import grade
from distill.data.sources import problems_for, read_rows, split_problems
from distill.data.tables import settled
from distill.ui.configure.preview import preview
from distill.ui.configure.uploads import store_upload

THOUGHT = "<think>\nIs it {} * 2? #### {}\nNo, 23: 17 * 20 = 340, 17 * 3 = 51.\n</think>\n\n17 * 23 + {} = {}\n#### {}"


def lines(n=150):
    for i in range(n):
        solution = THOUGHT.format(i, 2 * i, i, 391 + i, 391 + i)
        yield {"question": f"What is 17 \u00d7 23 + {i}?", "teacher_solution": solution}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "distilled.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines()), encoding="utf-8")
    return path


def config(data, **counts):
    counts = {"train": 20, "held_out": 8, "validation": 4, **counts}
    return parse({"student": "student-tiny", "objectives": ["task"], "data": {**data, **counts}})


def test_such_a_file_is_read_as_given_with_its_thoughts_whole(file):
    given = {line["question"]: line["teacher_solution"] for line in lines()}
    found = problems_for(config({"source": "file", "path": str(file)}), lambda code, text: None)
    assert len(found["train"]) == 20 and len(found["held_out"]) == 8
    for problem in [*found["train"], *found["held_out"]]:
        assert problem.solution == given[problem.question] and problem.solution.startswith("<think>\n")
        assert problem.answer == str(391 + int(problem.question.split("+ ")[1][:-1]))  # not the thought's
        assert grade(problem.solution, problem.answer).right


def test_it_is_read_so_after_a_config_was_written_down_too(file):
    written = to_yaml(config({"source": "file", "path": str(file), "columns": {}}))
    assert "teacher_solution" not in written
    assert problems_for(parse(yaml.safe_load(written)), lambda code, text: None)["train"]


def test_a_data_set_of_the_hub_is_read_so_too(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    datasets.Dataset.from_list(list(lines())).to_parquet(folder / "train.parquet")
    found = split_problems(config({"source": "hub", "dataset": str(folder)}).data, {"train": 10, "held_out": 5})
    assert all(problem.solution.startswith("<think>") for problem in found["train"])


def test_the_preview_and_an_upload_take_the_same_column(file):
    found = preview(config({"source": "file", "path": str(file)}, train=3), 3)
    assert all(row["completion"].startswith("<think>\nIs it") for row in found)
    guess = store_upload(file).guess
    assert (guess["question"], guess["solution"], guess["answer"]) == ("question", "teacher_solution", None)


def test_a_column_that_is_named_or_there_comes_first(file, tmp_path):
    both = tmp_path / "both.jsonl"
    both.write_text(json.dumps({"question": "q", "solution": "mine", "teacher_solution": "its"}) + "\n")
    assert read_rows(both, ColumnsConfig())[0].solution == "mine"
    assert read_rows(both, ColumnsConfig(solution="teacher_solution"))[0].solution == "its"
    with pytest.raises(ConfigError, match="no column 'solutions'"):
        read_rows(file, ColumnsConfig(solution="solutions"))
    with pytest.raises(ConfigError, match="no column 'solution'"):  # it is the answers', by name
        read_rows(file, ColumnsConfig(answer="teacher_solution"))
    assert settled(ColumnsConfig(), ["question", "text"]).solution == "solution"
