"""Numbers and moments as the page says them. Pure text: it knows nothing of runs or of HTML."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any


def decimals(value: float | None) -> str:
    """A number between -1 and 1 with two decimals and no zero before the point: ".31", "-.02", "1.00"; "–" for none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.2f}"
    if not float(text):
        return ".00"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def percent(share: float | None, places: int = 0) -> str:
    """A share of 1 in per cent, "–" for none."""
    return "–" if share is None or not math.isfinite(share) else f"{share:.{places}%}"


def score(part: Mapping[str, Any] | None) -> str:
    """An accuracy with its 95% interval: "95.2% (92.9 to 96.8)"; "–" where there is none."""
    accuracy, interval = (part or {}).get("accuracy"), (part or {}).get("ci95")
    if accuracy is None or not interval:
        return percent(accuracy, 1)
    low, high = (f"{100 * end:.1f}" for end in interval)
    return f"{percent(accuracy, 1)} ({low} to {high})"


def moment(seconds: float) -> str:
    """A Unix time as this server's clock shows it: "22 Nov 09:46"."""
    now = time.localtime(seconds)
    return f"{now.tm_mday} {time.strftime('%b %H:%M', now)}"


def moment_iso(seconds: float) -> str:
    """The same for programs, in UTC: "2026-11-22T09:46:07Z"."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
