"""How long a run takes, in closed form from the sizes of its models; what room it needs is memory_model.py's.

Time is a constant plus work over speed; work is parameters times tokens. The constants are measured on two cores of a
server CPU (see beside each); a GPU's speed is guessed, which is said, until runs have been done there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from distill.config.requirements import Demand, answers_itself, demand, heard, planned_steps, wants_answers
from distill.config.run_config import RunConfig, teachers_of
from distill.models.hardware import Machine
from distill.models.metadata import ModelFacts

_START = 5.0  # s: a worker's imports, 4.3 to 6.4 in two runs
# s a problem, of whatever split: 530 to 960 us were taken where problems are generated and 2.6 ms by gsm_symbolic, on a
# busy core; 80 us a row of a file. Those of a data set are taken to be as many rows.
_DRAW = {"problems": 5e-4, "reasoning_gym": 2.5e-3, "file": 8e-5, "hub": 8e-5}
_ASK = 0.3  # s: a tiny teacher loaded and let go
_READ = 5e8  # bytes of weights read from disk a second
_TOKENIZE = 2e-6  # s a token, encoding 2,048 generated problems with two tokenizers of the zoo
_ROW = 1.5e-5  # s an answer a token: the library's bookkeeping
_SMALL = 2.5  # layers' overheads that forward, backward and optimiser have together, over a forward pass
_TWICE = 1.4  # a step with gradient checkpointing over one without (1.44, 1.43, 1.35 at widths 96, 384, 576)
PADDING = 1.6  # longest of a random batch of 32 generated problems over their mean (1.65 to 1.73)
_BRIEF_UP_TO = 20e6  # parameters: a model as small as the zoo's ends its answers; a larger one may think on and on
_LORA_ROWS = 20  # inputs plus outputs of a layer's linear maps, over its width (19 in the zoo, 26 in Qwen2.5-0.5B)
# Characters a token and tokens of the chat template, by vocabulary up to. What the zoo's tokenizers make of 1,920
# generated problems (148 characters: 56 to 68 tokens of 900 to 2,048; one a character where there are a hundred); the
# last takes the pieces that Qwen's pre-tokenizer cuts them into (51), and a template with a system turn.
_TOKENIZERS = ((100, 1.0, 7), (300, 1.37, 7), (5_000, 2.45, 7), (math.inf, 2.9, 30))


@dataclass(frozen=True)
class Speed:
    """What a device does a second on a large model; a model of width `half` reaches half of that."""

    forward: float  # floating-point operations
    training: float
    forward_half: float
    training_half: float
    bytes: float  # of weights read to make one token
    layer: float  # seconds a layer takes however little there is to do
    measured: bool = False
    unpack: float = 0.0  # seconds to unpack a quantised weight, whenever it is used; GPUs do it on the way


# Two threads of one AMD EPYC core: 46.5 s of signals, 0.41 s a step and 5.5 s an evaluation of `tiny` (a server CPU
# with two cores took half of that); the halves from Qwen2 models of width 96, 192, 384 and 896 (132, 180, 232, 287
# GFLOP/s forward; 88, 122, 178, 245 forward and backward).
# Unpacking: 1.3 to 2.1 ns a weight of four bits on one core (matrices of 576 x 1536 and 896 x 4864).
_TWO_CORES = Speed(105e9, 160e9, 148, 243, 1e10, 3.5e-4, True, 1.5e-9)
# With AMX: 104 s for Qwen2.5-Coder-0.5B to read 1,100 texts and 1.35 s a step of SmolLM2-135M in `smollm2-cpu`.
_WITH_AMX = replace(_TWO_CORES, forward=1e12, training=7e11)
# Any GPU: from data sheets of middling ones, and nothing but a guess until runs have been done there.
_GPU = Speed(2e13, 1.5e13, 700, 700, 3e11, 1e-3)


@dataclass(frozen=True)
class Job:
    """A config with the facts of its models, all known: the student's, and those of the teachers that are heard.

    `characters`: of a question and its solution, on average.
    """

    config: RunConfig
    student: ModelFacts
    teachers: tuple[ModelFacts, ...]
    characters: float

    def tokens(self, model: ModelFacts) -> float:
        """Tokens a text has for `model`, on average. The student's are cut at budget.max_length."""
        each, template = next((c, t) for most, c, t in _TOKENIZERS if model.vocabulary <= most)
        tokens = self.characters / each + template
        return min(tokens, self.config.budget.max_length) if model is self.student else tokens

    @property
    def learnt(self) -> float:
        """Tokens of a text that the student learns, on average. Large teachers may write as many as they are let."""
        answers, most = wants_answers(self.config), self.config.budget.max_length
        long = any(one.written and teacher.parameters > _BRIEF_UP_TO for teacher, one in self.asked)
        return min(most, self.tokens(self.student) + (answers.max_new_tokens if long else 0))

    @cached_property
    def asked(self) -> list[tuple[ModelFacts, Demand]]:
        """Each teacher, and what it is asked."""
        demands = [demand(self.config, teacher.name) for teacher in heard(self.config)]
        return list(zip(self.teachers, demands, strict=True))

    def texts(self, demand: Demand) -> int:
        """Texts that a teacher reads before training: those of training, if any, and those of the diagnostics."""
        return demand.read + self.config.probe.texts

    def longest(self, model: ModelFacts, most: int) -> float:
        """Tokens of the longest answer of a batch, which the others wait for: `most` may be far more."""
        return min(most, self.tokens(model)) if model.parameters <= _BRIEF_UP_TO else most

    @cached_property
    def steps(self) -> int:
        """Optimiser steps."""
        return planned_steps(self.config)

    @property
    def drawn(self) -> int:
        """Problems of all splits, which are drawn before anything else is done."""
        data = self.config.data
        probe = self.config.probe.texts if self.teachers or data.source == "problems" else 0
        return data.train + data.validation + data.held_out + data.new_phrasing + probe

    @property
    def answers(self) -> int:
        """Problems the student answers, before and again after."""
        return self.config.data.held_out + self.config.data.new_phrasing

    @property
    def trained(self) -> float:
        """Numbers that are trained: the adapter, the heads in the deku modes, and the maps of features."""
        student, own = self.student, 0
        for method in self.config.objectives:
            names = {teacher.name for teacher in teachers_of(method, self.config)}
            facts = zip(heard(self.config), self.teachers, strict=True)
            own += method.trained(student.width, {ref.name: t.width for ref, t in facts if ref.name in names})
        return self.config.lora.r * _LORA_ROWS * student.width * student.layers + own


def speed_of(machine: Machine, threads: int = 0) -> Speed:
    """The machine's speed, with so many CPU threads (0: every core)."""
    if machine.device != "cpu":
        return _GPU
    cores = min(threads, machine.cores) if threads else machine.cores
    more = (cores / 2) ** 0.85  # more cores help small models less
    two = _WITH_AMX if machine.dtype == "bfloat16" else _TWO_CORES
    return replace(two, forward=two.forward * more, training=two.training * more)


# --- time ------------------------------------------------------------------------------------------------------------


def stages(job: Job, machine: Machine) -> dict[str, float]:
    """Seconds of each stage, named as in report.json: prepare (with the start), signals, train, evaluate."""
    speed, size = speed_of(machine, job.config.budget.threads), weight_bytes(machine)
    texts = job.tokens(job.student) * job.config.data.train
    heads = job.config.geometry and "deku" in job.config.geometry.mode
    prepare = _START + job.student.parameters * 2 / _READ + job.drawn * _DRAW[job.config.data.source]
    prepare += _forward(job.student, texts, 1, speed) if heads else 0.0  # the heads start from the student's own states
    return {
        "prepare": prepare,
        "signals": sum(_asking(job, *one, speed, size) for one in job.asked),
        "train": _training(job, speed, size),
        "evaluate": 2 * _answering(job, job.answers, speed, size) + _ceiling(job, speed, size),
    }


def _forward(model: ModelFacts, tokens: float, passes: float, speed: Speed) -> float:
    rate = speed.forward * model.width / (model.width + speed.forward_half)
    return 2 * model.parameters * tokens / rate + passes * model.layers * speed.layer


def _asking(job: Job, teacher: ModelFacts, asked: Demand, speed: Speed, size: int) -> float:
    """Seconds in which a teacher is loaded, reads, and, loaded once more, writes."""
    at_once, texts = job.config.budget.teacher_batch_size, job.texts(asked)
    tokens = job.tokens(teacher) * texts
    load = _ASK + teacher.parameters * 2 / _READ
    reading = load + _TOKENIZE * tokens + _forward(teacher, tokens, math.ceil(texts / at_once), speed)
    answers = wants_answers(job.config)
    if not asked.written or answers is None:
        return reading
    longest = job.longest(teacher, answers.max_new_tokens)
    return reading + load + _writing(job, teacher, asked.written, at_once, longest, speed, size)


def _training(job: Job, speed: Speed, size: int) -> float:
    budget, student, geometry = job.config.budget, job.student, job.config.geometry
    rate = speed.training * student.width / (student.width + speed.training_half)
    tokens = PADDING * job.learnt * budget.batch_size
    pass_s = 6 * student.parameters * tokens / rate + _SMALL * student.layers * speed.layer
    pass_s += 2 * _unpacking(job, student, speed)  # forward and backward
    pass_s *= _TWICE if budget.gradient_checkpointing else 1.0
    step = budget.accumulation * pass_s
    if geometry and budget.accumulation > 1:  # the whole step's states are computed once before
        step += budget.accumulation * _forward(student, tokens, 1, speed)
    if geometry and geometry.gate.kind == "meta":  # a backward pass for each teacher
        step += (len(job.teachers) + 1) * pass_s / geometry.gate.every
    for teacher, asked in job.asked:  # those that stay loaded read along, the student's tokens being theirs
        step += budget.accumulation * _forward(teacher, tokens, 1, speed) if asked.live else 0.0
    method = answers_itself(job.config)
    if method is not None:
        own = method.rollout
        longest = job.longest(student, own.max_new_tokens)
        answering = _writing(job, student, budget.batch_size, budget.batch_size, longest, speed, size)
        step += own.share * budget.accumulation * answering
    return job.steps * step + _looking(job, speed, size)


def _looking(job: Job, speed: Speed, size: int) -> float:
    """The diagnostics: every so many steps a forward pass, every second time answers too."""
    probe, student = job.config.probe, job.student
    looks = job.steps // probe.every + 1
    passes = math.ceil(probe.texts / job.config.budget.batch_size)
    read = _forward(student, probe.texts * job.tokens(student), passes, speed) if job.teachers else 0.0
    return looks * read + math.ceil((looks + 1) / 2) * _answering(job, probe.samples + probe.problems, speed, size)


def _answering(job: Job, rows: int, speed: Speed, size: int) -> float:
    """Seconds for `rows` answers of the student, each taken to be as long as it may be."""
    evaluation = job.config.evaluation
    return _writing(job, job.student, rows, evaluation.batch_size, evaluation.max_new_tokens, speed, size)


def _ceiling(job: Job, speed: Speed, size: int) -> float:
    """Seconds in which the teachers answer some of the same problems."""
    asked, evaluation = min(job.config.evaluation.teachers, job.config.data.held_out), job.config.evaluation
    at_once = job.config.budget.teacher_batch_size
    return sum(
        _ASK
        + teacher.parameters * 2 / _READ
        + _writing(job, teacher, asked, at_once, job.longest(teacher, evaluation.max_new_tokens), speed, size)
        for teacher in job.teachers
        if asked
    )


def _writing(job: Job, model: ModelFacts, rows: int, at_once: int, longest: float, speed: Speed, size: int) -> float:
    """Seconds for `rows` answers, so many at once; a batch waits for its `longest`, in tokens."""
    if not rows:
        return 0.0
    batches = math.ceil(rows / at_once)
    batch = rows / batches
    reading = _forward(model, rows * job.tokens(model), batches, speed)
    weights = model.parameters * size / speed.bytes
    token = max(2 * _forward(model, batch, 0, speed), weights) + model.layers * speed.layer + _ROW * batch
    return reading + batches * longest * (token + _unpacking(job, model, speed))


def _unpacking(job: Job, model: ModelFacts, speed: Speed) -> float:
    """Seconds of a forward pass in which the student's quantised weights are made numbers again."""
    return model.parameters * speed.unpack if job.config.lora.quantize and model is job.student else 0.0


def weight_bytes(machine: Machine) -> int:
    """Bytes of a weight in the type that the machine computes in."""
    return 2 if machine.dtype in ("bfloat16", "float16") else 4
