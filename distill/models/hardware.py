"""What this machine is, and what follows from it: device, cores, memory and the number type to train in.

It knows nothing of runs. torch is imported only where a device has to be asked for, so importing this module is quick.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import psutil

GIB = 2**30
WIDE = 50_000_000  # parameters from which a CPU's bfloat16 pays: smaller layers are bound by all that isn't a product
_CPU_INFO = Path("/proc/cpuinfo")
_in_slice = False  # whether this is a process that ZeroGPU has lent a GPU
_UNITS = {"": GIB, "k": 2**10, "m": 2**20, "g": GIB, "t": 2**40}


@dataclass(frozen=True)
class Hardware:
    """`device` is cuda, mps, cpu or zerogpu; `memory_gb` is main memory in GiB; `dtype` is a name torch has; `amx`:
    whether the CPU multiplies matrices of bfloat16 in hardware."""

    device: str
    cores: int
    memory_gb: float
    dtype: str
    description: str
    amx: bool = False

    def suited_to(self, parameters: int | None) -> Hardware:
        """The same machine, computing in what suits a model of so many parameters (None: not known)."""
        dtype = suited(self.device, self.dtype, self.amx, parameters)
        if dtype == self.dtype:
            return self
        return replace(self, dtype=dtype, description=self.description.replace("CPU,", f"CPU in {dtype},", 1))


def cores_text(cores: int) -> str:
    """ "1 core", "2 cores"."""
    return f"{cores} {'core' if cores == 1 else 'cores'}"


def detect() -> Hardware:
    """This machine. On ZeroGPU torch's CUDA must not be touched outside a slice, so the environment is asked first."""
    cores, memory = cpu_cores(), memory_gb()
    machine = f"{cores_text(cores)}, {memory:.1f} GB of memory"
    lent = is_zerogpu()
    if lent and not _in_slice:
        return Hardware("zerogpu", cores, memory, "bfloat16", f"ZeroGPU (a GPU in slices), {machine}")
    import torch

    if torch.cuda.is_available() and not cpu_asked():
        properties = torch.cuda.get_device_properties(0)
        gpu = f"{'ZeroGPU, ' if lent else ''}{properties.name} with {properties.total_memory / GIB:.0f} GB"
        return Hardware("cuda", cores, memory, cuda_dtype(properties.major), f"{gpu}, {machine}")
    if torch.backends.mps.is_available() and not cpu_asked():
        return Hardware("mps", cores, memory, "float32", f"Apple GPU, {machine}")
    return Hardware("cpu", cores, memory, "float32", f"CPU, {machine}", has_amx())


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
    """Why weights of four or eight bits can't be had on such a device, as what follows "it"; None where they can."""
    if device == "mps":
        return "works on NVIDIA GPUs and on CPUs, but not on Apple's GPUs: remove it"
    if importlib.util.find_spec("bitsandbytes") is None:
        return "needs the package bitsandbytes, which is not installed: pip install bitsandbytes, or remove it"
    return None


def visible_gpus(hardware: Hardware) -> int:
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
