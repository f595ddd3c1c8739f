"""What a host says of itself: which kind it is, what is off and why, in less time than one has patience for."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loopback import Loopback, Response

from distill.hub import host
from distill.models.hardware import Machine

ROOT = Path(__file__).parents[2]
LAPTOP = Machine(2, 23.5)
GPU = Machine(8, 60.0, "cuda", 24.0, dtype="bfloat16")
ZERO = Machine(2, 16.0, "zerogpu", 48.0, dtype="bfloat16")
SECRET = "hf_DoctorMustNeverShowThis123"
_OF_A_HOST = ("SPACE_ID", "SPACES_ZERO_GPU", "ACCELERATOR", "SPACE_HARDWARE", "OAUTH_CLIENT_ID", "DISTILL_HOME")


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """No Space, no token, no wish to be off the network."""
    for name in (*_OF_A_HOST, "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def features(machine):
    return {one.name: one for one in host.features(machine)}


@pytest.mark.parametrize(
    ("env", "machine", "said"),
    [
        ({}, LAPTOP, "a machine without a GPU"),
        ({}, GPU, "a machine with a GPU of 24 GB"),
        ({"SPACE_ID": "me/distill"}, LAPTOP, "the CPU Space me/distill"),
        ({"SPACE_ID": "me/distill", "ACCELERATOR": "l4x1"}, GPU, "the GPU Space me/distill (l4x1)"),
        ({"SPACE_ID": "me/distill", "SPACES_ZERO_GPU": "true"}, ZERO, "the ZeroGPU Space me/distill"),
    ],
)
def test_which_kind_it_is(monkeypatch, env, machine, said):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert host.kind(machine) == said


def test_a_duplicated_space_says_what_is_off(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "me/distill")
    said = " ".join(host.off(LAPTOP))
    assert "only until the Space restarts" in said and "hf_oauth: true is not in this Space's README.md" in said
    assert "GPU: none here" in said
    monkeypatch.setenv("DISTILL_HOME", "/data")
    for name in ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # gradio[oauth], which a Space installs
    said = " ".join(host.off(GPU))
    assert "restarts" not in said and "sign-in" not in said.lower() and "GPU: none" not in said


def test_off_the_network_is_said_without_looking(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    begun = time.monotonic()
    assert not host.network().on and "HF_HUB_OFFLINE" in host.network().why
    assert time.monotonic() - begun < 0.5
    assert any("HF_HUB_OFFLINE" in one for one in host.off(LAPTOP))


def test_whether_the_hub_answers(monkeypatch):
    from huggingface_hub import constants

    with Loopback() as service:
        service.on("GET", "/?", lambda request: Response("hello"))
        monkeypatch.setattr(constants, "ENDPOINT", service.url)
        assert host.network().on
    with socket.socket() as free:  # nobody listens there
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        assert not host.network(0.5).on and "can't be reached" in host.network(0.5).why

    with Loopback() as service:
        service.on("GET", "/?", lambda request: time.sleep(1.0) or Response("late"))
        monkeypatch.setattr(constants, "ENDPOINT", service.url)
        begun = time.monotonic()
        assert not host.network(0.3).on and time.monotonic() - begun < 0.8


def test_doctor_is_quick_and_never_shows_a_token(tmp_path):
    env = {**os.environ, "HF_TOKEN": SECRET, "HF_HUB_OFFLINE": "1", "DISTILL_HOME": str(tmp_path)}
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "distill", "doctor"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert time.monotonic() - begun < 10  # about one second where nothing else runs
    assert SECRET not in done.stdout + done.stderr and "there is one: gated models" in done.stdout
    off = done.stdout[done.stdout.index("\nOff:") :]
    assert "HF_HUB_OFFLINE keeps this machine off the network" in off and "preset tiny " in off
    assert done.returncode in (0, 1) and "a machine with" in done.stdout


def test_the_page_says_the_same(monkeypatch):
    from distill.ui.page import header

    monkeypatch.setenv("SPACE_ID", "me/distill")
    assert "Not available on this machine" in header() and "only until the Space restarts" in header()
