"""What is asked of the bank of signals in its tests, and what it left on disk."""

import torch

from distill.data.problems import generate
from distill.teachers.signals import Request

TEXTS = [(p.question, p.solution) for p in generate("held_out", 14)]


def ask(bank, path, texts=TEXTS, request=None, name="qwen", **more):
    """What the bank says, and the progress it reported."""
    seen = []
    request = request or Request()
    return bank.ask(name, path, texts, request, on_progress=lambda *now: seen.append(now), **more), seen


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[s], expected[s]) for s in expected)


def files(bank):
    return sorted(bank.cache_dir.rglob("*.safetensors"))
