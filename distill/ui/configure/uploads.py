"""Files that visitors upload: stored by their digest in a folder that the page does not serve, and checked row by row.

What is wrong with a file names the line, and calls the file as its visitor does.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from distill.config import run_config
from distill.config.errors import UserError
from distill.config.files import replacing, sha256_of
from distill.config.run_config import ColumnsConfig, RunConfig
from distill.data.layouts import guess_columns, refusal
from distill.data.sources import problems_for
from distill.data.tables import MAX_BYTES, columns_of, read_rows
from distill.ui.actions import uploads

MOST_KEPT = 2_000_000_000  # bytes of all uploads together
KINDS = (".jsonl", ".csv", ".parquet")
_READ_FOR = {"data", "probe", "budget", "teachers", "objectives"}  # the settings that decide how many rows are read


@dataclass(frozen=True)
class Uploaded:
    """`stored`: the file's name in the folder of uploads; `columns` it has; which is likely `question` and so on."""

    stored: str
    columns: tuple[str, ...]
    guess: dict[str, str | None]


def store_upload(path: str | Path) -> Uploaded:
    """Copy an uploaded file to the folder of uploads. Raises UserError where it cannot be read as a table."""
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise UserError(
            f"{path.name} is not a JSONL, CSV or Parquet file: its name must end in .jsonl, .csv or .parquet."
        )
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path.name} has {path.stat().st_size / 1e6:,.0f} MB, more than {MAX_BYTES / 1e6:.0f}.")
    columns = columns_of(path)  # a file that is no table, or none of questions and solutions, is not stored
    if what := refusal(columns.names):
        raise UserError(f"{path.name} is {what}.")
    folder = uploads()
    folder.mkdir(parents=True, exist_ok=True)
    stored = f"{sha256_of(path)}{kind}"
    if not (folder / stored).exists():
        kept = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in KINDS)
        if kept + path.stat().st_size > MOST_KEPT:
            raise UserError("This server has no room for another uploaded file: ask its owner to delete some.")
        with replacing(folder / stored) as part:  # two visitors may upload the same file at once
            shutil.copyfile(path, part)
    return Uploaded(stored, tuple(columns.names), guess_columns(columns.names))


def called(path: str | Path) -> str:
    """A file as its visitor calls it."""
    return Path(path).name


def fault(config: RunConfig, file: str) -> str:
    """What is wrong with the rows of a config's uploaded file, "" where nothing is; `file`: as the visitor calls it."""
    path = Path(config.data.path)
    said = _fault(path, config.data.columns)
    return said.replace(path.name, file or "the file")


@lru_cache(maxsize=64)
def _fault(path: Path, columns: ColumnsConfig) -> str:
    """Cached, as a file is named by its digest."""
    try:
        read_rows(path, columns)
    except UserError as error:
        return str(error)
    return ""


def trial(config: RunConfig, file: str) -> tuple[list[str], str]:
    """(what a run of this config would warn about in its file, why it could not use it or ""); reads the whole file."""
    notes, said = _trial(config.model_dump_json(include=_READ_FOR))
    stored = Path(config.data.path).name
    return [note.replace(stored, file or "the file") for note in notes], said.replace(stored, file or "the file")


@lru_cache(maxsize=64)
def _trial(dump: str) -> tuple[tuple[str, ...], str]:
    config = run_config.parse({"student": "student-tiny", **json.loads(dump)})
    notes: list[str] = []
    try:
        problems_for(config, lambda code, text: notes.append(text))
    except UserError as error:
        return tuple(notes), str(error)
    return tuple(notes), ""
