"""What the machine is said to be, from the environment of a Space or from the machine itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from distill.models import hardware
from distill.models.machine import Machine


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    for name in ("SPACES_ZERO_GPU", "CPU_CORES", "MEMORY"):
        monkeypatch.delenv(name, raising=False)


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
    monkeypatch.setattr("distill.models.machine._nvidia", lambda visible: (24.0, 8))
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
