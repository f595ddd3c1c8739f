"""What the machine is said to be: by the environment of a Space, by its driver, or by itself."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from distill.models import hardware
from distill.models.hardware import Machine


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("SPACES_ZERO_GPU", "CUDA_VISIBLE_DEVICES", "CPU_CORES", "MEMORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "2.13.0")  # a torch that can use a GPU
    asked = hardware._nvidia  # a test may put something else in its place
    asked.cache_clear()
    yield
    asked.cache_clear()


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    """`nvidia(script)` puts an nvidia-smi first in the path."""

    def install(script):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.mark.parametrize(("said", "cores"), [("4", 4), ("3.5", 3), ("0.5", 1)])
def test_cores_as_a_space_says_them(monkeypatch, said, cores):
    monkeypatch.setenv("CPU_CORES", said)
    assert hardware.cpu_cores() == cores
    assert hardware.cores_text(cores) == ("1 core" if cores == 1 else f"{cores} cores")


@pytest.mark.parametrize(("said", "gib"), [("16Gi", 16), ("16", 16), ("512Mi", 0.5), ("15.5 GB", 15.5)])
def test_memory_as_a_space_says_it(monkeypatch, said, gib):
    monkeypatch.setenv("MEMORY", said)
    assert hardware.memory_gb() == gib


def test_what_cannot_be_read_is_asked_of_the_machine(monkeypatch):
    real = hardware.cpu_cores(), hardware.memory_gb()
    monkeypatch.setenv("CPU_CORES", "many")
    monkeypatch.setenv("MEMORY", "1.2.3Gi")
    assert (hardware.cpu_cores(), hardware.memory_gb()) == real
    assert 1 <= real[0] <= os.cpu_count() and real[1] > 0.1


def test_zerogpu_is_known_without_touching_torch():
    code = "import sys; from distill.models.hardware import detect; print(detect().device, 'torch' in sys.modules)"
    environment = {**os.environ, "SPACES_ZERO_GPU": "true"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "zerogpu False\n"


def test_a_launcher_may_ask_for_the_cpu_of_a_machine_with_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # nothing more of it may be asked
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr("distill.models.hardware._nvidia", lambda visible: (24.0, 8))
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert (hardware.detect().device, hardware.detect().dtype) == ("cpu", "float32")
    assert Machine.here().device == "cpu" and Machine.here().gpu_gb is None
    monkeypatch.setenv("ACCELERATE_USE_CPU", "false")
    assert Machine.here().device == "cuda"


def test_peak_memory_is_this_programs_own():
    code = "from distill.models.hardware import peak_rss_mb; print(peak_rss_mb())"
    held = bytearray(200 * 2**20)  # a child started from a large process is not large itself
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert 1 < float(done.stdout) < 150
    assert hardware.peak_rss_mb() >= len(held) / 2**20
    assert hardware.peak_rss_mb() >= hardware.memory_mb() * 0.99


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
    assert hardware.free_disk_mb(tmp_path / "not" / "yet") == pytest.approx(hardware.free_disk_mb(tmp_path), rel=0.05)
    assert Machine.here(tmp_path).disk_mb > 1
