"""Before a run starts: how long it takes, what memory and disk it needs, and whether this machine can do it at all.

For the page and the command line: it imports neither torch nor gradio, loads no model, fetches nothing, and has files
read and problems made by a process of their own. The sums are in time_model.py and memory_model.py, what is asked of
teachers in requirements.py, what is known of models in metadata.py; here they meet this machine, and the runs it has
done before.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median

from distill.config import requirements
from distill.config.errors import UserError
from distill.config.requirements import heard
from distill.config.run_config import RunConfig
from distill.data import reader
from distill.data.reasoning_gym import is_installed
from distill.models.hardware import Machine, cannot_quantise, cores_text
from distill.models.metadata import ModelFacts, describe_model
from distill.models.references import absolute
from distill.runs import index, memory_model, store, time_model
from distill.runs.time_model import Job
from distill.runs.views import RunView

__all__ = ["Estimate", "Machine", "ModelFacts", "describe_model", "estimate", "lines", "memory", "text"]

GENERATED_CHARACTERS = 148.3  # of a question and its solution: the mean of 1,920 generated problems (119.0 + 29.3)
_HUB_CHARACTERS = {"openai/gsm8k": 523.0}  # of its 7,473 questions and solutions for training
_GYM_CHARACTERS = {"gsm_symbolic": 549.0}  # over 8,000 drawn; others are drawn to see, which takes a second
_LIKELY = (0.7, 1.4)  # what runs on the measured kind of machine took, over what was expected
_LARGER = (0.5, 2.0)  # for students far larger than those the constants were measured with
_UNMEASURED = (0.3, 3.0)  # for GPUs, none of which has been measured
_KNOWN = (0.75, 1.35)  # after runs of the same models on the same machine
_MEASURED_UP_TO = 20e6  # parameters
_PATIENCE = 3 * 3600.0  # seconds at least, without a GPU, after which a run is said to need one
_ALIKE = 3  # earlier runs looked at
_LIKE_LENGTH = 4  # times as long, or as short, as a run may be to correct another
_FROM_BANK = 0.3  # of the seconds expected: teachers that took less had been asked before
_GPU_SIZES = (4, 6, 8, 12, 16, 24, 32, 40, 48, 80, 96, 141, 192)  # GB that GPUs are sold with


@dataclass(frozen=True)
class Estimate:
    """`seconds`: (low, high), None where it can't be told; `stages`: seconds of each, the middle; memory in GiB.

    `gpu_gb` is None where the machine has no GPU; it and the rest are None where a model's size is unknown. `obstacle`
    is one plain sentence why this machine can't, without a full stop: "needs 30 GB of memory; this machine has 24".
    """

    seconds: tuple[float, float] | None = None
    stages: dict[str, float] = field(default_factory=dict)
    memory_gb: float | None = None
    gpu_gb: float | None = None
    disk_mb: float | None = None
    notes: list[str] = field(default_factory=list)
    obstacle: str | None = None


def estimate(config: RunConfig, machine: Machine, earlier: Iterable[RunView] | None = None) -> Estimate:
    """What `config` costs on `machine`; `earlier` runs (default: those on this disk) of the same models correct it."""
    try:
        student = describe_model(config.student)
        teachers = tuple(map(describe_model, heard(config)))
        characters, said = _characters(config)
    except UserError as error:
        return Estimate(obstacle=str(error).rstrip("."))
    models = [student, *teachers]
    said += _about_models(models)
    unknown = list(dict.fromkeys(model.model for model in models if not model.known))
    if unknown:
        said += [f"the size of {model} isn't known until it is fetched" for model in unknown]
        return Estimate(notes=said, obstacle=_cannot_start(config, machine, models))
    said += requirements.notes(config)
    machine = machine.suited_to(None if config.lora.quantize else student.parameters)
    job = Job(config, student, teachers, characters)
    stages, alike = _corrected(job, machine, index.list_runs() if earlier is None else earlier)
    if teachers:
        said.append("less if these teachers have been asked before")
    if alike:
        said.append(f"from {alike} earlier {'run' if alike == 1 else 'runs'} here")
    elif not time_model.speed_of(machine).measured:
        said.append("the speed of this kind of GPU has not been measured, so the time is a guess")
    if config.lora.quantize and not machine.has_gpu:
        said.append(f"slow: lora.quantize {config.lora.quantize} saves memory, but takes its time without a GPU")
    low, high = _spread(job, machine, alike)
    total = sum(stages.values())
    memory, gpu = memory_model.memory_gb(job, machine)
    disk = memory_model.disk_mb(job) + 1e9 / 2**20 * memory_model.download_gb(models)
    found = Estimate((low * total, high * total), stages, memory, gpu, disk, said)
    return replace(found, obstacle=_too_little(job, machine, found) or _cannot_start(config, machine, models))


def _characters(config: RunConfig) -> tuple[float, list[str]]:
    """(characters of a text on average, what to say about it)."""
    data = config.data
    if data.source == "problems":
        return GENERATED_CHARACTERS, []
    if data.source == "reasoning_gym":
        return fmean(_GYM_CHARACTERS.get(name) or reader.gym_characters(name) for name in data.families), []
    if data.source == "file":
        return reader.survey(data.path, data.columns).characters, []
    if data.dataset in _HUB_CHARACTERS:
        return _HUB_CHARACTERS[data.dataset], []
    # As long as they may be: as many tokens as budget.max_length leaves, at three characters each.
    return 3.0 * config.budget.max_length, [f"at most, as the length of the texts of {data.dataset} isn't known"]


# --- what was seen before --------------------------------------------------------------------------------------------


def _corrected(job: Job, machine: Machine, earlier: Iterable[RunView]) -> tuple[dict[str, float], int]:
    """(seconds of each stage, how many earlier runs they were corrected by)."""
    stages = time_model.stages(job, machine)
    ratios: dict[str, list[float]] = {}
    alike = _alike(job.config, machine, earlier)
    for run in alike:
        done = Job(run.config, job.student, job.teachers, job.characters)
        for stage, expected in time_model.stages(done, machine).items():
            took = run.report["seconds"].get(stage, 0.0)
            unasked = stage == "signals" and took < _FROM_BANK * expected
            if stage != "prepare" and took and expected and not unasked:
                ratios.setdefault(stage, []).append(took / expected)
    return {stage: seconds * median(ratios.get(stage, [1.0])) for stage, seconds in stages.items()}, len(alike)


def _alike(config: RunConfig, machine: Machine, earlier: Iterable[RunView]) -> list[RunView]:
    """The finished runs of the same models and data on this kind of machine, those of most like length first."""

    def asked(config: RunConfig) -> tuple:
        config = absolute(config)  # as a run's own config is
        teachers = [teacher.model for teacher in heard(config)]
        methods = sorted(objective.kind for objective in config.objectives)
        data = config.data
        texts = (data.source, data.path, data.dataset, data.families if data.source == "reasoning_gym" else None)
        return config.student.model, teachers, methods, config.lora.quantize, texts

    def size(config: RunConfig) -> float:
        budget = config.budget
        return math.log(requirements.planned_steps(config) * budget.batch_size * budget.accumulation)

    found = [
        run
        for run in earlier
        if run.config and run.state == "done" and (run.report or {}).get("seconds")
        if asked(run.config) == asked(config) and _is_here(str(run.report.get("hardware")), machine)
    ]
    # What a run of a few steps takes is mostly its beginning: it says nothing of a long one.
    near = [(abs(size(run.config) - size(config)), run) for run in found]
    return [run for off, run in sorted(near, key=lambda one: one[0]) if off <= math.log(_LIKE_LENGTH)][:_ALIKE]


def _is_here(hardware: str, machine: Machine) -> bool:
    """Whether a report's hardware, in the words of hardware.detect, is such a machine."""
    cores = f"{cores_text(machine.cores)},"
    device = {
        "cpu": "CPU," if machine.dtype == "float32" else f"CPU in {machine.dtype},",
        "mps": "Apple GPU,",
        "zerogpu": "ZeroGPU",
        "cuda": f"with {machine.gpu_gb or 0:.0f} GB,",
    }[machine.device]
    return device in hardware and f" {cores}" in hardware


def _spread(job: Job, machine: Machine, alike: int) -> tuple[float, float]:
    if alike:
        return _KNOWN
    if not time_model.speed_of(machine).measured:
        return _UNMEASURED
    return _LARGER if job.student.parameters > _MEASURED_UP_TO else _LIKELY


# --- what is in the way ----------------------------------------------------------------------------------------------


def _too_little(job: Job, machine: Machine, found: Estimate) -> str | None:
    """What this machine has too little of."""
    if not machine.has_gpu and found.seconds[0] > _PATIENCE:
        gpu = Machine(machine.cores, machine.memory_gb, "cuda", 0.0, dtype="bfloat16")
        needed = _sold_with(memory_model.memory_gb(job, gpu)[1])
        return f"needs a GPU with about {needed} GB; this machine has none (without one, {text(found.seconds)})"
    if found.gpu_gb and machine.gpu_gb is not None and found.gpu_gb > machine.gpu_gb:
        short = f"needs a GPU with about {_sold_with(found.gpu_gb)} GB; this machine's has {machine.gpu_gb:.0f}"
        return short + _thriftier(job, machine)
    if found.memory_gb > machine.memory_gb:
        short = f"needs {_gb(found.memory_gb)} of memory; this machine has {_gb(machine.memory_gb)}"
        return short + _thriftier(job, machine)
    needed = max(found.disk_mb, store.NEEDED_MB)
    if needed > machine.disk_mb:
        return f"needs {_disk(needed)} of disk; this machine has {_disk(machine.disk_mb)} free"
    return None


def _thriftier(job: Job, machine: Machine) -> str:
    """What to switch on, where it would then fit."""
    budget = job.config.budget.model_copy(update={"gradient_checkpointing": True})
    memory, gpu = memory_model.memory_gb(replace(job, config=job.config.model_copy(update={"budget": budget})), machine)
    if memory > machine.memory_gb or (gpu or 0.0) > (machine.gpu_gb or math.inf):
        return ""
    return f" ({_gb(memory if gpu is None else gpu)} with budget.gradient_checkpointing: switch it on)"


def _cannot_start(config: RunConfig, machine: Machine, models: Sequence[ModelFacts]) -> str | None:
    """What is in the way however large the machine."""
    if config.lora.quantize and (reason := cannot_quantise(machine.device)):
        return f"lora.quantize {config.lora.quantize} {reason}"
    if config.data.source == "reasoning_gym" and not is_installed():
        return "lacks reasoning-gym, which makes the problems: pip install reasoning-gym"
    refused = next((model for model in models if model.refusal), None)
    if refused:
        return f"{refused.model} can't be used: it {refused.refusal}, so take another in its place"
    missing = [model for model in models if not model.fetched]
    if missing and _offline():
        return f"needs {_fetching(missing)} from the Hub, and HF_HUB_OFFLINE keeps this machine off the network"
    return None


def _about_models(models: Sequence[ModelFacts]) -> list[str]:
    missing = [model for model in models if not model.fetched]
    notes = [f"needs the network to fetch {_fetching(missing)} from the Hub"] if missing else []
    return notes + [f"{model.model} {model.caution}" for model in missing if model.caution]


def _fetching(missing: Sequence[ModelFacts]) -> str:
    """How much ("9.4 GB"), or which models where a size is unknown."""
    if all(model.known for model in missing):
        return f"{memory_model.download_gb(list(missing)):.1f} GB"
    return ", ".join(dict.fromkeys(model.model for model in missing))


def _offline() -> bool:
    said = {os.environ.get(name, "").upper() for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    return bool(said & {"1", "ON", "YES", "TRUE"})


def _sold_with(gpu_gb: float) -> int:
    """The smallest GPU on sale with so much memory."""
    return next((size for size in _GPU_SIZES if size >= gpu_gb), math.ceil(gpu_gb))


# --- in words --------------------------------------------------------------------------------------------------------


def text(seconds: tuple[float, float] | None) -> str:
    """An interval as "about 1 to 2 min", in the unit that suits its end."""
    if seconds is None:
        return "an unknown time"
    low, high = seconds
    unit, name, step = next((u, n, s) for most, u, n, s in _UNITS if high < most)
    low = max(step, step * round(low / unit / step))
    high = max(low, step * math.ceil(high / unit / step - 0.25))
    return f"about {low} to {high} {name}" if low < high else f"about {low} {name}"


_UNITS = ((90, 1, "s", 5), (100 * 60, 60, "min", 1), (72 * 3600, 3600, "hours", 1), (math.inf, 86400, "days", 1))


def _gb(gb: float | None) -> str:
    return "an unknown amount" if gb is None else f"{gb:.1f} GB" if gb < 10 else f"{gb:.0f} GB"


def _disk(mb: float) -> str:
    return f"{mb:,.0f} MB" if mb < 1000 else f"{mb * 2**20 / 1e9:,.1f} GB"


def memory(found: Estimate) -> str:
    """An estimate's memory as "0.9 GB of memory"."""
    gpu = f" and {_gb(found.gpu_gb)} of GPU memory" if found.gpu_gb is not None else ""
    return f"{_gb(found.memory_gb)} of memory{gpu}"


def lines(found: Estimate) -> list[str]:
    """An estimate as a few lines for people: time, memory, disk, whether this machine can, and what to know."""
    disk = "an unknown amount" if found.disk_mb is None else _disk(found.disk_mb)
    can = "this machine can run it" if found.seconds else "it is not known yet whether this machine can run it"
    if found.obstacle:
        can = f"not available on this machine: {found.obstacle}"
    return [f"time: {text(found.seconds)}; {memory(found)}; {disk} of disk", can, *found.notes]
