"""What a GGUF file (llama.cpp's format, weights often in 4 to 8 bits) says of its model, in its header.

No weight is read. It knows nothing of the Hub, or of how such a file is loaded.
"""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from distill.architectures import reads_gguf
from distill.errors import ConfigError

SUFFIX = ".gguf"
_TOKENIZERS = {"gpt2": "bpe", "llama": "bpe", "t5": "unigram", "bert": "wordpiece"}  # llama.cpp's names for them


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
    """The header of a GGUF file; about a second where there are 150,000 tokens, and kept until the file changes.

    Raises ConfigError unless the file is one, as long as it says, and whole (not one part of several).
    """
    try:
        stat = file.stat()
    except OSError as error:
        raise ConfigError(f"{file} can't be read: {error.strerror or error}.") from error
    return _kept(file, stat.st_mtime_ns, stat.st_size)


def read_start(start: bytes, size: int, name: str) -> GgufHeader:
    """The header of a file of `size` bytes, called `name`, of which only the start is here. Raises as `read_gguf`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "start.gguf"
        file.write_bytes(start)
        os.truncate(file, size)  # a hole, which takes no room: the reader wants to see where weights would be
        return _read(file, size, name)


@lru_cache(maxsize=32)
def _kept(file: Path, modified: int, size: int) -> GgufHeader:
    return _read(file, size, str(file))


def _read(file: Path, size: int, name: str) -> GgufHeader:
    from gguf import GGUFReader  # a fifth of a second: numpy

    try:
        reader = GGUFReader(file)
        fields = reader.fields
        architecture = str(fields["general.architecture"].contents())

        if reads_gguf(architecture) is False:
            raise ConfigError(
                f"{name} is of the architecture {architecture!r}, which transformers doesn't read from GGUF files: "
                "give the model's safetensors instead."
            )

        def number(key: str) -> int | None:
            found = fields.get(f"{architecture}.{key}")
            return int(found.contents()) if found else None

        split = fields.get("split.count")
        if split and int(split.contents()) > 1:
            raise ConfigError(f"{name} is one of {split.contents()} parts of a model: join them with llama-gguf-split.")
        tokens, kind = fields.get("tokenizer.ggml.tokens"), fields.get("tokenizer.ggml.model")
        end = max(tensor.data_offset + tensor.n_bytes for tensor in reader.tensors)
        header = GgufHeader(
            architecture,
            sum(math.prod(int(n) for n in tensor.shape) for tensor in reader.tensors),
            number("embedding_length"),
            number("block_count"),
            len(tokens.data) if tokens else number("vocab_size"),
            _TOKENIZERS.get(str(kind.contents())) if kind else None,
        )
    except ConfigError:
        raise
    except Exception as error:  # whatever numpy makes of bytes that are no header, the file is to blame
        raise ConfigError(f"{name} is no GGUF file, or it is damaged or cut short: copy it again.") from error
    if size < end:
        raise ConfigError(f"{name} is cut short ({size:,} of at least {end:,} bytes): copy it again.")
    return header
