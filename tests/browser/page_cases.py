"""What the page's tests do again and again."""

import threading
import time
from contextlib import suppress

import psutil

PATIENCE = 60  # seconds a browser may take to close


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    page.get_by_role("tab", name=name, exact=True, selected=True).wait_for()


def wait_for(true, seconds: float = 30, why: str = "it never came to be"):
    """What `true()` gives as soon as it is true."""
    ends = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < ends, why
        time.sleep(0.1)
    return value


def close(*opened) -> None:
    """Close contexts or a browser. One that won't close is killed: playwright itself would wait for it for ever."""
    timer = threading.Timer(PATIENCE, _kill_browsers)
    timer.daemon = True
    timer.start()
    try:
        for one in opened:
            one.close()
    finally:
        timer.cancel()


def _kill_browsers() -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "chrom" in process.name():
                process.kill()
