"""A tiny teacher on disk, and what a bank warned of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(tiny_folder):
    return tiny_folder("qwen2-tiny")


@pytest.fixture
def copied(tiny_folder, tmp_path):
    """A teacher's folder of this test's own, to be damaged."""
    return Path(shutil.copytree(tiny_folder("qwen2-tiny"), tmp_path / "teacher"))


@pytest.fixture
def warnings():
    """What the bank of this test warned of: (code, text)."""
    return []
