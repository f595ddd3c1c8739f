"""The README's pictures, from a real run: `python tests/browser/screenshots.py`.

Starts the page with runs of its own, presses Start, and takes a picture of each tab on the way: about two minutes.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from conftest import FLAGS, ROOT, Server, chromium
from page_cases import open_tab, wait_for
from playwright.sync_api import Page, sync_playwright

IMAGES = ROOT / "assets" / "images"
SIZE = {"width": 1180, "height": 860}


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as home, sync_playwright() as driver:
        server = Server(Path(home)).start()
        browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            page = browser.new_page(viewport=SIZE)
            page.goto(server.url)
            page.get_by_role("tab", name="Configure").wait_for()
            take(page, "configure")
            page.get_by_role("button", name="Start now").click()
            status = page.locator("#status-line")
            wait_for(lambda: re.search(r"step ([5-8]\d) of 90", status.inner_text()), 300, "it doesn't train")
            take(page, "train")
            wait_for(lambda: "· done" in status.inner_text(), 300, "it doesn't end")
            open_tab(page, "Insight")
            take(page, "insight")
            open_tab(page, "Compare")
            page.get_by_role("button", name="Answer with both").click()
            wait_for(lambda: len(re.findall(r"[\d,]+ a second", page.locator("#tab-compare").inner_text())) == 2, 60)
            take(page, "compare")
        finally:
            browser.close()
            server.kill()


def take(page: Page, name: str) -> None:
    """A picture of what is seen without scrolling."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(2500)
    page.screenshot(path=IMAGES / f"{name}.png")
    print(IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
