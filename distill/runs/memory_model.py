"""What room a run needs, in closed form from the sizes of its models: memory, GPU memory, disk, and what is fetched.

The constants are measured on two cores of a server CPU (see beside each); those for GPUs are not, and say so.
"""

from __future__ import annotations

from distill.config.requirements import Demand, answers_itself, wants_answers
from distill.models.hardware import Machine
from distill.models.metadata import ModelFacts
from distill.runs.time_model import PADDING, Job, weight_bytes

GIB = 2**30
_STACK = 0.65  # GiB: Python, torch, transformers and peft at work, with nothing loaded
_PROBLEM = 1_000  # bytes of a problem drawn, beside its text: objects and what finds them again
_GPU_STACK = 2.0  # GiB: the same with CUDA's libraries; not measured here
_GPU_CONTEXT = 0.8  # GiB of GPU memory before the first tensor; not measured here
_GPU_GAPS = 1.1  # what torch holds of GPU memory over what it uses; not measured here
_STATES = 30  # numbers a layer keeps for the backward pass, per token and unit of width
_SOLUTION = 0.5  # of a text's tokens belong to its solution, at most
_PIECE = 256  # tokens whose probabilities over a vocabulary are compared at once, of both models, in float32
# Bytes kept of a solution's token: its id and where it ends, how likely it was; of each likely token its id and its
# probability; of each number of a hidden state.
_TOKEN, _LIKELY, _STATE = 12, 8, 2


def model_memory_gb(job: Job, machine: Machine) -> float:
    """GiB that models and what is computed with them take at most: the student, and beside it whatever is largest.

    That is training it, with the teachers that stay loaded; its answers; or one teacher at a time.
    """
    size, student = weight_bytes(machine), job.student
    whole = student.vocabulary * student.width
    own = student_bytes(student.parameters, job.config.lora.quantize, size, whole)
    evaluation = job.config.evaluation
    needed = [_training(job, size), _answers(job, student, min(evaluation.batch_size, job.answers), size)]
    for teacher, asked in job.asked:
        needed.append(teacher.parameters * size + _asking(job, teacher, asked, size))
    return (own + max(needed)) / GIB


def student_bytes(parameters: int, quantize: str | None, size: int, whole: int = 0) -> float:
    """Bytes of a student's weights in memory, each of `size` bytes where they aren't quantised: `whole` never are."""
    whole = min(whole, parameters)
    return whole * size + (parameters - whole) * {"4bit": 0.6, "8bit": 1.1, None: size}[quantize]


def _training(job: Job, size: int) -> float:
    """Bytes beside the student's weights: what is trained, what the backward pass keeps, and teachers that listen."""
    budget, student = job.config.budget, job.student
    length = PADDING * job.learnt
    twice = budget.gradient_checkpointing  # of each layer its input, and one layer at a time whole
    states = student.layers + _STATES if twice else student.layers * _STATES
    kept = states * student.width * size + 16 * student.vocabulary  # logits twice in float32
    needed = 16 * job.trained + budget.batch_size * length * kept  # weight, gradient and two moments, 4 bytes each
    live = [teacher for teacher, asked in job.asked if asked.live]
    for teacher in live:
        needed += teacher.parameters * size + budget.batch_size * length * 10 * teacher.width * size
    if live:
        needed += 3 * _PIECE * student.vocabulary * 4
    method = answers_itself(job.config)
    if method is None:
        return needed
    loaded = sum(teacher.parameters for teacher in live) * size
    writing = _answers(job, student, budget.batch_size, size, method.rollout.max_new_tokens)
    return max(needed, 16 * job.trained + loaded + writing)


def _answers(job: Job, model: ModelFacts, rows: int, size: int, most: int | None = None) -> float:
    """Bytes that so many answers at once take, each of `most` tokens (default: the evaluation's)."""
    length = PADDING * job.tokens(model) + (job.config.evaluation.max_new_tokens if most is None else most)
    return rows * (model.layers * model.width * size * length + 8 * model.vocabulary)


def _asking(job: Job, teacher: ModelFacts, asked: Demand, size: int) -> float:
    """Bytes beside a teacher's weights while it reads, or writes."""
    state = 10 * teacher.width * size + 0.5 * teacher.vocabulary * (size + 8)  # logits of the solutions alone
    at_once, answers = job.config.budget.teacher_batch_size, wants_answers(job.config)
    reading = min(at_once, job.texts(asked)) * PADDING * job.tokens(teacher) * state
    if not asked.written or answers is None:
        return reading
    return max(reading, _answers(job, teacher, min(at_once, asked.written), size, answers.max_new_tokens))


def memory_gb(job: Job, machine: Machine) -> tuple[float, float | None]:
    """GiB of (main memory, GPU memory); the latter is None where there is no GPU of its own."""
    models = model_memory_gb(job, machine)
    signals = sum(_signals(job, *one) for one in job.asked) / GIB
    texts = job.drawn * (_PROBLEM + job.characters) / GIB
    if not machine.has_gpu:
        return _STACK + models + signals + texts, None
    largest = max(model.parameters for model in (job.student, *job.teachers)) * weight_bytes(machine) / GIB
    return _GPU_STACK + largest + signals + texts, _GPU_CONTEXT + _GPU_GAPS * models


def _signals(job: Job, teacher: ModelFacts, asked: Demand) -> float:
    """Bytes of what a teacher said: a vector a text, and of each token of a solution what is wanted of it."""
    texts = job.texts(asked) * (teacher.width + 1) * 4
    token = _TOKEN + _LIKELY * asked.top_k + _STATE * asked.layers * teacher.width
    return texts + (asked.read * _SOLUTION * job.tokens(teacher) * token if asked.tokens else 0.0)


def disk_mb(job: Job) -> float:
    """MiB the run and the teachers' signals take: adapter, three checkpoints with an optimiser, answers, signals."""
    adapter = 4 * job.trained
    signals = sum(_signals(job, *one) for one in job.asked)
    written = sum(asked.written * job.characters for _, asked in job.asked)
    layers = sum(job.config.probe.texts * teacher.width * (teacher.layers + 1) * 4 for teacher in job.teachers)
    kept = job.config.budget.epochs or 0  # the adapter once more at the end of each
    own = adapter * (1 + 3 * 3 + kept) + 2 * 250 * job.answers + 1000 * job.steps
    return (own + signals + written + layers) / 2**20


def download_gb(models: list[ModelFacts]) -> float:
    """GB to fetch of the models that aren't here: two bytes a weight, as most are published, where it isn't known."""
    missing = [m for m in models if not m.fetched and (m.known or m.download is not None)]
    return sum({m.model: 2 * m.parameters if m.download is None else m.download for m in missing}.values()) / 1e9
