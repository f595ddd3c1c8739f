"""A visitor who signed in trains a gated model on gated data with their own token, and nobody else gets at either."""

import json
import os
import time

import filelock
import gradio as gr
import psutil
import pytest
from configure_cases import edited
from hub_stand_in import TOKEN as OWNERS
from hub_stand_in import HubStandIn, take_for_the_hub
from huggingface_hub import constants
from signed_in_cases import VISITORS, browser, space

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.data.problems import generate
from distill.runs import index, store
from distill.ui import actions
from distill.ui.auth import new_token, visitor
from distill.ui.compare import answering
from distill.ui.configure import preview
from distill.ui.configure.binding import draft_of
from distill.ui.configure.draft import initial_state
from distill.ui.configure.fields import FIELDS
from distill.ui.configure.form import Form
from distill.ui.configure.handlers import Handlers
from distill.ui.page import build

FIRST, OTHERS = "hf_oauth_TheFirst.SignIn_0123456789", "hf_oauth_Of.SomebodyElse_0123456789"
SMALL = {
    "name": "licensed",
    "student": "org/gated",
    "data": {"source": "hub", "dataset": "org/rows", "train": 8, "held_out": 4, "new_phrasing": 0, "validation": 0},
    "objectives": [{"kind": "task"}],
    "budget": {"steps": 1, "batch_size": 4, "threads": 1},
    "probe": {"texts": 8, "every": 2, "samples": 0, "problems": 0},
    "evaluation": {"max_new_tokens": 4},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_folder):
    """(hub, home): a Space with sign-in, whose owner has a token too."""
    home = tmp_path_factory.mktemp("home")
    rows = tmp_path_factory.mktemp("rows")
    told = [{"question": p.question, "solution": p.solution} for p in generate("train", 120)]
    (rows / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    with HubStandIn() as hub, pytest.MonkeyPatch.context() as patch:
        take_for_the_hub(hub, patch, home)
        (home / "token").write_text(OWNERS)
        patch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)  # as app.py does for strangers
        for name, value in {
            "DISTILL_HOME": home,
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "HF_ENDPOINT": hub.url,
            "HF_HUB_CACHE": home / "cache",
            "HF_DATASETS_CACHE": home / "datasets",
            "HF_TOKEN_PATH": home / "token",
            "HF_HUB_DISABLE_XET": "1",
        }.items():
            patch.setenv(name, str(value))
        space(patch)
        hub.tokens |= {VISITORS: "ada", FIRST: "ada", OTHERS: "bob"}
        hub.add_model("org/gated", tiny_folder("student-tiny"), gated=True, token=FIRST)
        hub.add_dataset("org/rows", rows, gated=True, token=FIRST)
        yield hub, home


def until(happened):
    ends = time.monotonic() + 200
    while not happened():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.1)


def who(name, token):
    return visitor(new_token(name), False, token)


@pytest.fixture(scope="module")
def trained(world):
    """The folder of Ada's run: started with her first token, stopped while it waited, and resumed on the page."""
    pytest.importorskip("authlib")
    hub, home = world
    (home / "runs").mkdir()
    with filelock.FileLock(home / "runs" / "turn.lock"):  # another run trains
        run = actions.start(configs.parse(SMALL), who("ada", FIRST), public=True)
        folder = index.find_id(run)
        waiting = psutil.Process(json.loads((folder / "process.json").read_text())["pid"])
        until(lambda: "distill.training.worker" in waiting.cmdline())  # before, it is as this process
        assert waiting.environ()["HF_TOKEN"] == FIRST and FIRST not in " ".join(waiting.cmdline())
        store.stop(folder, wait=True)
    for repository in hub.repositories.values():  # she signed in anew since
        repository.token = VISITORS
    hub.served.clear()
    hub.requests.clear()
    page = build(public=True)
    button = next(block for block in page.blocks.values() if getattr(block, "elem_id", None) == "resume")
    number = next(number for number, fn in page.fns.items() if (button._id, "click") in fn.targets)
    asked = {"fn_index": number, "session_hash": "s", "data": [run, new_token("ada"), "", ""]}
    with browser(page, "ada", VISITORS) as client:
        answer = client.post("/gradio_api/run/predict", json=asked)
    assert answer.status_code == 200, answer.text
    until(lambda: store.view(folder).final)
    return folder


def test_the_worker_fetches_with_the_visitors_token(world, trained):
    hub, home = world
    assert store.view(trained).state == "done", (trained / "stdout.log").read_text()[-3000:]
    assert hub.served["org/gated/model.safetensors"] > 100_000 and hub.fetched("org/rows")
    used = {request.headers.get("authorization") for request in hub.requests}
    assert used - {None} == {f"Bearer {VISITORS}"}  # and never the owner's
    searched = [path for path in trained.rglob("*") if path.is_file()]
    searched += [path for path in home.rglob("*") if path.is_file() and path != home / "token"]
    assert (trained / "stdout.log") in searched
    for path in searched:
        assert not any(secret.encode() in path.read_bytes() for secret in (FIRST, VISITORS, OWNERS)), path
    assert "HF_TOKEN" not in os.environ


@pytest.mark.parametrize(("visitor", "reason"), [(who("bob", OTHERS), "do so at"), (who("bob", None), "sign in with")])
def test_what_is_in_the_cache_is_not_for_who_has_not_accepted_the_licence(world, trained, visitor, reason):
    gated, rows = {**SMALL, "data": {}}, {**SMALL, "student": "student-tiny"}
    for config, name in ((gated, "org/gated"), (rows, "org/rows")):
        with pytest.raises(UserError, match=rf"{name} on the Hub requires its licence to be accepted: {reason}"):
            actions.start(configs.parse(config), visitor, public=True)
    assert [run.id for run in index.list_runs()] == [trained.name]
    with pytest.raises(UserError, match="org/gated on the Hub requires its licence"):
        answering.generate_once(visitor, trained, "1 + 1?")
    with pytest.raises(UserError, match="org/gated on the Hub requires its licence"):
        list(answering.answer(visitor, trained.name, "own", "", None, "1 + 1?", "", False))


def test_a_licence_that_was_taken_back_ends_resuming(world, trained):
    with pytest.raises(UserError, match="org/gated on the Hub requires its licence"):
        actions.resume(trained.name, who("ada", None))


def test_who_accepted_it_is_answered_and_previews_with_their_token(world, trained, monkeypatch, tmp_path):
    assert answering.generate_once(who("ada", VISITORS), trained, "1 + 1?")["after"]["tokens"]
    with gr.Blocks():
        handlers = Handlers(Form(draft_of("tiny").values), public=True)
    child = tmp_path / "python"
    child.write_text('#!/bin/sh\nprintf %s "$HF_TOKEN" > "$0.said"; echo "[]"\n')
    child.chmod(0o700)
    monkeypatch.setattr(preview.sys, "executable", str(child))
    values = edited(student__model="org/gated").values
    sent = (initial_state("tiny"), "", *[values[key] for key in FIELDS])

    def shown(token):
        session = token and gr.OAuthToken(token, "openid", 0)
        return list(handlers.show_preview(gr.Request(session_hash="p"), session, *sent))[-1]

    shown(VISITORS)
    assert (tmp_path / "python.said").read_text() == VISITORS
    for token in (None, OTHERS):
        assert "requires its licence to be accepted" in shown(token)  # though it is kept
