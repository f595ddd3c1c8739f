"""Runs for the tests of tabs: real folders with the events that a worker would have written."""

from distill.config import run_config as configs
from distill.runs import store
from distill.runs.events import Evaluation, EventWriter, Metric, Probe, Status
from distill.runs.process import claim
from distill.runs.views import RunView, view

TEACHERS = ("qwen2-tiny", "smollm2-tiny", "phi3-tiny", "gemma2-tiny", "minicpm3-tiny", "nemotron-tiny")


def made(preset: str = "tiny", *events, overrides=(), state: str | None = "done") -> RunView:
    """A run of a preset that said `events` and then ended with `state`; None: it goes on."""
    folder = store.create(configs.load(preset, list(overrides)))
    claim(folder)  # by this process: it is alive
    said = [*events, *([Status(state=state)] if state else [])]
    with EventWriter(folder / "events.jsonl") as writer:
        for event in said:
            writer.write(event)
    return view(folder)


def probe(step: int, cka: dict, *, n: int = 128, null95: float | None = 0.02, ratio: float = 12.0, **more) -> Probe:
    return Probe(step=step, n=n, cka=cka, null95=null95, participation_ratio=ratio, **more)


def gate(mean: dict, by_family: dict | None = None, entropy: float = 1.0) -> dict:
    return {"mean": mean, "by_family": by_family or {}, "entropy": entropy}


def metric(step: int, steps: int = 140, loss: float = 1.0, **more) -> Metric:
    return Metric(step=step, steps=steps, loss=loss, **more)


def evaluation(phase: str, correct: int, n: int = 100, split: str = "held_out", step: int = 0) -> Evaluation:
    share = correct / n
    ends = [max(0.0, share - 0.1), min(1.0, share + 0.1)]
    return Evaluation(phase=phase, split=split, step=step, n=n, correct=correct, accuracy=share, ci95=ends)
