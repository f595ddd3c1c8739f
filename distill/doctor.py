"""`python -m distill doctor`: what this machine is, and what will run on it.

It imports torch only when it runs. It knows nothing of how a run is trained.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from pathlib import Path

from distill import assets, offers, runs, terminal
from distill.errors import UserError
from distill.machine import Machine
from distill.references import check_folder, model_path

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors", "pydantic", "gradio")


def doctor(args: argparse.Namespace) -> int:
    """What this machine is, and what will run on it."""
    from distill import hardware

    problems = []
    versions = {name: _version(name) for name in _PACKAGES}
    problems += [f"{name} is not installed" for name, version in versions.items() if not version]
    try:
        machine = hardware.detect()
        device, described = machine.device, f"{machine.description}; trains in {machine.dtype}"
    except ImportError as error:
        device, described = "", f"unknown: torch can't be imported ({error})"
    try:
        for name in assets.preset_models():
            check_folder(Path(model_path(name)))
        zoo = "complete"
    except UserError as error:
        zoo = str(error)
        problems.append("the zoo is not complete (python -m distill zoo makes it)")
    parent = Path(args.runs or runs.home().runs)
    here = Machine.here(parent)
    free = here.disk_mb
    if free < runs.NEEDED_MB:
        problems.append(f"a run needs {runs.NEEDED_MB} MB of disk")
    rows = [
        ["machine", described],
        ["system", f"{platform.platform()}, Python {platform.python_version()}"],
        ["packages", ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())],
        ["zoo", zoo],
        ["runs", f"{parent}, {free / 1024:.1f} GB free"],
        ["cache", str(runs.home().cache)],
        *([f"preset {card.name}", offers.offer(card)] for card in offers.cards(here)),
    ]
    print(terminal.table(rows))
    print(_prospect(device, problems))
    return 1 if problems else 0


def _prospect(device: str, problems: list[str]) -> str:
    if problems:
        return f"Not ready: {'; '.join(problems)}."
    if device in ("cpu", "mps"):
        return "The tiny presets run here in minutes; students of half a billion parameters and more want a CUDA GPU."
    return "Everything runs here, as far as memory allows; python -m distill run tiny is the first thing to try."


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
