"""Configure in a real browser: what is wrong is said at once where it is, nothing typed is lost, and Start does it."""

import json

import pytest
from page_cases import open_tab, wait_for

from distill.runs import index


def step(page, name):
    page.locator("#steps").get_by_role("tab", name=name).click()


def text(page, selector):
    return page.locator(selector).inner_text()


def fill(page, label, value):
    field = page.get_by_label(label, exact=True).first
    field.fill(value)
    field.press("Tab")


def test_a_wrong_value_is_said_at_the_field_and_stops_the_start(visit, server):
    page = visit()
    step(page, "5 Budget")
    fill(page, "Steps", "0")
    wait_for(lambda: "at least 1" in text(page, "#step-budget"), 10, "nothing is said at the field")
    step(page, "6 Review")
    before = len(index.list_runs(server.home / "runs"))
    page.locator("#start").click(timeout=3000, force=True)
    page.wait_for_timeout(1500)
    assert len(index.list_runs(server.home / "runs")) == before
    step(page, "5 Budget")
    fill(page, "Steps", "7")
    wait_for(lambda: "at least 1" not in text(page, "#step-budget"), 10)
    step(page, "1 Student")
    step(page, "5 Budget")
    assert page.get_by_label("Steps", exact=True).first.input_value() == "7"  # nothing typed is lost
    page.reload()
    page.get_by_role("tab", name="Configure").wait_for()
    step(page, "5 Budget")
    wait_for(lambda: page.get_by_label("Steps", exact=True).first.input_value() == "7", 10, "a refresh lost it")
    step(page, "6 Review")
    wait_for(lambda: "--set budget.steps=7" in page.locator("#command textarea").input_value(), 10)


def test_a_bad_file_is_named_by_its_line_and_a_good_one_is_previewed(visit, tmp_path):
    good = [{"question": f"What is {n} + {n}?", "answer": f"{n} + {n} = {2 * n}. #### {2 * n}"} for n in range(400)]
    (tmp_path / "good.jsonl").write_text("\n".join(map(json.dumps, good)))
    (tmp_path / "bad.jsonl").write_text("\n".join([*map(json.dumps, good[:16]), '{"question": "What']))
    page = visit()
    step(page, "3 Problems")
    page.locator("#step-problems").get_by_text("Your own file").click()
    chooser = page.locator("#problems-file input[type=file]")
    chooser.set_input_files(tmp_path / "bad.jsonl")
    wait_for(lambda: "Line 17 of bad.jsonl" in text(page, "#step-problems"), 20, "the line isn't named")
    page.locator("#problems-file").get_by_label("Clear").click()
    chooser.set_input_files(tmp_path / "good.jsonl")
    wait_for(lambda: "Line 17" not in text(page, "#step-problems"), 20)
    fill(page, "Training problems", "200")
    fill(page, "Held-out problems", "30")
    page.get_by_role("button", name="Show the problems").click()
    wait_for(lambda: "What is" in text(page, "#preview") and "token" in text(page, "#preview"), 60, "no preview")


def test_teachers_are_added_moved_and_removed(visit):
    page = visit()
    step(page, "2 Teachers")
    rows = page.locator("#step-teachers")
    page.get_by_role("button", name="Remove nemotron-tiny").click()
    wait_for(lambda: "nemotron-tiny" not in names(rows), 10)
    page.get_by_role("button", name="Move smollm2-tiny up").click()
    wait_for(lambda: names(rows)[:2] == ["smollm2-tiny", "qwen2-tiny"], 10)
    step(page, "6 Review")
    wait_for(lambda: "teachers=" in page.locator("#command textarea").input_value(), 10)


def names(rows):
    labels = rows.locator("button[aria-label^=Remove]").evaluate_all("all => all.map(b => b.ariaLabel)")
    return [label.removeprefix("Remove ") for label in labels]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_card_that_this_machine_can_not_do_says_why(visit, theme):
    page = visit(f"/?__theme={theme}")
    assert "Not available on this machine: it needs a GPU" in text(page, "#tab-configure")


def test_start_from_the_review_opens_train(visit, server):
    page = visit()
    step(page, "5 Budget")
    fill(page, "Steps", "2")
    step(page, "6 Review")
    page.locator("#start").click()
    open_tab(page, "Train")
    wait_for(lambda: "tiny, edited" in text(page, "#status-line"), 20)
    newest = index.list_runs(server.home / "runs")[0]
    assert newest.config.budget.steps == 2 and newest.name == "tiny, edited"
