"""What a run costs in time, memory and disk, in closed form from the sizes of its models.

Time is a constant plus work over speed; work is parameters times tokens. The constants are measured on two cores of a
server CPU (see beside each); those for GPUs are not, and say so. It knows nothing of files, of the Hub or of who asks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from distill.config import RunConfig
from distill.facts import ModelFacts
from distill.machine import Machine

GIB = 2**30
_START = 5.0  # s: a worker's imports, 4.3 to 6.4 in two runs
_ASK = 0.3  # s: a tiny teacher loaded and let go
_READ = 5e8  # bytes of weights read from disk a second
_TOKENIZE = 2e-6  # s a token, encoding 2,048 generated problems with two tokenizers of the zoo
_ROW = 1.5e-5  # s an answer a token: the library's bookkeeping
_SMALL = 2.5  # layers' overheads that forward, backward and optimiser have together, over a forward pass
_PADDING = 1.3  # longest of a random batch of 64 generated problems over their mean (1.32, 1.27, 1.26)
_STACK = 0.65  # GiB: Python, torch, transformers and peft at work, with nothing loaded
_GPU_STACK = 2.0  # GiB: the same with CUDA's libraries; not measured here
_GPU_CONTEXT = 0.8  # GiB of GPU memory before the first tensor; not measured here
_GPU_GAPS = 1.1  # what torch holds of GPU memory over what it uses; not measured here
_STATES = 30  # numbers a layer keeps for the backward pass, per token and unit of width
_LORA_ROWS = 20  # inputs plus outputs of a layer's linear maps, over its width (19 in the zoo, 26 in Qwen2.5-0.5B)
# Characters a token and tokens of the chat template, by vocabulary up to. The first rows are what the zoo's tokenizers
# make of 1,920 generated problems (120 characters: 126 tokens of 66 characters, 94 of 252, 62 to 66 of 384 to 512);
# the last takes the pieces that Qwen's pre-tokenizer cuts them into (51), and a template with a system turn.
_TOKENIZERS = ((100, 1.0, 7), (300, 1.37, 7), (5_000, 2.1, 7), (math.inf, 2.4, 30))


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


# Two cores: 21.3 s of signals, 0.24 s a step and 2 s an evaluation of `tiny`; the halves from Qwen2 models of width 96,
# 192, 384 and 896 (132, 180, 232, 287 GFLOP/s forward; 88, 122, 178, 245 forward and backward).
_TWO_CORES = Speed(175e9, 250e9, 148, 243, 1e10, 3.5e-4, True)
_DEVICES = {  # a middling GPU of each kind; from data sheets and experience, not measured here
    ("cuda", "bfloat16"): Speed(4e13, 3e13, 1000, 1000, 4e11, 1e-3),
    ("cuda", "float32"): Speed(8e12, 6e12, 500, 500, 2.5e11, 1e-3),
    ("zerogpu", "bfloat16"): Speed(1.2e14, 9e13, 1500, 1500, 1e12, 1e-3),
    ("mps", "float32"): Speed(3e12, 2e12, 300, 300, 1e11, 1e-3),
}


@dataclass(frozen=True)
class Job:
    """A config with the facts of its models, all known: the student's, and those of the teachers that are asked.

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
    def asked(self) -> int:
        """Texts each teacher is asked about."""
        return self.config.data.train + self.config.probe.texts if self.teachers else 0

    @property
    def answers(self) -> int:
        """Problems the student answers, before and again after."""
        return self.config.data.held_out + self.config.data.new_phrasing

    @property
    def trained(self) -> float:
        """Numbers that are trained: the adapter, and the heads in the deku modes."""
        geometry, student = self.config.geometry, self.student
        heads = sum(t.width for t in self.teachers) * student.width if geometry and "deku" in geometry.mode else 0
        return self.config.lora.r * _LORA_ROWS * student.width * student.layers + 2 * heads


def speed_of(machine: Machine, threads: int = 0) -> Speed:
    """The machine's speed, with so many CPU threads (0: every core)."""
    if (machine.device, machine.dtype) in _DEVICES:
        return _DEVICES[machine.device, machine.dtype]
    cores = min(threads, machine.cores) if threads else machine.cores
    more = (cores / 2) ** 0.85  # more cores help small models less
    return replace(_TWO_CORES, forward=_TWO_CORES.forward * more, training=_TWO_CORES.training * more)


# --- time ------------------------------------------------------------------------------------------------------------


def stages(job: Job, machine: Machine) -> dict[str, float]:
    """Seconds of each stage, named as in report.json: prepare (with the start), signals, train, evaluate."""
    speed, size = speed_of(machine, job.config.budget.threads), _bytes(machine)
    texts = job.tokens(job.student) * job.config.data.train
    heads = job.config.geometry and "deku" in job.config.geometry.mode
    prepare = _START + job.student.parameters * 2 / _READ
    prepare += _forward(job.student, texts, 1, speed) if heads else 0.0  # the heads start from the student's own states
    return {
        "prepare": prepare,
        "signals": sum(_asking(job, teacher, speed) for teacher in job.teachers),
        "train": _training(job, speed, size),
        "evaluate": 2 * _answering(job, job.answers, speed, size),
    }


def _forward(model: ModelFacts, tokens: float, passes: float, speed: Speed) -> float:
    rate = speed.forward * model.width / (model.width + speed.forward_half)
    return 2 * model.parameters * tokens / rate + passes * model.layers * speed.layer


def _asking(job: Job, teacher: ModelFacts, speed: Speed) -> float:
    tokens = job.tokens(teacher) * job.asked
    passes = math.ceil(job.asked / job.config.budget.teacher_batch_size)
    return _ASK + teacher.parameters * 2 / _READ + _TOKENIZE * tokens + _forward(teacher, tokens, passes, speed)


def _training(job: Job, speed: Speed, size: int) -> float:
    budget, student, geometry = job.config.budget, job.student, job.config.geometry
    rate = speed.training * student.width / (student.width + speed.training_half)
    tokens = _PADDING * job.tokens(student) * budget.batch_size
    pass_s = 6 * student.parameters * tokens / rate + _SMALL * student.layers * speed.layer
    step = budget.accumulation * pass_s
    if geometry and budget.accumulation > 1:  # the whole step's states are computed once before
        step += budget.accumulation * _forward(student, tokens, 1, speed)
    if geometry and geometry.gate.kind == "meta":  # a backward pass for each teacher
        step += (len(job.teachers) + 1) * pass_s / geometry.gate.every
    return budget.steps * step + _looking(job, speed, size)


def _looking(job: Job, speed: Speed, size: int) -> float:
    """The diagnostics: every so many steps a forward pass, every second time answers too."""
    probe, student = job.config.probe, job.student
    looks = job.config.budget.steps // probe.every + 1
    passes = math.ceil(probe.texts / job.config.budget.batch_size)
    read = _forward(student, probe.texts * job.tokens(student), passes, speed) if job.teachers else 0.0
    return looks * read + math.ceil((looks + 1) / 2) * _answering(job, probe.samples + probe.problems, speed, size)


def _answering(job: Job, rows: int, speed: Speed, size: int) -> float:
    """Seconds for `rows` answers, each taken to be as long as it may be: a batch waits for its longest."""
    evaluation, student = job.config.evaluation, job.student
    if not rows:
        return 0.0
    batches = math.ceil(rows / evaluation.batch_size)
    batch = rows / batches
    reading = _forward(student, rows * job.tokens(student), batches, speed)
    weights = student.parameters * size / speed.bytes
    token = max(2 * _forward(student, batch, 0, speed), weights) + student.layers * speed.layer + _ROW * batch
    return reading + batches * evaluation.max_new_tokens * token


# --- memory and disk -------------------------------------------------------------------------------------------------


def _bytes(machine: Machine) -> int:
    return 2 if machine.dtype in ("bfloat16", "float16") else 4


def model_memory_gb(job: Job, machine: Machine) -> float:
    """GiB that models and what is computed with them take at most: the student, and beside it whatever is largest.

    That is training it, its answers, or one teacher at a time.
    """
    size, budget, student = _bytes(machine), job.config.budget, job.student
    own = student.parameters * {"4bit": 0.6, "8bit": 1.1, None: size}[job.config.lora.quantize]
    length = _PADDING * job.tokens(student)
    kept = student.layers * _STATES * student.width * size + 16 * student.vocabulary  # logits twice in float32
    training = 16 * job.trained + budget.batch_size * length * kept  # weight, gradient and two moments, 4 bytes each
    evaluation = job.config.evaluation
    cached = student.layers * student.width * size * (length + evaluation.max_new_tokens) + 8 * student.vocabulary
    needed = [training, min(evaluation.batch_size, job.answers) * cached]
    for teacher in job.teachers:
        state = 10 * teacher.width * size + 0.5 * teacher.vocabulary * (size + 8)  # logits of the solutions alone
        batch = min(budget.teacher_batch_size, job.asked)
        needed.append(teacher.parameters * size + batch * _PADDING * job.tokens(teacher) * state)
    return (own + max(needed)) / GIB


def memory_gb(job: Job, machine: Machine) -> tuple[float, float | None]:
    """GiB of (main memory, GPU memory); the latter is None where there is no GPU of its own."""
    models = model_memory_gb(job, machine)
    signals = sum(job.asked * teacher.width * 4 for teacher in job.teachers) / GIB
    if not machine.has_gpu:
        return _STACK + models + signals, None
    largest = max(model.parameters for model in (job.student, *job.teachers)) * _bytes(machine) / GIB
    return _GPU_STACK + largest + signals, _GPU_CONTEXT + _GPU_GAPS * models


def disk_mb(job: Job) -> float:
    """MiB the run and the teachers' signals take: adapter, three checkpoints with an optimiser, answers, signals."""
    adapter = 4 * job.trained
    signals = sum(job.asked * (teacher.width + 1) * 4 for teacher in job.teachers)
    layers = sum(job.config.probe.texts * teacher.width * (teacher.layers + 1) * 4 for teacher in job.teachers)
    return (adapter * (1 + 3 * 3) + 2 * 250 * job.answers + 1000 * job.config.budget.steps + signals + layers) / 2**20


def download_gb(models: list[ModelFacts]) -> float:
    """GB to fetch of the models that aren't here: two bytes a weight, as most are published."""
    return sum({m.model: 2 * m.parameters for m in models if not m.fetched and m.known}.values()) / 1e9
