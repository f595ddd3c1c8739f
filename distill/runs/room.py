"""Before long work: can every model be had, and is there the memory and the disk for its weights at all?

Only what cannot be is refused: a run whose weights fit may still need more, which estimate.py says. It knows nothing of
who asks, or of how a model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from distill.config.errors import UserError
from distill.config.messages import listed
from distill.config.requirements import demand, heard
from distill.config.run_config import ModelRef, RunConfig
from distill.models.distributed import processes_here
from distill.models.hardware import Machine, free_disk_mb
from distill.models.hub_lookup import look_up
from distill.models.metadata import ModelFacts
from distill.models.references import lower
from distill.runs import memory_model
from distill.runs.memory_model import GIB
from distill.runs.time_model import weight_bytes

_AT_ONCE = 8  # models that are looked up at a time


def check_room(config: RunConfig, machine: Machine, token: str | None = None) -> list[ModelFacts]:
    """Ask the Hub for the models that aren't here, and compare what they need with what `machine` has; the facts of the
    student, then of each teacher that is listened to.

    Seconds at most, milliseconds where all are here. Raises ConfigError or UserError, one sentence, where a model can't
    be had (see hub_lookup.py), or where its weights can't be fetched to this disk or held in this memory.
    """
    facts = look_up_all(config, token)
    _check_disk(facts)
    check_memory(config, facts, machine)
    return facts


def look_up_all(config: RunConfig, token: str | None = None) -> list[ModelFacts]:
    """Of the student and of each teacher that is listened to what is known, asked of the Hub where it isn't here.

    Raises ConfigError or UserError as `check_room`, but compares nothing with this machine.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda ref: _known(config, ref, token), [config.student, *heard(config)]))


def _known(config: RunConfig, ref: ModelRef, token: str | None) -> ModelFacts:
    role = "student" if ref is config.student else "teacher"
    try:
        return look_up(ref, token)
    except UserError as error:
        raise type(error)(f"The {role} {ref.name!r} can't be used: {lower(str(error))}") from error


def _check_disk(facts: Sequence[ModelFacts]) -> None:
    missing = [model for model in facts if not model.fetched]
    if not missing:
        return
    from huggingface_hub.constants import HF_HUB_CACHE

    needed, free = memory_model.download_gb(missing), free_disk_mb(Path(HF_HUB_CACHE)) * 2**20 / 1e9
    if needed > free:
        names = ", ".join(dict.fromkeys(model.model for model in missing))
        raise UserError(
            f"{needed:,.1f} GB are to be fetched from the Hub ({names}), and the disk of the models' cache "
            f"has {free:,.1f} GB free: make room there, or set HF_HOME to a folder on a larger disk."
        )


def check_memory(
    config: RunConfig, facts: Sequence[ModelFacts], machine: Machine, called: str = "this machine"
) -> None:
    """The student and its largest teacher are in memory at once, or all those that stay loaded: is there room for their
    weights? `facts` as `look_up_all` gives them; nothing is said where a size isn't known. `called`: the machine.

    Raises UserError, one sentence, where there isn't.
    """
    if any(model.parameters is None for model in facts):
        return
    refs = [config.student, *heard(config)]
    size, quantize = weight_bytes(machine), config.lora.quantize
    sizes = [model.parameters * weight_bytes(machine.suited_to(model.parameters)) / GIB for model in facts]
    # On a CPU the student is float32 while it writes, whatever it is trained in.
    sizes[0] = memory_model.student_bytes(facts[0].parameters, quantize, size) / GIB
    beside, copies = processes_here(), ""  # without GPUs each has a student of its own in main memory
    then = f"choose smaller models, {'' if quantize else 'set lora.quantize, '}or take a larger machine"
    room = machine.memory_gb
    if machine.has_gpu and machine.gpu_gb is not None:
        if sizes[0] > machine.gpu_gb:
            raise UserError(
                f"The student {refs[0].name!r} has {_gb(sizes[0])} of weights, and {called}'s GPU "
                f"{_gb(machine.gpu_gb)}: {then}."
            )
        room += machine.gpu_gb  # a teacher that is larger than the GPU is in part in main memory
    elif beside > 1:
        sizes[0], copies = sizes[0] * beside, f" in {beside} processes"
    teachers = range(1, len(refs))
    together = [number for number in teachers if demand(config, refs[number].name).live]
    for some in ([max(teachers, key=sizes.__getitem__)] if teachers else [], together):
        needed = sizes[0] + sum(sizes[number] for number in some)
        if needed > room:
            who = [f"the student {refs[0].name!r} ({_gb(sizes[0])} of weights{copies})"]
            who += [f"the teacher {refs[number].name!r} ({_gb(sizes[number])})" for number in some]
            both = f"are in memory together, {_gb(needed)}," if some else "must be in memory,"
            raise UserError(f"T{listed(who)[1:]} {both} and {called} has {_gb(room)}: {then}.")


def _gb(gib: float) -> str:
    return f"{gib:,.1f} GB"
