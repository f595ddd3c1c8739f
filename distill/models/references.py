"""Which model a reference means (zoo model, folder or Hub id), and whether a folder holds a whole, safe one.

Only file names and headers are read: no weights are loaded and nothing is fetched.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import paths
from distill.config.errors import ConfigError
from distill.config.messages import instead, nearest
from distill.config.requirements import continues
from distill.models.abilities import check_folder_can

if TYPE_CHECKING:
    from distill.config.run_config import ModelRef, RunConfig

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_RUN_ID = re.compile(r"[0-9a-f]{12}")
ADAPTER = "adapter_config.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_LARGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library


def model_path(ref: ModelRef | str) -> Path | str:
    """The zoo folder, else the folder, else the Hub id that `ref` means. Raises ConfigError where it is none."""
    model = ref if isinstance(ref, str) else ref.model
    refuse_gguf(model)
    folder = paths.zoo_folder(model)
    if folder:
        return folder
    if model in paths.preset_models():
        raise ConfigError(f"The zoo model {model!r} is not made yet: make it with python -m distill zoo.")
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ConfigError(f"{model} is a file, not a model: give the folder it is in.")
    if path.is_absolute() or model.startswith((".", "~")) or len(path.parts) > 2:
        raise ConfigError(f"There is no folder {model}: give one that holds a model.")
    # "zoo/qwen2-tny" is shaped like a Hub id too; only the Hub can say that it isn't one.
    if is_repository(model):
        return model
    if _RUN_ID.fullmatch(model) and is_run_folder(paths.home().runs / model):
        raise ConfigError(_without_config(paths.home().runs / model))
    names = paths.zoo_names()
    hint = f"did you mean {nearest(model, names)!r}?" if nearest(model, names) else instead(model, names)
    raise ConfigError(f"Not found: {model!r}. Enter owner/name, a folder, or pick a bundled model: {hint}")


def is_repository(name: str) -> bool:
    """Whether it is shaped like the name of a repository of the Hub, of a model or of a data set."""
    return bool(_HUB_ID.fullmatch(name))


def refuse_gguf(model: str, holds: bool = False) -> None:
    """Raises ConfigError where the model is a GGUF file, or a folder or repository that `holds` such files alone."""
    if holds or model.lower().endswith(".gguf"):
        raise ConfigError(
            f"{model} {'holds only GGUF files' if holds else 'is a GGUF file'}, and only safetensors are read: name "
            "the model that it was made from (its page on the Hub calls it the base model), which is there as "
            "safetensors."
        )


def check_models(config: RunConfig) -> None:
    """Raises ConfigError unless every model is known, every folder among them holds a config and whole weights, and
    what is in it can do what is asked: a student continues texts, and so do most teachers (see abilities.py)."""
    for role, ref in [("student", config.student), *(("teacher", teacher) for teacher in config.teachers)]:
        try:
            path = model_path(ref)
            if isinstance(path, Path):
                shapes = shapes_of(check_folder(path))
                check_folder_can(path, shapes, role == "student" or continues(config, ref.name))
        except ConfigError as error:
            raise ConfigError(f"The {role} {ref.name!r} can't be used: {lower(str(error))}") from error


def check_folder(folder: Path) -> list[dict[str, Any]]:
    """The headers of the weight files of a model's folder: {tensor: {"dtype", "shape", "data_offsets"}} each.

    Raises ConfigError unless `folder` holds config.json and complete safetensors weights.
    """
    files = sorted(folder.glob("*.safetensors"))
    refuse_gguf(str(folder), holds=not files and any(folder.glob("*.gguf")))
    if not (folder / "config.json").is_file():
        raise ConfigError(_without_config(folder))
    if (folder / ADAPTER).is_file():
        raise adapter_beside(folder)
    if not files:
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if pickles:
            raise _pickle(folder / pickles[0])
        raise ConfigError(f"{folder} holds no weights (*.safetensors): copy them there or save the model again.")
    listed = _listed(folder)
    missing = sorted(listed - {path.name for path in files})
    if missing:
        raise ConfigError(f"{folder} lacks {missing[0]}, one of its {len(listed)} weight files: copy it again.")
    headers = {file.name: safetensors_header(file) for file in files}
    return [header for name, header in headers.items() if not listed or name in listed]


def _without_config(folder: Path) -> str:
    """What a folder without config.json is, and what to do."""
    merge = f"make a whole model of it with python -m distill merge {folder} --to FOLDER, and give that folder."
    if (folder / ADAPTER).is_file():
        return f"{folder} is an adapter, not a whole model: {merge}"
    if is_run_folder(folder):
        if (folder / "adapter" / ADAPTER).is_file():
            return f"{folder} is the folder of a run, whose student is an adapter: {merge}"
        return f"{folder} is the folder of a run that has no adapter yet: let it train first."
    within = [child for child in folder.glob("checkpoint-*") if (child / "config.json").is_file()]
    if within:
        newest = max(within, key=lambda child: (len(child.name), child.name))
        return f"{folder} holds checkpoints of a model: give one of them, such as {newest}."
    return f"{folder} holds no config.json: give a folder saved by save_pretrained."


def is_run_folder(folder: Path) -> bool:
    """Whether a folder is that of a run of this program."""
    return (folder / "config.yaml").is_file() and (folder / "events.jsonl").is_file()


def shapes_of(headers: Iterable[dict[str, Any]]) -> dict[str, list[int]]:
    """{tensor: its shape}, of all weight files."""
    return {name: tensor["shape"] for header in headers for name, tensor in header.items()}


def adapter_beside(model: Path | str) -> ConfigError:
    """Why a model with an adapter in its folder is refused: transformers would load what the adapter names instead,
    which may be any model, or any folder of this machine."""
    return ConfigError(
        f"{model} holds an adapter ({ADAPTER}), which names the model to be loaded and changes it: give a model "
        "without one, such as the adapter merged into its model, or delete that file where it is merged already."
    )


def safetensors_header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file, without its metadata. Raises ConfigError unless the file is as long as it says.

    A safetensors file is 8 bytes (the header's length, little endian), the header (JSON: name -> dtype, shape,
    data_offsets [begin, end) after the header) and the data.
    """
    broken = f"{file} is not a safetensors file, or its start is damaged: copy it again."
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(9)
            length = int.from_bytes(start[:8], "little")
            if size > 8 and (start[8:] != b"{" or length > _LARGEST_HEADER):
                raise _pickle(file) if start.startswith((b"PK\x03\x04", b"\x80")) else ConfigError(broken)
            if size < max(9, 8 + length):
                raise _truncated(file, size, max(9, 8 + length))
            header = json.loads(start[8:] + stream.read(length - 1))
        header.pop("__metadata__", None)
        ends = [entry["data_offsets"][1] for entry in header.values()]
    except OSError as error:
        raise ConfigError(f"{file} can't be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigError(broken) from error
    if not ends:
        raise ConfigError(f"{file} holds no weights at all: save the model again.")
    if size < 8 + length + max(ends):
        raise _truncated(file, size, 8 + length + max(ends))
    if size > 8 + length + max(ends):
        raise ConfigError(broken.replace("start", "end"))
    return header


def _truncated(file: Path, size: int, whole: int) -> ConfigError:
    return ConfigError(f"{file} is cut short ({size:,} of at least {whole:,} bytes): copy it again.")


def _pickle(file: Path) -> ConfigError:
    return ConfigError(f"{file} is a pickle, which can run code when it is read: save the model again as safetensors.")


def _listed(folder: Path) -> set[str]:
    """The weight files the index names, where the weights are in several."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        return set(index["weight_map"].values())
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder}/model.safetensors.index.json is damaged: copy it again.") from error


def absolute(config: RunConfig) -> RunConfig:
    """The config with its folders made absolute, so that it means the same from another working folder."""

    def fixed(ref: ModelRef) -> ModelRef:
        path = Path(ref.model).expanduser()
        if paths.zoo_folder(ref.model) or path.is_absolute() or not path.is_dir():
            return ref
        return ref.model_copy(update={"model": str(path.resolve())})

    data = config.data
    places = {"path": data.path and _resolved(data.path)}
    if data.dataset and Path(os.path.expanduser(data.dataset)).is_dir():  # else it is a Hub id
        places["dataset"] = _resolved(data.dataset)
    return config.model_copy(
        update={
            "student": fixed(config.student),
            "teachers": [fixed(t) for t in config.teachers],
            "data": data.model_copy(update=places),
        }
    )


def _resolved(path: str) -> str:
    return str(Path(os.path.expanduser(path)).resolve())


def lower(text: str) -> str:
    """The sentence without its capital, to follow a colon, unless its first word is a path or a name."""
    return text[0].lower() + text[1:] if text.startswith(("The ", "There ", "Not found")) else text
