"""For everyone: axe-core finds nothing, light and dark, wide and narrow; no sideways scrolling; the keyboard."""

import re

import pytest
from page_cases import open_tab, wait_for

TABS = ("Configure", "Train", "Insight", "Compare", "Runs")


@pytest.fixture(scope="module")
def axe():
    module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing")
    return module.Axe()


@pytest.fixture(scope="module")
def run(server):
    """A finished run to look at."""
    small = ["data.train=64", "data.held_out=24", "data.new_phrasing=12", "budget.batch_size=8", "budget.steps=6"]
    small += ["probe.texts=24", "probe.every=2", "teachers=[gemma2-tiny, minicpm3-tiny]"]
    client = server.client()
    started = client.predict("tiny", small, "", api_name="/start")["run"]
    wait_for(lambda: client.predict(started, api_name="/status")["final"], 200, "the run doesn't end")
    return started


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(visit, axe, run, theme, width):
    page = visit(f"/?run={run}&__theme={theme}", viewport={"width": width, "height": 900})
    for name in TABS:
        show(page, name)
        page.wait_for_timeout(1500)
        found = [
            (violation["id"], node["html"][:160])
            for violation in axe.run(page).response["violations"]
            for node in violation["nodes"]
        ]
        assert found == [], f"{name}, {theme}, {width} px"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} at {width} px"


def show(page, name):
    """Open a tab, from Gradio's overflow menu where the page is too narrow for all of them."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.count() and tab.first.is_visible():
        open_tab(page, name)
        return
    page.locator("#tabs > .tab-wrapper .overflow-menu > button").click()
    page.locator("#tabs > .tab-wrapper .overflow-dropdown button", has_text=re.compile(f"^{name}$")).click()


def test_dark_and_light_by_choice_and_it_is_remembered(visit):
    page = visit()
    before = page.evaluate("document.body.classList.contains('dark')")
    page.locator("#look").click()
    assert page.evaluate("document.body.classList.contains('dark')") is not before
    page.reload()
    page.get_by_role("tab", name="Configure").wait_for()
    page.wait_for_timeout(500)
    assert page.evaluate("document.body.classList.contains('dark')") is not before


def test_every_input_has_a_name_and_the_page_one_title(visit, run):
    page = visit(f"/?run={run}")
    assert page.locator("h1").count() == 1
    for name in TABS:
        show(page, name)
        page.wait_for_timeout(500)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("input, select, textarea, button")]
              .filter((e) => e.offsetParent && e.type !== "hidden")
              .filter((e) => !(e.labels?.length || e.ariaLabel || e.title || e.textContent.trim() || e.placeholder))
              .map((e) => e.outerHTML.slice(0, 160))"""
        )
        assert nameless == [], name


def test_the_run_can_be_started_and_watched_by_keyboard_alone(visit, server):
    page = visit()
    assert tab_to(page, "Start now"), "Tab never reaches Start now"
    page.keyboard.press("Enter")
    wait_for(lambda: re.search(r"run [0-9a-f]{6} · tiny · \w+", page.locator("#status-line").inner_text()), 30)
    wait_for(lambda: page.locator("#stop").is_enabled(), 30)
    page.evaluate("document.activeElement?.blur()")
    assert tab_to(page, "Stop and keep the model"), "Tab never reaches Stop"
    page.keyboard.press("Enter")
    wait_for(lambda: re.search(r"stop", page.locator("#status-line").inner_text()), 30)


def tab_to(page, name: str, presses: int = 60) -> bool:
    """Press Tab until the element with this text has the focus."""
    for _ in range(presses):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement?.textContent?.trim()") == name:
            return True
    return False
