"""The adapter as a folder that anybody can load: PEFT's layout, its base model's name, and the tokenizer beside it.

This module knows nothing of runs, of when an adapter is kept, or of how it was trained.
"""

from __future__ import annotations

from pathlib import Path

from peft import PeftModel
from transformers import GenerationConfig, PreTrainedTokenizerBase

from distill.config.run_config import ModelRef
from distill.models.generation import end_tokens
from distill.models.references import model_path


def save_adapter(student: PeftModel, tokenizer: PreTrainedTokenizerBase, ref: ModelRef, folder: Path) -> None:
    """Write the adapter of `student`, whose base is `ref`, into `folder`; the student is as it was."""
    base = model_path(ref)
    for adapter in student.peft_config.values():
        adapter.base_model_name_or_path = str(base.resolve()) if isinstance(base, Path) else base
        adapter.revision = ref.revision
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # What its answers end with, which may be more than the student's own end: whoever loads it must stop there too.
    GenerationConfig(eos_token_id=end_tokens(student, tokenizer)).save_pretrained(folder)
