"""What asking three real teachers takes: `python benchmarks/teachers_memory.py`.

The peak memory of a process that gathers the signals of three real teachers, one after another, over that of one that
asks the largest alone (goal: <= 1.2). The student is loaded in both, as in a run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import report
from benchmarks.real_models import GEMMA, QWEN, SMOLLM2, parser, require

TEXTS = 64
ASK = """
import json, sys
sys.path.insert(0, {root!r})
from benchmarks.common import prepared
from distill.models.hardware import peak_rss_mb
prepared(sys.argv[1])
print(json.dumps(round(peak_rss_mb())))
"""


def main() -> None:
    options = parser(__doc__).parse_args()
    require(*(options.models / name for name in (SMOLLM2, GEMMA, QWEN)), options.gsm8k)
    asked = {"largest": [QWEN], "three": [QWEN, GEMMA, SMOLLM2]}
    peaks = {name: _peak(teachers, options) for name, teachers in asked.items()}
    report(
        "teachers_memory",
        ratio=round(peaks["three"] / peaks["largest"], 3),
        goal=1.2,
        peak_mb=peaks,
        texts=TEXTS,
        signals=["pooled", "pooled_layers", "nll_per_byte", "tokens", "token_logprobs"],
    )


def _peak(teachers: list[str], options) -> int:
    """Peak MiB of a fresh process that prepares a run with these teachers and an empty bank."""
    settings = {
        "student": str(options.models / SMOLLM2),
        "teachers": [str(options.models / name) for name in teachers],
        "objectives": [{"kind": "task"}, {"kind": "geometry"}, {"kind": "cross_tokenizer"}],
        "data": {"source": "file", "path": str(options.gsm8k), "columns": {"solution": "answer"}}
        | {"train": TEXTS, "held_out": 4, "validation": 0},
        "budget": {"batch_size": 8, "max_length": 512, "teacher_batch_size": 8},
        "probe": {"texts": 16},
    }
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "asked.yaml"
        file.write_text(json.dumps(settings))  # JSON is YAML too
        code = ASK.format(root=str(Path(__file__).parents[1]))
        command = [sys.executable, "-c", code, str(file)]
        env = {**os.environ, "DISTILL_HOME": home}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
