"""The student: an adapter that no loss would train is refused before anything is trained."""

import pytest

from distill.config import run_config as configs
from distill.config.errors import ConfigError
from distill.models.hardware import detect
from distill.models.student import load_adapter, load_student


def loaded(targets, seed=0):
    config = configs.parse({"student": "student-tiny", "objectives": ["task"], "lora": {"r": 4, "targets": targets}})
    return load_student(config.student, config.lora, detect(), seed)[0]


def test_an_adapter_on_the_head_is_refused():
    with pytest.raises(ConfigError, match=r"lora\.targets names the layer that makes the logits.*leave it out\.$"):
        loaded(["q_proj", "lm_head"])


def test_other_layers_are_adapted_saved_and_loaded(tmp_path):
    for targets in ("all-linear", ["q_proj"], ["q_proj", "embed_tokens"]):
        student = loaded(targets)
        student.save_pretrained(tmp_path)
        load_adapter(loaded(targets, seed=1), tmp_path)
