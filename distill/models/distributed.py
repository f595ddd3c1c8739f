"""What the processes of one run do together, under `accelerate launch` or `torchrun`: agree, wait, exchange.

All of them call the same functions in the same order. One of them, the main one, owns the run's folder: it alone claims
it and writes there. Alone, which is how a run usually is, every function says so at once, without torch.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from distill.config.errors import ConfigError, Stopped, UserError
from distill.models.hardware import cpu_asked

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")
# The main process may ask teachers for hours while the others wait. One that dies is noticed at once all the same: its
# connections close, and the launcher ends the others.
_PATIENCE = timedelta(days=7)
_MEETING = timedelta(minutes=10)  # what the launcher starts comes soon, or never
_FSDP = "ACCELERATE_USE_FSDP"  # set by `accelerate launch --use_fsdp`
_MIXED = "ACCELERATE_MIXED_PRECISION"  # set by `accelerate launch`, from what its user once configured
_sharded = False


class Elsewhere(Exception):
    """Raised where another process of the run has failed: it has said why, and there is nothing to add."""


# --- who is there ----------------------------------------------------------------------------------------------------


def join() -> None:
    """Meet the other processes that the launcher has started; nothing where there are none.

    Raises ConfigError where a machine has more processes than GPUs, or where the launcher is told to use DeepSpeed, and
    UserError where they don't meet.
    """
    global _sharded
    # Taken out of the environment: accelerate would shard the adapter, gate and heads too, and trainer.py does without.
    _sharded = os.environ.pop(_FSDP, "false").lower() in ("1", "true")
    os.environ.pop(_MIXED, None)  # hardware.py says what to compute in: elsewhere it would be another run
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() in ("1", "true"):
        raise ConfigError("Runs don't use DeepSpeed: launch without it, or with --use_fsdp to spread the student.")
    if int(os.environ.get("WORLD_SIZE", 1)) < 2:
        return
    import torch

    beside, gpus = processes_here(), 0 if cpu_asked() else torch.cuda.device_count()
    if gpus:
        if beside > gpus:
            raise ConfigError(
                f"{beside} processes were started here, and there are {gpus} GPUs: launch with --num_processes {gpus}."
            )
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    try:
        store, own, processes = next(torch.distributed.rendezvous("env://", timeout=_MEETING))
    except torch.distributed.DistError as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UserError(f"The processes of this launch didn't meet at {where} in {_MEETING}: launch again.") from error
    torch.distributed.init_process_group(backend, store=store, rank=own, world_size=processes, timeout=_PATIENCE)


def leave() -> None:
    """Part from the others, once all are here: the launcher ends those that are still at work when one has failed."""
    if size() > 1:
        import torch

        wait()
        torch.distributed.destroy_process_group()


def size() -> int:
    """How many processes share the run."""
    distributed = _distributed()
    return distributed.get_world_size() if distributed else 1


def rank() -> int:
    """This one's number, from 0."""
    distributed = _distributed()
    return distributed.get_rank() if distributed else 0


def is_main() -> bool:
    """Whether this is the process that owns the run's folder."""
    return rank() == 0


def processes_here() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if int(os.environ.get("WORLD_SIZE", 1)) > 1 else 1


def is_sharded() -> bool:
    """Whether the student's frozen weights are to be spread over the processes (`accelerate launch --use_fsdp`)."""
    return _sharded and size() > 1


# --- agreeing and waiting --------------------------------------------------------------------------------------------


def any_of(flag: bool) -> bool:
    """Whether any process says yes; every one gets the same answer."""
    return any(everyones(bool(flag))) if size() > 1 else flag


def wait() -> None:
    """Return when every process is here."""
    everyones(None)


def everyones(value: Value) -> list[Value]:
    """What each process gives, by rank; plain Python values or small tensors on the CPU."""
    if size() == 1:
        return [value]
    import torch

    found: list[Any] = [None] * size()
    torch.distributed.all_gather_object(found, value)  # over the CPU, where there are GPUs too
    return found


@contextmanager
def main_first() -> Iterator[None]:
    """The main process does what is inside, then the others do it and find what it left on disk.

    Where it stops or fails, they raise `Stopped` or `Elsewhere` and do nothing.
    """
    if size() == 1:
        yield
        return
    import torch

    said: list[str | None] = [None]
    if not is_main():
        torch.distributed.broadcast_object_list(said)
        if said[0]:
            raise Stopped if said[0] == "stopped" else Elsewhere
        yield
        return
    try:
        yield
    except BaseException as error:
        said = ["stopped" if isinstance(error, Stopped) else "failed"]
        raise
    finally:
        torch.distributed.broadcast_object_list(said)


def by_main(function: Callable[[], Value]) -> Value | None:
    """Have the main process alone call `function`, while the others wait; they get None."""
    with main_first():
        return function() if is_main() else None


def all_or_none(function: Callable[[], Value]) -> Value:
    """Call `function` on every process, and raise `Stopped` on all where it was raised on any."""
    stopped, value = False, None
    try:
        value = function()
    except Stopped:
        stopped = True
    if any_of(stopped):
        raise Stopped
    return value


# --- sharing out -----------------------------------------------------------------------------------------------------


def shares(batch_size: int, accumulation: int, processes: int | None = None) -> tuple[int, int]:
    """(texts of a micro-batch, micro-batches of a step) of each process, so that a step stays the step it is alone.

    Micro-batches are dealt out first, as they are, then what is in them. Raises ConfigError where it comes out uneven.
    """
    processes = processes or size()
    dealt = math.gcd(processes, accumulation)
    rest = processes // dealt
    if batch_size % rest:
        raise ConfigError(
            f"{processes} processes can't share a step of budget.batch_size {batch_size} x budget.accumulation "
            f"{accumulation} evenly: launch with another --num_processes, or make budget.batch_size a multiple of "
            f"{rest}."
        )
    return batch_size // rest, accumulation // dealt


def share(values: Sequence[Value]) -> list[Value]:
    """This process's part of `values`, as long as the others': of what doesn't divide, the first is repeated."""
    longest = -(-len(values) // size())
    mine = list(values[rank() :: size()])
    return mine + list(values[:1]) * (longest - len(mine))


def whole(mine: Sequence[Value], total: int) -> list[Value]:
    """From what became of each process's `share`, that of all `total` values, in their order."""
    parts = everyones(list(mine))
    return [parts[number % size()][number // size()] for number in range(total)]


# --- failing ---------------------------------------------------------------------------------------------------------


def first_to_fail() -> bool:
    """Whether this process is to say why the run fails: the first that asks, as the others fail because of it."""
    if size() == 1:
        return True
    try:
        return _store().compare_set("failed", "", str(rank())).decode() == str(rank())
    except Exception:  # the main process was killed, and the store with it
        return True


def has_failed() -> bool:
    """Whether some process has said already why the run fails."""
    if size() == 1:
        return False
    try:
        return _store().check(["failed"])
    except Exception:
        return True


# --- tensors ---------------------------------------------------------------------------------------------------------


def rows_of_all(rows_B: Tensor) -> list[Tensor]:
    """The tensors [B, ...] of every process, by rank, of one shape and without gradient."""
    if size() == 1:
        return [rows_B.detach()]
    import torch

    given = rows_B.detach().contiguous()
    found = [torch.empty_like(given) for _ in range(size())]
    torch.distributed.all_gather(found, given)
    return found


def joined(rows_BD: Tensor) -> Tensor:
    """[processes * B, ...]: the rows of every process, by rank, differentiable in this one's own.

    A loss of all rows is computed on every process alike. Its gradient comes out multiplied by the number of processes,
    to be divided by it together with the gradient of everything else that the loss reads.
    """
    parts = rows_of_all(rows_BD)
    if len(parts) > 1:
        parts[rank()] = rows_BD + (len(parts) - 1) * (rows_BD - rows_BD.detach())
        import torch

        return torch.cat(parts)
    return rows_BD


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace each gradient by its mean over the processes; where a process has none, its is zero."""
    import torch

    for parameter in parameters:
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.distributed.all_reduce(gradient)
        parameter.grad = gradient / size()


# --- inside ----------------------------------------------------------------------------------------------------------


def _distributed():
    """torch.distributed where a group has been made: before torch is imported there is none."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    return distributed if distributed and distributed.is_available() and distributed.is_initialized() else None


def _store():
    return sys.modules["torch"].distributed.distributed_c10d._get_default_store()
