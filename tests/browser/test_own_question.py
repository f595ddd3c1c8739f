"""A question of a visitor's own, in a real browser: an example pressed, and one unlike all that the student learnt."""

import re

import pytest
from adapted_cases import adapted_run
from page_cases import open_tab, wait_for

from distill.data.problems import examples


@pytest.fixture(scope="module")
def run(server):
    """A run whose student has an adapter, of random weights."""
    return adapted_run(server.home / "runs").name


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_example_is_filled_in_and_a_question_unlike_all_comes_with_a_caution(visit, run, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing").Axe()
    page = visit(f"/?run={run}&__theme={theme}", viewport={"width": 390, "height": 844})
    open_tab(page, "Compare")
    page.get_by_label("My own").check()
    wait_for(lambda: "has learnt 31 kinds of everyday sums" in page.locator("#compare-learnt").inner_text())
    question, answer = page.get_by_label("Your question"), page.get_by_label("Right answer")
    for button, problem in (("Bus driver", examples()[5]), ("Knitting", examples()[4])):
        page.get_by_role("button", name=button).click()
        wait_for(
            lambda wanted=problem: (question.input_value(), answer.input_value()) == (wanted.question, wanted.answer)
        )
    sides = page.locator("#compare-sides")
    page.get_by_role("button", name="Answer with both").click()
    wait_for(lambda: len(re.findall(r"[\d,]+ a second", sides.inner_text())) == 2, 90, "no two answers came")
    assert page.locator(".care").count() == 0
    question.fill("A coffee costs $2.50. How much are 4 coffees?")
    page.get_by_role("button", name="Answer with both").click()
    wait_for(lambda: "isn't whole (2.50)" in page.locator(".pane.after .care").inner_text(), 60, "no caution came")
    wait_for(lambda: page.locator("#compare-stop").is_disabled(), 60, "it never ends")
    assert [violation["id"] for violation in axe.run(page).response["violations"]] == []
    page.get_by_role("button", name="Stickers").click()  # another problem: what was answered goes
    wait_for(lambda: page.locator(".care").count() == 0 and "appears here" in sides.inner_text())
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
