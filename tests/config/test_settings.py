"""The settings that say where problems come from: which belong together, what follows from what, and where paths go."""

import pytest
import yaml

from distill.config.run_config import ConfigError, DataConfig, load, parse, to_yaml
from distill.models.references import absolute
from distill.runs import store

TASK = {"student": "student-tiny", "objectives": ["task"]}


def data(**settings):
    return parse({**TASK, "data": settings}).data


def test_generated_problems_have_none_of_the_settings_of_rows():
    asked = data()
    assert asked.source == "problems"
    assert (asked.path, asked.dataset, asked.subset, asked.split, asked.columns) == (None,) * 5


def test_what_is_left_out_follows_the_source():
    file, hub = data(source="file", path="a.csv"), data(source="hub", dataset="openai/gsm8k", subset="main")
    assert file.columns.model_dump() == {
        "question": "question",
        "solution": "solution",
        "answer": None,
        "family": None,
        "messages": None,
    }
    assert (file.split, hub.split, hub.columns) == (None, "train", file.columns)
    assert data(source="hub", dataset="a/b", split="test", columns={"solution": "answer"}).split == "test"


def test_a_config_of_before_there_were_sources_means_the_same():
    settings = yaml.safe_load(to_yaml(load("tiny")))
    for name in ("path", "dataset", "subset", "split", "columns"):
        del settings["data"][name]
    assert parse(settings) == load("tiny")


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.source=file", "data.path=Ünï.csv", "data.columns.answer=final"],
        ["data.source=hub", "data.dataset=openai/gsm8k", "data.subset=main", "data.columns.solution=answer"],
    ],
)
def test_yaml_keeps_where_the_problems_come_from(overrides, tmp_path):
    asked = load("tiny", overrides)
    (tmp_path / "again.yaml").write_text(to_yaml(asked), encoding="utf-8")
    assert load(tmp_path / "again.yaml") == asked
    assert asked.data.columns != DataConfig(source="file", path="a.csv").columns


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"source": "file"}, "data.path is missing, but data.source is 'file': give a JSONL, CSV or Parquet file."),
        (
            {"source": "hub"},
            "data.dataset is missing, but data.source is 'hub': give a data set's id, such as openai/gsm8k.",
        ),
        (
            {"path": "a.csv"},
            "data.path is set, but data.source is 'problems', which has no use for it: set data.source ",
        ),
        ({"columns": {}}, "data.columns is set, but data.source is 'problems'"),
        ({"source": "file", "path": "a.csv", "dataset": "a/b"}, "data.dataset is set, but data.source is 'file'"),
        ({"source": "file", "path": "a.csv", "split": "test"}, "set data.source to 'hub', or remove it."),
        ({"source": "hub", "dataset": "a/b", "path": "a.csv"}, "data.path is set, but data.source is 'hub'"),
        ({"source": "file", "path": ""}, "data.path is empty: give it a value."),
        (
            {"source": "file", "path": "a.csv", "columns": {"question": "x", "solution": "x"}},
            "data.columns.solution is 'x', the column of the questions: name the one of the solutions.",
        ),
        (
            {"source": "file", "path": "a.csv", "columns": {"answer": "solution"}},
            "data.columns.answer names the column of the solutions: leave it out",
        ),
        (
            {"source": "file", "path": "a.csv", "columns": {"anser": "x"}},
            "data.columns.anser is not a setting: did you mean data.columns.answer?",
        ),
        ({"source": "file", "path": "a.csv", "columns": 3}, "data.columns is 3: it must be a group of settings."),
        (
            {"source": "file", "path": "a.csv", "families": ["x"]},
            "data.families names families, but data.columns.family names no column",
        ),
    ],
)
def test_settings_that_do_not_belong_together_are_refused_in_one_sentence(settings, sentence):
    with pytest.raises(ConfigError) as caught:
        data(**settings)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_of_data_are_stored_absolute_and_hub_ids_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows").mkdir()
    file = {**TASK, "data": {"source": "file", "path": "rows/a.csv"}}
    stored = load(store.create(parse(file), tmp_path / "runs") / "config.yaml")
    assert stored.data.path == str(tmp_path / "rows" / "a.csv")
    for given, expected in [("rows", str(tmp_path / "rows")), ("openai/gsm8k", "openai/gsm8k")]:
        hub = parse({**TASK, "data": {"source": "hub", "dataset": given}})
        assert absolute(hub).data.dataset == expected
    assert absolute(parse(TASK)) == parse(TASK)
