"""Machines, and estimates of presets on them, for the tests of estimates."""

import json

import huggingface_hub

from distill.config.run_config import load
from distill.models.hardware import Machine
from distill.runs.estimate import estimate

TWO_CORES = Machine(cores=2, memory_gb=23.5)  # where the constants were measured
GPU = Machine(cores=8, memory_gb=64, device="cuda", gpu_gb=80, disk_mb=200_000, dtype="bfloat16")
DEKU = [model for model in load("deku").teachers if "MiniCPM" not in model.model]


def fetch_nothing(folder, monkeypatch):
    """From now on no model is on this machine, and the network may be used."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def of(preset, *overrides, machine=TWO_CORES, earlier=()):
    return estimate(load(preset, list(overrides)), machine, earlier)


def large(*overrides):
    """The preset `deku` without the teacher that can't be loaded."""
    teachers = json.dumps([teacher.model for teacher in DEKU])
    return load("deku", [f"teachers={teachers}", *overrides])
