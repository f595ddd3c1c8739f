"""A small student with both objectives, and twelve texts with made-up signals, in float64."""

import copy

import torch
from peft import LoraConfig, get_peft_model

from distill.data.encoding import encode_many
from distill.data.problems import generate
from distill.objectives.geometry import GeometryObjective
from distill.objectives.task import TaskObjective
from distill.training.dataset import TrainingSet
from distill.training.distiller import Distiller

TEACHERS = {"wide": 20, "narrow": 12}
N = 12


def training_texts(tiny):
    _, tokenizer = tiny("student-tiny")
    problems = generate("train", N)
    examples = encode_many(tokenizer, [(p.question, p.solution) for p in problems]).examples
    torch.manual_seed(0)
    pooled = {name: torch.randn(N, width, dtype=torch.float64) for name, width in TEACHERS.items()}
    nll = {name: torch.rand(N, dtype=torch.float64) for name in TEACHERS}
    return TrainingSet(examples, {"pooled": pooled, "nll_per_byte": nll}, [0] * N, tokenizer.pad_token_id)


def distiller(tiny, mode="kernel", gate="prior", dropout=0.0, banks=None):
    model, _ = tiny("student-tiny")
    torch.manual_seed(1)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=dropout, target_modules="all-linear")
    student = get_peft_model(copy.deepcopy(model).double(), lora)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:  # at zero the adapter's first half would get no gradient
            torch.nn.init.normal_(parameter, std=0.1)
    geometry = GeometryObjective(
        teacher_widths=TEACHERS,
        student_width=model.config.hidden_size,
        student_layers=model.config.num_hidden_layers,
        mode=mode,
        gate={"kind": gate},
    )
    return Distiller(student, [TaskObjective(), geometry.double()], banks).double().train()
