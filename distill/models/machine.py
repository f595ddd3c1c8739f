"""The machine a run would be on, as far as it can be told without torch: cores, memory, GPU, free disk.

`hardware.detect` asks torch and is what a worker goes by; this is for whoever must answer at once and stay small: the
page and the command line. It knows nothing of runs but where they are kept.
"""

from __future__ import annotations

import csv
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from distill.config.paths import home
from distill.models.hardware import cpu_asked, cpu_cores, cuda_dtype, has_amx, is_zerogpu, memory_gb, suited

_PATIENCE = 5.0  # seconds for nvidia-smi, which hangs where a driver is broken
_ZEROGPU_GB = 48.0  # GiB: the smaller of the slices that ZeroGPU Spaces have had


@dataclass(frozen=True)
class Machine:
    """`device` is cuda, mps, cpu or zerogpu; memory in GiB, free disk in MiB; `dtype` is what models train in there.

    `gpu_gb` is None without a GPU of its own memory. `amx` as in Hardware.
    """

    cores: int
    memory_gb: float
    device: str = "cpu"
    gpu_gb: float | None = None
    disk_mb: float = 100_000.0
    dtype: str = "float32"
    amx: bool = False

    @classmethod
    def here(cls, runs_dir: str | os.PathLike[str] | None = None) -> Machine:
        """This machine, with the disk of `runs_dir` (default: where runs are kept)."""
        device, gpu_gb, dtype = _accelerator()
        disk = free_disk_mb(Path(runs_dir or home().runs))
        return cls(cpu_cores(), memory_gb(), device, gpu_gb, disk, dtype, has_amx())

    def suited_to(self, parameters: int | None) -> Machine:
        """The same machine, computing in what suits a student of so many parameters, as Hardware has it."""
        return replace(self, dtype=suited(self.device, self.dtype, self.amx, parameters))

    @property
    def has_gpu(self) -> bool:
        return self.device in ("cuda", "zerogpu")


def free_disk_mb(folder: Path) -> float:
    """MiB free on the disk where `folder` is, or would be."""
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    return shutil.disk_usage(existing).free / 2**20


def _accelerator() -> tuple[str, float | None, str]:
    """(device, GiB of GPU memory, number type)."""
    if is_zerogpu():
        return "zerogpu", _ZEROGPU_GB, "bfloat16"
    if cpu_asked():
        return "cpu", None, "float32"
    found = _nvidia(os.environ.get("CUDA_VISIBLE_DEVICES"))
    if found is not None:
        return "cuda", found[0], cuda_dtype(found[1])
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "mps", None, "float32"
    return "cpu", None, "float32"


@cache
def _nvidia(visible: str | None) -> tuple[float, int] | None:
    """(GiB, major compute capability) of the first GPU that torch may use, as nvidia-smi says it; None without one."""
    program = shutil.which("nvidia-smi")
    first = "" if visible is None else visible.split(",")[0].strip()
    if not program or not _torch_has_cuda() or (visible is not None and first in ("", "-1")):
        return None
    which = [f"--id={first}"] if first else []
    asked = ["--query-gpu=memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run([program, *which, *asked], capture_output=True, text=True, timeout=_PATIENCE, check=True)
        memory, capability = next(csv.reader(done.stdout.splitlines(), skipinitialspace=True))
        return float(memory) / 1024, int(capability.split(".")[0])
    except (OSError, subprocess.SubprocessError, ValueError, StopIteration):  # a driver without a GPU, for one
        return None


def _torch_has_cuda() -> bool:
    """Whether the torch that is installed can use a GPU, by its version: 2.13.0+cpu can't."""
    try:
        return "+cpu" not in importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
