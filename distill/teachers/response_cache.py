"""What teachers answered, on disk: asked once, kept, re-used. One teacher in memory at a time, none if nothing misses.

Questions go in shards, each a JSON file named by a digest of all that decides its content (model, questions, request,
number type), with a checksum, so that a run goes on where it was killed and the next one asks for what is new alone.
How an answer is written is in generation.py, which of them are learned from in data/response_selection.py.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import release_memory
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill.config.errors import OnProgress, ShouldStop, UserError, raise_if_stopped
from distill.data.response_selection import Response
from distill.models.chat_template import THINK, Template, opened, template_of
from distill.models.generation import Manner, Sitting, end_tokens, generate_batch
from distill.models.loading import fingerprint, load_model, load_tokenizer
from distill.models.sampling import Sampling
from distill.teachers.cache_files import asking, digest_of, folder_of, kept_in, make_folder, write_whole

__all__ = ["Response", "ResponseBank", "ResponseRequest"]

FORMAT = 1  # raise it when prompts or answers are made differently, and nothing kept is taken for the new
_WHAT = "the teachers' answers"
_CLOSED = re.compile(r"<think>\s*</think>\s*$")


@dataclass(frozen=True)
class ResponseRequest:
    """What is asked for: `samples` answers to each question, each of at most `max_new_tokens` tokens.

    `temperature` 0 takes the likeliest token each time, and then all samples are one and the same. `seed`, with the
    question's prompt and the sample's number, decides the draws: see sampling.py. `prefill`: what each answer begins
    with, unless the teacher's own prompt ends in it already; it is part of the answer, and takes none of its tokens.
    """

    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0
    system: str | None = None
    prefill: str = ""

    @property
    def sampling(self) -> Sampling | None:
        """How tokens are drawn, None for the likeliest."""
        return Sampling(self.temperature, self.top_p, seed=self.seed) if self.temperature > 0 else None

    def decisive(self) -> dict[str, Any]:
        """What of it decides the answers: where nothing is drawn, `top_p` and `seed` make no difference."""
        ignored = () if self.temperature > 0 else ("top_p", "seed")
        ignored += () if self.prefill else ("prefill",)  # so that what was kept before there was one is found
        return {key: value for key, value in asdict(self).items() if key not in ignored}


@dataclass(frozen=True)
class ResponseBank:
    """Answers kept in `cache_dir`, those to `shard` questions a file; that many are lost at most by a kill.

    `on_warning(code, text)` is told, in a sentence, of files that had to be made again and of teachers that know no
    end.
    """

    cache_dir: Path
    shard: int = 64
    on_warning: Callable[[str, str], None] | None = None

    def ask(
        self,
        name: str,
        path: Path | str,
        questions: Sequence[str],
        request: ResponseRequest,
        *,
        revision: str | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        batch_size: int = 64,
        on_progress: OnProgress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> list[list[Response]]:
        """The teacher's answers to `questions`, in their order, `request.samples` to each.

        `name` is what the run calls the teacher, `path` (and `revision`) the folder or Hub id it is loaded from. It is
        loaded only if something is missing, and let go before this returns. `batch_size` answers are written at a
        time, of one shard. `on_progress(done, n)` counts the answers, those kept from before included. `should_stop`
        raises `Stopped`; finished shards stay. A thought that the teacher's template opens ("<think>") opens the
        answer, so that it is whole; what reached `max_new_tokens` is not `finished`. Raises UserError, naming the
        teacher, if it can't be loaded or asked, or if nothing can be written.
        """
        tell = on_progress or (lambda done, total: None)
        model = fingerprint(path, revision)
        folder = folder_of(self.cache_dir, name, model)
        decisive = {"format": FORMAT, "model": model, "dtype": str(dtype), **request.decisive()}
        parts = [questions[start : start + self.shard] for start in range(0, len(questions), self.shard)]
        files = [folder / f"answers-{digest_of({**decisive, 'questions': list(part)})}.json" for part in parts]
        found = [self._kept(file, len(part), request.samples) for file, part in zip(files, parts, strict=True)]
        total = len(questions) * request.samples
        done = sum(len(part) * request.samples for part, there in zip(parts, found, strict=True) if there is not None)
        tell(done, total)
        if done < total:
            raise_if_stopped(should_stop)
            make_folder(folder, _WHAT)
            teacher = _Teacher.load(name, path, revision, dtype, device, batch_size, self.on_warning)
            for number, part in enumerate(parts):
                if found[number] is None:
                    before = done
                    found[number] = teacher.answer(
                        part, request, lambda now, _, before=before: tell(before + now, total), should_stop
                    )
                    write_whole(files[number], _to_bytes(found[number]), _WHAT)
                    done += len(part) * request.samples
            del teacher
            release_memory()
        return [answers for part in found for answers in part]

    def _kept(self, file: Path, n: int, samples: int) -> list[list[Response]] | None:
        load = partial(_read, counts=[samples] * n)
        return kept_in(file, load, self.on_warning, "answers_damaged", "so its questions are asked again")


@dataclass(frozen=True)
class _Teacher:
    """A teacher in memory, and how it is asked. `ends`: every token that may end its answers."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int
    ends: list[int]

    @classmethod
    def load(
        cls,
        name: str,
        path: Path | str,
        revision: str | None,
        dtype: torch.dtype,
        device: torch.device | str,
        batch_size: int,
        on_warning: Callable[[str, str], None] | None,
    ) -> _Teacher:
        model = load_model(path, dtype, device, revision, name, on_warning)
        tokenizer = load_tokenizer(path, revision, name)
        try:
            ends = end_tokens(model, tokenizer)
        except UserError:
            ends = []
            if on_warning is not None:
                on_warning(
                    "teacher_never_ends",
                    f"Neither the tokenizer nor the generation config of the teacher {name!r} knows a token that ends "
                    "an answer, so that all of its answers are unfinished: set its eos_token.",
                )
        return cls(name, model, tokenizer, batch_size, ends)

    def answer(
        self,
        questions: Sequence[str],
        request: ResponseRequest,
        on_progress: OnProgress,
        should_stop: ShouldStop | None,
    ) -> list[list[Response]]:
        """`request.samples` answers to each question; samples that can't differ are written once."""
        sampling = request.sampling
        times = 1 if sampling is None else request.samples
        scale = request.samples // times
        with asking(self.name, self.batch_size, "answers"):
            template = template_of(self.tokenizer, request.system)
            begun = [_begin(template, question, request.prefill) for question in questions for _ in range(times)]
            prompts = [prompt for prompt, _ in begun]
            self._check(prompts, request.max_new_tokens)
            written = generate_batch(
                self.model,
                self.tokenizer,
                prompts,
                request.max_new_tokens,
                self.batch_size,
                Manner(sampling, ends=self.ends, keep_special=True, finite=True),
                Sitting(lambda done, total: on_progress(done * scale, total * scale), should_stop),
            )
        responses = [
            Response(opening + c.text, c.finished, len(c.tokens))
            for c, (_, opening) in zip(written, begun, strict=True)
        ]
        return [responses[start : start + times] * scale for start in range(0, len(responses), times)]

    def _check(self, prompts: Sequence[str], max_new_tokens: int) -> None:
        """Raise UserError where a prompt leaves no room for an answer."""
        ids = self.tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
        window = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        longest = max(range(len(ids)), key=lambda row: len(ids[row]), default=0)
        if window and ids and len(ids[longest]) + max_new_tokens > window:
            raise UserError(
                f"It reads at most {window:,} tokens, and the prompt that begins {prompts[longest][:40]!r} "
                f"({len(ids[longest]):,} tokens) and max_new_tokens ({max_new_tokens:,}) are more: lower "
                "max_new_tokens."
            )


def _begin(template: Template, question: str, prefill: str) -> tuple[str, str]:
    """The prompt, and what of it the answer begins with."""
    prompt = template.render(question)
    after = template.after if prompt.endswith(template.after) else ""  # the question itself may be of thoughts
    rest, opening = prefilled(after, prefill)
    return prompt.removesuffix(after) + rest, opening


def prefilled(after: str, prefill: str) -> tuple[str, str]:
    """(what a teacher's prompt has after the question, how its answers begin), where its template writes `after`.

    A thought that the template opens is part of the answer, whose own text begins in its middle; one that the template
    opens and closes at once, as hybrid models have it that are not to think, makes room for a `prefill` that opens one.
    """
    begun = opened(after)
    if not prefill:
        return after, begun
    if after.rstrip().endswith(prefill.rstrip()):
        return after, after[after.rindex(prefill.rstrip()) :]
    if prefill.lstrip().startswith(THINK):
        after = _CLOSED.sub("", after)
    return after + prefill, begun + prefill


def _read(file: Path, counts: list[int]) -> list[list[Response]]:
    """The answers in a file, so many to each question. Raises ValueError and others where it is not whole."""
    stored = json.loads(file.read_bytes())
    answers = stored["answers"]
    if stored["sha256"] != _checksum(answers):
        raise ValueError("its checksum is another")
    if [len(some) for some in answers] != counts:
        raise ValueError("it holds another number of answers")
    return [[Response(*answer) for answer in some] for some in answers]


def _to_bytes(answers: list[list[Response]]) -> bytes:
    return json.dumps({"sha256": _checksum(answers), "answers": answers}).encode()


def _checksum(answers: list) -> str:
    """Of a list of lists of responses, as tuples or as JSON gives them back."""
    return hashlib.sha256(json.dumps(answers).encode()).hexdigest()
