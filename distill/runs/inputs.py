"""What a run's problems were made of when it began, so that it never goes on with others.

rows.json in the run's folder: the digests of all rows of its file or data set, and of the file. Runs of before it was
kept go on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distill.config.errors import UserError
from distill.config.files import sha256_of, write_atomically
from distill.config.run_config import DataConfig
from distill.data.sources import digest_of, rows_for
from distill.data.tables import Row

ROWS = "rows.json"


def check_rows(
    folder: Path,
    data: DataConfig,
    table: str,
    rows: Sequence[Row],
    keep: bool = True,
    warn: Callable[[str, str], None] = lambda code, text: None,
) -> None:
    """Raise UserError where a run's rows are others than when it began; what they are is written down if `keep`.

    `warn` is told of a run that had begun before anything was written down.
    """
    known, digest = _known(folder), digest_of(rows)
    if known is None:
        if (folder / "answers.json").exists():
            warn(
                "rows_unknown",
                f"Run {folder.name} is from an earlier version, which kept no digest of its rows: it goes on with "
                f"{table} as it is read now.",
            )
        if keep:
            said = {"table": table, "rows": digest, "file": _file(data)}
            write_atomically(folder / ROWS, json.dumps(said))
    elif known["rows"] != digest:
        raise UserError(
            f"{table} has other rows, or the same on other lines, than when run {folder.name} began, so the run can't "
            "go on: put it back as it was and resume, or start a new run."
        )


def check_inputs(folder: Path, data: DataConfig) -> None:
    """`check_rows` before a run is resumed, where its problems are of a file; others are read by its worker.

    Raises UserError or ConfigError too where the file is gone or can't be read any more.
    """
    known = _known(folder)
    if data.source == "file" and known is not None and known.get("file") != _file(data):
        check_rows(folder, data, *rows_for(data))


def _file(data: DataConfig) -> str | None:
    """The digest of the file itself, None where there is none: while it is the same, its rows are."""
    try:
        return sha256_of(Path(os.path.expanduser(data.path))) if data.path else None
    except OSError:
        return None


def _known(folder: Path) -> dict[str, Any] | None:
    """What is kept, None where nothing is."""
    try:
        known = json.loads((folder / ROWS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) and isinstance(known.get("rows"), str) else None
