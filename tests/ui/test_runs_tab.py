"""The Runs tab: its table and details, what may be ticked, opened and deleted."""

import html
import re

import pytest
from run_cases import evaluation, made, metric

from distill.config.errors import UserError
from distill.runs import store
from distill.runs.events import Status
from distill.runs.views import view
from distill.ui import actions
from distill.ui.auth import Visitor
from distill.ui.runs import downloads, table
from distill.ui.runs import tab as runs_tab
from distill.ui.runs.table import Row, accuracy, details, row_of, runs_table, worked
from distill.ui.session import recent_runs

MINE, STRANGER, HERE = Visitor("me", local=False), Visitor("you", local=False), Visitor("", local=True)


def plain(text):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


def sat(*states):
    """Statuses at the seconds given: ("preparing", 10), ..."""
    return [Status(state=state, t=t) for state, t in states]


@pytest.fixture(autouse=True)
def no_runs_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    recent_runs(fresh=True)


# --- the table ------------------------------------------------------------------------------------------------------


def test_a_row_says_preset_state_accuracy_and_time():
    run = made("tiny", evaluation("before", 14), evaluation("after", 95, step=140))
    text = plain(runs_table([row_of(run)], 1, ""))
    assert run.id[:6] in text and "14.0% → 95.0% of 100" in text and "tiny" in text and "done" in text
    assert f'href="?run={run.id}"' in runs_table([row_of(run)], 1, "")


def test_before_and_after_of_other_splits_are_not_mixed_in():
    run = made("tiny", evaluation("before", 14), evaluation("after", 70, split="new_phrasing", step=140))
    assert accuracy(run) == (100, 0.14, None)
    assert accuracy(made("tiny")) is None


def test_after_more_steps_the_later_evaluation_counts():
    run = made("tiny", evaluation("before", 14), evaluation("after", 60, step=40), evaluation("after", 80, step=80))
    assert accuracy(run) == (100, 0.14, 0.8)


def test_time_is_that_at_work_without_waiting_and_pauses():
    sittings = sat(("queued", 0), ("preparing", 10), ("training", 20), ("stopped", 40), ("queued", 900))
    run = made("tiny", *sittings, *sat(("preparing", 1000), ("done", 1005)), state=None)
    assert worked(run) == 35


def test_a_run_that_broke_off_worked_until_its_last_word():
    run = made("tiny", *sat(("preparing", 10)), metric(1, t=70.0), state="crashed")
    last = run.events[-1].t
    assert worked(run) == last - 10
    assert worked(made("tiny", *sat(("preparing", 10)), state=None)) is None  # still at it
    assert worked(made("tiny", state="stopped")) is None  # it never began


def test_only_the_open_run_is_marked():
    rows = [Row("a" * 12, "tiny", "done", None, 5.0, 0.0), Row("b" * 12, "tiny", "failed", None, None, 0.0)]
    marked = re.findall(r'<tr data-run="(\w+)" aria-current="true"', runs_table(rows, 2, "b" * 12))
    assert marked == ["b" * 12]


def test_every_box_has_a_name_and_every_column_a_heading():
    text = runs_table([Row("abcdef012345", 'x"><script>', "done", None, 5.0, 0.0)], 1, "")
    assert 'aria-label="compare run abcdef, x&quot;&gt;&lt;script&gt;"' in text and "<script>" not in text
    assert text.count("<th scope=col>") == 7


def test_of_very_many_runs_the_newest_are_shown_and_all_are_counted():
    assert "The newest 100 of 1,234 runs." in plain(table.count(100, 1234))
    assert table.count(1, 1) == "One run." and table.count(7, 7).startswith("7 runs")


def test_the_table_has_at_most_a_hundred_rows(monkeypatch):
    monkeypatch.setattr(table, "SHOWN", 2)
    for _ in range(3):
        made("tiny")
    recent_runs(fresh=True)
    drawn = runs_tab._table(None)
    assert drawn.count("<tr data-run=") == 2 and "The newest 2 of 3 runs" in plain(drawn)


def test_no_run_yet_says_how_to_get_one():
    assert "press Start" in plain(runs_table([], 0, "")) and "<table" not in runs_table([], 0, "")


def test_the_table_changes_with_a_state_and_not_with_a_step():
    run = made("tiny", *sat(("preparing", 1), ("training", 2)), metric(1), state=None)
    before = row_of(run)
    with store.EventWriter(run.folder / "events.jsonl") as writer:
        writer.write(metric(2))
    assert row_of(view(run.folder)) == before  # or the whole table would be sent at every step
    with store.EventWriter(run.folder / "events.jsonl") as writer:
        writer.write(Status(state="done"))
    assert row_of(view(run.folder)) != before


# --- the open run ---------------------------------------------------------------------------------------------------


def test_details_say_what_it_is_what_came_of_it_and_its_link():
    run = made("tiny", evaluation("before", 14), evaluation("after", 95, step=90), metric(90))
    text = plain(details(run))
    assert "90 of 90" in text and "teachers' geometry (geometry) × 0.5" in text and "phi3-tiny" in text
    assert "14.0% (4.0 to 24.0) → 95.0% (85.0 to 100.0) of 100" in text
    assert f'data-copy="?run={run.id}"' in details(run)
    assert "No run is open" in plain(details(None))


def test_a_reason_is_shown_and_inert():
    run = made("tiny", Status(state="failed", reason="<img src=x onerror=alert(1)>"), state=None)
    assert "&lt;img" in details(run) and "<img" not in details(run)


def test_whose_run_it_is_and_what_that_allows():
    run = made("tiny")
    assert "Started from the command line: you may stop" in plain(table.ownership(run, HERE)).replace(" :", ":")
    assert "you may watch" in plain(table.ownership(run, STRANGER))
    MINE.claim(run.folder)
    assert "Yours" in table.ownership(run, MINE)
    assert "Started by another visitor" in table.ownership(run, STRANGER)


def test_a_run_that_goes_on_must_be_stopped_first():
    going = made("tiny", *sat(("training", 1)), state=None)
    assert "stop it before you delete it" in plain(table.ownership(going, HERE))
    assert "stop it before" not in plain(table.ownership(made("tiny"), HERE))


def test_config_is_shown_as_text_and_inert():
    run = made("tiny", overrides=["description='<b>&'"])
    assert "steps: 90" in table.config_text(run) and "&lt;b&gt;&amp;" in table.config_text(run)
    (run.folder / "config.yaml").unlink()
    assert "can't be read" in plain(table.config_text(run))


def test_nobody_sees_where_an_upload_lies():
    stored = actions.uploads() / f"{'ab' * 32}.csv"
    run = made("tiny", overrides=["data.source=file", f"data.path={stored}"])
    text = plain(table.config_text(run))
    assert "path: upload abababab.csv" in text and str(stored.parent) not in text


# --- what a visitor chooses -----------------------------------------------------------------------------------------


def test_ticks_keep_their_order_and_only_real_runs_count():
    a, b = made("tiny"), made("tiny")
    asked = {"ticked": [b.id, "gone", a.id, b.id, 7], "open": ""}
    assert [run.id for run in runs_tab.ticked(asked, [a, b])] == [b.id, a.id]


@pytest.mark.parametrize("asked", [None, "x", [], {}, {"ticked": None}, {"ticked": "abc"}, {"ticked": {"a": 1}}])
def test_a_value_that_no_page_of_ours_sends_ticks_nothing(asked):
    assert runs_tab.ticked(asked, [made("tiny")]) == []


@pytest.mark.parametrize("asked", [None, {}, {"open": "../../etc"}, {"open": ["x"]}])
def test_only_a_run_that_is_there_can_be_opened(asked):
    made("tiny")
    recent_runs(fresh=True)
    with pytest.raises(UserError, match="has been deleted"):
        runs_tab._open(HERE, "", asked)


def test_opening_gives_the_run_to_show():
    run = made("tiny")
    recent_runs(fresh=True)
    assert runs_tab._open(HERE, "", {"ticked": [], "open": run.id}) == run.id


# --- delete ---------------------------------------------------------------------------------------------------------


def ended(**more):
    run = made("tiny", **more)
    (run.folder / "process.json").unlink()
    return run


def test_deleting_shows_another_run_and_the_list_knows_at_once():
    run, other = ended(), ended()
    copy = downloads.copy(run.folder, "config")
    recent_runs(fresh=True)
    assert runs_tab._deleted(HERE, other.id, run.id) == other.id
    assert [one.id for one in recent_runs()] == [other.id] and not run.folder.exists() and not copy.exists()
    assert runs_tab._deleted(HERE, other.id, other.id) == ""  # the one that was open: whichever is newest then


def test_only_its_owner_may_delete_a_run():
    run = ended()
    MINE.claim(run.folder)
    for somebody in (STRANGER, HERE, Visitor("", local=False)):
        with pytest.raises(UserError, match="not delete it"):
            actions.delete(run.id, somebody)
    assert actions.delete(run.id, MINE) == run.id and not run.folder.exists()


def test_a_run_that_goes_on_is_not_deleted():
    going = made("tiny", *sat(("training", 1)), state=None)  # this very process is at it
    with pytest.raises(UserError, match="still running: stop it first"):
        actions.delete(going.id, HERE)
    assert going.folder.exists()


def test_a_path_is_no_run_of_the_page(tmp_path):
    elsewhere = tmp_path / "abc"
    elsewhere.mkdir()
    (elsewhere / "config.yaml").write_text("student: x")
    with pytest.raises(UserError, match="no run"):
        actions.delete(str(elsewhere), HERE)
    assert elsewhere.exists()


def test_the_question_names_the_run():
    run = made("tiny")
    assert f"Delete run {run.id[:6]} (tiny, done)?" in plain(table.question(run))
