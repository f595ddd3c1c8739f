"""A page as strangers reach it, on loopback: what one may have, what its owner may do, and what it gives away."""

import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import filelock
import pytest
from huggingface_hub import constants as hub
from run_cases import made

import app
from distill.config.errors import ConfigError, UserError
from distill.config.paths import ROOT, home
from distill.runs import index, store
from distill.runs.events import Error, Status, Warning
from distill.ui import actions
from distill.ui.auth import check_secret, new_token, owner_token, visitor
from distill.ui.page import bar
from distill.ui.runs import table
from distill.ui.train import log

SECRET = "a long secret of the owner"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The address of a public page on which nothing trains, as another run has its turn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("DISTILL_OWNER_SECRET", SECRET)
        patch.setenv("DISTILL_RUNS_OF_ADDRESS", "2")
        patch.setenv("DISTILL_SESSIONS", "5")
        patch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
        patch.setattr(hub, "HF_HUB_DISABLE_IMPLICIT_TOKEN", hub.HF_HUB_DISABLE_IMPLICIT_TOKEN)  # launch sets it
        (home().runs).mkdir(parents=True)
        with filelock.FileLock(home().runs / "turn.lock"):
            launched = app.launch(True, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
            yield launched
            launched.close()
        actions.hide_places(False)


def call(page, name, *values, address="203.0.113.1", session=None):
    """What an endpoint answers; an error is raised with its sentence. `address`: what a proxy would say."""
    request = urllib.request.Request(
        f"{page.local_url}gradio_api/run/{name}",
        json.dumps({"data": list(values), "session_hash": session}).encode(),
        {"Content-Type": "application/json", "X-Forwarded-For": address},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["data"][0]
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.loads(error.read())["error"]) from None


def gone(run, seconds=120):
    """Wait until no worker is at a run."""
    ends = time.monotonic() + seconds
    while store.alive(home().runs / run):
        assert time.monotonic() < ends
        time.sleep(0.2)


def test_new_visitors_of_one_address_do_not_close_the_queue_and_its_owner_opens_it(page):
    first, second = (call(page, "start", "tiny", [], "", address=f"8.8.8.{n}, 203.0.113.1") for n in range(2))
    assert first["token"] != second["token"]
    for forged in ("203.0.113.1", "1.2.3.4, 203.0.113.1"):
        with pytest.raises(RuntimeError, match="2 runs from your network address are running or waiting"):
            call(page, "start", "tiny", [], "", address=forged)
    other = call(page, "start", "tiny", [], "", address="203.0.113.2")
    said = (home().runs / first["run"] / "owner.json").read_text()
    assert "203.0.113" not in said and first["token"] not in said  # nobody reads there who they are
    with pytest.raises(RuntimeError, match="you can watch it but not stop it"):
        call(page, "stop", first["run"], SECRET + "x")
    for run in (first, second, other):
        call(page, "stop", run["run"], SECRET)
        gone(run["run"])
        assert call(page, "delete", run["run"], SECRET)["state"] == "deleted"
    assert index.list_runs() == []


def test_many_starts_at_once_leave_no_more_runs_than_one_address_may_have(page):
    with ThreadPoolExecutor(8) as pool:
        tried = [pool.submit(call, page, "start", "tiny", [], "", address="203.0.113.9") for _ in range(8)]
    started = [one.result()["run"] for one in tried if not one.exception()]
    assert len(started) == len(index.list_runs()) == 2
    for run in started:
        call(page, "stop", run, SECRET)
        gone(run)
        call(page, "delete", run, SECRET)


@pytest.mark.parametrize("name", ["status", "stop", "resume", "delete", "report"])
@pytest.mark.parametrize("run", [5, None, ["a"], {"path": "/etc/passwd"}, True, "../..", "x" * 9999, "\0"])
def test_what_is_no_id_is_one_sentence(page, name, run):
    if name in ("status", "report") and run is None:
        pytest.skip("the newest run")
    with pytest.raises(RuntimeError, match=r"is no run's id|There is no run|no run here"):
        call(page, name, run, *{"status": [], "report": [], "resume": ["", []]}.get(name, [""]))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((5, [], ""), "There is no preset '5'"),
        (("tiny", "budget.steps=5", ""), "give a list of texts"),
        (("tiny", [5], ""), "give a list of texts"),
        (("tiny", [], {"a": 1}), "That token was not issued"),
    ],
)
def test_what_is_no_start_is_one_sentence(page, values, said):
    with pytest.raises(RuntimeError, match=said):
        call(page, "start", *values)


@pytest.mark.parametrize("path", ["monitoring", "monitoring/summary", "monitoring/x"])
def test_nobody_sees_who_asks_what(page, path):
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{page.local_url}{path}", timeout=30)
    assert error.value.code == 403


def test_the_state_of_few_browser_tabs_is_kept(page):
    run = made("tiny").id
    for number in range(20):
        call(page, "status", run, session=f"tab{number}")
    assert 1 < len(page.app.state_holder.session_data) <= 6


def test_no_place_on_the_server_reaches_a_stranger(page):
    place = home().runs.resolve() / "0123456789ab" / "events.jsonl"
    cache = home().cache.resolve() / "signals" / "qwen2-tiny" / "ab.safetensors"
    reason = f"The disk is full: make room on the disk of {place} and resume."
    damaged = Warning(code="x", text=f"What was kept in {cache} is damaged, so its texts are asked again.")
    run = made("tiny", damaged, Error(text=reason), Status(state="failed", reason=reason), state=None)
    (run.folder / "report.json").write_text(
        json.dumps({"warnings": [{"text": damaged.text}], "data": {"path": str(ROOT)}})
    )
    seen = [
        json.dumps(call(page, "status", run.id)),
        json.dumps(call(page, "report", run.id)),
        bar(run, run.id),
        table.details(run),
        *(log.html(run, level) for level in log.LEVELS[:3]),
    ]
    assert "events.jsonl" in seen[2] and "ab.safetensors" in seen[4]
    for text in seen:
        assert str(home().runs.resolve().parent) not in text and str(ROOT) not in text


# --- the owner -------------------------------------------------------------------------------------------------------


def test_the_spaces_account_may_stop_and_delete_what_others_started(monkeypatch):
    run = made("tiny").folder
    visitor(new_token(), local=False).claim(run)
    monkeypatch.setenv("SPACE_AUTHOR_NAME", "Ada")
    assert visitor(new_token("ada"), local=False).owns(run) and visitor(new_token("ada"), local=False).runs_server
    assert not visitor(new_token("adam"), local=False).owns(run) and not visitor(new_token(), local=False).owns(run)
    assert visitor(new_token("ada"), local=False).whose(run) == "Started by another visitor"
    monkeypatch.delenv("SPACE_AUTHOR_NAME")
    assert not visitor(new_token("ada"), local=False).owns(run)


def test_a_secret_makes_its_holder_the_owner_until_it_is_changed(monkeypatch):
    run = made("tiny").folder  # from the command line
    monkeypatch.setenv("DISTILL_OWNER_SECRET", SECRET)
    token = owner_token(SECRET)
    assert SECRET not in token and visitor(token, local=False).owns(run) and visitor(SECRET, local=False).owns(run)
    for wrong in (SECRET[:-1], SECRET.upper(), "", "owner:x.y"):
        assert not visitor(wrong, local=False).owns(run)
        with pytest.raises(UserError, match="not this server's owner secret"):
            owner_token(wrong)
    monkeypatch.setenv("DISTILL_OWNER_SECRET", "another long secret here")
    assert not visitor(token, local=False).owns(run)
    monkeypatch.setenv("DISTILL_OWNER_SECRET", "short")
    assert not visitor("short", local=False).owns(run)
    with pytest.raises(ConfigError, match="too short to be safe"):
        check_secret()


def test_a_page_whose_home_cannot_be_written_opens_and_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "file"))
    who = visitor(new_token(), local=False)
    assert who.id  # known while this process lives
    with pytest.raises(ConfigError, match=r"Runs can't be written to .* set DISTILL_HOME"):
        actions.start(actions.run_config.load("tiny"), who, public=False)
    from distill.hub.host import off
    from distill.models.hardware import Machine

    assert any("can't be written, so no run can be started" in one for one in off(Machine.here()))
