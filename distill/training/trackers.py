"""Each step's numbers for trackio, TensorBoard and Weights & Biases, through transformers' own integrations.

A tracker that fails (no network, no account) is dropped and said once: the run goes on, and its own events have all
the numbers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks

from distill.runs.events import Evaluation, Event, Metric, Probe

PROJECT = "distill"  # what runs are gathered under, where the environment says no other


class Trackers(TrainerCallback):
    """Passes on to the trackers `names` what the Trainer tells it; files go into the run's `folder`.

    `reached`: the step that training goes on from; what was recorded after it is trained again. `warn(code, sentence)`
    is told of a tracker that fails.
    """

    def __init__(self, names: Sequence[str], folder: Path, reached: int, warn: Callable[[str, str], None]):
        self.names = list(names)
        self.folder = folder
        self.reached = reached
        self.warn = warn
        self._open: dict[str, TrainerCallback] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:  # of several processes one reports
            for name in self.names:
                self._guarded(name, lambda name=name: self._begin(name))
        self._each("on_train_begin", args, state, control, **kwargs)

    def on_log(self, args, state, control, **kwargs):
        self._each("on_log", args, state, control, **kwargs)

    def on_save(self, args, state, control, **kwargs):
        self._each("on_save", args, state, control, **kwargs)

    def on_train_end(self, args, state, control, **kwargs):
        self._each("on_train_end", args, state, control, **kwargs)

    def _begin(self, name: str) -> None:
        self._open[name] = _callback(name, self.folder, self.reached)

    def _each(self, event: str, *args: Any, **kwargs: Any) -> None:
        for name, callback in list(self._open.items()):
            self._guarded(name, lambda callback=callback: getattr(callback, event)(*args, **kwargs))

    def _guarded(self, name: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # whatever a tracker raises
            self._open.pop(name, None)
            first = (str(error).strip() or type(error).__name__).split("\n")[0][:200].rstrip(".")
            self.warn(
                "tracker_failed",
                f"{name} no longer accepts this run's numbers ({first}): the run goes on, and keeps them itself.",
            )


def _callback(name: str, folder: Path, reached: int) -> TrainerCallback:
    """transformers' callback for a tracker, told where to keep its files."""
    (kind,) = get_reporting_integration_callbacks([name])
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        return kind(SummaryWriter(str(folder / "tensorboard"), purge_step=reached + 1 if reached else None))
    if name == "wandb":
        _prepare_wandb(folder)
    return kind()


def _prepare_wandb(folder: Path) -> None:
    """Files into the run's folder, a resumed run goes on as the same one, and without an account nobody is asked."""
    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    os.environ |= {"WANDB_DIR": str(folder), "WANDB_RUN_ID": folder.name, "WANDB_RESUME": "allow"}
    if not (os.environ.get("WANDB_API_KEY") or _in_netrc("wandb")):
        os.environ.setdefault("WANDB_MODE", "offline")  # `wandb sync` takes it along later


def _in_netrc(site: str) -> bool:
    """Whether `wandb login` (which writes there) has been here."""
    try:
        return site in Path(os.environ.get("NETRC") or "~/.netrc").expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def numbers(event: Event) -> dict[str, float]:
    """{name: number} of what an event says, for curves; {} where it says none."""
    if isinstance(event, Metric):
        names = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_mb")
        said = {name: getattr(event, name) for name in names}
        said |= {f"term/{name}": value for name, value in event.terms.items()}
        said |= {f"metric/{name}": value for name, value in event.metrics.items()}
    elif isinstance(event, Probe):
        said = {"participation_ratio": event.participation_ratio, "haf": event.haf}
        said |= {f"cka/{teacher}": value for teacher, value in event.cka.items()}
        said |= {f"gate/{teacher}": value for teacher, value in (event.gate or {}).get("mean", {}).items()}
    elif isinstance(event, Evaluation):
        said = {f"accuracy/{event.phase}": event.accuracy}
    else:
        said = {}
    return {name: float(value) for name, value in said.items() if value is not None and math.isfinite(value)}
