"""On-policy GKD beside TRL's GKDTrainer: `python benchmarks/gkd.py`. Tokens a second (goal: ours >= 1.5 times theirs).

The same student with the same adapter, the same teacher, the same prompts, and as many tokens written by each: answers
never end by themselves here. The shapes are those of a 0.5B model where it costs (width 896, vocabulary 151,936), with
fewer blocks so that two cores get through it; with a GPU all 24. Random weights: what is written matters to neither.
Blocks of whole optimiser steps in turns, the first of each block left out; for steps of one micro-batch and of four.
"""

from __future__ import annotations

import copy
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import datasets
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, TrainerCallback, TrainingArguments
from trl.experimental.gkd import GKDConfig, GKDTrainer

from benchmarks.common import report
from distill.config.paths import ZOO
from distill.data.encoding import Example, collate
from distill.models.hardware import detect
from distill.objectives.gkd import GkdObjective
from distill.teachers.live import LiveTeacher
from distill.training.dataset import TrainingSet
from distill.training.distiller import Distiller
from distill.training.on_policy import OnPolicy
from distill.training.trainer import DistillTrainer

ROWS, PROMPT, WRITTEN = 8, 48, 32  # of an optimiser step; tokens
BLOCKS, STEPS = 3, 2  # each block's first step is a warm-up
GPU = torch.cuda.is_available()


class Clock(TrainerCallback):
    """Seconds from the end of one step to the end of the next: all that a step takes, whoever does it when."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        if GPU:
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return [b - a for a, b in zip(self.ends, self.ends[1:], strict=False)]


def models() -> tuple[Qwen2ForCausalLM, Qwen2ForCausalLM]:
    """(student, teacher)."""
    config = Qwen2Config(
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24 if GPU else 2,
        num_attention_heads=14,
        num_key_value_heads=2,
        vocab_size=151_936,
        tie_word_embeddings=True,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    student = Qwen2ForCausalLM(config).to(torch.bfloat16 if GPU else torch.float32)
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return student, teacher


def with_adapter(student: Qwen2ForCausalLM):
    """A copy of the student with a fresh adapter."""
    torch.manual_seed(1)
    return get_peft_model(copy.deepcopy(student), LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear"))


def texts() -> TrainingSet:
    """Prompts of one length, with one token of an answer, which is never used."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 150_000, (ROWS * STEPS, PROMPT + 1), generator=generator).tolist()
    labels = [-100] * PROMPT
    rows = [Example(row, [*labels, row[-1]], [1] * len(row), PROMPT, 1) for row in ids]
    return TrainingSet(rows, {}, [0] * len(rows), 0)


def settings(accumulation: int) -> dict:
    """What both trainers are told."""
    return {
        "output_dir": tempfile.mkdtemp(prefix="benchmark-"),
        "max_steps": STEPS,
        "per_device_train_batch_size": ROWS // accumulation,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": not GPU,
        "bf16": GPU,
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def ours(student, teacher, data: TrainingSet, accumulation: int) -> list[float]:
    """Seconds of each step of our trainer."""
    live = {"teacher": LiveTeacher("teacher", teacher)}
    distiller = Distiller(with_adapter(student), [GkdObjective(live=live, vocabulary=151_936, beta=0.5)])
    own = OnPolicy(_tokenizer(), [151_935], lmbda=1.0, temperature=0.9, max_new_tokens=WRITTEN)
    clock, tokens = Clock(), []

    def before_step(batches, step):
        metrics = own.answer(distiller.student, batches, step)
        tokens.append(sum(int((batch["own"]["labels"] != -100).sum()) for batch in batches))
        return metrics

    trainer = DistillTrainer(
        distiller,
        before_step=before_step,
        args=TrainingArguments(**settings(accumulation), logging_strategy="no"),
        train_dataset=data,
        data_collator=data.collate,
        callbacks=[clock],
    )
    trainer.train()
    assert set(tokens) == {ROWS * WRITTEN}, tokens
    return clock.seconds


def theirs(student, teacher, data: TrainingSet, accumulation: int) -> list[float]:
    """Seconds of each step of TRL's."""

    def prompts(rows):
        batch = collate([data.examples[row["row"]] for row in rows], 0)
        before = {
            "prompts": batch["input_ids"][:, :PROMPT],
            "prompt_attention_mask": batch["attention_mask"][:, :PROMPT],
        }
        return {name: batch[name] for name in ("input_ids", "attention_mask", "labels")} | before

    clock = Clock()
    config = GKDConfig(
        **settings(accumulation),
        lmbda=1.0,
        beta=0.5,
        temperature=0.9,
        max_new_tokens=WRITTEN,
        gradient_checkpointing=False,
        logging_strategy="no",
    )
    trainer = GKDTrainer(
        model=with_adapter(student),
        teacher_model=teacher,
        args=config,
        train_dataset=datasets.Dataset.from_dict({"row": list(range(len(data)))}),
        data_collator=prompts,
        processing_class=_tokenizer(),
        callbacks=[clock],
    )
    written = []
    generate = trainer.generate_on_policy_outputs
    trainer.generate_on_policy_outputs = lambda *args: _counted(generate(*args), written)
    trainer.train()
    assert sum(written) == STEPS * ROWS * WRITTEN, written
    return clock.seconds


def _counted(outputs, written: list[int]):
    written.append(int((outputs[2] != -100).sum()))
    return outputs


def _tokenizer():
    return AutoTokenizer.from_pretrained(ZOO / "student-tiny")


def main() -> None:
    torch.set_num_threads(detect().cores)
    student, teacher = models()
    if GPU:
        student, teacher = student.cuda(), teacher.cuda()
    data, found = texts(), {}
    for accumulation in (1, 4):
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(BLOCKS):
            seconds["ours"] += ours(student, teacher, data, accumulation)
            seconds["theirs"] += theirs(student, teacher, data, accumulation)
        middle = {who: statistics.median(values) for who, values in seconds.items()}
        found[f"accumulation_{accumulation}"] = {
            "ratio": round(middle["theirs"] / middle["ours"], 2),
            "tokens_per_second": {who: round(ROWS * (PROMPT + WRITTEN) / value, 1) for who, value in middle.items()},
            "seconds_per_step": {who: round(value, 2) for who, value in middle.items()},
        }
    smallest = min(part["ratio"] for part in found.values())
    report("gkd", ratio=smallest, goal=1.5, **found, steps=BLOCKS * (STEPS - 1), rows=ROWS, written=WRITTEN)


if __name__ == "__main__":
    main()
