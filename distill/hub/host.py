"""What kind of host this is (laptop, GPU machine, Space), and what is not available on it and why.

The page and `doctor` say the same from here. It goes by the environment, by what is installed and by nvidia-smi; it
imports no torch, and reads no token further than that there is one.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import threading
from dataclasses import dataclass

from distill.config.paths import home
from distill.config.settings import TRACKERS
from distill.models.hardware import Machine, is_zerogpu
from distill.models.hub_errors import own_token

_PATIENCE = 2.0  # seconds for the Hub to answer
_SAID_YES = ("1", "ON", "YES", "TRUE")
_OAUTH_GIVEN = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")  # by hf_oauth: true
_OAUTH_PACKAGES = ("authlib", "itsdangerous")


@dataclass(frozen=True)
class Feature:
    """Something that a host has or hasn't; `why`: what it means, and where it is missing what would enable it."""

    name: str
    on: bool
    why: str


def kind(machine: Machine) -> str:
    """What this host is, in words: "the ZeroGPU Space me/distill", "a machine with a GPU of 24 GB"."""
    space = os.environ.get("SPACE_ID")
    if space:
        which = "ZeroGPU" if is_zerogpu() else "GPU" if machine.device == "cuda" else "CPU"
        hardware = os.environ.get("ACCELERATOR") or os.environ.get("SPACE_HARDWARE")
        said = f" ({hardware})" if hardware and hardware != "none" and which != "ZeroGPU" else ""
        return f"the {which} Space {space}{said}"
    if machine.device == "cuda":
        return f"a machine with a GPU of {machine.gpu_gb or 0:.0f} GB"
    return "an Apple computer with its GPU" if machine.device == "mps" else "a machine without a GPU"


def offline() -> bool:
    """Whether the environment keeps the Hub's library off the network."""
    return any(os.environ.get(name, "").upper() in _SAID_YES for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def features(machine: Machine) -> list[Feature]:
    """What can be told at once, without a look at the network."""
    return [_gpu(machine), _home(), *_space(machine), _token(), _oauth(), *_packages(machine)]


def off(machine: Machine) -> list[str]:
    """What is not available here and why, a sentence each; nothing where everything is."""
    network = [Feature("the Hub", False, _OFFLINE)] if offline() else []
    return [f"{one.name[0].upper()}{one.name[1:]}: {one.why}." for one in [*features(machine), *network] if not one.on]


def network(patience: float = _PATIENCE) -> Feature:
    """Whether the Hub answers within `patience` seconds."""
    if offline():
        return Feature("the Hub", False, _OFFLINE)
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    answered: list[str] = []

    def ask() -> None:
        try:
            status = get_session().head(constants.ENDPOINT, timeout=patience).status_code
            answered.append("" if status < 500 else f"it answers with {status}")
        except Exception as error:  # of many libraries: names, certificates, proxies, time
            answered.append(type(error).__name__)

    asking = threading.Thread(target=ask, daemon=True)  # looking up a name takes as long as it likes
    asking.start()
    asking.join(patience)
    where = constants.ENDPOINT
    if answered == [""]:
        return Feature("the Hub", True, f"{where} answers")
    why = answered[0] if answered else f"no answer in {patience:g} s"
    return Feature(
        "the Hub", False, f"{where} can't be reached ({why}), so only models and data that are here already can be used"
    )


_OFFLINE = "HF_HUB_OFFLINE keeps this machine off the network, so only models that are here already can be used"


def _gpu(machine: Machine) -> Feature:
    if machine.device == "zerogpu":
        return Feature("GPU", True, "in slices (ZeroGPU), each from a visitor's own quota")
    if machine.device == "cuda":
        return Feature("GPU", True, f"{machine.gpu_gb or 0:.0f} GB, trains in {machine.dtype}")
    if machine.device == "mps":
        return Feature("GPU", True, "Apple's, trains in float32")
    fast = ", though this CPU has AMX, which halves that" if machine.amx else ""
    long = "none here, so students of half a billion parameters and more take hours or days"
    return Feature("GPU", False, long + fast)


def _home() -> Feature:
    """Whether runs and caches can be written."""
    for place in home():
        there = next((one for one in (place, *place.absolute().parents) if one.exists()), place)
        if not (there.is_dir() and os.access(there, os.W_OK)):
            why = f"{place} can't be written, so no run can be started; set DISTILL_HOME to a folder that can be"
            return Feature("runs and caches", False, why)
    return Feature("runs and caches", True, f"in {home().runs} and {home().cache}")


def _space(machine: Machine) -> list[Feature]:
    """What a Space has besides: runs that outlive a restart, and the slices of ZeroGPU."""
    if not os.environ.get("SPACE_ID"):
        return []
    kept = bool(os.environ.get("DISTILL_HOME"))
    found = [
        Feature(
            "runs are kept",
            kept,
            "in DISTILL_HOME"
            if kept
            else "only until the Space restarts; mount a bucket and name its folder in the variable DISTILL_HOME",
        )
    ]
    if machine.device == "zerogpu" and not version("spaces"):
        found.append(Feature("ZeroGPU slices", False, "the package spaces is not installed: pip install spaces"))
    return found


def _token() -> Feature:
    """Whether there is a token; it is never shown. A page reached by strangers takes it away (see app.py)."""
    from huggingface_hub import constants

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return Feature("Hub token", False, "not used here, so that strangers can't read what its owner may")
    if own_token():
        return Feature("Hub token", True, "there is one: gated models, private data, pushing and Jobs are available")
    return Feature(
        "Hub token", False, "none, so no gated models, private data, pushing or Jobs: hf auth login, or set HF_TOKEN"
    )


def _oauth() -> Feature:
    why = why_no_sign_in()
    return Feature("sign-in on the page", not why, why or "with Hugging Face (OAuth)")


def why_no_sign_in() -> str:
    """Why nobody can sign in here, in words that follow a colon; "" where they can.

    Anything missing would end gradio's launch() as soon as the page has a sign-in button, so it has one only then.
    """
    if not os.environ.get("SPACE_ID"):
        return "it is for Spaces with hf_oauth: true"
    if os.environ.get("SYSTEM") != "spaces" or not all(os.environ.get(name) for name in _OAUTH_GIVEN):
        return "hf_oauth: true is not in this Space's README.md"
    if not all(importlib.util.find_spec(package) for package in _OAUTH_PACKAGES):
        return f"{' or '.join(_OAUTH_PACKAGES)} is not installed: pip install 'gradio[oauth]'"
    return ""


def _packages(machine: Machine) -> list[Feature]:
    bitsandbytes = version("bitsandbytes")
    gym = version("reasoning-gym")
    trackers = [name for name in TRACKERS if version(name)]
    return [
        Feature(
            "4-bit and 8-bit students",
            bool(bitsandbytes),
            f"bitsandbytes {bitsandbytes}" if bitsandbytes else _missing("bitsandbytes"),
        ),
        Feature("reasoning-gym problems", bool(gym), f"reasoning-gym {gym}" if gym else _missing("reasoning-gym")),
        Feature(
            "reports to a tracker",
            bool(trackers),
            ", ".join(trackers) if trackers else f"none of {', '.join(TRACKERS)} is installed; none is needed",
        ),
    ]


def _missing(package: str) -> str:
    return f"{package} is not installed: pip install {package}"


def version(package: str) -> str | None:
    """The installed version of a package, None without it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
