"""One optimiser step of GKD on the data's texts (lmbda 0) is TRL's GKDTrainer's, adapter weight by adapter weight."""

import copy

import datasets
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import TrainingArguments

from distill.data.encoding import encode_many
from distill.data.problems import generate
from distill.models.generation import end_tokens
from distill.objectives.gkd import GkdObjective
from distill.teachers.live import LiveTeacher
from distill.training.dataset import TrainingSet
from distill.training.distiller import Distiller
from distill.training.on_policy import OnPolicy, prompts_of
from distill.training.trainer import DistillTrainer

gkd = pytest.importorskip("trl.experimental.gkd")
N = 8


@pytest.fixture(scope="module")
def texts(tiny):
    _, tokenizer = tiny("student-tiny")
    pairs = [(problem.question, problem.solution) for problem in generate("train", N)]
    return TrainingSet(encode_many(tokenizer, pairs).examples, {}, [0] * N, tokenizer.pad_token_id)


def student(tiny):
    model, _ = tiny("student-tiny")
    torch.manual_seed(1)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    student = get_peft_model(copy.deepcopy(model), lora)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:  # at zero the adapter's first half would get no gradient
            torch.nn.init.normal_(parameter, std=0.1)
    return student


def teacher(tiny):
    """The same architecture with other weights: TRL wants as many logits."""
    model = copy.deepcopy(tiny("student-tiny")[0])
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def settings(folder, accumulation):
    return {
        "output_dir": str(folder),
        "max_steps": 1,
        "per_device_train_batch_size": N // accumulation,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": 1.0,
        "optim": "sgd",  # the step is then the gradient itself
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1e9,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "seed": 0,
    }


def adapter(model):
    return {name: value.detach().clone() for name, value in model.named_parameters() if "lora_" in name}


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_one_step(tiny, texts, tmp_path, accumulation, beta):
    tokenizer = tiny("student-tiny")[1]
    theirs = gkd.GKDTrainer(
        model=student(tiny),
        teacher_model=teacher(tiny),
        args=gkd.GKDConfig(
            **settings(tmp_path, accumulation), lmbda=0.0, beta=beta, bf16=False, gradient_checkpointing=False
        ),
        train_dataset=datasets.Dataset.from_dict({"row": list(range(N))}),
        data_collator=lambda rows: {
            name: texts.collate([row["row"] for row in rows])[name]
            for name in ("input_ids", "attention_mask", "labels")
        },
        processing_class=tokenizer,
    )
    before = adapter(theirs.model)
    theirs.train()

    live = {"teacher": LiveTeacher("teacher", teacher(tiny))}
    distiller = Distiller(student(tiny), [GkdObjective(live=live, vocabulary=len(tokenizer), beta=beta)])
    ours = DistillTrainer(
        distiller,
        args=TrainingArguments(**settings(tmp_path, accumulation)),
        train_dataset=texts,
        data_collator=texts.collate,
    )
    ours.train()

    expected, found = adapter(theirs.model), adapter(distiller.student)
    moved = 0.0
    for (name, value), (other, target) in zip(sorted(found.items()), sorted(expected.items()), strict=True):
        torch.testing.assert_close(value, target, rtol=0, atol=1e-5, msg=f"{name} {other}")
        moved = max(moved, float((value - before[other]).abs().max()))
    assert moved > 1e-3


def test_tokens_are_counted_after_generation_which_trl_does_before(tiny, texts, tmp_path):
    """TRL divides the loss on generated texts by the tokens of the data's texts (an open defect of 1.16): ours not."""
    tokenizer, counts = tiny("student-tiny")[1], {}

    class Watched(gkd.GKDTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            counts["theirs"] = int(num_items_in_batch), int((inputs["labels"][:, 1:] != -100).sum())
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def with_prompts(rows):
        batch = texts.collate([row["row"] for row in rows])
        prompts = prompts_of(batch)
        width = max(map(len, prompts))
        return {name: batch[name] for name in ("input_ids", "attention_mask", "labels")} | {
            "prompts": torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts]),
            "prompt_attention_mask": torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
        }

    own = {"lmbda": 1.0, "max_new_tokens": 6, "bf16": False, "gradient_checkpointing": False}
    Watched(
        model=student(tiny),
        teacher_model=teacher(tiny),
        args=gkd.GKDConfig(**settings(tmp_path, 1), **own),
        train_dataset=datasets.Dataset.from_dict({"row": list(range(N))}),
        data_collator=with_prompts,
        processing_class=tokenizer,
    ).train()
    divided_by, there = counts["theirs"]
    assert divided_by != there

    live = {"teacher": LiveTeacher("teacher", teacher(tiny))}
    distiller = Distiller(student(tiny), [GkdObjective(live=live, vocabulary=len(tokenizer))])
    policy = OnPolicy(tokenizer, end_tokens(distiller.student, tokenizer), lmbda=1.0, max_new_tokens=6)

    class Counted(DistillTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            labels = inputs["own"]["labels"]
            counts["ours"] = int(inputs["own"]["num_items"]), int((labels[:, 1:] != -100).sum())
            return super().compute_loss(model, inputs, *args, **kwargs)

    Counted(
        distiller,
        before_step=lambda batches, step: policy.answer(distiller.student, batches, step),
        args=TrainingArguments(**settings(tmp_path, 1)),
        train_dataset=texts,
        data_collator=texts.collate,
    ).train()
    assert counts["ours"][0] == counts["ours"][1]
