"""Every preset that reproduces a document, in miniature, end to end, with the three real checkpoints standing in.

    python -m benchmarks.minis [--models DIR] [--gsm8k FILE] [--only PRESET ...]

One JSON line a preset: seconds, peak memory, right answers before and after of how many, the teachers' answers that
were kept. The models are other ones, the data are GSM8K's, and all is as short as may be: that a preset's methods, data
and settings go through to the report is what it shows; accuracies of a few steps show nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import RESULTS, report
from benchmarks.real_models import GEMMA, QWEN, SMOLLM2, parser, require
from distill.config import run_config as configs

ROWS = 240  # of GSM8K: of twenty, three are held out, and as many as eight are wanted

# Preset: (student, teachers). GKD wants teachers with the student's tokenizer: no two of these three share one, so a
# model is its own teacher there.
STAND_INS = {
    "deku": (SMOLLM2, [QWEN, GEMMA, SMOLLM2]),
    "deku-kernel": (SMOLLM2, [QWEN, GEMMA, SMOLLM2]),
    "reasoning-traces": (GEMMA, [QWEN]),
    "gkd-0.5b-from-3b": (SMOLLM2, [SMOLLM2]),
    "gkd-4b-tulu": (QWEN, [QWEN]),
    "teacher-file": (QWEN, []),
}

SHORT = {
    "data": {"train": 8, "held_out": 8, "new_phrasing": 0, "validation": 4},
    "budget": {"batch_size": 2, "accumulation": 2, "max_length": 640, "teacher_batch_size": 4, "save_every": 2},
    "evaluation": {"max_new_tokens": 32, "batch_size": 8},
    "probe": {"texts": 4, "every": 2, "samples": 0, "problems": 0},
}


def mini(
    preset: str, student: str, teachers: Sequence[str], data: Mapping[str, Any], tokens: int = 32, steps: int = 2
) -> dict[str, Any]:
    """A preset's settings with these models and data, and everything as short as may be; methods as they are.

    `data` takes the place of where the preset's come from; `tokens`: of the longest answer learnt from; `steps`:
    where the preset counts in steps. Epochs stay as many as they are.
    """
    settings = configs.load(preset).model_dump(mode="json")
    settings["name"] = f"{preset}-mini"
    settings["student"] = student
    # Of one name, a model that is there twice: as itself, and as another.
    settings["teachers"] = [{"model": model, "name": f"teacher-{number}"} for number, model in enumerate(teachers, 1)]
    if data:
        settings["data"] = dict(data)
    for part, short in SHORT.items():
        settings[part] |= short
    if settings["budget"]["epochs"] is None:
        settings["budget"]["steps"] = steps
    for objective in settings["objectives"]:
        if "max_new_tokens" in objective:
            objective["max_new_tokens"] = tokens
        if objective["kind"] == "response":  # not every answer has an end, and those alone are learnt
            settings["data"]["train"] += 4
    return settings


def as_asked(preset: str, rows: Sequence[Mapping[str, str]], folder: Path) -> dict[str, Any]:
    """The data of a preset of the Hub as a file in `folder` with the columns that the preset reads; {} where it has a
    file of its own. `rows`: {"question", "answer"} as GSM8K has them."""
    columns = configs.load(preset).data.columns
    if configs.load(preset).data.source != "hub":
        return {}
    file = folder / f"{preset}.jsonl"
    file.write_text("".join(json.dumps(_row(row, columns)) + "\n" for row in rows), encoding="utf-8")
    return {"source": "file", "path": str(file), "columns": columns.model_dump(exclude_none=True)}


def _row(row: Mapping[str, str], columns: configs.ColumnsConfig) -> dict[str, Any]:
    if columns.messages is None:
        return {columns.question: row["question"], columns.solution: row["answer"]}
    turns = (("user", row["question"]), ("assistant", row["answer"]))
    return {columns.messages: [{"role": role, "content": content} for role, content in turns]}


def run(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Carry the settings out as a user would, in `folder`, and say what came of it."""
    file = folder / f"{settings['name']}.yaml"
    file.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "distill", "run", str(file), "--runs", str(folder / "runs"), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DISTILL_HOME": str(folder)},
    )
    seconds = round(time.monotonic() - began, 1)
    if done.returncode:
        return {"seconds": seconds, "failed": (done.stderr.strip().splitlines() or ["it said nothing"])[-1]}
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "seconds": seconds,
        "stages": found["seconds"],
        "peak_rss_mb": found["peak_rss_mb"],
        "peak_device_mb": found["peak_device_mb"],
        "steps": found["steps"],
        "before": {key: found["before"][key] for key in ("n", "correct")},
        "after": {key: found["after"][key] for key in ("n", "correct")},
        "answers": {
            teacher: {key: counts[key] for key in ("asked", "finished", "kept")}
            for teacher, counts in found["responses"].items()
        },
        "adapters": [name for name in found["digests"] if name != "student"],
        "quantize": settings["lora"]["quantize"],
        "warnings": [warning["code"] for warning in found["warnings"]],
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--only", nargs="+", choices=list(STAND_INS), default=list(STAND_INS), metavar="PRESET")
    asked = arguments.parse_args()
    require(*[asked.models / name for name in (SMOLLM2, GEMMA, QWEN)], asked.gsm8k)
    with asked.gsm8k.open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line, _ in zip(stream, range(ROWS), strict=False)]
    found = {} if len(asked.only) == len(STAND_INS) else _before()
    for preset in asked.only:
        student, teachers = STAND_INS[preset]
        places = [str((asked.models / name).resolve()) for name in (student, *teachers)]
        with tempfile.TemporaryDirectory(prefix="mini-") as folder:
            data = as_asked(preset, rows, Path(folder))
            # Most of what Qwen answers to GSM8K has 190 to 320 tokens; what has no end yet is not learnt from.
            tokens = 352 if preset == "reasoning-traces" else 32
            made = run(mini(preset, places[0], places[1:], data, tokens), Path(folder))
        found[preset] = {"student": student, "teachers": teachers, **made}
        print(json.dumps({"preset": preset, **found[preset]}), flush=True)
    report("minis", rows=len(rows), presets={preset: found[preset] for preset in STAND_INS if preset in found})


def _before() -> dict[str, Any]:
    """What is kept of an earlier run: with --only, the others stay as they were."""
    try:
        return json.loads((RESULTS / "minis.json").read_text(encoding="utf-8"))["presets"]
    except (OSError, ValueError, KeyError):
        return {}


if __name__ == "__main__":
    main()
