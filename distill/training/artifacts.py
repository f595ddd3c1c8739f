"""What a run leaves behind: adapter/, gate.safetensors, heads.safetensors, report.json and README.md (the model card).

The adapter folder is the usual PEFT layout, with the tokenizer beside it: nobody needs this package to use it.
"""

from __future__ import annotations

import contextlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from distill.config.files import sha256_of, write_atomically
from distill.config.requirements import listening
from distill.evaluation.ceiling import ceiling
from distill.evaluation.score import compare
from distill.models.hardware import peak_rss_mb
from distill.models.loading import fingerprint
from distill.models.references import model_path
from distill.models.student import save_adapter
from distill.objectives.geometry import GeometryObjective
from distill.runs.events import Metric, Probe, Warning, latest_by_step, read
from distill.runs.model_card import model_card
from distill.runs.views import WEIGHTS, kept_epochs

if TYPE_CHECKING:
    from distill.training.pipeline import Pipeline

STAGES = ("prepare", "signals", "train", "evaluate", "total")
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")


def keep_model(pipeline: Pipeline, finished: bool) -> None:
    """Write the adapter and what was trained beside it; once `finished`, the report and the model card too."""
    if pipeline.distiller is None:  # stopped before there was anything to keep
        return
    folder = pipeline.folder
    _save_adapter(pipeline, folder / "adapter")
    geometry = pipeline.distiller.coupled.get("geometry")
    probes = latest_by_step(read(folder / "events.jsonl")[0], Probe)
    if geometry is not None:
        _save_gate(geometry, probes, folder)
    if finished:
        report = build_report(pipeline, probes)
        write_atomically(folder / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        write_atomically(folder / "README.md", model_card(report, pipeline.config))


def report_failure(pipeline: Pipeline | None) -> None:
    """Keep what can be kept of a failed run; never fails itself."""
    if pipeline is not None and pipeline.keeps_model_on_failure:
        with contextlib.suppress(Exception):
            _save_adapter(pipeline, pipeline.folder / "adapter")


def _save_adapter(pipeline: Pipeline, folder: Path) -> None:
    save_adapter(pipeline.student, pipeline.tokenizer, pipeline.config.student, folder)


def _save_gate(geometry: GeometryObjective, probes: list[Probe], folder: Path) -> None:
    gate = {f"gate.{name}": value for name, value in geometry.gate.state_dict().items()}
    mean = probes[-1].gate["mean"] if probes and probes[-1].gate else {}
    gate["mean_T"] = torch.tensor([mean.get(teacher, float("nan")) for teacher in geometry.teachers])
    about = {
        "kind": geometry.gate.kind,
        "teachers": json.dumps(geometry.teachers),
        "tau": str(geometry.gate.tau),
        "epsilon": str(geometry.gate.epsilon),
    }
    save_file({name: value.contiguous().cpu() for name, value in gate.items()}, folder / "gate.safetensors", about)
    if geometry.heads is not None:
        heads = {name: value.contiguous().cpu() for name, value in geometry.heads.state_dict().items()}
        save_file(heads, folder / "heads.safetensors", {"teachers": json.dumps(geometry.teachers)})


def build_report(pipeline: Pipeline, probes: list[Probe]) -> dict[str, Any]:
    """report.json: every number of the run, JSON types only. The adapter must be in its folder already."""
    config, folder = pipeline.config, pipeline.folder
    events, _ = read(folder / "events.jsonl")
    metrics = latest_by_step(events, Metric)
    before, after = pipeline.answers.scores("before"), pipeline.answers.scores("after")
    dumped = config.model_dump(mode="json")
    report = {
        "run": folder.name,
        "preset": config.name,
        "seed": config.seed,
        "student": config.student.name,
        "teachers": [teacher.name for teacher in config.teachers if listening(config, teacher.name)],
        "objectives": dumped["objectives"],
        "data": dumped["data"],
        "versions": {package: version(package) for package in _PACKAGES},
        "hardware": pipeline.hardware.description,
        "steps": metrics[-1].step if metrics else 0,
        "tokens": sum(metric.tokens for metric in metrics),
        "before": before["held_out"].to_dict(),
        "after": after["held_out"].to_dict(),
        **compare(before["held_out"], after["held_out"]),
        "new_phrasing": _both(before, after, "new_phrasing"),
        "ceiling": ceiling(folder, pipeline.answers.right_answers("after"), before["held_out"], after["held_out"]),
        "seconds": {name: round(pipeline.seconds.get(name, 0.0), 1) for name in STAGES},
        "peak_rss_mb": round(peak_rss_mb()),
        "peak_device_mb": _peak_device_mb(),
        **_geometry(probes),
        "responses": pipeline.preparation.responses,
        "digests": _digests(pipeline),
        "warnings": [{"code": w.code, "text": w.text} for w in events if isinstance(w, Warning)],
    }
    return report


def _both(before: dict, after: dict, split: str) -> dict[str, Any] | None:
    if split not in before:
        return None
    changed = compare(before[split], after[split])
    return {"before": before[split].to_dict(), "after": after[split].to_dict(), **changed}


def _geometry(probes: list[Probe]) -> dict[str, Any]:
    if not probes:
        return {"cka": {}, "layers": {}, "gate": {}, "gate_by_family": {}, "participation_ratio": None, "haf": None}
    first, last = probes[0], probes[-1]
    return {
        "cka": {
            t: {"before": first.cka[t], "after": last.cka[t], "null95": last.null95, "n": last.n} for t in last.cka
        },
        "layers": {
            # None where that look has none, as the first one of a run from before layers were looked at.
            teacher: {phase: (look.layers or {}).get(teacher) for phase, look in (("before", first), ("after", last))}
            for teacher in {**(first.layers or {}), **(last.layers or {})}
        },
        "gate": last.gate["mean"] if last.gate else {},
        "gate_by_family": last.gate["by_family"] if last.gate else {},
        "participation_ratio": {"before": first.participation_ratio, "after": last.participation_ratio, "n": last.n},
        "haf": last.haf,
    }


def _digests(pipeline: Pipeline) -> dict[str, str]:
    """What tells the weights that answered from any others: the student's as they came, and the adapter's."""
    student = pipeline.config.student
    adapter = sha256_of(pipeline.folder / "adapter" / WEIGHTS)
    return {
        "student": fingerprint(model_path(student), student.revision),
        "adapter": adapter,
        **{f"epochs/{epoch.name}": sha256_of(epoch / WEIGHTS) for epoch in kept_epochs(pipeline.folder)},
    }


def _peak_device_mb() -> int | None:
    return round(torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_available() else None
