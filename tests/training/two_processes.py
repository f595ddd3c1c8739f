"""Two optimiser steps on eight texts each; run once, or as two processes (gloo) with half each.

    python two_processes.py OUT [geometry]   with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set, or without

OUT gets what is trained, with the rank put before its suffix. Task, features and on-policy GKD; or task and geometry.
"""

import os
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import TrainingArguments

from distill.assets import ZOO
from distill.data.problems import generate
from distill.data.prompts import encode_many
from distill.generation import end_tokens
from distill.models import load_model, load_tokenizer
from distill.objectives.features import FeaturesObjective
from distill.objectives.geometry import GeometryObjective
from distill.objectives.gkd import GkdObjective
from distill.objectives.task import TaskObjective
from distill.ragged import Ragged
from distill.teachers.live import LiveTeacher
from distill.training.dataset import TrainingSet
from distill.training.distiller import Distiller
from distill.training.on_policy import OnPolicy
from distill.training.trainer import DistillTrainer

TEXTS, ACCUMULATION, STEPS = 8, 2, 2


def signals_of(texts: list) -> dict:
    """What a teacher might have said, made up."""
    lengths = torch.tensor([len(example.ends) for example in texts])
    torch.manual_seed(3)
    return {
        "pooled": {"sibling": torch.randn(len(texts), 8), "other": torch.randn(len(texts), 6)},
        "chunk_of": {"sibling": Ragged(torch.cat([torch.arange(n) for n in lengths]), lengths)},
        "chunk_hidden": {"sibling": Ragged(torch.randn(int(lengths.sum()), 1, 8), lengths)},
    }


def objectives_of(method: str, model, tokenizer) -> list:
    width = model.config.hidden_size
    if method == "geometry":
        deku = {"mode": "deku", "gate": {"kind": "learned", "balance": 0.1}, "similarity": "biased"}
        shape = {"student_width": width, "student_layers": model.config.num_hidden_layers}
        return [TaskObjective(), GeometryObjective(teacher_widths={"sibling": 8, "other": 6}, **shape, **deku)]
    live = {"sibling": LiveTeacher("sibling", load_model(ZOO / "sibling-tiny"))}
    gkd = GkdObjective(live=live, vocabulary=len(tokenizer), weight=0.5)
    features = FeaturesObjective(
        teacher_widths={"sibling": 8}, student_width=width, maps={"sibling": [(2, 0)]}, weight=0.5
    )
    return [TaskObjective(), features, gkd]


def main(out: str, method: str = "gkd") -> None:
    processes = int(os.environ.get("WORLD_SIZE", 1))
    tokenizer, model = load_tokenizer(ZOO / "student-tiny"), load_model(ZOO / "student-tiny")
    problems = generate("train", TEXTS * STEPS)
    texts = encode_many(tokenizer, [(p.question, p.solution) for p in problems]).examples
    data = TrainingSet(texts, signals_of(texts), [0] * len(texts), tokenizer.pad_token_id)
    torch.manual_seed(1)
    student = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    distiller = Distiller(student, objectives_of(method, model, tokenizer))
    own = OnPolicy(tokenizer, end_tokens(model, tokenizer), lmbda=1.0, max_new_tokens=16)
    trainer = DistillTrainer(
        distiller,
        before_step=None if method == "geometry" else lambda batches, step: own.answer(student, batches, step),
        args=TrainingArguments(
            output_dir=tempfile.mkdtemp(),
            max_steps=STEPS,
            per_device_train_batch_size=TEXTS // ACCUMULATION // processes,
            gradient_accumulation_steps=ACCUMULATION,
            learning_rate=0.5,
            optim="sgd",
            lr_scheduler_type="constant",
            max_grad_norm=1e9,
            use_cpu=True,
            ddp_backend="gloo" if processes > 1 else None,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_drop_last=True,
            seed=0,
        ),
        train_dataset=data,
        data_collator=data.collate,
    )
    trainer.train()
    trained = {n: p.detach().clone() for n, p in distiller.named_parameters() if p.requires_grad}
    save_file(trained, Path(out).with_suffix(f".{os.environ.get('RANK', 0)}.safetensors"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
