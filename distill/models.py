"""Loading models and tokenizers, safely and with every failure in one sentence; and a digest that tells models apart.

Safetensors only, and no code from a model's folder is ever run. This module knows nothing of what a model is for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import resolve_revision

from distill.errors import UserError
from distill.references import check_folder

# What of a model's folder decides its answers, its hidden states and its tokens.
_DECISIVE = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def load_model(
    path: Path | str,
    dtype: torch.dtype | str = torch.float32,
    device: torch.device | str = "cpu",
    revision: str | None = None,
    name: str | None = None,
    **kwargs,
) -> PreTrainedModel:
    """The causal language model in a folder, or of a Hub id, in eval mode on `device`.

    `name` is what errors call it; `kwargs` go to from_pretrained (quantization_config). Raises UserError, one sentence,
    where weights are missing, cut short, pickled or of another architecture, or the Hub can't be reached.
    """
    folder = _folder(path)
    if folder:
        check_folder(folder)
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            revision=revision or "main",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=folder is not None,
            output_loading_info=True,
            **kwargs,
        )
    except Exception as error:  # whatever the library stumbles over, the user can only look at the model
        raise UserError(f"The model {name or path} can't be loaded: {_reason(error)}") from error
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
    lacking = sorted(report["missing_keys"])
    if lacking:  # the library would fill them with random numbers and go on
        raise UserError(
            f"The model {name or path} lacks {len(lacking)} weights that its config.json speaks of, such as "
            f"{lacking[0]}: its config and its weights are not of one model, so copy both again."
        )
    return (model if "quantization_config" in kwargs else model.to(device)).eval()


def load_tokenizer(path: Path | str, revision: str | None = None, name: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model. Raises UserError where there is none, or none that says which characters a token is."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, revision=revision or "main", trust_remote_code=False, local_files_only=_folder(path) is not None
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

    A folder's name and dates do not count, so a copy has the same fingerprint and a model trained further has not.
    """
    folder = _folder(path)
    if folder is None:
        resolved = resolve_revision(
            path, revision
        )  # asks the Hub, or its local cache; says the same again if neither knows
        return f"{path}@{getattr(resolved, 'resolved', None) or revision or 'main'}"
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _DECISIVE for file in folder.glob(pattern)}):
        try:
            with file.open("rb") as stream:
                digest.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        except OSError as error:
            raise UserError(f"{file} can't be read: {error.strerror or error}.") from error
    return digest.hexdigest()


def _folder(path: Path | str) -> Path | None:
    folder = Path(path)
    return folder if isinstance(path, Path) or folder.is_dir() else None


def _reason(error: Exception) -> str:
    """The first sentence of an error, cut where it is long, and what to do."""
    first = " ".join(str(error).split()).split(". ")[0].rstrip(".:") or type(error).__name__
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "there is not enough memory for it, so use a smaller model, 4-bit weights or a larger machine."
    return f"{first[:300]} (look at its config.json, its files, or the network if it is on the Hub)."
