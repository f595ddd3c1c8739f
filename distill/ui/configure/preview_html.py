"""The preview as HTML: what the student is given in one colour, what it learns to write in another.

Apart from preview.py, whose child process must start without what this imports.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill.config import run_config
from distill.config.run_config import RunConfig
from distill.config.settings import MADE_HERE
from distill.ui.configure.binding import Draft, settings
from distill.ui.html import words


def waiting(student: str) -> str:
    """The text shown while the preview is made."""
    return f'<p class="quiet" role="status">Reading the problems as {words(student)} will see them …</p>'


def failed(reason: str) -> str:
    """Why there is no preview."""
    return f'<p class="wrong" role="status">{words(reason)}</p>'


def later(reason: str) -> str:
    """What will appear there, and when."""
    return f'<p class="quiet">{words(reason)}</p>'


def rows_html(rows: Sequence[dict[str, Any]], student: str) -> str:
    """The rows of `preview.preview`, with their tokens counted."""
    if not rows:
        return later("There are no problems to show.")
    longest = max(row["prompt_tokens"] + row["completion_tokens"] for row in rows)
    cut = sum(row["truncated"] for row in rows)
    some = f"{cut} of them {'is' if cut == 1 else 'are'}"
    note = f" {some} too long and left out: raise “Longest text read” under Budget." if cut else ""
    head = (
        f'<p class="quiet" role="status">{len(rows)} of them as {words(student)} will see them: the longest has '
        f"{longest:,} tokens (pieces of words).{note}</p>"
    )
    items = "".join(map(_row, rows))
    return f'{head}<ol class="rows" tabindex="0" aria-label="Problems as the student will see them">{items}</ol>'


def _row(row: dict[str, Any]) -> str:
    cut = " · too long: left out" if row["truncated"] else ""
    return (
        f'<li><p class="given"><b>given</b><span class="count">{row["prompt_tokens"]:,} tokens</span>'
        f"<code>{words(row['prompt'])}</code></p>"
        f'<p class="learnt"><b>learns to write</b><span class="count">{row["completion_tokens"]:,} tokens{cut}</span>'
        f"<code>{words(row['completion'])}</code></p></li>"
    )


def preview_config(draft: Draft) -> RunConfig:
    """The part of a draft that a preview depends on, so that no other change makes a new one. Raises ConfigError."""
    wanted = settings(draft)
    data = wanted["data"]
    if data["source"] in MADE_HERE:  # the first problems are the same, however many there are
        data = {key: data[key] for key in ("source", "families", "seed")}
    kept = {"student": wanted["student"], "data": data, "budget": {"max_length": wanted["budget"]["max_length"]}}
    return run_config.parse({**kept, "objectives": ["task"]})
