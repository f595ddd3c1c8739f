"""Runs with recorded answers for the tests of Compare, and the words that a page shows."""

import json
import re
from html import unescape

from distill.config import run_config as configs
from distill.evaluation.score import Score, compare
from distill.runs import store
from distill.runs.events import EventWriter
from distill.runs.views import view

FAMILIES = ("left_over", "change", "rate")
ROWS = [  # (split, right before?, right after?), in turn
    ("held_out", False, True),
    ("held_out", True, True),
    ("held_out", False, False),
    ("held_out", True, False),
    ("new_phrasing", False, True),
]


def answers(n=60, phases=("before", "after")):
    """answers.json as a run writes it: `n` problems whose right answer is 4."""

    def row(k, right):
        split = ROWS[k % len(ROWS)][0]
        family = FAMILIES[k // len(ROWS) % len(FAMILIES)]
        text = "#### 4" if right else f"#### {k}0"
        known = {
            "id": f"{family}:{k}",
            "split": split,
            "family": family,
            "question": f"What is {k} <b>?",
            "answer": "4",
        }
        return known | {"text": text, "finished": True, "right": right}

    return {phase: [row(k, ROWS[k % len(ROWS)][place + 1]) for k in range(n)] for place, phase in enumerate(phases)}


def report(rows):
    """The part of a report that Compare shows."""
    scores = [
        Score.of((row["id"], row["family"], row["right"]) for row in rows[phase] if row["split"] == "held_out")
        for phase in ("before", "after")
    ]
    return {"before": scores[0].to_dict(), "after": scores[1].to_dict(), **compare(*scores), "new_phrasing": None}


def recorded_run(parent, rows=None, finished=False, events=(), adapter=False, **settings):
    """A view of a run in the folder `parent` that recorded these, and what stands for an adapter."""
    folder = store.create(configs.parse({"student": "student-tiny", "objectives": ["task"], **settings}), parent)
    if adapter:
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_model.safetensors").touch()
    if rows is not None:
        (folder / "answers.json").write_text(json.dumps(rows))
    if finished:
        (folder / "report.json").write_text(json.dumps(report(rows)))
    with EventWriter(folder / "events.jsonl") as writer:
        for event in events:
            writer.write(event)
    return view(folder)


def text(found):
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", found)).split())
