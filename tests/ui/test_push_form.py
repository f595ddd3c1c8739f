"""Keeping a run on the Hub from the page: with whose token, whose run, and what is said where it can't be done."""

import json

import pytest
from hub_writes import OWNER, HubWrites
from huggingface_hub import constants
from model_card_cases import report
from run_cases import made
from safetensors.torch import save_file
from signed_in_cases import GIVEN, SPACE, VISITORS, browser, space
from torch import ones

from distill.hub import host
from distill.runs.views import view
from distill.ui.auth import hand_over, new_token, visitor
from distill.ui.page import build
from distill.ui.runs import push


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "home"))
    for name in (*GIVEN, *SPACE, "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    return tmp_path


def finished(owner=None):
    """A run that is done, of the visitor with this token."""
    run = made()
    (run.folder / "adapter").mkdir()
    save_file({"w": ones(2)}, run.folder / "adapter" / "adapter_model.safetensors")
    (run.folder / "adapter" / "adapter_config.json").write_text("{}")
    (run.folder / "report.json").write_text(json.dumps(report(digests={})))
    if owner:
        visitor(owner, local=False).claim(run.folder)
    return view(run.folder)


# --- what the page says ----------------------------------------------------------------------------------------------


def test_on_a_laptop_its_own_login_is_used(home, monkeypatch):
    who, run = visitor("", local=True), finished()
    assert "isn't logged in to the Hub" in push.note(run, who, push.why_not(who, public=False))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_laptop")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    assert push.why_not(who, public=False) == "" and push.fields_shown(run, who, "")["visible"]
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)  # push would not use it either
    assert "isn't logged in to the Hub" in push.why_not(who, public=False)


def test_a_server_without_sign_in_says_what_is_off_and_why(home, monkeypatch):
    pytest.importorskip("authlib")
    who = visitor(new_token(), local=False)
    assert "it is for Spaces with hf_oauth: true" in push.why_not(who, public=True)
    space(monkeypatch, given={})  # a duplicated Space
    why = push.why_not(who, public=True)
    assert "nobody can sign in" in why and "hf_oauth: true is not in this Space&#x27;s README.md" in why
    assert why in push.note(None, who, why) and "hf upload" in why
    space(monkeypatch)
    assert push.why_not(who, public=True).startswith("Sign in with Hugging Face at the top")
    assert push.why_not(visitor(new_token(OWNER), local=False), public=True) == ""
    monkeypatch.setattr(host, "_OAUTH_PACKAGES", ("no_such_package",))
    assert "no_such_package is not installed" in push.why_not(who, public=True)


def test_only_the_owner_of_a_run_that_is_done_may(home, monkeypatch):
    space(monkeypatch)
    ada, bob = (visitor(new_token(name), local=False) for name in (OWNER, "bob"))
    run = finished(new_token(OWNER))
    assert push.fields_shown(run, ada, "")["visible"] and f"signed in as {OWNER}" in push.note(run, ada, "")
    assert not push.fields_shown(run, bob, "")["visible"] and "Only the person who started" in push.note(run, bob, "")
    going = made(state=None)
    ada.claim(going.folder)
    assert not push.fields_shown(going, ada, "")["visible"] and "once the run is done" in push.note(going, ada, "")


def test_who_signs_in_keeps_what_they_started_before(home):
    before, after = new_token(), new_token(OWNER)
    mine, other = finished(before), finished(new_token())
    hand_over(visitor(before, local=False), visitor(after, local=False))
    ada = visitor(after, local=False)
    assert ada.owns(mine.folder) and not ada.owns(other.folder)


# --- pressed ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(home, monkeypatch):
    with HubWrites(home / "hub") as service:
        service.tokens[VISITORS] = OWNER
        monkeypatch.setattr(constants, "ENDPOINT", service.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield service


def press(page, token, signed_in, repository="ada/student"):
    """Press the button as a browser does; what is said last, or the error's sentence."""
    number = next(number for number, fn in page.fns.items() if fn.name == "push_run")
    with browser(page, OWNER if signed_in else None) as client:
        asked = {"fn_index": number, "session_hash": "s", "data": [None, token, repository, True]}
        assert client.post("/gradio_api/queue/join", json=asked).status_code == 200
        said = client.get("/gradio_api/queue/data", params={"session_hash": "s"}).text
    lines = [json.loads(line.removeprefix("data: ")) for line in said.splitlines() if line.startswith("data: ")]
    output = next(line["output"] for line in lines if line["msg"] == "process_completed")
    shown = [line["output"]["data"][0] for line in lines if line["msg"] == "process_generating"]
    return output.get("error") or json.dumps(shown), [line["msg"] for line in lines]


def test_a_visitor_of_a_space_pushes_with_their_own_token(hub, monkeypatch):
    pytest.importorskip("authlib")
    space(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_TheServersOwnToken0123")
    token = new_token(OWNER)
    run = finished(token)
    page = build(public=True)
    assert page.expects_oauth
    said, _ = press(page, token, signed_in=True)
    assert f"Run {run.id[:6]} is kept at" in said and "being uploaded" in said
    assert hub.visibility == {"ada/student": "private"} and len(hub.commits) == 1
    used = {request.headers.get("authorization") for request in hub.requests}
    assert used - {None} == {f"Bearer {VISITORS}"}  # None: the storage of large files has addresses of its own
    for path in run.folder.parent.rglob("*"):
        assert not path.is_file() or VISITORS.encode() not in path.read_bytes()


def test_nobody_pushes_signed_out_or_for_another(hub, monkeypatch):
    pytest.importorskip("authlib")
    space(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_TheServersOwnToken0123")
    run = finished(new_token(OWNER))
    page = build(public=True)
    said, _ = press(page, new_token(OWNER), signed_in=False)
    assert "Your sign-in has run out" in said
    said, _ = press(page, new_token("bob"), signed_in=True)
    assert f"Run {run.id} was started by another visitor" in said
    assert hub.requests == []


def test_a_duplicated_space_without_sign_in_still_starts(home, monkeypatch):
    space(monkeypatch, given={})
    monkeypatch.setenv("OAUTH_CLIENT_ID", "x")  # half set up: a button would end launch()
    assert not build(public=True).expects_oauth
