"""What this machine is, and what follows from it: device, cores, memory, free disk and the number type to train in.

`detect` asks torch and is what a worker goes by. `Machine.here` does without, for whoever must answer at once and stay
small: the page and the command line. Importing this module is quick.
"""

from __future__ import annotations

import csv
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import psutil

from distill.config.paths import home

GIB = 2**30
WIDE = 50_000_000  # parameters from which a CPU's bfloat16 pays: smaller layers are bound by all that isn't a product
_CPU_INFO = Path("/proc/cpuinfo")
_in_slice = False  # whether this is a process that ZeroGPU has lent a GPU
_UNITS = {"": GIB, "k": 2**10, "m": 2**20, "g": GIB, "t": 2**40}
_PATIENCE = 5.0  # seconds for nvidia-smi, which hangs where a driver is broken
_ZEROGPU_GB = 48.0  # GiB: the smaller of the slices that ZeroGPU Spaces have had


@dataclass(frozen=True)
class Machine:
    """`device` is cuda, mps, cpu or zerogpu; memory in GiB, free disk in MiB; `dtype` is what models train in there.

    `gpu_gb` is None without a GPU of its own memory. `amx`: the CPU multiplies matrices of bfloat16 in hardware.
    `description`: in words, where torch was asked.
    """

    cores: int
    memory_gb: float
    device: str = "cpu"
    gpu_gb: float | None = None
    disk_mb: float = 100_000.0
    dtype: str = "float32"
    amx: bool = False
    description: str = ""

    @classmethod
    def here(cls, runs_dir: str | os.PathLike[str] | None = None) -> Machine:
        """This machine, with the disk of `runs_dir` (default: where runs are kept)."""
        device, gpu_gb, dtype = _accelerator()
        disk = free_disk_mb(Path(runs_dir or home().runs))
        return cls(cpu_cores(), memory_gb(), device, gpu_gb, disk, dtype, has_amx())

    def suited_to(self, parameters: int | None) -> Machine:
        """The same machine, computing in what suits a model of so many parameters (None: not known)."""
        dtype = suited(self.device, self.dtype, self.amx, parameters)
        if dtype == self.dtype:
            return self
        return replace(self, dtype=dtype, description=self.description.replace("CPU,", f"CPU in {dtype},", 1))

    @property
    def has_gpu(self) -> bool:
        return self.device in ("cuda", "zerogpu")


def cores_text(cores: int) -> str:
    """ "1 core", "2 cores"."""
    return f"{cores} {'core' if cores == 1 else 'cores'}"


def detect() -> Machine:
    """This machine. On ZeroGPU torch's CUDA must not be touched outside a slice, so the environment is asked first."""
    cores, memory = cpu_cores(), memory_gb()

    def found(gpu: str, device: str, dtype: str = "float32", gpu_gb: float | None = None) -> Machine:
        said = f"{gpu}, {cores_text(cores)}, {memory:.1f} GB of memory"
        return Machine(cores, memory, device, gpu_gb, dtype=dtype, amx=has_amx(), description=said)

    lent = is_zerogpu()
    if lent and not _in_slice:
        return found("ZeroGPU (a GPU in slices)", "zerogpu", "bfloat16")
    import torch

    if torch.cuda.is_available() and not cpu_asked():
        properties = torch.cuda.get_device_properties(0)
        gpu_gb = properties.total_memory / GIB
        gpu = f"{'ZeroGPU, ' if lent else ''}{properties.name} with {gpu_gb:.0f} GB"
        return found(gpu, "cuda", cuda_dtype(properties.major), gpu_gb)
    if torch.backends.mps.is_available() and not cpu_asked():
        return found("Apple GPU", "mps")
    return found("CPU", "cpu")


def cuda_dtype(major: int) -> str:
    """The number type for a GPU of compute capability `major`.x: float16 overflows in training."""
    return "bfloat16" if major >= 8 else "float32"


def suited(device: str, dtype: str, amx: bool, parameters: int | None) -> str:
    """The number type for a model of so many parameters (None: not known); `dtype`, but on a CPU.

    Some CPUs multiply bfloat16 several times as fast as float32 (Intel's AMX). Most emulate it, many times slower.
    """
    if device != "cpu":
        return dtype
    return "bfloat16" if amx and (parameters or 0) >= WIDE else "float32"


@cache
def has_amx() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 in hardware, as Linux says."""
    try:
        return "amx_bf16" in _CPU_INFO.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False


def cannot_quantise(device: str) -> str | None:
    """Why weights of four or eight bits don't work on such a device, as what follows "it"; None where they can."""
    if device == "mps":
        return "works on NVIDIA GPUs and on CPUs, but not on Apple's GPUs: remove it"
    if importlib.util.find_spec("bitsandbytes") is None:
        return "needs the package bitsandbytes, which is not installed: pip install bitsandbytes, or remove it"
    return None


def visible_gpus(hardware: Machine) -> int:
    """The GPUs that this process could train on; it uses one."""
    if hardware.device != "cuda":
        return 0
    import torch

    return torch.cuda.device_count()


def is_zerogpu() -> bool:
    """Whether this is a ZeroGPU Space, by the rule of the `spaces` package."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def cpu_asked() -> bool:
    """Whether a GPU, if there is one, is to be left alone, as after `accelerate launch --cpu`."""
    return os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true")


def enter_slice() -> None:
    """From now on this process has a GPU: ZeroGPU lends it one, in a process forked from the page for that purpose."""
    global _in_slice
    _in_slice = True


def cpu_cores() -> int:
    """The cores this process may use: what the Space says, else its affinity, else all."""
    try:
        return max(1, int(float(os.environ["CPU_CORES"])))
    except (KeyError, ValueError, OverflowError):
        pass
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gb() -> float:
    """Main memory in GiB: what the Space says ("16Gi"), else what the machine has."""
    said = re.fullmatch(r"([\d.]+) *([kmgt]?)i?b?", os.environ.get("MEMORY", "").strip().lower())
    try:
        return float(said[1]) * _UNITS[said[2]] / GIB if said else psutil.virtual_memory().total / GIB
    except ValueError:
        return psutil.virtual_memory().total / GIB


def memory_mb() -> float:
    """The main memory this process holds now, in MiB."""
    return psutil.Process().memory_info().rss / 2**20


def give_back_memory() -> bool:
    """Give what this process has freed back to the system; whether that can be done here (it takes glibc)."""
    trim = _malloc_trim()
    return trim is not None and trim(0) >= 0


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # no such function: macOS, Windows, musl
        return None


def peak_rss_mb() -> float:
    """The most main memory this process has held, in MiB.

    On Linux from VmHWM: ru_maxrss would count what the parent held before this program was started.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)[1]) / 1024
    except (OSError, TypeError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return psutil.Process().memory_info().peak_wset / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


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
