"""From an adapter of PEFT and the model it was trained on to one whole model, in a folder of its own."""

from __future__ import annotations

import json
from pathlib import Path

from peft import PeftConfig, get_peft_model

from distill.config.errors import ConfigError, UserError
from distill.config.run_config import ModelRef
from distill.models.loading import load_model, load_tokenizer
from distill.models.references import ADAPTER, check_folder, model_path
from distill.models.student import end_as_trained, load_adapter


def merge(adapter: Path, to: Path) -> Path:
    """Save the model that the adapter names with the adapter's weights added to its own, and the adapter's tokenizer
    where it has one, in the folder `to`, which is made; its whole path.

    Raises ConfigError where the adapter is none that can be added, its model is not found, or `to` is not empty;
    UserError where its weights are damaged or of another model.
    """
    base = _base_of(adapter)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ConfigError(f"{to} is there already and not empty: give a new folder.")
    try:
        path = model_path(base)
        if isinstance(path, Path):
            check_folder(path)
    except ConfigError as error:
        raise ConfigError(
            f"The model {base.model} that the adapter {adapter} was trained on can't be used ({error}): correct "
            f"base_model_name_or_path in {adapter / ADAPTER}."
        ) from error
    model = load_model(path, "auto", revision=base.revision, name=base.model)
    tokenizer = load_tokenizer(adapter if (adapter / "tokenizer.json").is_file() else path)
    try:
        student = get_peft_model(model, PeftConfig.from_pretrained(adapter))
    except (ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        raise UserError(f"The adapter {adapter} doesn't go with its model {base.model} ({reason}).") from error
    load_adapter(student, adapter)
    whole = student.merge_and_unload(safe_merge=True)
    end_as_trained(whole, adapter)
    try:
        to.mkdir(parents=True, exist_ok=True)
        whole.save_pretrained(to)
        tokenizer.save_pretrained(to)
    except OSError as error:
        raise UserError(f"{to} can't be written: {error.strerror or error}.") from error
    return to.resolve()


def _base_of(adapter: Path) -> ModelRef:
    """The model that an adapter was trained on."""
    if not (adapter / ADAPTER).is_file():
        raise ConfigError(f"{adapter} holds no {ADAPTER}, so it is no adapter: give a run, or a folder that has one.")
    if not (adapter / "adapter_model.safetensors").is_file():
        raise ConfigError(f"{adapter} holds no adapter_model.safetensors: save the adapter again as safetensors.")
    try:
        said = json.loads((adapter / ADAPTER).read_text(encoding="utf-8"))
        kind, base, revision = said["peft_type"], said["base_model_name_or_path"], said.get("revision")
        if not isinstance(base, str) or not base:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{adapter / ADAPTER} is damaged, or names no model: copy the adapter again.") from error
    if kind != "LORA":
        raise ConfigError(f"{adapter} is an adapter of the kind {kind}: only LORA can be added to its model here.")
    return ModelRef(model=base, revision=revision)
