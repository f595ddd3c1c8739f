"""The limits for strangers: documented, for the owner to set; and texts without places on this machine."""

import re
from pathlib import Path

import pytest

from distill.config import paths
from distill.config.errors import ConfigError
from distill.config.limits import LIMITS, limit
from distill.config.places import without_places


def test_every_limit_is_documented_with_its_number():
    page = (paths.ROOT / "docs" / "spaces.md").read_text(encoding="utf-8").partition("<!-- limits -->")[2]
    rows = dict(re.findall(r"^\| `DISTILL_(\w+)` \| ([\d.]+) \|", page, re.MULTILINE))
    assert rows == {name: f"{one.usual:g}" for name, one in LIMITS.items()}


def test_a_servers_owner_sets_a_limit(monkeypatch):
    assert limit("RUN_HOURS") == LIMITS["RUN_HOURS"].usual
    monkeypatch.setenv("DISTILL_RUN_HOURS", "1.5")
    assert limit("RUN_HOURS") == 1.5


@pytest.mark.parametrize("said", ["many", "0", "-3", "nan", "inf"])
def test_what_is_no_limit_is_said(monkeypatch, said):
    monkeypatch.setenv("DISTILL_RUN_HOURS", said)
    with pytest.raises(ConfigError, match=f"DISTILL_RUN_HOURS is '{said}': give a number above 0"):
        limit("RUN_HOURS")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The disk is full: make room on the disk of /srv/app/runs/ab12 and resume.", "of ab12 and resume."),
        ("What was kept in {home}/cache/signals/qwen2-tiny/ab.safetensors is damaged", "kept in ab.safetensors is"),
        ("No such file: '{home}/runs/0123456789ab/config.yaml'", "No such file: 'config.yaml'"),
        ("{root}/distill/training/worker.py line 3", "worker.py line 3"),
        ("/srv/my own data/problems.csv", "problems.csv"),
        (r"C:\Users\ada\data\mine.csv is missing", "mine.csv is missing"),
        ("path: {home}/cache/x.csv\nname: tiny\n", "path: x.csv\nname: tiny\n"),
    ],
)
def test_places_are_left_out(monkeypatch, tmp_path, text, left):
    home = tmp_path / "a home"
    monkeypatch.setenv("DISTILL_HOME", str(home))
    said = without_places({"reason": [text.format(home=home, root=paths.ROOT)]})["reason"][0]
    assert left in said
    assert not any(place in said for place in (str(home), "a home", str(paths.ROOT), "/srv", "Users"))


@pytest.mark.parametrize(
    "text", ["google/gemma-2-2b-it", "1/2 of 3/4 is 3/8", "https://huggingface.co/a/b/c", "and/or", "", "7 km/h"]
)
def test_what_is_no_place_stays(text):
    assert without_places(text) == text
    assert without_places({"a": [1, None, Path]}) == {"a": [1, None, Path]}
