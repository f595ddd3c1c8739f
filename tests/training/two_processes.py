"""Two optimiser steps of task and on-policy GKD on eight texts; run once, or as two processes (gloo) with half each.

    python two_processes.py OUT      with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in the environment, or without
"""

import os
import sys
import tempfile

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import TrainingArguments

from distill.assets import ZOO
from distill.data.problems import generate
from distill.data.prompts import encode_many
from distill.generation import end_tokens
from distill.models import load_model, load_tokenizer
from distill.objectives.gkd import GkdObjective
from distill.objectives.task import TaskObjective
from distill.teachers.live import LiveTeacher
from distill.training.dataset import TrainingSet
from distill.training.distiller import Distiller
from distill.training.on_policy import OnPolicy
from distill.training.trainer import DistillTrainer

TEXTS, ACCUMULATION, STEPS = 8, 2, 2


def main(out: str) -> None:
    processes = int(os.environ.get("WORLD_SIZE", 1))
    tokenizer, model = load_tokenizer(ZOO / "student-tiny"), load_model(ZOO / "student-tiny")
    problems = generate("train", TEXTS * STEPS)
    texts = encode_many(tokenizer, [(p.question, p.solution) for p in problems]).examples
    data = TrainingSet(texts, {}, [0] * len(texts), tokenizer.pad_token_id)
    torch.manual_seed(1)
    student = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    live = {"sibling": LiveTeacher("sibling", load_model(ZOO / "sibling-tiny"))}
    distiller = Distiller(student, [TaskObjective(), GkdObjective(live=live, vocabulary=len(tokenizer), weight=0.5)])
    own = OnPolicy(tokenizer, end_tokens(model, tokenizer), lmbda=1.0, max_new_tokens=16)
    trainer = DistillTrainer(
        distiller,
        before_step=lambda batches, step: own.answer(distiller.student, batches, step),
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
    if int(os.environ.get("RANK", 0)) == 0:
        save_file({n: p.detach().clone() for n, p in student.named_parameters() if "lora_" in n}, out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
