"""The command line and the config.yaml that the page shows give the very same run."""

import shlex
from pathlib import Path

import pytest
from configure_cases import TEACHER, edited

from distill.__main__ import _parser
from distill.config import run_config as configs
from distill.config.run_config import load
from distill.hub.jobs import FLAVORS
from distill.ui.configure.export import command, elsewhere, overrides, yaml_file
from distill.ui.configure.validation import check
from distill.ui.runs.downloads import scratch

GEOMETRY = "objectives__geometry__"
EDITS = [
    ("tiny", {}),
    ("tiny", {"budget__steps": 60, "lora__dropout": 0.1, "budget__learning_rate": 1e-5}),
    ("tiny", {f"{GEOMETRY}mode": "deku"}),
    ("tiny", {f"{GEOMETRY}mode": "deku", f"{GEOMETRY}gate__kind": "learned", f"{GEOMETRY}similarity": "debiased"}),
    ("tiny", {f"{GEOMETRY}gate__kind": "meta", f"{GEOMETRY}gate__balance": 0.25}),
    ("tiny", {"objectives__geometry": False, "data__families": ["rate", "change"]}),
    ("tiny", {"teachers": (TEACHER, {"model": "org/b", "name": "org-b", "revision": "v1"})}),
    ("tiny", {"student__model": "smollm2-tiny", "student__revision": "main", "seed": 7}),
    ("tiny", {"name": 'it\'s mine: "$HOME" #1, {yes}'}),
    ("tiny-deku", {f"{GEOMETRY}mode": "kernel", f"{GEOMETRY}gate__kind": "prior"}),
    ("tiny-ce", {"objectives__geometry": True, "teachers": (TEACHER,), f"{GEOMETRY}gate__tau": 0.02}),
    ("tiny-ce", {"data__source": "hub", "data__dataset": "openai/gsm8k", "data__columns__solution": "answer"}),
    ("tiny-ce", {"data__source": "hub", "data__dataset": "a/b", "data__columns__question": "no, [really]: null"}),
    ("tiny", {"lora__targets": "q_proj, v_proj", "lora__quantize": "4bit", "budget__schedule": "linear"}),
]


@pytest.mark.parametrize(("preset", "values"), EDITS)
def test_the_command_line_says_the_same_run(preset, values):
    config = check(edited(preset, **values), public=False).config
    said = shlex.split(command(config, preset))
    assert said[:5] == ["python", "-m", "distill", "run", preset]
    assert said[5::2] == ["--set"] * len(said[6::2])
    assert configs.load(preset, said[6::2]) == config


@pytest.mark.parametrize(("preset", "values"), EDITS)
def test_the_yaml_file_says_the_same_run(preset, values):
    config = check(edited(preset, **values), public=False).config
    path = Path(yaml_file(config))
    assert path.name == "config.yaml"
    assert configs.load(path) == config


def test_yaml_files_lie_where_no_other_user_can_put_one():
    paths = [Path(yaml_file(check(edited(budget__steps=n), public=False).config)) for n in (60, 61, 60)]
    assert paths[0] == paths[2] != paths[1]
    assert [path.name for path in paths[0].parent.iterdir()] == ["config.yaml"]
    for path in paths:
        assert path.is_relative_to(scratch())
    assert scratch().stat().st_mode & 0o077 == 0


def test_only_differences_are_said():
    assert command(check(edited(), public=False).config, "tiny") == "python -m distill run tiny"
    config = check(edited(budget__steps=60), public=False).config
    assert command(config, "tiny") == "python -m distill run tiny --set 'name=tiny, edited' --set budget.steps=60"


def test_what_follows_from_the_rest_is_left_out():
    config = check(edited(objectives__geometry__mode="deku"), public=False).config
    assert overrides(config, "tiny") == ["name=tiny, edited", "objectives.geometry.mode=deku"]


def test_without_the_preset_the_file_is_used():
    config = check(edited(), public=False).config
    assert command(config, "no-such-preset") == "python -m distill run config.yaml"


def test_the_same_elsewhere_is_on_the_cheapest_machine_that_can():
    config = load("tiny-ce", ["student=nvidia/Nemotron-Mini-4B-Instruct", "budget.batch_size=8"])
    said, line = elsewhere(config, "tiny-ce").split("\n")
    assert said.startswith("# on a machine of Hugging Face, paid by the minute (") and " GB; about " in said
    words = shlex.split(line)
    assert words[:5] == ["python", "-m", "distill", "submit", "tiny-ce"] and words[-2] == "--flavor"
    assert _parser().parse_args(words[3:]).flavor == words[-1] in [one.name for one in FLAVORS]


def test_what_lies_on_this_machine_only_is_not_offered_elsewhere(tiny_folder):
    config = load("tiny-ce", [f"student={tiny_folder('student-tiny')}"])
    assert elsewhere(config, "tiny-ce") == ""
