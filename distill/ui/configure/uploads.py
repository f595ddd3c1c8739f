"""Files that visitors upload: stored by their digest in a folder that the page does not serve, and checked row by row.

They are read by a process of its own (data/reader.py). What is wrong with a file names the line, and calls the file as
its visitor does.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from distill.config.errors import UserError
from distill.config.files import replacing, sha256_of
from distill.config.run_config import RunConfig
from distill.data import reader
from distill.data.layouts import guess_columns, refusal
from distill.data.tables import MAX_BYTES
from distill.runs.uploads import check_space, note_sender, uploads
from distill.ui.auth import Visitor

KINDS = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class Uploaded:
    """`stored`: the file's name in the folder of uploads; `columns` it has; which is likely `question` and so on."""

    stored: str
    columns: tuple[str, ...]
    guess: dict[str, str | None]


def store_upload(path: str | Path, visitor: Visitor | None = None) -> Uploaded:
    """Copy an uploaded file to the folder of uploads; `visitor`: who sent it, where that is a stranger.

    Raises UserError where it cannot be read as a table, or where there is no room for it.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise UserError(
            f"{path.name} is not a JSONL, CSV or Parquet file: its name must end in .jsonl, .csv or .parquet."
        )
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path.name} has {path.stat().st_size / 1e6:,.0f} MB, more than {MAX_BYTES / 1e6:.0f}.")
    who = visitor.marks if visitor and not visitor.local else []
    if who:
        check_space(path.stat().st_size, who)
    names = reader.columns(path)  # a file that is no table, or none of questions and solutions, is not stored
    if what := refusal(names):
        raise UserError(f"{path.name} is {what}.")
    folder = uploads()
    stored = f"{sha256_of(path)}{kind}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / stored).exists():
            with replacing(folder / stored) as part:  # two visitors may upload the same file at once
                shutil.copyfile(path, part)
        if who:
            note_sender(stored, who)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{path.name} can't be kept on this server ({reason}): nothing of it was stored.") from error
    return Uploaded(stored, tuple(names), guess_columns(names))


def called(path: str | Path) -> str:
    """A file as its visitor calls it."""
    return Path(path).name


def fault(config: RunConfig, file: str) -> str:
    """What is wrong with the rows of a config's uploaded file, "" where nothing is; `file`: as the visitor calls it."""
    path = Path(config.data.path)
    try:
        reader.survey(path, config.data.columns)
    except UserError as error:
        return str(error).replace(path.name, file or "the file")
    return ""


def trial(config: RunConfig, file: str) -> tuple[list[str], str]:
    """(what a run of this config would warn about in its file, why it could not use it or ""); reads the whole file."""
    notes, said = reader.trial(config)
    stored = Path(config.data.path).name
    return [note.replace(stored, file or "the file") for note in notes], said.replace(stored, file or "the file")
