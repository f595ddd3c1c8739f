"""Two optimiser steps by the trainer that runs use, the same whether one process makes them or two (gloo).

    python two_processes.py OUT RUN PORT     with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set

OUT/CASE.RANK.safetensors gets what is trained, OUT/CASE.RANK.json what was reported of the steps. Then they carry out
the run in the folder RUN, as the worker does, and meet at PORT for that: the first one may not be free again yet.
"""

import json
import os
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from distill.config.paths import ZOO
from distill.config.settings import BudgetConfig
from distill.data.encoding import encode_many
from distill.data.problems import generate
from distill.evaluation.answering import answer_problems
from distill.models import distributed
from distill.models.generation import Sitting, end_tokens
from distill.models.hardware import Machine
from distill.models.loading import load_model, load_tokenizer
from distill.models.sharding import spread
from distill.objectives.cross_tokenizer import CrossTokenizerObjective
from distill.objectives.features import FeaturesObjective
from distill.objectives.geometry import GeometryObjective
from distill.objectives.gkd import GkdObjective
from distill.objectives.task import TaskObjective
from distill.teachers.alignment import aligned
from distill.teachers.live import LiveTeacher
from distill.teachers.ragged import Ragged
from distill.teachers.signals import Request, compute
from distill.training import worker
from distill.training.benefit import measure_benefit
from distill.training.callbacks import Reporter
from distill.training.dataset import TrainingSet
from distill.training.distiller import Distiller
from distill.training.on_policy import OnPolicy
from distill.training.trainer import DistillTrainer, training_arguments

STEPS, TOKENS, OTHER = 2, 1536, "phi3-tiny"
# case -> how the geometry is compared, the gate, (batch size, accumulation) of a run on its own
CASES = {
    "dealt": ("kernel", {"kind": "meta"}, (4, 4)),  # two micro-batches of 4 each: gradients are carried
    "halved": ("deku", {"kind": "learned", "balance": 0.1}, (8, 1)),  # of one micro-batch of 8 half each
    "spread": ("deku", {"kind": "learned"}, (4, 2)),  # one of 4 each, and half of the student's weights
}
ASKED = "halved"  # in this case the last process, and it alone, is asked to stop after the second step of three


@cache
def said_of(problems: int) -> tuple[list, dict]:
    """(examples, {signal: {teacher: rows}}): two teachers, one of which is made up."""
    texts = [(p.question, p.solution) for p in generate("train", problems)]
    examples = encode_many(load_tokenizer(ZOO / "student-tiny"), texts).examples
    needs = frozenset({"pooled", "nll_per_byte", "tokens", "hidden", "token_logprobs"})
    said = compute(load_model(ZOO / OTHER), load_tokenizer(ZOO / OTHER), texts, Request(needs, layers=(1,)))
    found = {name: said[name] for name in ("pooled", "nll_per_byte")}
    found |= aligned([e.ends for e in examples], said["tokens"], said)
    signals = {name: {OTHER: values} for name, values in found.items()}
    torch.manual_seed(3)
    signals["pooled"]["noise"], signals["nll_per_byte"]["noise"] = torch.randn(problems, 12), torch.rand(problems)
    return examples, signals


def texts_of(rows: int) -> TrainingSet:
    """A dozen problems, again and again: both processes are to answer the same prompt in one step."""
    examples, signals = said_of(12)
    which = [row % 12 for row in range(rows)]
    of_rows = {
        name: {t: v.rows(which) if isinstance(v, Ragged) else v[torch.tensor(which)] for t, v in by.items()}
        for name, by in signals.items()
    }
    return TrainingSet([examples[row] for row in which], of_rows, [0] * rows, 0)


def objectives_of(model, mode: str, gate: dict, signals: dict) -> list:
    shape = {"student_width": model.config.hidden_size, "student_layers": model.config.num_hidden_layers}
    widths = {teacher: rows.shape[1] for teacher, rows in signals["pooled"].items()}
    live = {"sibling": LiveTeacher("sibling", load_model(ZOO / "sibling-tiny"))}
    return [
        TaskObjective(),
        GeometryObjective(teacher_widths=widths, mode=mode, gate=gate, similarity="biased", **shape),
        FeaturesObjective(
            teacher_widths={OTHER: widths[OTHER]}, student_width=shape["student_width"], maps={OTHER: [(2, 0)]}
        ),
        CrossTokenizerObjective(teachers=[OTHER], vocabulary=TOKENS),
        GkdObjective(live=live, vocabulary=TOKENS, weight=0.5),
    ]


def train(case: str) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """({name: trained}, [what was reported of each step])."""
    mode, gate, (batch_size, accumulation) = CASES[case]
    distributed._sharded = case == "spread"  # as `accelerate launch --use_fsdp` would have it
    torch.manual_seed(1)
    tokenizer, model = load_tokenizer(ZOO / "student-tiny"), load_model(ZOO / "student-tiny")
    data = texts_of((STEPS + 1) * batch_size * accumulation)
    student = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    if distributed.is_sharded():
        spread(student, "cpu", "student-tiny")
        weights = [p for p in student.parameters() if isinstance(p, DTensor)]
        assert weights and all(p.to_local().numel() < p.numel() for p in weights)
    answers = {"said.answers": answers_of(student, tokenizer)} if case == "spread" else {}
    distiller = Distiller(student, objectives_of(model, mode, gate, data.signals))
    geometry = distiller.objectives["geometry"]
    own = OnPolicy(tokenizer, end_tokens(model, tokenizer), lmbda=1.0, max_new_tokens=12, vocabulary=TOKENS)

    def before(batches: list, step: int) -> dict[str, float]:
        if geometry.gate.kind == "meta":
            first = {k: v for k, v in data.collate(range(4)).items() if k != "signals"}
            geometry.gate.set_benefit(measure_benefit(distiller, geometry, first, batches[0], batch_size))
        return own.answer(student, batches, step)

    events = []
    writer = type("Writer", (), {"write": lambda self, event: events.append(event)})()
    last = distributed.rank() == distributed.size() - 1
    reporter = Reporter(writer, lambda: case == ASKED and last and len(events) == STEPS, None, 1000, lambda step: [])
    budget = BudgetConfig(
        steps=STEPS + (case == ASKED), batch_size=batch_size, accumulation=accumulation, learning_rate=0.05,
        schedule="constant", warmup=0.0, max_grad_norm=0.0, weight_decay=0.0,
    )  # fmt: skip
    arguments = training_arguments(budget, Path(tempfile.mkdtemp()), Machine(1, 1.0, "cpu"), 0)
    arguments.optim = "sgd"
    trainer = DistillTrainer(
        distiller,
        before_step=before,
        args=arguments,
        train_dataset=data,
        data_collator=data.collate,
        callbacks=[reporter],
    )
    reporter.trainer = trainer
    trainer.train()
    trained = {n: p.detach().clone() for n, p in distiller.named_parameters() if p.requires_grad} | answers
    reported = [{"loss": e.loss, "tokens": e.tokens, "grad_norm": e.grad_norm, **e.terms, **e.metrics} for e in events]
    return trained, reported


def answers_of(student, tokenizer) -> torch.Tensor:
    """The tokens of two answers, one longer than the other: that process goes on reading when the other has ended."""
    with student.disable_adapter():
        sitting = Sitting(should_stop=lambda: False)
        found = answer_problems(student, tokenizer, generate("held_out", 2), 48, sitting=sitting)
    lengths = [len(answer.completion.tokens) for answer in found]
    assert lengths[0] != lengths[1] and max(lengths) < 48, lengths
    return torch.tensor([token for answer in found for token in answer.completion.tokens])


def main(out: str, run: str, port: str) -> int:
    distributed.join()
    for case in CASES:
        trained, reported = train(case)
        save_file(trained, Path(out) / f"{case}.{distributed.rank()}.safetensors")
        (Path(out) / f"{case}.{distributed.rank()}.json").write_text(json.dumps(reported))
    distributed.leave()
    os.environ["MASTER_PORT"] = port
    return worker.main([run])


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(*sys.argv[1:]))
