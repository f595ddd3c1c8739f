"""Loading models and tokenizers, safely and with every failure in one sentence; and a digest that tells models apart.

Safetensors only, and no code from a model's folder is ever run. Of a model that is larger than the GPU some layers wait
in main memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import GENERATION_CONFIG_NAME, cached_file
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import resolve_revision
from transformers.utils.peft_utils import find_adapter_config_file

from distill.config.errors import UserError
from distill.config.files import sha256_of
from distill.models import hub_errors
from distill.models.references import adapter_beside, check_folder

# What of a model's folder decides its answers, its hidden states and its tokens.
_DECISIVE = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
_SHARE = 0.8  # of the free GPU memory for weights: the rest is for what is computed with them


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
    """The causal language model in a folder or of a Hub id (see `model_path`), in eval mode on `device`.

    `name` is what errors call it; `kwargs` go to from_pretrained (quantization_config). Where `spill` is given (code,
    sentence), a model with more than `room` bytes of weights (default: what is free on the GPU) is loaded in part to
    main memory, and `spill` is told; never trained so. Raises UserError, one sentence, where weights are missing, cut
    short, pickled or of another architecture, or the Hub can't be reached.
    """
    folder = _folder(path)
    if isinstance(folder, Path):
        check_folder(folder)
    elif find_adapter_config_file(folder, revision=revision or "main"):
        raise adapter_beside(name or path)
    how = {"revision": revision or "main", "trust_remote_code": False, "local_files_only": isinstance(folder, Path)}
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    ends = _own_ends(folder, how, str(name or path))
    try:
        places = _places(folder, how, dtype, device, room) if spill else None
        model, report = _loaded(
            AutoModelForCausalLM,
            folder,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            device_map=places,
            generation_config=GenerationConfig(eos_token_id=ends or None),
            **how,
            **kwargs,
        )
    except Exception as error:  # whatever the library stumbles over, the user can only look at the model
        raise UserError(f"The model {name or path} can't be loaded: {_reason(error)}") from error
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
    _check_whole(str(name or path), sorted(report["missing_keys"]))
    if ends is None:  # there is no such file
        said = (getattr(config, "eos_token_id", None) for config in (model.config, model.config.get_text_config()))
        model.generation_config.eos_token_id = next((token for token in said if token is not None), None)
    if places:
        spill(f"larger_than_gpu:{name or path}", _spilled(str(name or path), places, device))
    return (model if places or "quantization_config" in kwargs else model.to(device)).eval()


def _own_ends(folder: Path | str, how: dict, name: str) -> int | list[int] | None:
    """The tokens that end this model's answers by its generation_config.json, of which nothing else is heeded: how
    answers are written is up to the run. None where there is no such file, for config.json to say.

    Raises UserError where the file is damaged: answers would not end.
    """
    places = {key: how[key] for key in ("revision", "local_files_only")}
    quiet = {f"_raise_exceptions_for_{what}": False for what in ("gated_repo", "missing_entries", "connection_errors")}
    file = cached_file(folder, GENERATION_CONFIG_NAME, **places, **quiet)  # the weights will say what is the matter
    if file is None:
        return None
    try:
        ends = json.loads(Path(file).read_text(encoding="utf-8")).get("eos_token_id")
        if not all(type(token) is int for token in (ends if isinstance(ends, list) else [ends or 0])):
            raise ValueError
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"The {GENERATION_CONFIG_NAME} of {name} is damaged, or its eos_token_id is no number of a token: copy it "
            "again, or delete it."
        ) from error
    return [] if ends is None else ends


def _check_whole(name: str, lacking: list[str]) -> None:
    """Raise UserError where weights are `lacking`: the library fills them with random numbers and goes on."""
    if lacking:
        raise UserError(
            f"The model {name} lacks {len(lacking)} weights that its config.json lists, such as {lacking[0]}: its "
            "config and its weights are not from the same model, so copy both again."
        )


def _places(folder: Path | str, how: dict, dtype: torch.dtype, device: torch.device | str, room: int | None):
    """The device_map of a model that doesn't fit on `device`, None where it does."""
    room = free_bytes(device) if room is None else room
    return None if room is None else device_map(AutoConfig.from_pretrained(folder, **how), dtype, room, device)


def _spilled(name: str, places: dict, device: torch.device | str) -> str:
    away = [place for place in places.values() if place != device]
    where = "on disk" if "disk" in away else "in main memory"
    return (
        f"The teacher {name} is larger than the memory that is free on this machine's {torch.device(device).type}: "
        f"{len(away)} of its layers wait {where}, which is slower."
    )


def load_tokenizer(path: Path | str, revision: str | None = None, name: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model. Raises UserError where there is none, or none that says which characters a token is."""
    folder = _folder(path)
    try:
        tokenizer = _loaded(
            AutoTokenizer,
            folder,
            revision=revision or "main",
            trust_remote_code=False,
            local_files_only=isinstance(folder, Path),
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
    if isinstance(folder, str):
        # asks the Hub, or its local cache; says the same again if neither knows
        resolved = resolve_revision(folder, revision)
        return f"{path}@{getattr(resolved, 'resolved', None) or revision or 'main'}"
    digest = hashlib.sha256()
    for file in sorted({file for pattern in _DECISIVE for file in folder.glob(pattern)}):
        try:
            found = sha256_of(file)
        except OSError as error:
            raise UserError(f"{file} can't be read: {error.strerror or error}.") from error
        digest.update(f"{file.name}:{found}\n".encode())
    return digest.hexdigest()


def _folder(path: Path | str) -> Path | str:
    """The folder on this machine, or the Hub id."""
    return Path(path) if Path(path).is_dir() else path


def _loaded(kind: Any, folder: Path | str, **how: Any) -> Any:
    """`kind.from_pretrained`; where the Hub shuts this process out, what was fetched before by somebody it let in.

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


# --- larger than the GPU ----------------------------------------------------------------------------------------------
# The first layers stay there and the rest wait in main memory: accelerate brings each to the GPU when its turn comes.
# Only whole layers move; what is read directly (embeddings, head) always stays.


def free_bytes(device: torch.device | str) -> int | None:
    """Bytes of weights that fit on this GPU now; None where it is none, and there is nowhere else to put them."""
    if torch.device(device).type != "cuda":
        return None
    free = torch.cuda.mem_get_info(device)[0]
    # What torch keeps for later is free too.
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_SHARE * (free + unused))


def device_map(
    config: PreTrainedConfig, dtype: torch.dtype, room: int, device: torch.device | str
) -> dict[str, str | torch.device] | None:
    """transformers' device_map that keeps at most `room` bytes of weights on `device`, None where all of them fit.

    The rest goes to main memory, or, where `device` is the CPU itself, stays on disk.
    """
    with torch.device("meta"):  # shapes only
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    whole = _bytes(model)
    if whole <= room:
        return None
    depth = config.get_text_config().num_hidden_layers
    path, layers = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth)
    sizes = [_bytes(layer) for layer in layers]
    left = room - (whole - sum(sizes)) - max(sizes)  # one that is brought in needs its room too
    places: dict[str, str | torch.device] = dict.fromkeys(_beside(model, path), device)
    for number, size in enumerate(sizes):
        left -= size
        places[f"{path}.{number}"] = device if left >= 0 else _elsewhere(device)
    return places


def _elsewhere(device: torch.device | str) -> str:
    return "disk" if torch.device(device).type == "cpu" else "cpu"


def _beside(model: nn.Module, path: str) -> list[str]:
    """The names of the modules that hold all but what is in `path`, none of them within another."""
    found, prefix = [], ""
    for part in path.split("."):
        inside = model.get_submodule(prefix) if prefix else model
        found += [f"{prefix}.{name}" if prefix else name for name, _ in inside.named_children() if name != part]
        prefix = f"{prefix}.{part}" if prefix else part
    return found


def _bytes(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
