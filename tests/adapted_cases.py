"""A run whose student has an adapter that changes what it says, made without training: random weights."""

import torch

from distill.config import run_config as configs
from distill.models.hardware import detect
from distill.models.student import load_student
from distill.runs import store

MOST = 24  # tokens of an answer


def save_adapter(folder, seed, width=16):
    """An adapter of random weights for the shipped student, saved as a run saves one."""
    config = configs.parse({"student": "student-tiny", "objectives": ["task"], "lora": {"r": width}})
    student, _ = load_student(config.student, config.lora, detect(), seed)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in student.named_parameters():
            if "lora_B" in name:
                weights.normal_(0, 0.3, generator=random)
    student.save_pretrained(folder / "adapter")
    return student


def adapted_run(runs_dir=None, seed=1, **settings):
    """The folder of a new run with such an adapter."""
    settings = {"student": "student-tiny", "objectives": ["task"], "evaluation": {"max_new_tokens": MOST}, **settings}
    folder = store.create(configs.parse(settings), runs_dir)
    save_adapter(folder, seed)
    return folder
