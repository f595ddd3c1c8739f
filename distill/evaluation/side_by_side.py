"""One question, answered by a run's student before and after training, in turns of a moment; and by its teachers.

Before and after are one loaded model: the adapter is off during the one's turns and on during the other's, and each
side keeps a cache of its own. The digests say which weights answered.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import torch
from accelerate.utils import release_memory
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.files import sha256_of
from distill.config.run_config import ModelRef
from distill.evaluation.reevaluate import adapter_of
from distill.models.chat_template import template_of
from distill.models.generation import Completion, follow
from distill.models.hardware import GIB, Machine, detect
from distill.models.loading import fingerprint, load_model, load_tokenizer
from distill.models.metadata import describe_model
from distill.models.references import model_path
from distill.models.student import end_as_trained, load_adapter, load_student

SIDES = ("before", "after")

_TURN = 0.05  # seconds
_KEPT = 2  # students that stay loaded
_SMALL = 50_000_000  # parameters
_QUANTIZED = {"4bit": 0.75, "8bit": 1.25}  # bytes a parameter takes, with those that stay as they are
_LONGEST = 20_000  # characters of a question


@dataclass(frozen=True)
class Step:
    """How far one side's answer is: the text so far, and how many tokens it took in how many seconds of its own.

    `side` is "before", "after" or a teacher's name. `over`: no more will come; `finished`: the model ended it itself,
    rather than being cut off at the most tokens allowed.
    """

    side: str
    text: str
    tokens: int
    seconds: float
    over: bool
    finished: bool

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Opened:
    """A run's student, loaded. `base` is the fingerprint of its model, `adapter` the sha256 of its adapter's file.

    `seconds`: what loading took.
    """

    run: str
    name: str
    student: PeftModel
    tokenizer: PreTrainedTokenizerBase
    base: str
    adapter: str
    max_new_tokens: int
    seconds: float
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def weights(self, side: str) -> Iterator[None]:
        """The side's weights are in force within, for one caller at a time: a turn long, never while a reader reads."""
        off = self.student.disable_adapter() if side == "before" else nullcontext()
        with self.lock, _few_threads(self.student), off:
            yield


_opened: OrderedDict[Path, Opened] = OrderedDict()
_opening = threading.Lock()


def open_student(run_folder: Path) -> Opened:
    """The student of a run with its adapter: loaded, or as it was loaded before if the adapter is still the same file.

    Raises UserError or ConfigError, one sentence, where there is no adapter yet or something can't be loaded.
    """
    folder = Path(run_folder).resolve()
    with _opening:
        digest = sha256_of(adapter_of(folder) / "adapter_model.safetensors")
        known = _opened.pop(folder, None)
        if known is None or known.adapter != digest:
            del known
            while len(_opened) >= _KEPT:
                _opened.popitem(last=False)
            release_memory()
            known = _load(folder)
        _opened[folder] = known
        return known


@dataclass(frozen=True)
class Weights:
    """Which weights answer; the fields are Opened's."""

    name: str
    base: str
    adapter: str
    max_new_tokens: int


def both(run_folder: Path, question: str, max_new_tokens: int | None = None) -> Iterator[Weights | Step]:
    """Which weights answer, then the steps of `answer_both`. Raises as `open_student` and that."""
    opened = open_student(run_folder)
    yield Weights(opened.name, opened.base, opened.adapter, opened.max_new_tokens)
    with closing(answer_both(opened, question, max_new_tokens)) as steps:
        yield from steps


def answer_both(opened: Opened, question: str, max_new_tokens: int | None = None) -> Iterator[Step]:
    """Both sides' greedy answers to one question, token by token in turns; the last step of each is `over`.

    At most `max_new_tokens` (by default the run's own limit). Closing the iterator stops the work. Raises UserError
    where the question is empty or too long for the model.
    """
    most = max_new_tokens or opened.max_new_tokens
    prompt = _prompt(opened.student, opened.tokenizer, question, most, opened.name)
    with ExitStack() as stack:
        going = {}
        for side in SIDES:
            written = follow(opened.student, opened.tokenizer, prompt, most)
            going[side] = stack.enter_context(closing(_steps(side, written, most)))
        while going:
            for side, steps in list(going.items()):
                turn = _turn(steps, opened.weights(side))
                if turn[-1].over:
                    del going[side]
                yield from turn


def answer_as_teacher(ref: ModelRef, question: str, max_new_tokens: int) -> Iterator[Step]:
    """A teacher's greedy answer, token by token; it is loaded when the first step is asked for and let go at the end.

    Raises UserError where it can't be loaded, or where there is not the memory for it.
    """
    hardware = _hardware()
    _check_fits(ref, hardware)
    path = model_path(ref)
    try:
        model = load_model(path, getattr(torch, hardware.dtype), hardware.device, ref.revision, ref.name)
        tokenizer = load_tokenizer(path, ref.revision, ref.name)
        prompt = _prompt(model, tokenizer, question, max_new_tokens, ref.name)
        with closing(_steps(ref.name, follow(model, tokenizer, prompt, max_new_tokens), max_new_tokens)) as steps:
            turn: list[Step] = []
            while not turn or not turn[-1].over:
                turn = _turn(steps, _few_threads(model))
                yield from turn
    finally:
        model = tokenizer = steps = None
        release_memory()


def _load(folder: Path) -> Opened:
    began = time.monotonic()
    config = configs.load(folder / "config.yaml")
    hardware = _hardware()
    _check_fits(config.student, hardware, "student", _QUANTIZED.get(config.lora.quantize))
    student, tokenizer = load_student(config.student, config.lora, hardware, config.seed)
    adapter = load_adapter(student, adapter_of(folder))
    end_as_trained(student, adapter_of(folder))
    return Opened(
        run=folder.name,
        name=config.student.name,
        student=student.eval(),
        tokenizer=tokenizer,
        base=fingerprint(model_path(config.student), config.student.revision),
        adapter=adapter,
        max_new_tokens=config.evaluation.max_new_tokens,
        seconds=time.monotonic() - began,
    )


def _steps(side: str, written: Iterator[Completion], most: int) -> Iterator[Step]:
    """The steps of a side, with the seconds that went by while it was its turn."""
    seconds = 0.0
    with closing(written):
        while True:
            began = time.perf_counter()
            completion = next(written, None)
            seconds += time.perf_counter() - began
            if completion is None:
                return
            tokens = len(completion.tokens)
            over = completion.finished or tokens >= most
            yield Step(side, completion.text, tokens, seconds, over, completion.finished)


def _turn(steps: Iterator[Step], around: AbstractContextManager[None]) -> list[Step]:
    """The steps of a moment, at least one, with `around` in force meanwhile.

    peft takes as long to switch an adapter as a tiny model takes for several tokens; a large one gets a token a turn.
    """
    turn, ends = [], time.perf_counter() + _TURN
    with around:
        while not turn or not (turn[-1].over or time.perf_counter() > ends):
            turn.append(next(steps))
    return turn


def _prompt(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, question: str, most: int, name: str
) -> str:
    """The question as this model is asked it. Raises UserError where it can't be."""
    if not question.strip():
        raise UserError("There is no question: choose a problem, or type one of your own.")
    if len(question) > _LONGEST:
        raise UserError(
            f"The question has {len(question):,} characters, and at most {_LONGEST:,} are read: shorten it."
        )
    prompt = template_of(tokenizer).render(question)
    tokens = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit and tokens + most > limit:
        raise UserError(
            f"The question is {tokens:,} tokens long and its answer may take {most:,}, but {name} reads at most "
            f"{limit:,} in all: shorten it."
        )
    return prompt


def _hardware() -> Machine:
    """This machine as answers need it: the GPU where CUDA has one, else the CPU in float32."""
    found = detect()
    return found if found.device == "cuda" else replace(found, device="cpu", dtype="float32")


def _check_fits(ref: ModelRef, hardware: Machine, role: str = "teacher", each: float | None = None) -> None:
    """Raises UserError where a model is known to be larger than the free memory: this process must live on.

    `each`: bytes a parameter takes, where it is not as wide as the machine's dtype.
    """
    parameters = describe_model(ref).parameters
    if parameters is None:
        return
    needed = parameters * (each or getattr(torch, hardware.dtype).itemsize)
    free = torch.cuda.mem_get_info()[0] if hardware.device == "cuda" else psutil.virtual_memory().available
    if needed > 0.9 * free:
        raise UserError(
            f"The {role} {ref.name} takes {needed / GIB:,.1f} GB of memory, and {free / GIB:,.1f} GB are free: "
            "ask it on a larger machine."
        )


@contextmanager
def _few_threads(model: torch.nn.Module) -> Iterator[None]:
    """One thread for a small model on the CPU: beside a run that trains, two that wait for each other take ten times
    as long."""
    usual = torch.get_num_threads()
    if sum(parameter.numel() for parameter in model.parameters()) < _SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(usual)
