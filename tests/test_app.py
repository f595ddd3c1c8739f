"""The page opens, on this machine alone unless told otherwise, without torch, and survives there being no run."""

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
