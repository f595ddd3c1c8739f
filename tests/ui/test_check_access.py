"""What the Hub keeps shut is used by those alone whom the Hub lets in, on a server that strangers share."""

import pytest
from hub_stand_in import TOKEN, HubStandIn, take_for_the_hub
from huggingface_hub import constants

from distill.config.errors import ConfigError, UserError
from distill.config.run_config import ModelRef
from distill.hub import host
from distill.hub.fetch import fetch_models
from distill.models.loading import load_model, load_tokenizer
from distill.ui import auth
from distill.ui.auth import Visitor, check_access, new_token, visitor

OTHERS = "hf_oauth_Of.SomebodyElse_0123456789"  # who has accepted nothing
ADA, BOB = Visitor("name:ada", False, TOKEN), Visitor("name:bob", False, OTHERS)
STRANGER = Visitor("x", False)
OPEN, GATED = ModelRef(model="org/open"), ModelRef(model="org/gated")


@pytest.fixture
def hub(monkeypatch, tmp_path, tiny_folder):
    folder = tiny_folder("qwen2-tiny")
    with HubStandIn() as hub:
        take_for_the_hub(hub, monkeypatch, tmp_path)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)  # as app.py does for strangers
        monkeypatch.setattr(host, "why_no_sign_in", lambda: "")
        hub.tokens[OTHERS] = "bob"
        hub.add_model("org/open", folder)
        hub.add_model("org/gated", folder, gated=True)
        hub.add_model("org/private", folder, private=True)
        hub.add_dataset("org/rows", folder, gated=True)
        yield hub


def refusal(*asked, kind=ConfigError):
    with pytest.raises(kind) as raised:
        check_access(*asked)
    assert type(raised.value) is kind and TOKEN not in str(raised.value) and OTHERS not in str(raised.value)
    return str(raised.value)


def test_the_token_is_not_shown_and_makes_nobody_another():
    assert TOKEN not in repr(ADA) and Visitor("name:ada", False) == ADA
    token = new_token("ada")
    assert visitor(token, False, TOKEN).hub_token == TOKEN
    assert visitor(token, True, TOKEN).hub_token is None  # at this machine its own token counts


def test_what_is_open_is_asked_once_and_without_a_token(hub):
    for who in (ADA, STRANGER, BOB):
        assert check_access(who, [OPEN, ModelRef(model="student-tiny"), OPEN]) == []
    asked = [request for request in hub.requests if "/org/" in request.path]
    assert [request.headers.get("authorization") for request in asked] == [None]


def test_who_accepted_the_licence_may_and_nobody_else(hub):
    assert check_access(ADA, [OPEN, GATED], "org/rows") == [GATED]
    said = refusal(STRANGER, [OPEN, GATED])
    assert said == (
        "org/gated on the Hub requires its licence to be accepted: sign in with the button at the top of the page, and "
        f"accept it at {hub.url}/org/gated, then try again."
    )
    assert f"do so at {hub.url}/org/gated with the account that you signed in with" in refusal(BOB, [GATED])
    said = refusal(BOB, [OPEN], "org/rows")
    assert said.startswith("The data set org/rows on the Hub requires") and f"{hub.url}/datasets/org/rows with" in said
    assert "There is no model org/private on the Hub, or it is private" in refusal(BOB, [ModelRef(model="org/private")])
    assert "There is no model org/none" in refusal(STRANGER, [ModelRef(model="org/none")])
    assert hub.fetched("org/gated") == 0
    assert check_access(Visitor("", True), [GATED], "org/rows") == []  # at this machine, where nothing is asked


def test_where_nobody_can_sign_in_that_is_said(hub, monkeypatch):
    monkeypatch.setattr(host, "why_no_sign_in", lambda: "hf_oauth: true is not in this Space's README.md")
    assert "nobody can sign in on this server: choose one that is open" in refusal(STRANGER, [GATED])


def test_a_sign_in_that_has_run_out_is_said(hub):
    said = refusal(Visitor("name:ada", False, "hf_oauth_long.gone_0123456789"), [GATED], kind=UserError)
    assert "it refuses your sign-in" in said and "sign in again with the button" in said


def test_on_zerogpu_a_gated_data_set_is_refused_with_the_reason(hub, monkeypatch):
    monkeypatch.setattr(auth, "is_zerogpu", lambda: True)
    assert check_access(ADA, [GATED]) == [GATED]
    assert "ZeroGPU" in refusal(ADA, [GATED], "org/rows")


def test_without_the_hub_only_what_was_open_is(hub, monkeypatch):
    check_access(STRANGER, [OPEN])
    monkeypatch.setattr(auth, "_FRESH", 0.0)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", "http://127.0.0.1:9")
    assert check_access(STRANGER, [OPEN]) == []
    for who in (ADA, STRANGER):
        assert "org/gated may require its licence to be accepted" in refusal(who, [GATED], kind=UserError)


def test_what_was_open_is_asked_again_and_may_be_shut_by_then(hub, monkeypatch):
    check_access(STRANGER, [OPEN])
    monkeypatch.setattr(auth, "_FRESH", 0.0)
    hub.repositories["models", "org/open"].gated = True
    assert "requires its licence" in refusal(STRANGER, [OPEN])


def test_what_somebody_fetched_is_loaded_without_their_token(hub):
    """On ZeroGPU, and to answer a visitor who may: the process that loads it has no token."""
    with pytest.raises(UserError, match="licence"):
        fetch_models([GATED], lambda text: lambda done, total: None)
    fetch_models([GATED], lambda text: lambda done, total: None, token=TOKEN)
    assert len(load_tokenizer("org/gated")) and load_model("org/gated").num_parameters()
    used = {request.headers.get("authorization") for request in hub.requests}
    assert used == {None, f"Bearer {TOKEN}"}
