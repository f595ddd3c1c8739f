"""What strangers may use of a public server: numbers with their reasons, each of which its owner may set.

A limit called RUN_HOURS is set by the environment variable DISTILL_RUN_HOURS; docs/spaces.md lists all.
"""

from __future__ import annotations

import math
import os
from typing import NamedTuple

from distill.config.errors import ConfigError


class Limit(NamedTuple):
    """`what` is limited, and `why` to so much."""

    usual: float
    what: str
    why: str


LIMITS = {
    # --- runs
    "RUNS_WAITING": Limit(8, "runs in the queue", "a later one would wait for hours"),
    "RUNS_OF_VISITOR": Limit(3, "runs of one visitor that are going or waiting", "one to watch, two to come"),
    "RUNS_OF_ADDRESS": Limit(
        4, "the same of one network address", "half the queue: whoever makes up visitors can't close it for others"
    ),
    "STARTING": Limit(4, "starts that are checked at the same time", "each takes a thread of the page for a while"),
    "RUN_HOURS": Limit(6, "hours that a run may take before it is saved and stopped", "others wait for their turn"),
    "KEPT_DAYS": Limit(14, "days that an ended run is kept", "time enough to download what came of it"),
    "KEPT_GB": Limit(10, "GB of all ended runs together", "a free Space has 50 GB of disk, models included"),
    "CACHE_DAYS": Limit(14, "days that a teacher's signals and answers are kept unused", "as long as the runs"),
    "CACHE_GB": Limit(10, "GB of all signals and answers together", "as the runs"),
    # --- files
    "UPLOADS_MB": Limit(500, "MB of all uploaded files together", "25 of the largest that one may upload"),
    "UPLOADS_MB_OF_VISITOR": Limit(60, "the same of one visitor or address", "three of the largest"),
    "UPLOAD_HOURS": Limit(24, "hours that a file is kept which no run uses", "a draft is started on the same day"),
    "SENT_MB": Limit(200, "MB that one address may send in an hour", "ten of the largest files, stored or refused"),
    "TABLE_GB": Limit(2, "GB that a data set of the Hub may unpack to", "100,000 rows of 20,000 characters"),
    # --- the page
    "SESSIONS": Limit(200, "browser tabs whose state is kept", "Gradio keeps nearly 1 MB for each"),
    "QUESTIONS_WAITING": Limit(8, "questions that wait for a model's answer", "each takes some seconds"),
    "QUESTIONS_OF_ADDRESS": Limit(3, "the same of one address", "less than half, so that others get a turn"),
    "REQUESTS_WAITING": Limit(64, "requests of one other kind that wait", "more would be answered too late"),
    "PROXY_HOPS": Limit(
        1, "proxies in front of a Space that add to X-Forwarded-For", "Hugging Face's own; elsewhere none is believed"
    ),
}


def limit(name: str) -> float:
    """A limit of LIMITS: what the environment says, else the usual. Raises ConfigError where it says no number."""
    usual, variable = LIMITS[name].usual, f"DISTILL_{name}"
    said = os.environ.get(variable, "").strip()
    if not said:
        return usual
    try:
        value = float(said)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(f"{variable} is {said[:40]!r}: give a number above 0, or leave it out for {usual:g}.")
    return value
