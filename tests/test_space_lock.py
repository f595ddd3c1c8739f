"""requirements-space.txt fits requirements.txt, is whole, and its versions go together."""

import importlib.metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from scripts.lock_space import LOCK, closure, wanted


def pins():
    lines = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def test_the_lock_is_what_requirements_txt_asks_for():
    locked = pins()
    for asked in wanted():
        version = locked[canonicalize_name(asked.name)]
        assert asked.specifier.contains(version, prereleases=True), f"{asked} is locked at {version}: run lock_space.py"


def test_the_lock_is_whole_and_fits_together():
    locked, here = pins(), closure(wanted())
    assert set(here) <= set(locked), f"not locked: {set(here) - set(locked)}"
    for name, version in locked.items():
        if here.get(name) != version:
            continue  # another version is here, which may need other things
        for line in importlib.metadata.distribution(name).requires or []:
            needed = Requirement(line)
            other = canonicalize_name(needed.name)
            if other in locked and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
                assert needed.specifier.contains(Version(locked[other]), prereleases=True), f"{name} needs {line}"
