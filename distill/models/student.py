"""The student: a causal language model with a LoRA adapter, or QLoRA; made, saved and loaded again.

"Before" is this same loaded model with its adapter disabled (`peft`'s `disable_adapter`): one set of weights, so the
two sides of a comparison can't be mixed up.
"""

from __future__ import annotations

import hashlib
import logging
import math
from pathlib import Path

import torch
from peft import LoraConfig as PeftLora
from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load
from transformers import BitsAndBytesConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import GENERATION_CONFIG_NAME

from distill.config.errors import ConfigError, UserError
from distill.config.run_config import LoraConfig, ModelRef
from distill.models.cpu_bfloat16 import attend_in_float32
from distill.models.generation import end_tokens
from distill.models.hardware import Machine, cannot_quantise
from distill.models.lm_head import trains_head
from distill.models.loading import load_model, load_tokenizer
from distill.models.lora_targets import targets_of
from distill.models.references import model_path

_FEW = 0.5  # of a model's weights quantised: fewer, and it hardly takes less memory


def load_student(
    ref: ModelRef, lora: LoraConfig, hardware: Machine, seed: int, gradient_checkpointing: bool = False
) -> tuple[PeftModel, PreTrainedTokenizerBase]:
    """The student with a fresh adapter (its output is the base model's until trained) and its tokenizer.

    With `gradient_checkpointing` training keeps each layer's input only, and computes the rest a second time.
    """
    path = model_path(ref)
    dtype, quantised = getattr(torch, hardware.dtype), _quantisation(lora, hardware)
    base = load_model(path, dtype, hardware.device, ref.revision, ref.name, **quantised)
    keep_layout(base)
    if hardware.device == "cpu" and dtype == torch.bfloat16:
        attend_in_float32(base)
    student = adapted(base, lora, ref.name, seed)
    if trains_head(student):
        raise ConfigError(
            f"lora.targets names the layer that makes the logits of {ref.name!r}, which the losses read as it is and "
            "don't train: leave it out."
        )
    if gradient_checkpointing:
        compute_twice(student, ref.name)
    return student, load_tokenizer(path, ref.revision, ref.name)


def adapted(base: PreTrainedModel, lora: LoraConfig, name: str, seed: int) -> PeftModel:
    """The model with a fresh adapter, float32 whatever the model's own type is; nothing else of it is trained.

    peft's prepare_model_for_kbit_training isn't called: it would make all that is not quantised float32, a large
    vocabulary's embeddings too, and switch gradient checkpointing on unasked.
    """
    targets = targets_of(base, lora.targets, name)
    if targets.parameters and lora.dropout:
        raise ConfigError(
            f"lora.dropout is {lora.dropout:g}, but {name} is a mixture of experts, whose experts' layers can't have "
            "any: set it to 0, or name other layers in lora.targets."
        )
    torch.manual_seed(seed)  # the adapter's initialisation
    try:
        return get_peft_model(
            base,
            PeftLora(
                task_type="CAUSAL_LM",
                r=lora.r,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                target_modules=targets.modules,
                target_parameters=targets.parameters or None,
            ),
        )
    except ValueError as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        raise ConfigError(f"No adapter can be put on {name} ({reason}): choose other lora.targets.") from error


def compute_twice(student: PeftModel, name: str = "the student") -> None:
    """Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): of every layer only the input is kept for the
    backward pass, which computes the layer again, with the same dropout.

    Not the re-entrant kind, which gives no gradient where a layer's input needs none, as with frozen embeddings.
    """
    base = student.get_base_model()
    if not base.supports_gradient_checkpointing:
        raise ConfigError(
            f"budget.gradient_checkpointing is on, but {name} ({type(base).__name__}) can't compute its layers twice: "
            "switch it off, and lower budget.batch_size instead."
        )
    base.activation_checkpointing_enable({"use_reentrant": False})


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


def end_as_trained(student: PeftModel | PreTrainedModel, adapter: Path) -> None:
    """Answers of `student` end at all that they ended at while it was trained: at its teachers' end too, say."""
    if (adapter / GENERATION_CONFIG_NAME).exists():  # adapters from before it was kept have none
        ends = GenerationConfig.from_pretrained(adapter, local_files_only=True).eos_token_id
        student.generation_config.eos_token_id = ends


def save_adapter(student: PeftModel, tokenizer: PreTrainedTokenizerBase, ref: ModelRef, folder: Path) -> None:
    """Write the adapter of `student`, whose base is `ref`, into `folder` as anybody can load it: in PEFT's layout, with
    the name of its base model, and the tokenizer beside it. The student is as it was."""
    base = model_path(ref)
    for adapter in student.peft_config.values():
        adapter.base_model_name_or_path = str(base.resolve()) if isinstance(base, Path) else base
        adapter.revision = ref.revision
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # What its answers end with, which may be more than the student's own end: whoever loads it must stop there too.
    GenerationConfig(eos_token_id=end_tokens(student, tokenizer)).save_pretrained(folder)


def keep_layout(base: PreTrainedModel) -> None:
    """Four-bit weights stay as they were made, on every CPU.

    On CPUs with AVX-512 for bfloat16, bitsandbytes rewrites them in place at the first forward pass in eval mode:
    rounded again, for layers of certain sizes only, and with no gradient through them ever after.
    """
    for module in base.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def cautions(student: PeftModel, lora: LoraConfig, hardware: Machine) -> list[tuple[str, str]]:
    """(code, plain words) for what a user should know of quantised weights on this machine."""
    if lora.quantize is None:
        return []
    said = []
    if hardware.device == "cpu":
        text = (
            f"lora.quantize {lora.quantize} saves memory but is slow on a CPU, which unpacks the weights whenever they "
            "are used: a step takes longer, and answers several times as long."
        )
        said.append(("quantized_on_cpu", text))
    squeezed, all_ = _quantised_share(student)
    if squeezed < _FEW * all_:
        text = (
            f"lora.quantize {lora.quantize} reaches {squeezed / all_:.0%} of the student's weights, its linear "
            "layers: the rest stays as it is."
        )
        said.append(("little_quantized", text))
    return said


def _quantised_share(student: PeftModel) -> tuple[int, int]:
    """Weights of (quantised layers, the whole base model)."""
    all_, squeezed = 0, 0
    for name, parameter in student.named_parameters():
        if "lora_" in name:
            continue
        state = getattr(parameter, "quant_state", None)  # of four bits, two are kept in a byte
        numbers = math.prod(state.shape) if state is not None else parameter.numel()
        all_ += numbers
        squeezed += numbers * (state is not None or parameter.dtype == torch.int8)
    return squeezed, all_


def _quantisation(lora: LoraConfig, hardware: Machine) -> dict:
    if lora.quantize is None:
        return {}
    if reason := cannot_quantise(hardware.device):
        raise ConfigError(f"lora.quantize {lora.quantize} {reason}.")
    # It would say at every layer and every step that it rounds what goes in.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
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
