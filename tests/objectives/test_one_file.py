"""A method is one file and its name in a list: one written here is found by all that a method takes part in."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIST = "METHODS = ["
TOY = '''
"""Toy: the student's surest token should be less sure."""

from typing import ClassVar, Literal

import torch

from distill.config.method import Listening
from distill.config.settings import setting
from distill.objectives.base import Objective, ObjectiveOutput, items_of


class ToyConfig(Listening):
    kind: Literal["toy"] = "toy"
    strength: float = setting(0.5, "Strength of the toy", "How strong it is.", gt=0, le=9)

    title: ClassVar[str] = "A toy"
    help: ClassVar[str] = "The student becomes less sure."
    name: ClassVar[str] = "toys"
    noun: ClassVar[str] = "toys"
    short: ClassVar[str] = "the toys"
    takes: ClassVar[str] = "it plays with them"
    same_tokenizer: ClassVar[bool] = True

    @property
    def live(self):
        return True

    def describe(self):
        yield f"strength {self.strength:g}"

    def build(self, models):
        return ToyObjective(self.strength, self.weight)


class ToyObjective(Objective):
    kind = "toy"

    def __init__(self, strength, weight):
        super().__init__(weight)
        self.factor = torch.nn.Parameter(torch.tensor(strength))

    def forward(self, outputs, batch):
        states_mD, _ = outputs.predicting(batch["labels"])
        sure_m = outputs.head.logits(states_mD).log_softmax(-1).amax(-1)
        return ObjectiveOutput({"toy": self.factor * sure_m.exp().sum() / items_of(batch, len(sure_m))})
'''
CONFIG = """
name: with-a-toy
student: student-tiny
teachers: [sibling-tiny]
data: {train: 16, held_out: 4, new_phrasing: 0, validation: 4}
objectives: [{kind: task}, {kind: toy, strength: 2}]
budget: {steps: 2, batch_size: 4}
probe: {texts: 4, samples: 1, problems: 4}
"""
ASK = """
import json, sys
from distill.config.errors import ConfigError
from distill.config.run_config import load, parse
from distill.objectives import called
from distill.runs.estimate import estimate
from distill.models.hardware import Machine
from distill.runs.preflight import foreseen
from distill.ui.configure.binding import draft_of, spec
from distill.ui.configure.fields import FIELDS, OBJECTIVES

config = load("toy.yaml")
alone = config.model_copy(update={"objectives": config.objectives[:1]})
stranger = parse(config.model_dump(mode="json") | {"teachers": ["qwen2-tiny"]})
gb = [estimate(one, Machine.here()).memory_gb for one in (config, alone)]
try:
    parse({"student": "student-tiny", "teachers": ["sibling-tiny"], "objectives": [{"kind": "toy", "strength": 10}]})
except ConfigError as error:
    wrong = str(error)
print(json.dumps({
    "called": called("toy"),
    "label": FIELDS["objectives.toy.strength"].label,
    "range": spec("objectives.toy.strength").range,
    "gate": FIELDS["objectives.toy.gate.kind"].label,
    "switch": next(one.title for one in OBJECTIVES if one.kind == "toy"),
    "default": draft_of("tiny").values["objectives.toy.strength"],
    "wrong": wrong,
    "foreseen": foreseen(stranger),
    "dearer": gb[0] > gb[1],
}))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the package to which a method was added by one file, and by its name in the list."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "distill", folder / "distill", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "assets").symlink_to(ROOT / "assets")
    rooms = folder / "distill" / "objectives"
    (rooms / "toy.py").write_text(TOY)
    listing = (rooms / "__init__.py").read_text()
    assert listing.count(LIST) == 1
    listing = listing.replace(LIST, f"from distill.objectives.toy import ToyConfig\n{LIST}ToyConfig, ")
    (rooms / "__init__.py").write_text(listing)
    (folder / "toy.yaml").write_text(CONFIG)
    return folder


def python(house, *words):
    environment = {**os.environ, "PYTHONPATH": str(house), "DISTILL_HOME": str(house / "home")}
    done = subprocess.run([sys.executable, *words], cwd=house, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_config_page_preflight_and_estimates_know_it(house):
    found = json.loads(python(house, "-c", ASK))
    assert found["called"] == "toys (toy)" and found["switch"] == "A toy" and found["default"] == 0.5
    assert (found["label"], found["range"]) == ("Strength of the toy", "Above 0 to 9.")
    assert found["gate"] == "Teacher weights for toys (gate)"
    assert found["wrong"] == "objectives.toy.strength is 10: it must be at most 9."
    (sentence,) = found["foreseen"]
    assert sentence.startswith("objectives.toy compares token by token, but 'qwen2-tiny' has another tokenizer")
    assert found["dearer"]  # its teacher stays in memory


def test_the_command_line_trains_it(house):
    report = json.loads(python(house, "-m", "distill", "run", "toy.yaml", "--json").splitlines()[-1])
    run = house / "home" / "runs" / report["run"]
    losses = [json.loads(line).get("terms", {}) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [set(terms) for terms in losses if terms] == [{"task", "toy"}] * 2
    assert report["steps"] == 2 and "toys (toy), weight 1: strength 2" in (run / "README.md").read_text()
