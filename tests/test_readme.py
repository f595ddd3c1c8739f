"""The README is true: its first command does what it says, and what it shows can be used."""

import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest
import yaml
from end_to_end_cases import ROOT, only_run
from huggingface_hub.cli import hf
from packaging.specifiers import SpecifierSet

from distill.config import paths
from distill.config import run_config as configs
from distill.data.problems import Problem, showcase
from distill.evaluation.answering import answer_problems
from distill.models.hardware import detect
from distill.models.student import load_adapter, load_student

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(after, language):
    found = re.search(rf"{re.escape(after)}.*?```{language}\n(.*?)```", README, re.DOTALL)
    return found[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run by the README's first command, without its installation."""
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
    return only_run(runs)


@pytest.fixture(scope="module")
def report(run):
    return json.loads((run / "report.json").read_text())


def test_the_main_figures(report):
    assert report["before"]["n"] >= 200
    assert report["before"]["accuracy"] <= 0.25
    assert report["after"]["accuracy"] >= 0.80
    assert report["new_phrasing"]["after"]["accuracy"] >= 0.60
    assert report["by_family"]["impossible"]["after"] >= 0.70
    assert report["mcnemar_p"] < 1e-6
    assert report["peak_rss_mb"] <= 2500
    assert len(report["cka"]) == len(report["gate"]) == 6


def test_the_showcase_and_the_example_for_programs_are_answered_rightly(run):
    question, answer = re.search(
        r'predict\(started\["run"\], "([^"]+)", "(\d+)", api_name="/generate"\)', README
    ).groups()
    asked = [*showcase(), Problem("readme", "in_all", question, f"#### {answer}", answer)]
    config = configs.load(run / "config.yaml")
    student, tokenizer = load_student(config.student, config.lora, detect(), config.seed)
    load_adapter(student, run / "adapter")
    for answered in answer_problems(student, tokenizer, asked):
        assert answered.grade.right, (answered.problem.question, answered.completion.text)


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


FRONT = yaml.safe_load(README.split("---")[1])
REQUIRED = dict(re.findall(r"^([\w-]+)([^\s;]*)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))


def test_the_front_matter_is_a_space_that_starts():
    assert FRONT["sdk"] == "gradio" and REQUIRED["gradio"] == f"=={FRONT['sdk_version']}"
    assert len(FRONT["short_description"]) <= 60
    assert (ROOT / FRONT["app_file"]).exists()
    assert {"spaces", "torch", "transformers", "huggingface-hub"} <= set(REQUIRED)  # ZeroGPU wants the first
    assert "hardware" not in FRONT  # it would be ignored
    written, oldest = FRONT["python_version"], re.search(r"Python (3\.\d+) or newer", README)[1]
    assert isinstance(written, str), "3.10 without quotes is 3.1"
    target = re.search(r'target-version = "py3(\d+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert f"3.{target}" == oldest
    assert tuple(map(int, written.split("."))) >= tuple(map(int, oldest.split(".")))


def test_what_is_installed_here_is_what_a_space_would_install():
    assert REQUIRED["gradio"] == f"=={version('gradio')}"
    for name, bounds in REQUIRED.items():
        assert version(name) in SpecifierSet(bounds), name


def test_sign_in_asks_for_no_more_than_keeping_a_student_and_reading_what_is_gated():
    assert FRONT["hf_oauth"] is True and set(FRONT["hf_oauth_scopes"]) == {"contribute-repos", "gated-repos"}


def test_the_models_and_data_it_names_are_those_of_presets():
    asked = [configs.load(name) for name in paths.preset_names()]
    models = {ref.model for config in asked for ref in (config.student, *config.teachers)}
    assert set(FRONT["models"]) <= models & set(paths.read_yaml(ROOT / "assets" / "hub_models.yaml"))
    assert set(FRONT["datasets"]) <= {config.data.dataset for config in asked}


def test_a_space_in_four_commands_that_the_installed_cli_takes():
    first, *commands = [shlex.split(line) for line in block("<!-- space -->", "sh").strip().splitlines()]
    assert first == ["pip", "install", "-U", "huggingface_hub"] and len(commands) == 3
    parsed = [parse(words) for words in commands]
    assert [name for name, _ in parsed] == ["auth login", "repos create", "upload"]
    made, sent = parsed[1][1], parsed[2][1]
    assert (plain(made["repo_type"]), made["sdk"], plain(made["hardware"])) == ("space", FRONT["sdk"], "zero-a10g")
    assert made["repo_id"] == sent["repo_id"] == "NAME/distill" and plain(sent["repo_type"]) == "space"
    assert sent["local_path"] == sent["path_in_repo"] == "."
    assert {"runs/*", ".venv/*", "*__pycache__/*"} <= set(sent["exclude"])
    with pytest.raises(Exception, match="No such option"):
        parse(["hf", "upload", "NAME/distill", "--kind", "space"])


def test_the_other_commands_of_the_hub_that_are_named_exist():
    for line in re.findall(r"`(hf (?!auth)[^`]+)`", README):
        parse(shlex.split(line))


def parse(words):
    """(command, its options) as the `hf` command line understands them; it does nothing."""
    name, command, rest, context = words[0], hf.app, words[1:], None
    assert name == "hf"
    path = []
    while hasattr(command, "resolve_command"):
        context = command.make_context(name, list(rest), parent=context, resilient_parsing=True)
        name, command, rest = command.resolve_command(context, list(rest))
        path.append(name)
    return " ".join(path), command.make_context(name, list(rest), parent=context).params


def plain(value):
    return getattr(value, "value", value)
