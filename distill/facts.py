"""What is known of a model without loading it: its size, width, layers, vocabulary, tokenizer and architecture.

From config.json and the headers of the weights where its files are on this machine (the zoo, a folder, the cache of
the Hub), from a short list of well-known models (assets/hub_models.yaml) where they are not. Nothing is fetched and no
weight is read. It knows nothing of what a model is for.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill import assets
from distill.errors import ConfigError
from distill.references import check_folder, model_path

if TYPE_CHECKING:
    from distill.config import ModelRef

_HUB_MODELS = assets.ROOT / "assets" / "hub_models.yaml"
_TOKENIZER = re.compile(rb'"model"\s*:\s*\{\s*"type"\s*:\s*"(\w+)"')


@dataclass(frozen=True)
class ModelFacts:
    """`parameters` counts all weights, `width` is that of the hidden states, `tokenizer` its kind ("bpe", "unigram").

    `known`: parameters, width, layers and vocabulary are all there. `fetched`: its files are on this machine. `caution`
    is what a user should know before choosing it, `refusal` why it can't be loaded by this program, each one sentence
    without its subject.
    """

    model: str
    parameters: int | None = None
    width: int | None = None
    layers: int | None = None
    vocabulary: int | None = None
    tokenizer: str | None = None
    architecture: str | None = None
    fetched: bool = False
    caution: str | None = None
    refusal: str | None = None

    @property
    def known(self) -> bool:
        return None not in (self.parameters, self.width, self.layers, self.vocabulary)


def describe_model(ref: ModelRef | str) -> ModelFacts:
    """The facts of a zoo model, a folder or a Hub id; milliseconds, and read again only when its files change.

    Raises ConfigError where the reference means nothing, or the folder holds no whole model.
    """
    model, revision = (ref, None) if isinstance(ref, str) else (ref.model, ref.revision)
    path = model_path(model)
    if isinstance(path, Path):
        return replace(_read(path), model=model)
    listed = _well_known().get(path, {})
    cached = _in_hub_cache(path, revision)
    try:
        found = _read(cached) if cached else ModelFacts(model)
    except ConfigError:  # fetched in part
        found = ModelFacts(model)
    missing = {key: value for key, value in listed.items() if getattr(found, key) is None}
    return replace(found, model=model, **missing)


def _read(folder: Path) -> ModelFacts:
    names = ("*.safetensors", "*.json")
    stats = [(file.name, file.stat()) for pattern in names for file in sorted(folder.glob(pattern)) if file.is_file()]
    return _from_folder(folder, tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats))


@lru_cache(maxsize=256)
def _from_folder(folder: Path, stamp: tuple) -> ModelFacts:
    """`stamp` changes with the files, so that what is remembered is what is there."""
    headers = check_folder(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parameters = sum(math.prod(tensor["shape"]) for header in headers for tensor in header.values())
        text = config.get("text_config") or config
        architectures = config.get("architectures") or [None]
        return ModelFacts(
            str(folder),
            parameters,
            text.get("hidden_size") or text.get("n_embd"),
            text.get("num_hidden_layers") or text.get("n_layer"),
            text.get("vocab_size"),
            _tokenizer(folder),
            architectures[0],
            fetched=True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder}/config.json or its weights are damaged: copy them again.") from error


def _tokenizer(folder: Path) -> str | None:
    if folder.parent == assets.ZOO:
        said = next((entry for entry in _zoo_entries() if entry["name"] == folder.name), {})
        if said.get("tokenizer"):
            return said["tokenizer"]
    try:  # searched, not parsed: a large one has megabytes
        found = _TOKENIZER.search((folder / "tokenizer.json").read_bytes())
    except OSError:
        return None
    return found[1].decode().lower() if found else None


def _zoo_entries() -> list[dict[str, Any]]:
    try:
        return json.loads((assets.ZOO / "zoo.json").read_text(encoding="utf-8"))
    except FileNotFoundError:  # the zoo is being made
        return []


@cache
def _well_known() -> dict[str, dict[str, Any]]:
    return assets.read_yaml(_HUB_MODELS)


def _in_hub_cache(model: str, revision: str | None) -> Path | None:
    """The folder of the Hub's cache that holds the model's config.json, if it was fetched."""
    from huggingface_hub import try_to_load_from_cache  # a fifth of a second, and only for Hub ids

    try:
        found = try_to_load_from_cache(model, "config.json", revision=revision)
    except ValueError:  # no id that the Hub could have
        return None
    return Path(found).parent if isinstance(found, str) else None
