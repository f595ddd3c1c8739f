"""What a visitor may download of a run, as copies in a temporary folder: a run's own folder is never served.

The adapter comes as a zip that works anywhere. Its config names the base model by its Hub id; a bundled base model,
which nobody can fetch, lies beside it in the zip under the name that the config gives. No file names a place here.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import zipfile
from functools import cache
from pathlib import Path

from distill.config.errors import UserError
from distill.config.files import replacing, write_atomically
from distill.config.paths import zoo_folder
from distill.config.places import without_places
from distill.models.references import ADAPTER
from distill.ui.actions import published

# what -> (its path in a run's folder, the end of the copy's name, what the page calls it)
FILES = {
    "adapter": ("adapter", "adapter.zip", "The adapter"),
    "report": ("report.json", "report.json", "The report"),
    "card": ("README.md", "README.md", "The model card"),
    "config": ("config.yaml", "config.yaml", "config.yaml"),
}
_SAY_PLACES = {ADAPTER, "tokenizer_config.json"}
_lock = threading.Lock()  # one copy at a time: two visitors may want the same file


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """This process's folder of copies; it goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="distill-downloads-")


def scratch() -> Path:
    """The folder from which the page may serve files: only this process's user can write there."""
    return Path(_scratch().name)


def remove_copies(run_id: str) -> None:
    """Remove all copies of a run."""
    with _lock:
        shutil.rmtree(scratch() / Path(run_id).name, ignore_errors=True)


def available(folder: Path, what: str) -> bool:
    """Whether the run at `folder` has it yet."""
    return (folder / FILES[what][0]).exists()


def copy(folder: Path, what: str) -> Path:
    """A copy of `what` (one of FILES) of the run at `folder`, named after the run; made anew only if that changed.

    Raises UserError where the run has none, or the disk is full.
    """
    source, ending, called = FILES[what]
    target = scratch() / folder.name / f"distill-{folder.name[:6]}-{ending}"
    try:
        parts = _files(folder / source)
        if not parts:
            raise UserError(f"{called} of run {folder.name} isn't there yet: it is written when the run ends.")
        newest = max(part.stat().st_mtime_ns for part in parts)
        with _lock:
            target.parent.mkdir(exist_ok=True)
            if not target.exists() or target.stat().st_mtime_ns != newest:
                _write(folder / source, parts, target)
                os.utime(target, ns=(newest, newest))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"{called} of run {folder.name} can't be copied ({reason}).") from error
    return target


def _files(source: Path) -> list[Path]:
    """The regular files at or under `source`; a link could lead anywhere and is left out."""
    found = sorted(source.rglob("*")) if source.is_dir() else [source]
    return [path for path in found if path.is_file() and not path.is_symlink()]


def _portable(file: Path) -> str:
    """A config of an adapter as JSON, with the last part of each value that is a place on this machine."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        places = {key: without_places(value) for key, value in said.items() if Path(str(value)).is_absolute()}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{file.name} of the adapter is damaged: train again, or take it from a copy.") from error
    return json.dumps({**said, **places}, indent=2, ensure_ascii=False) + "\n"


def _base(config: Path) -> dict[str, Path]:
    """{name in the zip: file} of the base model that an adapter's config names, where it is a bundled one."""
    try:
        named = str(json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    bundled = zoo_folder(Path(named).name)
    if bundled is None or not Path(named).is_absolute():  # of the Hub, by its id
        return {}
    return {f"{bundled.name}/{path.relative_to(bundled).as_posix()}": path for path in _files(bundled)}


def _write(source: Path, parts: list[Path], target: Path) -> None:
    if source.is_dir():
        how = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 1}
        with replacing(target) as unfinished, zipfile.ZipFile(unfinished, "w", **how) as archive:
            for path in parts:
                name = path.relative_to(source.parent)
                if path.name in _SAY_PLACES:
                    archive.writestr(name.as_posix(), _portable(path))
                elif path.name != "README.md":  # PEFT's empty card, which names its base model's folder
                    archive.write(path, name)
            card = source.parent / "README.md"
            if _files(card):
                archive.writestr(
                    f"{source.name}/README.md", without_places(published(card.read_text("utf-8", "replace")))
                )
            for name, path in _base(source / ADAPTER).items():
                archive.write(path, name)
    else:
        write_atomically(target, published(parts[0].read_text(encoding="utf-8", errors="replace")))
