"""What the machine is said to be without torch."""

import importlib.metadata
import os

import pytest

from distill.models import machine
from distill.models.machine import Machine


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("SPACES_ZERO_GPU", "CUDA_VISIBLE_DEVICES", "CPU_CORES", "MEMORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "2.13.0")  # a torch that can use a GPU
    machine._nvidia.cache_clear()
    yield
    machine._nvidia.cache_clear()


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    """`nvidia(script)` puts an nvidia-smi first in the path."""

    def install(script):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


def test_a_gpu_as_its_driver_says(nvidia, monkeypatch):
    nvidia('case "$*" in *--id=1*) echo "15360, 7.5";; *) echo "81559, 9.0"; echo "15360, 7.5";; esac')
    here = Machine.here()
    assert (here.device, round(here.gpu_gb, 1), here.dtype) == ("cuda", 79.6, "bfloat16")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert (Machine.here().gpu_gb, Machine.here().dtype) == (15.0, "float32")


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_is_hidden(nvidia, monkeypatch, hidden):
    nvidia("echo 81559, 9.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert Machine.here().device != "cuda"


@pytest.mark.parametrize("script", ["exit 9", "echo No devices were found", "true", "echo '[N/A], [N/A]'"])
def test_a_driver_without_a_gpu(nvidia, script):
    nvidia(script)
    assert not Machine.here().has_gpu


def test_a_torch_that_can_use_no_gpu(nvidia, monkeypatch):
    nvidia("echo 81559, 9.0")
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "2.13.0+cpu")
    assert Machine.here().gpu_gb is None


def test_a_space_with_zerogpu(monkeypatch):
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert (Machine.here().device, Machine.here().has_gpu) == ("zerogpu", True)


def test_the_disk_is_that_of_a_folder_still_to_be_made(tmp_path):
    assert machine.free_disk_mb(tmp_path / "not" / "yet") == pytest.approx(machine.free_disk_mb(tmp_path), rel=0.05)
    assert Machine.here(tmp_path).disk_mb > 1
