"""A run whose models are on the Hub, from the command line: fetched and trained, or refused before any work."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from end_to_end_cases import ROOT, TIMEOUT, only_run
from hub_stand_in import TOKEN, HubStandIn

SMALL = {
    "name": "from-the-hub",
    "student": {"model": "org/student", "revision": "v1"},
    "teachers": [{"model": "org/teacher", "name": "fetched"}],
    "data": {"train": 8, "held_out": 4, "new_phrasing": 0, "validation": 0},
    "objectives": [{"kind": "task"}, {"kind": "geometry"}],
    "budget": {"steps": 2, "batch_size": 4},
    "probe": {"texts": 8, "every": 2, "samples": 0, "problems": 0},
    "evaluation": {"max_new_tokens": 4},
}


@pytest.fixture(scope="module")
def hub(tiny_folder):
    with HubStandIn() as hub:
        hub.add_model("org/student", tiny_folder("student-tiny"), revision="v1", private=True)
        hub.add_model("org/teacher", tiny_folder("qwen2-tiny"))
        hub.add_model("org/gated", tiny_folder("qwen2-tiny"), gated=True)
        yield hub


def run(hub, folder, config, *more, url=None, **environment):
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({**SMALL, **config}))
    bare = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
    bare |= {"HF_ENDPOINT": url or hub.url, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1", **environment}
    command = [sys.executable, "-m", "distill", "run", str(file), "--runs", str(folder / "runs"), *more]
    return subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=TIMEOUT)


def test_models_of_the_hub_are_fetched_and_trained(hub, tmp_path):
    done = run(hub, tmp_path, {}, "--json", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path / "runs")
    report = json.loads((folder / "report.json").read_text())
    assert report["steps"] == 2 and report["cka"].keys() == {"fetched"}
    assert hub.fetched("org/teacher") and hub.fetched("org/student")
    commit = hub.repositories["models", "org/student"].revisions["v1"]
    assert (tmp_path / "hf" / "hub" / "models--org--student" / "snapshots" / commit / "model.safetensors").exists()
    left = [file for file in tmp_path.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]
    assert left == [] and TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"student": "org/none"}, "The student 'none' can't be used: there is no model org/none on the Hub"),
        ({"teachers": ["org/gated"]}, "The teacher 'gated' can't be used: org/gated on the Hub requires its licence"),
    ],
)
def test_what_cannot_be_had_is_refused_before_any_work(hub, tmp_path, config, reason):
    done = run(hub, tmp_path, {"student": "student-tiny", **config})
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.strip().splitlines()
    assert reason in line
    assert not (tmp_path / "runs").exists() and hub.fetched("org/gated") == 0
