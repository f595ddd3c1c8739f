"""The page opens, on this machine alone unless told otherwise, without torch, and survives there being no run."""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import app

ROOT = Path(__file__).parents[1]


@pytest.fixture
def page():
    launched = app.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield launched.local_url
    launched.close()


def test_the_page_opens(page):
    with urllib.request.urlopen(page, timeout=30) as answer:
        assert answer.status == 200
        assert b"Distill" in answer.read()


def test_the_page_loads_no_torch():
    code = "import sys, app; app.build(); print(*({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("\n", 0), done.stderr


SIGNED = """
import os, app
from huggingface_hub.utils import build_hf_headers
print("authorization" in build_hf_headers())
for public in (False, True):
    app.launch(public, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1").close()
    print("authorization" in build_hf_headers(), os.environ.get("HF_TOKEN"))
print({"WANDB_API_KEY", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_DISABLE_IMPLICIT_TOKEN"} & set(os.environ))
"""


def test_strangers_do_not_use_the_owners_credentials(tmp_path):
    (tmp_path / "token").write_text("hf_of_the_file")
    tokens = {"HF_TOKEN": "hf_secret", "HUGGING_FACE_HUB_TOKEN": "hf_old", "HF_TOKEN_PATH": str(tmp_path / "token")}
    tokens["WANDB_API_KEY"] = "key_of_the_owner"
    done = subprocess.run(
        [sys.executable, "-c", SIGNED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **tokens},
    )
    assert [line for line in done.stdout.splitlines() if not line.startswith("Closing")] == [
        "True",
        "True hf_secret",
        "False None",
        "{'HF_HUB_DISABLE_IMPLICIT_TOKEN'}",
    ], done.stderr


def test_copies_of_files_do_not_pile_up():
    assert app.build().delete_cache == (3600, 86_400)


@pytest.mark.parametrize(
    ("arguments", "public", "host", "share"),
    [
        ([], False, "127.0.0.1", False),
        (["--host", "0.0.0.0"], True, "0.0.0.0", False),
        (["--share"], True, "127.0.0.1", True),
    ],
)
def test_it_is_open_to_others_only_where_that_is_asked_for(monkeypatch, arguments, public, host, share):
    said = {}
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    monkeypatch.setattr(app, "launch", lambda public, **kwargs: said.update(public=public, **kwargs))
    app.main(arguments)
    assert (said["public"], said["server_name"], said["share"]) == (public, host, share)
