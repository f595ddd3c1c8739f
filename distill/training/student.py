"""The student: a causal language model with a LoRA adapter, or QLoRA. Knows nothing of teachers, losses or data.

"Before" is this same loaded model with its adapter disabled (`peft`'s `disable_adapter`): one set of weights, so the
two sides of a comparison can't be mixed up.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from peft import LoraConfig as PeftLora
from peft import PeftModel, get_peft_model, prepare_model_for_kbit_training, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load
from transformers import BitsAndBytesConfig, PreTrainedTokenizerBase

from distill.config import LoraConfig, ModelRef, model_path
from distill.errors import ConfigError, UserError
from distill.hardware import Hardware
from distill.models import load_model, load_tokenizer
from distill.readout import trains_head


def load_student(
    ref: ModelRef, lora: LoraConfig, hardware: Hardware, seed: int
) -> tuple[PeftModel, PreTrainedTokenizerBase]:
    """The student with a fresh adapter (its output is the base model's until trained) and its tokenizer."""
    path = model_path(ref)
    kwargs = _quantisation(lora, hardware)
    dtype = getattr(torch, hardware.dtype)
    base = load_model(path, dtype, hardware.device, ref.revision, ref.name, **kwargs)
    if lora.quantize:
        base = prepare_model_for_kbit_training(base)
    torch.manual_seed(seed)  # the adapter's initialisation
    student = get_peft_model(
        base,
        PeftLora(
            task_type="CAUSAL_LM",
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        ),
    )
    if trains_head(student):
        raise ConfigError(
            f"lora.targets names the layer that makes the logits of {ref.name!r}, which the losses read as it is and "
            "don't train: leave it out."
        )
    return student, load_tokenizer(path, ref.revision, ref.name)


def load_adapter(student: PeftModel, folder: Path) -> str:
    """Put the adapter weights saved in `folder` into `student`; the sha256 of the very bytes that were loaded.

    Raises UserError where they are not of this student with this adapter: peft would leave out what doesn't fit.
    """
    file = folder / "adapter_model.safetensors"
    saved = file.read_bytes()
    try:
        found = set_peft_model_state_dict(student, load(saved))
        fits = not found.unexpected_keys and not any("lora_" in key for key in found.missing_keys)
    except (RuntimeError, SafetensorError):
        fits = False
    if not fits:
        raise UserError(f"{file} is damaged or of another model: copy it again, or train again.")
    return hashlib.sha256(saved).hexdigest()


def _quantisation(lora: LoraConfig, hardware: Hardware) -> dict:
    if lora.quantize is None:
        return {}
    if hardware.device != "cuda":
        raise ConfigError(
            f"lora.quantize is {lora.quantize!r}, which needs an NVIDIA GPU, and this machine has none: remove it."
        )
    if lora.quantize == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, hardware.dtype),
        )
    }
