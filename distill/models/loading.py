"""Loading models and tokenizers, safely and with every failure in one sentence; and a digest that tells models apart.

Safetensors only, and no code from a model's folder is ever run. This module knows nothing of what a model is for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import resolve_revision
from transformers.utils.peft_utils import find_adapter_config_file

from distill.config.errors import ConfigError, UserError
from distill.models import hub_errors
from distill.models.offload import free_bytes, spread
from distill.models.references import adapter_beside, check_files, on_the_hub

# What of a model's folder decides its answers, its hidden states and its tokens.
_DECISIVE = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def load_model(
    path: Path | str,
    dtype: torch.dtype | str = torch.float32,
    device: torch.device | str = "cpu",
    revision: str | None = None,
    name: str | None = None,
    spill: Callable[[str, str], None] | None = None,
    room: int | None = None,
    **kwargs,
) -> PreTrainedModel:
    """The causal language model in a folder, a GGUF file or of a Hub id (see `model_path`), in eval mode on `device`.

    `name` is what errors call it; `kwargs` go to from_pretrained (quantization_config). Weights of a GGUF file are
    unpacked to `dtype`. Where `spill` is given (code, sentence), a model with more than `room` bytes of weights
    (default: what is free on the GPU) is loaded in part to main memory, and `spill` is told; never trained so. Raises
    UserError, one sentence, where weights are missing, cut short, pickled or of another architecture, or the Hub can't
    be reached; ConfigError where GGUF weights are to be quantised again.
    """
    folder, gguf = _files(path, revision, name)
    if gguf and "quantization_config" in kwargs:
        raise ConfigError(f"{name or path} is a GGUF file, which can't be quantised again: remove lora.quantize.")
    how = {"revision": revision or "main", "trust_remote_code": False, "local_files_only": isinstance(folder, Path)}
    how |= {"gguf_file": gguf} if gguf else {}
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        places = _places(folder, how, dtype, device, room) if spill else None
        model, report = _loaded(
            AutoModelForCausalLM,
            folder,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            device_map=places,
            **({"quantization_config": GgufConfig(dequantize=True)} if gguf else {}),
            **how,
            **kwargs,
        )
    except Exception as error:  # whatever the library stumbles over, the user can only look at the model
        raise UserError(f"The model {name or path} can't be loaded: {_reason(error)}") from error
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
    _check_whole(str(name or path), sorted(report["missing_keys"]))
    if places:
        spill(f"larger_than_gpu:{name or path}", _spilled(str(name or path), places, device))
    return (model if places or "quantization_config" in kwargs else model.to(device)).eval()


def _check_whole(name: str, lacking: list[str]) -> None:
    """Raise UserError where weights are `lacking`: the library fills them with random numbers and goes on."""
    if lacking:
        raise UserError(
            f"The model {name} lacks {len(lacking)} weights that its config.json speaks of, such as {lacking[0]}: its "
            "config and its weights are not of one model, so copy both again."
        )


def _places(folder: Path | str, how: dict, dtype: torch.dtype, device: torch.device | str, room: int | None):
    """The device_map of a model that doesn't fit on `device`, None where it does."""
    room = free_bytes(device) if room is None else room
    return None if room is None else spread(AutoConfig.from_pretrained(folder, **how), dtype, room, device)


def _spilled(name: str, places: dict, device: torch.device | str) -> str:
    away = [place for place in places.values() if place != device]
    where = "on disk" if "disk" in away else "in main memory"
    return (
        f"The teacher {name} is larger than the memory that is free on this machine's {torch.device(device).type}: "
        f"{len(away)} of its layers wait {where}, which is slower."
    )


def load_tokenizer(path: Path | str, revision: str | None = None, name: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model. Raises UserError where there is none, or none that says which characters a token is."""
    folder, gguf = _files(path, revision, name, check=False)
    how = {"gguf_file": gguf} if gguf else {}
    try:
        tokenizer = _loaded(
            AutoTokenizer,
            folder,
            revision=revision or "main",
            trust_remote_code=False,
            local_files_only=isinstance(folder, Path),
            **how,
        )
    except Exception as error:
        raise UserError(f"The tokenizer of {name or path} can't be loaded: {_reason(error)}") from error
    if not tokenizer.is_fast:
        raise UserError(f"The tokenizer of {name or path} gives no offsets: use a model with a tokenizer.json.")
    if not tokenizer("a").input_ids:  # where its files are missing, the library makes one that knows no words
        raise UserError(f"The model {name or path} has no tokenizer: copy its tokenizer.json beside its weights.")
    return tokenizer


def fingerprint(path: Path | str, revision: str | None = None) -> str:
    """What tells a model from every other: a digest of its files in a folder, or "id@commit" for a Hub id.

    Of a GGUF file its bytes alone. A folder's name and dates do not count, so a copy has the same fingerprint and a
    model trained further has not.
    """
    folder = _folder(path)
    if folder is None:
        repository, _ = on_the_hub(str(path))
        # asks the Hub, or its local cache; says the same again if neither knows
        resolved = resolve_revision(repository, revision)
        return f"{path}@{getattr(resolved, 'resolved', None) or revision or 'main'}"
    digest = hashlib.sha256()
    alone = folder.is_file()  # a GGUF file, whatever it is called
    for file in [folder] if alone else sorted({file for pattern in _DECISIVE for file in folder.glob(pattern)}):
        try:
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"{file} can't be read: {error.strerror or error}.") from error
        digest.update(f"{'gguf' if alone else file.name}:{found}\n".encode())
    return digest.hexdigest()


def _folder(path: Path | str) -> Path | None:
    """The folder or file on this machine, None for what is on the Hub."""
    folder = Path(path)
    return folder if isinstance(path, Path) or folder.is_dir() else None


def _files(
    path: Path | str, revision: str | None, name: str | None, check: bool = True
) -> tuple[Path | str, str | None]:
    """(folder or Hub id, name of the GGUF file in that folder or None); a GGUF file on the Hub is fetched."""
    found = _folder(path)
    if found is None:
        repository, gguf = on_the_hub(str(path))
        if gguf is None:
            if check and find_adapter_config_file(repository, revision=revision or "main"):
                raise adapter_beside(name or path)
            return repository, None
        try:
            found = Path(hf_hub_download(repository, gguf, revision=revision))
        except Exception as error:
            raise UserError(f"The model {name or path} can't be fetched: {_reason(error)}") from error
    if check:
        check_files(found)
    return (found.parent, found.name) if found.is_file() else (found, None)


def _loaded(kind: Any, folder: Path | str, **how: Any) -> Any:
    """`kind.from_pretrained`; where the Hub shuts this process out, what was fetched before by somebody whom it let in.

    The library asks the Hub for small files that a model may or may not have. Who may use a model is said before: see
    ui/auth.py.
    """
    try:
        return kind.from_pretrained(folder, **how)
    except Exception as error:
        if hub_errors.shut_out(error):
            with suppress(Exception):  # it isn't here, and what the Hub said is the reason
                return kind.from_pretrained(folder, **how | {"local_files_only": True})
        raise


def _reason(error: Exception) -> str:
    """The first sentence of an error, cut where it is long, and what to do."""
    first = " ".join(str(error).split()).split(". ")[0].rstrip(".:") or type(error).__name__
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "there is not enough memory for it, so use a smaller model, 4-bit weights or a larger machine."
    return f"{first[:300]} (look at its config.json, its files, or the network if it is on the Hub)."
