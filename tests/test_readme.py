"""The README is true: its first command does what it says, and what it shows can be used."""

import json
import re
import shlex
import subprocess
import sys

import pytest
import yaml
from end_to_end_cases import ROOT, only_run

from distill import config as configs

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(after, language):
    found = re.search(rf"{re.escape(after)}.*?```{language}\n(.*?)```", README, re.DOTALL)
    return found[1]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of the README's first command, without its installation."""
    install, command = block("<!-- run -->", "sh").strip().split(" && ")
    assert install == "pip install -r requirements.txt"
    python, *arguments = shlex.split(command)
    assert python == "python"
    runs = tmp_path_factory.mktemp("readme") / "runs"
    done = subprocess.run(
        [sys.executable, *arguments, "--runs", str(runs), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((only_run(runs) / "report.json").read_text())


def test_the_main_figures(report):
    assert report["before"]["n"] >= 200
    assert report["before"]["accuracy"] <= 0.25
    assert report["after"]["accuracy"] >= 0.80
    assert report["new_phrasing"]["after"]["accuracy"] >= 0.60
    assert report["by_family"]["impossible"]["after"] >= 0.70
    assert report["mcnemar_p"] < 1e-6
    assert report["peak_rss_mb"] <= 2500
    assert len(report["cka"]) == len(report["gate"]) == 6


def test_the_student_comes_to_agree_with_its_teachers_beyond_chance(report):
    for teacher, cka in report["cka"].items():
        assert cka["after"] > cka["null95"], teacher


def test_every_expert_is_heard_more_than_others_on_its_own_families(report):
    entries = {entry["name"]: entry for entry in json.loads((ROOT / "assets/zoo/zoo.json").read_text())}
    own = [report["gate_by_family"][f][t] for t in report["gate"] for f in entries[t]["experts"]]
    assert sum(own) / len(own) > 1.2 / 6


def test_the_example_config_is_one():
    config = configs.parse(yaml.safe_load(block("## A config", "yaml")))
    configs.check_models(config)
    assert config.geometry.mode == "kernel"


def test_the_commands_shown_exist():
    help_text = subprocess.run(
        [sys.executable, "-m", "distill", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for command in re.findall(r"python -m distill (\w+)", README):
        assert command in help_text


def test_the_front_matter_is_a_space_that_starts():
    front = yaml.safe_load(README.split("---")[1])
    pinned = re.search(r"^gradio==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
    assert front["sdk"] == "gradio"
    assert front["sdk_version"] == pinned
    assert len(front["short_description"]) <= 60
    assert (ROOT / front["app_file"]).exists()
