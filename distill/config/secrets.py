"""Secrets taken out of text: tokens and keys never land in a run's folder, a log, an event or on the page.

What is secret is known in one place, here: the values of environment variables that are named like secrets, and
whatever is shaped like a token of the Hub.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

HIDDEN = "[secret]"  # no quote and no backslash: a line of JSON stays one

_NAMED = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)
# A user's or an application's token ("hf_" and 34 letters), and one that a visitor's sign-in gave (a JWT).
_SHAPED = re.compile(r"\bhf_(?:oauth_[\w.=-]{8,}|[A-Za-z0-9]{16,})")
_SHORTEST = 12  # characters: what is shorter is a switch or a word, and would be found in any text


def redacted(text: str) -> str:
    """`text` with "[secret]" for every secret in it."""
    for secret in _secrets():
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return _SHAPED.sub(HIDDEN, text) if "hf_" in text else text


def _secrets() -> list[str]:
    """The environment's secrets, the longest first, as one may hold another. Asked anew each time: it may change."""
    found = {
        value.strip()
        for name, value in os.environ.items()
        if _NAMED.search(name) and len(value.strip()) >= _SHORTEST and not value.strip().isdigit()
    }
    return sorted(found, key=len, reverse=True)


class Redacting:
    """A text stream that takes secrets out of what is written to it, and is otherwise the stream it stands for."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_output() -> None:
    """From now on whatever Python prints or logs in this process is redacted, and what a console has no letters for is
    replaced; for a program's first line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    sys.stdout, sys.stderr = Redacting(sys.stdout), Redacting(sys.stderr)
