"""What a GGUF file (llama.cpp's format, weights often in 4 to 8 bits) says of its model, in its header.

No weight is read. It knows nothing of the Hub, or of how such a file is loaded.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from distill.config.errors import ConfigError
from distill.models.architectures import reads_gguf

SUFFIX = ".gguf"
_TOKENIZERS = {"gpt2": "bpe", "llama": "bpe", "t5": "unigram", "bert": "wordpiece"}  # llama.cpp's names for them

# The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
_VERSIONS = (2, 3)
_TEXT, _ARRAY = 8, 9
_MOST_DIMENSIONS = 8  # of a tensor; ggml has 4
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True)
class GgufHeader:
    """`architecture` in llama.cpp's words ("llama", "qwen2"); `tokenizer`: its kind, as ModelFacts has it."""

    architecture: str
    parameters: int
    width: int | None
    layers: int | None
    vocabulary: int | None
    tokenizer: str | None


def read_gguf(file: Path) -> GgufHeader:
    """The header of a GGUF file, kept until the file changes; 0.1 s where there are 150,000 tokens.

    Raises ConfigError unless the file is one that transformers reads, whole (not one part of several) and as long as
    it says. (llama.cpp's own reader makes an array of every token: 2 s for 49,152.)
    """
    try:
        stat = file.stat()
        return _kept(file, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise ConfigError(f"{file} can't be read: {error.strerror or error}.") from error


def read_start(start: bytes, size: int, name: str) -> GgufHeader:
    """The header of a file of `size` bytes, called `name`, of which only the start is here. Raises as `read_gguf`."""
    return _read(start, size, name)


@lru_cache(maxsize=32)
def _kept(file: Path, modified: int, size: int) -> GgufHeader:
    with file.open("rb") as stream:
        if not size:
            return _read(b"", size, str(file))
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as held:
            return _read(held, size, str(file))


def _read(held: bytes | mmap.mmap, size: int, name: str) -> GgufHeader:
    try:
        fields, counts, parameters, end = _parsed(_Cursor(held))
        architecture = fields["general.architecture"]
        if not isinstance(architecture, str):
            raise ValueError
        width, layers, words = (
            _number(fields, f"{architecture}.{what}") for what in ("embedding_length", "block_count", "vocab_size")
        )
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError, struct.error) as error:
        raise ConfigError(f"{name} is no GGUF file, or it is damaged or cut short: copy it again.") from error
    parts = fields.get("split.count", 1)
    if parts != 1:
        raise ConfigError(f"{name} is one of {parts} parts of a model: join them with llama.cpp's llama-gguf-split.")
    if reads_gguf(architecture) is False:
        raise ConfigError(
            f"{name} is of the architecture {architecture!r}, which transformers doesn't read from GGUF files: give "
            "the model's safetensors instead."
        )
    if size < end:
        raise ConfigError(f"{name} is cut short ({size:,} of at least {end:,} bytes): copy it again.")
    return GgufHeader(
        architecture,
        parameters,
        width,
        layers,
        counts.get("tokenizer.ggml.tokens") or words,
        _TOKENIZERS.get(fields.get("tokenizer.ggml.model")),
    )


def _number(fields: dict[str, Any], name: str) -> int | None:
    """A whole number above 0, or None where nothing is said; a damaged file may hold a text there."""
    value = fields.get(name)
    if value is not None and (type(value) is not int or value < 1):
        raise ValueError
    return value


class _Cursor:
    """Reads one value after another: little endian, texts with their length before them."""

    def __init__(self, held: bytes | mmap.mmap):
        self.held, self.at = held, 0

    def number(self, kind: str) -> Any:
        (value,) = struct.unpack_from(f"<{kind}", self.held, self.at)
        self.at += struct.calcsize(f"<{kind}")
        return value

    def skip(self, length: int) -> int:
        """Where what is skipped begins."""
        self.at += length
        if self.at > len(self.held):
            raise ValueError
        return self.at - length

    def text(self) -> str:
        length = self.number("Q")
        start = self.skip(length)
        return self.held[start : start + length].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A number or a text; of an array how many there are in it."""
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY:
            return self.number(_NUMBERS[kind])
        inner, n = self.number("I"), self.number("Q")
        if inner in _NUMBERS:
            self.skip(n * struct.calcsize(f"<{_NUMBERS[inner]}"))
        else:
            for _ in range(n):
                self.skip(self.number("Q")) if inner == _TEXT else self.value(inner)
        return n


def _parsed(cursor: _Cursor) -> tuple[dict[str, Any], dict[str, int], int, int]:
    """(numbers and texts by name, lengths of arrays by name, all weights' number, where the last of them ends)."""
    if cursor.held[:4] != b"GGUF" or cursor.skip(4) or cursor.number("I") not in _VERSIONS:
        raise ValueError
    tensors, entries = cursor.number("Q"), cursor.number("Q")
    fields: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for _ in range(entries):
        name, kind = cursor.text(), cursor.number("I")
        (counts if kind == _ARRAY else fields)[name] = cursor.value(kind)
    parameters = end = 0
    for _ in range(tensors):
        cursor.text()
        dimensions = cursor.number("I")
        if dimensions > _MOST_DIMENSIONS:  # else a made-up header asks for a product of millions of factors: hours
            raise ValueError
        elements = math.prod(cursor.number("Q") for _ in range(dimensions))
        many, length = _blocks()[cursor.number("I")]
        parameters += elements
        end = max(end, cursor.number("Q") + elements // many * length)
    if not parameters:
        raise ValueError
    alignment = fields.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1:
        raise ValueError
    return fields, counts, parameters, -(-cursor.at // alignment) * alignment + end


@cache
def _blocks() -> dict[int, tuple[int, int]]:
    """Of each type of weights, how many are in a block and the bytes that it takes."""
    from gguf.constants import GGML_QUANT_SIZES  # a fifth of a second: numpy

    return {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
