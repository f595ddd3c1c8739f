"""What is known of a model without loading it: its size, width, layers, vocabulary, tokenizer and architecture; and
whether two models have the same tokenizer, where their files or the list tell.

From config.json and the headers of the weights where its files are on this machine (the zoo, a folder, the cache of
the Hub), from a short list of well-known models (assets/hub_models.yaml) where they are not. Nothing is fetched and no
weight is read.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import paths
from distill.config.errors import ConfigError
from distill.models.abilities import Shapes, why_only_read, why_unusable
from distill.models.references import check_folder, model_path, shapes_of

if TYPE_CHECKING:
    from distill.config.run_config import ModelRef

_HUB_MODELS = paths.ROOT / "assets" / "hub_models.yaml"
_TOKENIZER = re.compile(rb'"model"\s*:\s*\{\s*"type"\s*:\s*"(\w+)"')


@dataclass(frozen=True)
class ModelFacts:
    """`parameters` counts all weights, `width` is that of the hidden states, `tokenizer` its kind ("bpe", "unigram").
    `family`, of models in the list only: those of one family have the same tokenizer, those of two have not.

    `download`: bytes to fetch of it, where it is on the Hub and that has been asked.

    `known`: parameters, width, layers and vocabulary are all there. `fetched`: its files are on this machine. `caution`
    is what a user should know before choosing it, `refusal` why it can't be loaded by this program, `only_read` why it
    can neither write answers nor say how likely they are: each one sentence without its subject.
    """

    model: str
    parameters: int | None = None
    width: int | None = None
    layers: int | None = None
    vocabulary: int | None = None
    tokenizer: str | None = None
    architecture: str | None = None
    family: str | None = None
    fetched: bool = False
    caution: str | None = None
    refusal: str | None = None
    only_read: str | None = None
    download: int | None = None

    @property
    def known(self) -> bool:
        return None not in (self.parameters, self.width, self.layers, self.vocabulary)


def describe_model(ref: ModelRef | str) -> ModelFacts:
    """The facts of a zoo model, a folder or a Hub id; milliseconds, and read again only when its files change.

    Raises ConfigError where the reference means nothing, or the folder holds no whole model.
    """
    model, revision = (ref, None) if isinstance(ref, str) else (ref.model, ref.revision)
    path = model_path(ref)
    if isinstance(path, Path):
        return replace(_read(path), model=model)
    listed = _well_known().get(path, {})
    cached = _in_hub_cache(path, revision)
    told = _told.get((path, revision), ModelFacts(model))
    try:
        found = _read(cached) if cached else told
    except ConfigError:  # fetched in part
        found = told
    missing = {key: value for key, value in listed.items() if getattr(found, key) is None}
    return replace(found, model=model, **missing)


# What the Hub said of models that aren't here, by path and revision: see hub_lookup.py.
_told: dict[tuple[str, str | None], ModelFacts] = {}


def remember(path: str, revision: str | None, facts: ModelFacts) -> None:
    """What the Hub says of a model, for as long as this process lasts."""
    _told[path, revision] = facts


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
        facts = of_config(str(folder), config, shapes_of(headers))
        return replace(facts, tokenizer=_tokenizer(folder), fetched=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder}/config.json or its weights are damaged: copy them again.") from error


def of_config(model: str, config: dict[str, Any], shapes: Shapes) -> ModelFacts:
    """What config.json and the shapes of its tensors say of a model. Raises the errors of a file that holds something
    else."""
    text = config.get("text_config") or config
    return ModelFacts(
        model,
        sum(map(math.prod, shapes.values())),
        text.get("hidden_size") or text.get("n_embd"),
        text.get("num_hidden_layers") or text.get("n_layer"),
        text.get("vocab_size"),
        architecture=(config.get("architectures") or [None])[0],
        refusal=why_unusable(config),
        only_read=why_only_read(config, shapes),
    )


def _tokenizer(folder: Path) -> str | None:
    if folder.parent == paths.ZOO:
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
        return json.loads((paths.ZOO / "zoo.json").read_text(encoding="utf-8"))
    except FileNotFoundError:  # the zoo is being made
        return []


@cache
def _well_known() -> dict[str, dict[str, Any]]:
    return paths.read_yaml(_HUB_MODELS)


def _in_hub_cache(model: str, revision: str | None) -> Path | None:
    """The folder of the Hub's cache that holds the model's config.json, if it was fetched."""
    from huggingface_hub import try_to_load_from_cache  # a fifth of a second, and only for Hub ids

    try:
        found = try_to_load_from_cache(model, "config.json", revision=revision)
    except ValueError:  # no id that the Hub could have
        return None
    return Path(found).parent if isinstance(found, str) else None


# --- whether two tokenizers are the same -----------------------------------------------------------------------------

# Ids that are kept free, and that a later model of the family may give a name.
RESERVED = re.compile(r"reserved|unused|placeholder|dummy", re.IGNORECASE)


def same_tokenizer(student: ModelRef | str, teacher: ModelRef | str) -> bool | None:
    """Whether two models have the same tokenizer, as far as it can be told without loading them; None where it can't.

    True and False are what distill.models.tokenizer_compat.pair will say. From both tokenizer.json where they are
    here (0.2 to 0.6 s for 150,000 tokens), else from the families in the list; read again only when the files change.
    Raises ConfigError as describe_model.
    """
    try:
        return _alike(_tokenizer_files(student), _tokenizer_files(teacher))
    except (OSError, LookupError, ValueError, TypeError, AttributeError):
        # Not here, or broken, which whoever loads it says.
        families = [describe_model(ref).family for ref in (student, teacher)]
        return families[0] == families[1] if None not in families else None


def _tokenizer_files(ref: ModelRef | str) -> tuple:
    """(file, when it was changed, its size) of what says how a model reads. Raises OSError unless it is here."""
    path, revision = model_path(ref), None if isinstance(ref, str) else ref.revision
    folder = path if isinstance(path, Path) else _in_hub_cache(path, revision)
    if folder is None or not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(path)
    files = [folder / name for name in ("tokenizer.json", "tokenizer_config.json", "config.json")]
    return tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())


@lru_cache(maxsize=256)
def _alike(student: tuple, teacher: tuple) -> bool | None:
    ours, theirs = _Tokens.of(student), _Tokens.of(teacher)
    n = min(max(one.ids, default=-1) + 1 for one in (ours, theirs))
    kept_free = ours.reserved | theirs.reserved
    if any(ours.ids.get(i) != theirs.ids.get(i) for i in range(n) if i not in kept_free):
        return False
    # What one of them has learned beyond the other, that one reads differently.
    if any(i >= n for i in ours.learned | theirs.learned):
        return False
    # Alike in all: so whatever transformers makes of one, it makes of the other. Otherwise only it can tell: it gives
    # every qwen2 model, say, Qwen's own rule for cutting texts, whatever its tokenizer.json says.
    return True if ours.rest == theirs.rest else None


@dataclass(frozen=True)
class _Tokens:
    """What a tokenizer.json says. `learned`: ids that were not added; `reserved`: added ones kept free for later.

    `rest`: merges as in BPE or scores as in Unigram, how texts are cut first, and who reads the file.
    """

    ids: dict[int, str]
    learned: frozenset[int]
    reserved: frozenset[int]
    rest: list

    @classmethod
    def of(cls, files: tuple) -> _Tokens:
        read = {file.name: json.loads(file.read_text(encoding="utf-8")) for file, *_ in files}
        file, config = read["tokenizer.json"], read.get("config.json", {})
        model, added = file["model"], {entry["id"]: entry for entry in file.get("added_tokens") or []}
        vocab = model["vocab"]
        unigram = [] if isinstance(vocab, dict) else vocab
        ids = dict(enumerate(t for t, _ in unigram)) if unigram else {i: t for t, i in vocab.items()}
        how = {key: value for key, value in model.items() if key not in ("vocab", "merges") and value}
        merges = [m if isinstance(m, str) else " ".join(m) for m in model.get("merges") or []]
        flags = [
            [i, *(entry.get(k) for k in ("lstrip", "rstrip", "single_word", "normalized"))]
            for i, entry in sorted(added.items())
        ]
        by = (read.get("tokenizer_config.json", {}).get("tokenizer_class") or "").removesuffix("Fast")
        cutting = [file.get("normalizer"), file.get("pre_tokenizer"), by, config.get("model_type"), flags]
        return cls(
            ids | {i: entry["content"] for i, entry in added.items()},
            frozenset(ids) - frozenset(added),
            frozenset(i for i, entry in added.items() if RESERVED.search(entry["content"])),
            [how, merges, [score for _, score in unigram], *cutting],
        )
