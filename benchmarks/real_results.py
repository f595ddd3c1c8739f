"""What comes of the two presets with a real student: `python -m benchmarks.real_results smollm2-cpu`.

The preset as it ships, with the real checkpoints taken from a folder in place of the Hub; then the same adapter on
problems worded as in GSM8K (reasoning-gym's gsm_symbolic). Kept: the command, seconds from it to the report, right
answers before and after with intervals and flips, and the adapter's digest. `--run FOLDER` takes up a run of the preset
that is done already, as one that took hours in the background.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.common import report
from benchmarks.real_models import GEMMA, QWEN, SMOLLM2, parser, require
from distill.config import run_config as configs

PRESETS = ("smollm2-cpu", "smollm2-from-qwen")
PLACES = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": SMOLLM2,
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": QWEN,
    "google/gemma-3-270m": GEMMA,
}
OTHERS = ["data.source=reasoning_gym", "data.families=[gsm_symbolic]", "evaluation.max_new_tokens=256"]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("preset", choices=PRESETS)
    arguments.add_argument("--run", type=Path, help="the folder of a run of the preset that is done")
    asked = arguments.parse_args()
    require(*(asked.models / name for name in PLACES.values()))
    home = nullcontext(asked.run.parents[1]) if asked.run else tempfile.TemporaryDirectory(prefix="real-")
    with home as folder:
        command = ["run", asked.preset, "--json", *_overrides(asked.preset, asked.models.resolve())]
        began = time.monotonic()
        found = json.loads((asked.run / "report.json").read_text()) if asked.run else _distill(folder, *command)
        seconds = found["seconds"]["total"] if asked.run else round(time.monotonic() - began, 1)
        figures = {"run": " ".join(command), "seconds": seconds, **_of(found)}
        if asked.preset == "smollm2-cpu":
            others = [part for other in OTHERS for part in ("--set", other)]
            judged = _distill(folder, "evaluate", found["run"], "--problems", "200", "--json", *others)
            figures["worded_as_gsm8k"] = {key: judged[key] for key in ("before", "after", "flips", "mcnemar_p")}
    report(asked.preset.replace("-", "_"), **figures)


def _overrides(preset: str, models: Path) -> list[str]:
    """The same models, from folders."""
    config = configs.load(preset)
    teachers = [
        t.model if t.model not in PLACES else {"model": str(models / PLACES[t.model]), "name": t.name}
        for t in config.teachers
    ]
    student = models / PLACES[config.student.model]
    return ["--set", f"student={student}", "--set", f"teachers={json.dumps(teachers)}"]


def _distill(home: Path | str, *command: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "distill", *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "DISTILL_HOME": str(home)},
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _of(found: dict[str, Any]) -> dict[str, Any]:
    keys = ("steps", "before", "after", "flips", "mcnemar_p", "by_family", "new_phrasing", "peak_rss_mb", "hardware")
    return {
        "stages": found["seconds"],
        **{key: found[key] for key in keys},
        "adapter_sha256": found["digests"]["adapter"],
    }


if __name__ == "__main__":
    main()
