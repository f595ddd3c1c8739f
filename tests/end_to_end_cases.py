"""A small run of the shipped zoo, and ways to start, watch and end it from outside, as a user does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml
from safetensors.torch import load_file

from distill.runs.events import Metric, read

ROOT = Path(__file__).parents[1]
TIMEOUT = 300  # seconds any one of these runs may take on two busy cores

MINI = {
    "name": "mini",
    "student": "student-tiny",
    "teachers": ["gemma2-tiny", "minicpm3-tiny"],
    "data": {"train": 64, "held_out": 24, "new_phrasing": 12, "validation": 24},
    "objectives": [{"kind": "task"}, {"kind": "geometry", "mode": "kernel", "gate": "prior"}],
    "budget": {"steps": 6, "batch_size": 8, "save_every": 2, "learning_rate": 0.002},
    "probe": {"texts": 24, "every": 3, "samples": 1},
    "evaluation": {"max_new_tokens": 48},
}
# Everything that carries state from step to step: dropout, accumulation, heads, a trained gate, shadow heads.
STATEFUL = {
    **MINI,
    "name": "stateful",
    "objectives": [
        {"kind": "task"},
        {"kind": "geometry", "mode": "deku", "gate": "learned", "similarity": "biased", "weight": 0.5},
    ],
    "data": {**MINI["data"], "train": 40},  # five steps an epoch: a resume crosses into the next
    "lora": {"r": 8, "alpha": 16, "dropout": 0.1},
    "budget": {**MINI["budget"], "steps": 8, "batch_size": 4, "accumulation": 2, "save_every": 3},
}
# The same of other methods: projectors, sampled answers (in some steps), a teacher that stays loaded.
ON_POLICY = {
    **STATEFUL,
    "name": "on-policy",
    "teachers": ["sibling-tiny"],
    "objectives": [
        {"kind": "gkd", "lmbda": 0.5, "max_new_tokens": 12},
        {"kind": "features", "count": 1},
        {"kind": "geometry", "weight": 0.1},
    ],
}


def write(config, folder):
    path = folder / f"{config['name']}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def command(*arguments):
    return [sys.executable, "-m", "distill", *map(str, arguments)]


def distill(*arguments):
    """Run a command to its end."""
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def begin(*arguments):
    """Start a command and leave it going."""
    return subprocess.Popen(
        command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )


def only_run(runs_dir):
    (folder,) = [path for path in Path(runs_dir).iterdir() if (path / "config.yaml").exists()]
    return folder


def wait_for_step(runs_dir, step):
    """The run's folder, once a metric of `step` has been recorded."""
    ends = time.monotonic() + TIMEOUT
    while time.monotonic() < ends:
        folders = list(Path(runs_dir).glob("*/events.jsonl"))
        if folders and any(isinstance(e, Metric) and e.step >= step for e in read(folders[0])[0]):
            return folders[0].parent
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached in {TIMEOUT} s")


def kill_worker(folder):
    """kill -9, and wait until it is gone."""
    process = psutil.Process(json.loads((folder / "process.json").read_text())["pid"])
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)


def weights(folder):
    """The bytes of everything a run trained: the adapter's file, and every tensor of gate and heads.

    (safetensors writes the metadata that these two carry in no fixed order, so their files may differ.)
    """
    found = {"adapter": (folder / "adapter" / "adapter_model.safetensors").read_bytes()}
    for name in ("gate", "heads"):
        if (folder / f"{name}.safetensors").exists():
            tensors = load_file(folder / f"{name}.safetensors")
            found |= {f"{name}/{key}": value.numpy().tobytes() for key, value in tensors.items()}
    return found
