"""Where the real checkpoints and data lie that some benchmarks want; they are not part of the project.

`tools/real_models.py` of the project's shared folder builds the models; benchmarks that lack them say so and leave.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SMOLLM2, GEMMA, QWEN = "smollm2-135m-instruct", "gemma3-270m", "qwen2.5-coder-0.5b-instruct"

_BESIDE = Path(__file__).resolve().parents[2]


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--models` (the folder of the three checkpoints) and `--gsm8k` (GSM8K's train.jsonl)."""
    found = argparse.ArgumentParser(description=(description or "").strip().split("\n")[0])
    found.add_argument("--models", type=Path, default=_BESIDE / "real", help="folder of the three real checkpoints")
    found.add_argument("--gsm8k", type=Path, default=_BESIDE / "shared/data/gsm8k/train.jsonl", help="train.jsonl")
    return found


def require(*paths: Path) -> None:
    """Leave with a sentence where something isn't there."""
    lacking = [str(path) for path in paths if not path.exists()]
    if lacking:
        sys.exit(f"There is no {lacking[0]}: build the real models first, or say where with --models and --gsm8k.")
