"""`python -m distill doctor`: what this host is, what is off and why, and which presets run here.

It imports torch only to make sure of a GPU that nvidia-smi has seen. It knows nothing of how a run is trained.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

from distill.config import paths
from distill.config.errors import UserError
from distill.hub import host
from distill.hub.host import Feature, version
from distill.models.hardware import Machine, cores_text
from distill.models.references import check_folder, model_path
from distill.runs import format, preset_cards, store

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors", "pydantic", "gradio", "huggingface-hub")


def doctor(args: argparse.Namespace) -> int:
    """What this machine is, and what will run on it."""
    parent = Path(args.runs or paths.home().runs)
    here = Machine.here(parent)
    versions = {name: version(name) for name in _PACKAGES}
    zoo = _zoo()
    problems = [f"{name} is not installed" for name, found in versions.items() if not found]
    problems += ["the zoo is not complete (python -m distill zoo makes it)"] if zoo != "complete" else []
    problems += [f"a run needs {store.NEEDED_MB} MB of disk"] if here.disk_mb < store.NEEDED_MB else []
    problems += _gpu_trouble(here)
    rows = [
        ["host", f"{host.kind(here)}; {_sizes(here)}; trains in {here.dtype}"],
        ["system", f"{platform.platform()}, Python {platform.python_version()}"],
        ["packages", ", ".join(f"{name} {found or 'missing'}" for name, found in versions.items())],
        ["zoo", zoo],
        ["runs", f"{parent}, {here.disk_mb / 1024:.1f} GB free"],
        ["cache", str(paths.home().cache)],
    ]
    found = [*host.features(here), host.network()]
    print(format.table(rows))
    for title, wanted in (("On", True), ("Off", False)):
        print(f"\n{title}:", _listed([one for one in found if one.on is wanted]), sep="\n")
    print("\nPresets here:")
    print(format.table([[f"preset {card.name}", preset_cards.offer(card)] for card in preset_cards.cards(here)], "  "))
    print(f"\n{_prospect(here.device, problems)}")
    return 1 if problems else 0


def _listed(features: list[Feature]) -> str:
    return format.table([[one.name, one.why] for one in features], "  ") if features else "  nothing"


def _sizes(here: Machine) -> str:
    return f"{cores_text(here.cores)}, {here.memory_gb:.1f} GB of memory"


def _zoo() -> str:
    """ "complete", or what is wrong with it."""
    try:
        for name in paths.preset_models():
            check_folder(Path(model_path(name)))
    except UserError as error:
        return str(error)
    return "complete"


def _gpu_trouble(here: Machine) -> list[str]:
    """A GPU that torch can't use, as with a driver that is too old. torch takes seconds to import, so only then."""
    if here.device != "cuda":
        return []
    try:
        import torch

        usable = torch.cuda.is_available()
    except (ImportError, OSError) as error:
        return [f"torch can't be imported ({error})"]
    return [] if usable else ["nvidia-smi sees a GPU that torch can't use: its driver may be too old for this torch"]


def _prospect(device: str, problems: list[str]) -> str:
    if problems:
        return f"Not ready: {'; '.join(problems)}."
    if device in ("cpu", "mps"):
        return "The tiny presets run here in minutes; students of half a billion parameters and more want a CUDA GPU."
    return "Everything runs here, as far as memory allows; python -m distill run tiny is the first thing to try."
