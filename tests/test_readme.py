"""README and docs are true: the first command does what it says, and what they show can be used."""

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

from distill.__main__ import _parser, spread
from distill.config import paths
from distill.config import run_config as configs
from distill.data.problems import Problem, showcase
from distill.evaluation.answering import answer_problems
from distill.models import references
from distill.models.hardware import detect
from distill.models.student import load_adapter, load_student
from distill.objectives import KINDS
from distill.studies.plan import study_names
from scripts import config_docs

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}


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
    assert report["by_family"]["impossible"]["after"] >= 0.60
    assert report["mcnemar_p"] < 1e-6
    assert report["peak_rss_mb"] <= 2500
    assert len(report["cka"]) == len(report["gate"]) == 6


def test_the_showcase_and_the_example_for_programs_are_answered_rightly(run):
    usage = PAGES[ROOT / "docs" / "usage.md"]
    question, answer = re.search(r'started\["run"\], "([^"]+)", "(\d+)", api_name="/generate"', usage).groups()
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
    assert sum(own) / len(own) > 1.05 / 6


def test_the_example_config_is_one():
    config = configs.parse(yaml.safe_load(block("<!-- config -->", "yaml")))
    references.check_models(config)
    assert config.geometry.mode == "kernel" and config.data.source == "file"


@pytest.mark.parametrize(
    # But for studies, which tests/studies/test_plan.py tries.
    "text",
    [b for page in PAGES.values() for b in re.findall(r"(?<!<!-- study -->\n)```yaml\n(.*?)```", page, re.DOTALL)],
)
def test_every_other_example_config_is_one_too(text):
    references.check_models(configs.parse(yaml.safe_load(text)))


def commands(page):
    """The arguments of every `python -m distill ...` in blocks and in running text, without what a shell adds."""
    shown = [*re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE), *re.findall(r"`([^`\n]+)`", page)]
    found = [line for text in shown for line in re.findall(r"python -m distill ([^\n]*)", text)]
    return [shlex.split(line.split(')"')[0], comments=True) for line in found]


def test_the_commands_are_found():
    page = "`python -m distill doctor`\n```sh\na && python -m distill run x --json  # why\n```\n"
    assert commands(page) == [["run", "x", "--json"], ["doctor"]]
    assert len([words for page in PAGES.values() for words in commands(page)]) >= 15


@pytest.mark.parametrize(
    "words", [pytest.param(w, id=f"{f.name}: {' '.join(w)}") for f, page in PAGES.items() for w in commands(page)]
)
def test_every_command_shown_parses(words):
    asked = _parser().parse_args(spread(words))
    source = getattr(asked, "source", None) or getattr(asked, "what", None)
    if asked.command == "study":
        assert source in study_names() or source == "rates.yaml"
    elif source and source not in ("PRESET", "RUN", "mine.yaml"):
        configs.load(source, getattr(asked, "overrides", ()))  # there is such a preset, and such settings


def test_the_command_between_accelerate_and_its_run_is_a_module():
    (module,) = {name for page in PAGES.values() for name in re.findall(r"accelerate launch .*?-m ([\w.]+)", page)}
    assert (ROOT / f"{module.replace('.', '/')}.py").is_file()


def anchors(page):
    """What `#...` may name on a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page):
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", page) if not link.startswith("https://")]


def test_every_link_leads_somewhere():
    for path, page in PAGES.items():
        for link in links(page):
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.is_file(), f"{path.name}: {link}"
            assert not anchor or anchor in anchors(PAGES[target]), f"{path.name}: {link}"


def test_every_page_can_be_reached_from_the_readme():
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(README)}
    assert {path for path in PAGES if path.name != "README.md"} <= linked


def test_every_file_that_is_named_exists():
    for path, page in PAGES.items():
        for name in re.findall(r"`((?:assets|benchmarks|distill|docs|scripts|tests)/[\w./-]+)`", page):
            assert (ROOT / name).exists(), f"{path.name}: {name}"
        for name in re.findall(r"python ((?:benchmarks|tests)/[\w./]+)", page):
            assert (ROOT / name).is_file(), f"{path.name}: {name}"
        for name in re.findall(r"python -m ((?:benchmarks|scripts)\.\w+)", page):
            assert (ROOT / f"{name.replace('.', '/')}.py").is_file(), f"{path.name}: {name}"


def test_every_preset_that_is_named_exists():
    named = {name for page in PAGES.values() for name in re.findall(r"`((?:tiny|deku|smollm2|gkd)-[\w.-]+)`", page)}
    models = {path.name for path in paths.ZOO.iterdir()}
    assert named - models - {"deku_frozen"} <= set(paths.preset_names())


def test_the_methods_and_rooms_of_the_readme_are_those_there_are():
    methods = README.split("## Methods")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", methods, re.MULTILINE) == list(KINDS)
    assert {f"## {kind}" for kind in KINDS} <= set(PAGES[ROOT / "docs" / "methods.md"].splitlines())
    rooms = re.findall(r"^\| `(\w+)/`", README.split("<!-- rooms -->")[1], re.MULTILINE)
    folders = {file.parent.name for file in ROOT.glob("distill/*/__init__.py")}
    assert set(rooms) == folders - {"zoo"} and len(rooms) == len(set(rooms))


def test_the_readme_is_short():
    assert len(README.split()) <= 1500


def test_the_list_of_settings_is_up_to_date():
    assert config_docs.PAGE.read_text(encoding="utf-8") == config_docs.page(), "run python -m scripts.config_docs"


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
    lines = [line for page in PAGES.values() for line in re.findall(r"`(hf (?!auth)[^`]+)`", page)]
    assert lines
    for line in lines:
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
