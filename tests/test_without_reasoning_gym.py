"""Without reasoning-gym, whatever asks for its problems says in one sentence what to install; all else works."""

import os
import subprocess
import sys
import zipfile
from dataclasses import replace

import huggingface_hub
import pytest
from packaging.requirements import Requirement

from distill.__main__ import main
from distill.config import paths
from distill.config.errors import UserError
from distill.config.run_config import load
from distill.data import reasoning_gym
from distill.hub import jobs
from distill.models.hardware import Machine
from distill.runs.preset_cards import card
from distill.ui.configure.binding import draft_of
from distill.ui.configure.preview import preview
from distill.ui.configure.validation import check

GYM = "data.source=reasoning_gym"
LARGE = Machine(8, 64.0)
SENTENCE = "data.source is 'reasoning_gym', but reasoning-gym is not installed here: pip install reasoning-gym."


@pytest.fixture
def without(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    for kept in (reasoning_gym.check_family, reasoning_gym.mean_characters):
        kept.cache_clear()


def test_run_and_show_say_what_to_install(without, capsys, tmp_path, monkeypatch):
    assert main(["run", "tiny", "--runs", str(tmp_path), "--set", GYM]) == 2
    assert capsys.readouterr().err == f"{SENTENCE}\n" and not list(tmp_path.iterdir())
    monkeypatch.setattr(Machine, "here", lambda *_: LARGE)
    assert main(["show", "smollm2-from-qwen"]) == 0
    shown = capsys.readouterr().out
    assert (
        "not available on this machine: lacks reasoning-gym, which makes the problems: pip install reasoning-gym"
        in shown
    )


def test_the_page_and_its_preview_say_what_to_install(without):
    draft = draft_of("tiny")
    faults = check(replace(draft, values={**draft.values, "data.source": "reasoning_gym"}), public=True).faults
    assert list(faults) == ["data.source"] and faults["data.source"].endswith(SENTENCE.removeprefix("data.source"))
    with pytest.raises(UserError) as error:
        preview(load("tiny", [GYM]))
    assert str(error.value) == SENTENCE
    refused = [name for name in paths.preset_names() if "lacks reasoning-gym" in (card(name, LARGE, ()).why or "")]
    assert refused == ["smollm2-from-qwen"]


def test_it_is_imported_only_when_problems_are_drawn():
    code = "import sys, distill.data.sources, distill.runs.estimate; print('reasoning_gym' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_a_job_installs_is_what_tests_install():
    lines = (paths.ROOT / "requirements-dev.txt").read_text().splitlines()
    pinned = next(Requirement(line) for line in lines if line.startswith("reasoning-gym"))
    assert f"{pinned.name}{pinned.specifier}" == jobs.REASONING_GYM


@pytest.mark.parametrize(("overrides", "more"), [([GYM], ["--with", jobs.REASONING_GYM]), ([], [])])
def test_a_job_installs_it_where_its_config_asks_for_it(tmp_path, monkeypatch, overrides, more):
    class Hub:
        token = "hf_of_nobody"

        def run_uv_job(self, script, script_args, env, **how):
            self.env, self.text = env, env["DISTILL_BOOT"]

    hub, begun = Hub(), []
    jobs._start(hub, "me", ("me/distill-jobs", "code.zip"), "run", "cpu-basic", 60, load("tiny", overrides))
    with zipfile.ZipFile(tmp_path / "code.zip", "w"):
        pass
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, name: str(tmp_path / name))
    monkeypatch.setattr(os, "execvp", lambda program, command: begun.extend(command))
    monkeypatch.setattr(os, "environ", {**os.environ, **hub.env})
    monkeypatch.chdir(tmp_path)  # it changes the folder: this changes it back
    exec(hub.text, {})
    packages = ["--with-requirements", "requirements.txt", *more]
    assert begun == ["uv", "run", "--no-project", *packages, "python", "-m", "distill.hub.job_worker"]
