"""What the page's tests do again and again."""

import time


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
