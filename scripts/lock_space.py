"""The exact versions a Space is known to work with: `python scripts/lock_space.py` writes requirements-space.txt.

It holds what requirements.txt asks for and all that this needs in turn, as installed here, where the tests have passed.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-space.txt"
_HEAD = """# The versions that the tests passed with, for a Space: written by python scripts/lock_space.py.
# What torch's CUDA build brings besides follows from torch's own version.
"""


def wanted() -> list[Requirement]:
    """What requirements.txt asks for, and of gradio what sign-in takes, which a Space installs by itself."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip()] + [Requirement("gradio[oauth]")]


def closure(asked: list[Requirement]) -> dict[str, str]:
    """{package: version here} of what is asked for and all that it needs on this system."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(one, "") for one in asked]
    while waiting:
        one, extra = waiting.pop()
        if one.marker and not one.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(one.name)
        try:
            here = distribution(name)
        except PackageNotFoundError:
            continue  # of torch's CUDA build, where this is another
        found[name] = Version(here.version).public
        for more in {"", *one.extras}:
            if (name, more) not in seen:
                seen.add((name, more))
                waiting += [(Requirement(line), more) for line in here.requires or []]
    return dict(sorted(found.items()))


if __name__ == "__main__":
    LOCK.write_text(_HEAD + "".join(f"{name}=={version}\n" for name, version in closure(wanted()).items()))
