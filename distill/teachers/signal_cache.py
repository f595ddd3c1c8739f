"""What teachers said, on disk: ask once, keep, re-use. One teacher in memory at a time, none where nothing is missing.

Texts go in shards. A shard of one signal is a safetensors file named by a digest of all that decides its content
(model, texts, request, number type), so what is found under a name is what was asked for: by this run after a kill -9,
by the next run, by a run that shares only some of the texts. Files appear whole or not at all; one that was cut short
or altered since is seen by its checksum and made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from accelerate.utils import release_memory
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from distill.config.errors import OnProgress, ShouldStop, UserError, raise_if_stopped
from distill.models.loading import fingerprint, load_model, load_tokenizer
from distill.teachers.cache_files import asking, digest_of, folder_of, kept_in, make_folder, write_whole
from distill.teachers.ragged import Ragged
from distill.teachers.signals import Request, Text, compute, need_of

FORMAT = 2  # raise it when prompts or signals are computed differently, and nothing kept is taken for the new
# What else than model, number type, texts and their limits decides an answer. A likelihood does not depend on where
# hidden states are read, say, and is re-used when that changes.
_DECISIVE = {
    "pooled": ("layer", "pooling"),
    "nll_per_byte": (),
    "pooled_layers": ("pooling",),
    "tokens": (),
    "token_logprobs": (),
    "topk_logprobs": ("top_k", "temperature"),
    "topk_ids": ("top_k", "temperature"),
    "hidden": ("layers",),
}
_SOMETIMES = frozenset(key for keys in _DECISIVE.values() for key in keys)
Values = Tensor | Ragged
_WHAT = "the teachers' signals"


@dataclass(frozen=True)
class SignalBank:
    """Signals kept in `cache_dir`, `shard` texts a file; that many are lost at most by a kill.

    `on_warning(code, text)` is told, in a sentence, of files that had to be made again.
    """

    cache_dir: Path
    shard: int = 256
    on_warning: Callable[[str, str], None] | None = None

    def ask(
        self,
        name: str,
        path: Path | str,
        texts: Sequence[Text],
        request: Request,
        **how,
    ) -> dict[str, Values]:
        """{signal: [n, ...] or Ragged of n rows, on the CPU} in the order of `texts` (n >= 1), for `request.answers`.

        `how`, and all else there is to know: see `ask_each`, of which this is one question.
        """
        return self.ask_each(name, path, [(texts, request)], **how)[0]

    def ask_each(
        self,
        name: str,
        path: Path | str,
        questions: Sequence[tuple[Sequence[Text], Request]],
        *,
        revision: str | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        batch_size: int = 64,
        on_progress: OnProgress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> list[dict[str, Values]]:
        """What `ask` gives, for each of several (texts, request): a teacher is loaded once for all of them.

        `name` is what the run calls the teacher, `path` (and `revision`) the folder or Hub id it is loaded from. It is
        loaded only if something is missing, and let go before this returns. `on_progress(done, n)` counts the texts of
        all questions, those kept from before included. `should_stop` raises `Stopped`; finished shards stay. Raises
        UserError, naming the teacher, if it can't be loaded or says something that is not a number, or if nothing can
        be written.
        """
        teacher = _Teacher(name, path, revision, dtype, device, batch_size, self.on_warning)
        tell = on_progress or (lambda done, total: None)
        model = fingerprint(path, revision)
        folder = folder_of(self.cache_dir, name, model)
        asked = [self._shards(folder, model, dtype, *question) for question in questions]
        shards = [shard for some in asked for shard in some]
        total = sum(len(texts) for texts, _ in questions)
        done = sum(len(shard.texts) for shard in shards if not shard.missing)
        tell(done, total)
        if done < total:
            raise_if_stopped(should_stop)
            make_folder(folder, _WHAT)
            ask = teacher.loaded()
            for shard in (shard for shard in shards if shard.missing):
                shard.fill(name, ask, partial(lambda before, now, _: tell(before + now, total), done), should_stop)
                done += len(shard.texts)
            del ask
            release_memory()
        return [
            {s: _joined([shard.found[s] for shard in some]) for s in request.answers}
            for some, (_, request) in zip(asked, questions, strict=True)
        ]

    def _shards(
        self, folder: Path, model: str, dtype: torch.dtype, texts: Sequence[Text], request: Request
    ) -> list[_Shard]:
        """The shards of `texts`, with what the teacher's `folder` holds of them; `model` is its fingerprint."""
        decisive = {"format": FORMAT, "model": model, "dtype": str(dtype), **asdict(request)}
        del decisive["needs"]
        shards = []
        for start in range(0, len(texts), self.shard):
            part = texts[start : start + self.shard]
            decisive["texts"] = [list(text) for text in part]
            files = {s: folder / f"{s}-{_digest(s, decisive)}.safetensors" for s in request.answers}
            found = {s: values for s, file in files.items() if (values := self._kept(file)) is not None}
            shards.append(_Shard(part, request, files, found))
        return shards

    def _kept(self, file: Path) -> Values | None:
        return kept_in(file, _read, self.on_warning, "signals_damaged", "so its texts are asked for again")


@dataclass(frozen=True)
class _Teacher:
    """A teacher: its name in the run, and how it is loaded and asked."""

    name: str
    path: Path | str
    revision: str | None
    dtype: torch.dtype
    device: torch.device | str
    batch_size: int
    on_warning: Callable[[str, str], None] | None

    def loaded(self) -> Callable[..., dict[str, Values]]:
        """A function that asks it; the model lives as long as the function."""
        model = load_model(self.path, self.dtype, self.device, self.revision, self.name, self.on_warning)
        tokenizer = load_tokenizer(self.path, self.revision, self.name)

        def ask(texts: Sequence[Text], request: Request, *watching) -> dict[str, Values]:
            with asking(self.name, self.batch_size, "texts"):
                return compute(model, tokenizer, texts, request, self.batch_size, *watching)

        return ask


@dataclass
class _Shard:
    """Some of the texts, what is asked of them, the file of each signal asked for, and the signals found there."""

    texts: Sequence[Text]
    request: Request
    files: dict[str, Path]
    found: dict[str, Values]

    @property
    def missing(self) -> frozenset[str]:
        return frozenset(self.files) - frozenset(self.found)

    def fill(self, name: str, ask: Callable[..., dict[str, Values]], *watching) -> None:
        """Ask the teacher called `name` for what is missing, and keep it."""
        needs = frozenset(need_of(signal) for signal in self.missing)
        for signal, values in ask(self.texts, replace(self.request, needs=needs), *watching).items():
            _check_finite(name, values, self.texts)
            _write(self.files[signal], values)
            self.found[signal] = values


def _digest(signal: str, decisive: dict) -> str:
    kept = {key: value for key, value in decisive.items() if key not in _SOMETIMES.difference(_DECISIVE[signal])}
    return digest_of([signal, kept])


def _joined(parts: Sequence[Values]) -> Values:
    return Ragged.cat(parts) if isinstance(parts[0], Ragged) else torch.cat(parts)


def _checksum(values: Values) -> str:
    if isinstance(values, Ragged):
        return hashlib.sha256((_checksum(values.values) + _checksum(values.lengths)).encode()).hexdigest()
    return hashlib.sha256(f"{values.dtype}{tuple(values.shape)}".encode() + values.numpy().tobytes()).hexdigest()


def _check_finite(name: str, values: Values, texts: Sequence[Text]) -> None:
    if isinstance(values, Ragged):
        row = torch.arange(len(values)).repeat_interleave(values.lengths)
        bad = torch.zeros(len(values), dtype=torch.bool)
        bad[row[_broken(values.values)]] = True
    else:
        bad = _broken(values)
    if bad.any():
        question = texts[int(bad.nonzero()[0])][0]
        raise UserError(
            f"The teacher {name!r} gives numbers that are not finite (NaN or infinity) for {int(bad.sum())} of "
            f"{len(texts)} texts, such as {question[:40]!r}: its weights are damaged, or it needs float32."
        )


def _broken(values: Tensor) -> Tensor:
    """bool [n]: whether some number of values[i] is NaN or infinite."""
    return (~torch.isfinite(values[:, None])).flatten(1).any(1)


def _read(file: Path) -> Values:
    """What a file holds. Raises SafetensorError, OSError or ValueError where it is not whole."""
    with safe_open(file, "pt") as stored:
        values, checksum = stored.get_tensor("values"), (stored.metadata() or {}).get("sha256")
        if "lengths" in stored.keys():  # noqa: SIM118 (it is no dictionary)
            values = Ragged(values, stored.get_tensor("lengths"))
    if _checksum(values) != checksum:
        raise ValueError("its checksum is another")
    return values


def _write(file: Path, values: Values) -> None:
    tensors = {"values": values}
    if isinstance(values, Ragged):
        tensors = {"values": values.values, "lengths": values.lengths}
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
    write_whole(file, save(tensors, metadata={"sha256": _checksum(values)}), _WHAT)
