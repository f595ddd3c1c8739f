"""Starting, stopping and resuming for a visitor: what is refused, and that nothing is left of a start that fails."""

import sys

import filelock
import pytest

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.run_config import ConfigError
from distill.runs import index, store
from distill.runs.events import EventWriter, Status
from distill.runs.process import claim
from distill.ui import actions
from distill.ui.auth import new_token, visitor

LOCAL = visitor(new_token(), local=True)
STRANGER = visitor(new_token(), local=False)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    return tmp_path


def tiny(*overrides):
    return configs.load("tiny", overrides)


def test_a_started_run_waits_its_turn_and_is_its_visitors(home):
    (home / "runs").mkdir()
    with filelock.FileLock(home / "runs" / "turn.lock"):  # another run trains
        run = actions.start(tiny(), LOCAL, public=True)
        folder = home / "runs" / run
        try:
            assert store.view(folder).state == "queued" and store.alive(folder)
            assert LOCAL.owns(folder) and not STRANGER.owns(folder)
            with pytest.raises(UserError, match="another visitor"):
                actions.stop(run, STRANGER)
        finally:
            assert actions.stop(run, LOCAL) == run
            store.stop(folder, wait=True) if store.alive(folder) else None
    assert store.view(folder).state == "stopped"


def test_a_method_that_the_tokenizers_rule_out_is_refused_before_there_is_a_run(home):
    impossible = configs.load("tiny-gkd", ["teachers=[qwen2-tiny]"])
    with pytest.raises(ConfigError, match=r"use objectives\.cross_tokenizer or objectives\.response"):
        actions.start(impossible, LOCAL, public=False)
    assert not list(home.glob("runs/*"))


def test_nothing_is_left_of_a_start_that_fails(home, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(home / "no-python"))
    with pytest.raises(UserError):
        actions.start(tiny(), LOCAL, public=False)
    assert index.list_runs() == [] and list((home / "runs").glob("*/config.yaml")) == []


def test_no_more_wait_than_may(home):
    store.create(tiny())  # nobody is at this one, so it doesn't wait for anything
    for _ in range(8):
        claim(store.create(tiny()))
    with pytest.raises(UserError, match="8 runs are waiting already"):
        actions.start(tiny(), LOCAL, public=False)
    assert len(index.list_runs()) == 8 + 1


@pytest.mark.parametrize(
    "overrides",
    [
        ["student=/etc"],
        ["teachers=[../../secrets]"],
        ["student=assets/zoo"],  # shaped like a Hub id, but a folder beside the server
        ["data.source=file", "data.path=/etc/passwd"],
        ["data.source=file", "data.path=upload.csv"],
        ["data.source=hub", "data.dataset=/etc"],
        ["data.source=hub", "data.dataset=csv"],
        ["data.source=hub", "data.dataset=org/name/file.gguf"],
    ],
)
def test_a_public_server_reads_nothing_of_its_disk(home, overrides):
    with pytest.raises(ConfigError, match=r"public server"):
        actions.start(tiny(*overrides), LOCAL, public=True)
    assert index.list_runs() == []


def test_uploads_and_the_hub_are_fine_on_a_public_server(home):
    stored = actions.uploads() / f"{'a' * 64}.jsonl"
    stored.parent.mkdir(parents=True)
    stored.write_text("{}")
    actions.check_public(tiny("data.source=file", f"data.path={stored}"))
    actions.check_public(tiny("student=Qwen/Qwen2.5-0.5B", "data.source=hub", "data.dataset=openai/gsm8k"))
    link = stored.with_name(f"{'b' * 64}.jsonl")
    link.symlink_to("/etc/passwd")
    with pytest.raises(ConfigError):
        actions.check_public(tiny("data.source=file", f"data.path={link}"))


def test_what_is_published_does_not_say_where_an_upload_lies(tmp_path, monkeypatch):
    home = tmp_path / "a folder with so many words that YAML breaks the line" / "somewhere in its middle, twice"
    monkeypatch.setenv("DISTILL_HOME", str(home))
    stored = actions.uploads() / f"{'0123456789abcdef' * 4}.csv"
    text = configs.to_yaml(tiny("data.source=file", f"data.path='{stored}'"))
    shown = actions.published(text)
    assert "path: upload 01234567.csv\n" in shown and "folder" not in shown and "cdef" not in shown
    assert shown.count("\n") >= text.count("\n") - 2
    report = {"data": {"path": str(stored), "train": 4}, "warnings": [f"{stored.name} is short", None]}
    assert actions.published(report) == {
        "data": {"path": "upload 01234567.csv", "train": 4},
        "warnings": ["upload 01234567.csv is short", None],
    }
    assert actions.published(f"`/elsewhere/uploads/{stored.name}`") == "`upload 01234567.csv`"
    assert actions.published("/home/me/mine.csv") == "/home/me/mine.csv"


def test_an_unknown_model_is_refused_before_there_is_a_run(home):
    with pytest.raises(ConfigError, match="nobody"):
        actions.start(tiny("student=nobody"), LOCAL, public=False)
    assert index.list_runs() == []


def test_what_this_machine_can_not_do_is_refused_wherever_it_is_asked_for():
    with pytest.raises(UserError, match="This run cannot start on this machine: it needs a GPU"):
        actions.start(configs.load("tiny", ["budget.steps=1000000", "data.train=1000000"]), LOCAL, public=False)


def test_a_public_server_refuses_what_is_too_long_or_unknown():
    long = configs.load("tiny", ["budget.steps=300000"])
    actions.check_machine(configs.load("tiny"), public=True)
    with pytest.raises(UserError):
        actions.check_machine(long, public=True)
    unknown = configs.load("tiny-ce", ["student=someone/a-model-nobody-knows"])
    actions.check_machine(unknown, public=False)
    with pytest.raises(UserError, match="cannot be estimated"):
        actions.check_machine(unknown, public=True)


def test_one_visitor_can_not_fill_a_public_queue(home):
    for _ in range(3):
        STRANGER.claim(store.create(tiny()))
    with pytest.raises(UserError, match="the most a visitor may have"):
        actions.start(tiny(), STRANGER, public=True)
    actions.check_share(visitor(new_token(), local=False))


def test_nobody_starts_a_run_that_nobody_could_stop():
    with pytest.raises(UserError, match="does not recognize you"):
        actions.start(tiny(), visitor("forged.token", local=False), public=True)


def test_resume_is_no_way_round_what_a_visitor_may_have(home):
    folder = store.create(tiny())
    STRANGER.claim(folder)
    with EventWriter(folder / "events.jsonl") as writer:
        writer.write(Status(state="stopped", reason="on request"))
    with pytest.raises(UserError, match="This run cannot start on this machine: it needs a GPU"):
        actions.resume(folder.name, STRANGER, ["budget.steps=300000"])
    with pytest.raises(ConfigError, match="resume can change budget only"):
        actions.resume(folder.name, STRANGER, ["student=/etc"])
    for _ in range(3):
        STRANGER.claim(store.create(tiny()))
    with pytest.raises(UserError, match="the most a visitor may have"):
        actions.resume(folder.name, STRANGER)
    assert store.view(folder).state == "stopped"
