"""What a public server keeps: runs, signals and uploads, so long and so much; never what somebody needs."""

import json
import os
import time

import pytest

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.paths import home
from distill.runs import retention, store, uploads
from distill.runs.events import EventWriter, Status
from distill.runs.process import claim, release
from distill.ui.auth import new_token, visitor

DAY = 86_400.0


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))


def ended(days, size=0, state="done", by="a visitor", file=None):
    """The folder of a run that said its last word so many days ago."""
    data = [f"data.path={file}", "data.source=file"] if file else []
    folder = store.create(configs.load("tiny-ce" if file else "tiny", data))
    if by:
        visitor(new_token(), local=False).claim(folder)
    with EventWriter(folder / "events.jsonl") as writer:
        writer.write(Status(state=state, t=time.time() - days * DAY))
    (folder / "adapter.bin").write_bytes(b"x" * size)
    return folder


def upload(text="a", hours=0.0, who=("ada",)):
    """A stored file that was sent so many hours ago."""
    uploads.uploads().mkdir(parents=True, exist_ok=True)
    file = uploads.uploads() / f"{text * 64}.csv"
    file.write_text(text * 1000)
    uploads.note_sender(file.name, who)
    sent = time.time() - hours * 3600
    os.utime(file, (sent, sent))
    by = file.with_name(f"{file.name}.by")
    by.write_text(json.dumps(dict.fromkeys(who, sent)))
    return file


def test_old_runs_of_visitors_go_and_no_others():
    old, crashed, new = ended(20), ended(20, state="failed"), ended(2)
    owners, going = ended(20, by=None), ended(20, state="training")
    claim(going)
    try:
        retention.tidy()
        assert [one.exists() for one in (old, crashed, new, owners, going)] == [False, False, True, True, True]
    finally:
        release(going)


def test_of_too_many_the_oldest_go(monkeypatch):
    runs = [ended(days, size=400_000) for days in (3, 2, 1)]
    monkeypatch.setenv("DISTILL_KEPT_GB", "0.001")
    retention.tidy()
    assert [one.exists() for one in runs] == [False, True, True]


@pytest.mark.parametrize("cache", retention.CACHES)
def test_signals_and_answers_go_by_age_and_size(monkeypatch, cache):
    folder = home().cache / cache / "qwen2-tiny-abc"
    folder.mkdir(parents=True)
    for days in (30, 3, 2, 1):
        (folder / f"{days}").write_bytes(b"x" * 400_000)
        os.utime(folder / f"{days}", (time.time() - days * DAY,) * 2)
    retention.tidy()
    assert sorted(file.name for file in folder.iterdir()) == ["1", "2", "3"]
    monkeypatch.setenv("DISTILL_CACHE_GB", "0.001")
    retention.tidy()
    assert sorted(file.name for file in folder.iterdir()) == ["1", "2"]


def test_a_run_says_how_long_it_is_kept():
    assert retention.kept_until(store.view(ended(2))) == pytest.approx(time.time() + 12 * DAY, abs=60)
    assert retention.kept_until(store.view(ended(2, by=None))) is None
    assert retention.kept_until(store.view(ended(2, state="queued"))) is None


# --- uploads ---------------------------------------------------------------------------------------------------------


def test_an_upload_is_kept_while_a_run_or_a_draft_needs_it():
    needed, drafted, forgotten = upload("a", 99), upload("b", 1), upload("c", 99)
    run = ended(1, file=needed)
    retention.tidy()
    assert [one.exists() for one in (needed, drafted, forgotten)] == [True, True, False]
    retention.delete_run(run)
    assert not needed.exists() and sorted(uploads.uploads().iterdir()) == [
        drafted,
        drafted.with_name(f"{drafted.name}.by"),
    ]


def test_deleting_a_run_deletes_its_file_unless_others_need_it():
    file = upload(who=("ada", "bob"))
    adas, bobs = ended(1, file=file), ended(1, file=file)
    retention.delete_run(adas, ["ada"])
    assert file.exists()  # bob's run needs it
    retention.delete_run(bobs, ["bob"])
    assert not file.exists() and not list(uploads.uploads().iterdir())
    mine, other = upload(who=("ada",)), upload("b", who=("ada", "bob"))
    for one in (mine, other):
        retention.delete_run(ended(1, file=one), ["ada"])
    assert not mine.exists() and other.exists()  # bob has just sent it, and may be about to start


@pytest.mark.parametrize(
    ("variable", "who", "said"),
    [
        ("DISTILL_UPLOADS_MB", ["eve"], "no room for another"),
        ("DISTILL_UPLOADS_MB_OF_VISITOR", ["ada"], "one visitor or network address"),
        ("DISTILL_UPLOADS_MB_OF_VISITOR", ["new", "an address"], "one visitor or network address"),
    ],
)
def test_uploads_are_bounded(monkeypatch, variable, who, said):
    upload("a", who=("ada", "an address"))
    monkeypatch.setenv(variable, "0.0015")
    uploads.check_space(400, who)
    with pytest.raises(UserError, match=said):
        uploads.check_space(600, who)
    if "OF_VISITOR" in variable:
        uploads.check_space(600, ["somebody else"])
