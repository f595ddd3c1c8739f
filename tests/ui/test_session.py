"""Which run a page shows, who is looking, and how often a tab looks."""

from types import SimpleNamespace

import gradio as gr
import pytest

from distill.config import run_config as configs
from distill.runs import store
from distill.runs.events import EventWriter, Status
from distill.runs.process import claim
from distill.ui import session
from distill.ui.auth import new_token, visitor
from distill.ui.session import AT_REST, FASTEST, SLOWEST, WATCHERS_A_SECOND, PageSession, Watchers, find_run


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))


def make(state):
    folder = store.create(configs.load("tiny"))
    with EventWriter(folder / "events.jsonl") as events:
        events.write(Status(state=state))
    if state not in ("done", "queued"):
        claim(folder)
    return folder.name


def newest():
    session.recent_runs(fresh=True)
    run = find_run("")
    return run.id if run else None


def test_the_front_page_shows_what_trains_else_what_waits_else_the_newest():
    assert newest() is None
    done = make("done")
    assert newest() == done
    first, second = make("queued"), make("queued")
    assert newest() == first
    going = make("training")
    third = make("queued")
    assert newest() == going and {second, third}  # whoever starts a run doesn't move those who watch another


def test_a_path_is_no_run(tmp_path):
    run = make("done")
    assert find_run(run).id == find_run(run[:5]).id == run
    for asked in (str(tmp_path / "runs" / run), f"../runs/{run}", "/", "zz"):
        assert find_run(asked) is None


def arrive(token, **session):
    request = SimpleNamespace(query_params={}, request=SimpleNamespace(scope={"session": session}))
    with gr.Blocks():
        return PageSession(public=True)._arrive(request, token)[1]


def test_a_visitor_keeps_their_token_and_a_forged_one_is_replaced():
    token = arrive("")
    assert visitor(token, local=False).id
    assert arrive(token) == token
    assert arrive("name:ada.forged") != "name:ada.forged"


def test_who_signs_in_is_known_by_name_until_they_sign_out(monkeypatch):
    monkeypatch.setenv("OAUTH_CLIENT_ID", "x")
    ada = arrive("", oauth_info={"userinfo": {"preferred_username": "ada"}})
    assert visitor(ada, local=False).id == "name:ada"
    assert visitor(arrive(ada), local=False).id != "name:ada"
    assert visitor(arrive(new_token()), local=False).id  # nobody signed in: a visitor as elsewhere


def test_many_watchers_look_less_often_each():
    watchers = Watchers()
    going = SimpleNamespace(final=False)
    assert watchers.pace("one", going) == FASTEST
    paces = [watchers.pace(f"tab {number}", going) for number in range(200)]
    assert paces[30] == -(-32 // WATCHERS_A_SECOND) and max(paces) == SLOWEST
    assert Watchers().pace("one", SimpleNamespace(final=True)) == Watchers().pace("one", None) == AT_REST
