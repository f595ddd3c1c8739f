"""What a model can do, by its files alone: whether it continues texts, only reads them, or can't be loaded here; and
whether its weights know every token that its tokenizer makes.

From config.json, the shapes in the headers of the weights, and tokenizer.json. torch is imported only where the name of
an architecture does not tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from distill.config.errors import ConfigError

Shapes = Mapping[str, Sequence[int]]  # of a model's tensors, by their names

# Architectures of which nothing more need be known, unless their config says otherwise.
_CAUSAL = re.compile(r"(ForCausalLM|LMHeadModel)$")
_DOUBTFUL = re.compile(
    r"bert|electra|ernie|data2vec|former|bird|xl|bart|pegasus|marian|mvp|prophet|blender|whisper|trocr|music|t5", re.I
)
# Those that have no head for the next token. GPT2LMHeadModel and GPT2DoubleHeadsModel have one.
_HEADLESS = re.compile(
    r"(?<!Head)(?<!Heads)Model$|For\w*(Classification|Answering|Choice|Prediction|Reward\w*|Embedding)$"
)
_MASKED = re.compile(r"For(MaskedLM|PreTraining)$")
_BOTH_WAYS = ("bert-generation", "xlnet")  # besides those that can fill in gaps
# They count positions from their padding token on, and transformers' generate() from 0: it would write other answers
# than the model's.
_SHIFTED = re.compile(r"roberta|camembert|data2vec|xmod")
_EMBEDDINGS = re.compile(
    r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in|embeddings?|tok_embeddings|tokens_embed)\.weight$"
)
# What a tokenizer keeps for pictures and sounds is never in a text: Gemma 3 1B names one that its weights lack.
_MEDIA = re.compile(r"^(image|audio|video|vision|bo[iav]|eo[iav])\w*token$")


def why_unusable(config: Mapping[str, Any]) -> str | None:
    """Why transformers loads no causal language model of this config.json, in words that follow the model's name."""
    arch, kind = _architecture(config), config.get("model_type")
    if config.get("is_encoder_decoder"):
        return f"is an encoder-decoder ({arch}), and only models that continue one text can be used"
    if _plain(config) or not isinstance(kind, str):
        return None
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    if kind not in _known_kinds() or kind in CAUSAL:  # what is unknown says so itself when it is loaded
        return None
    return f"is a {arch}, which transformers does not load as a model that continues texts"


def why_only_read(config: Mapping[str, Any], shapes: Shapes) -> str | None:
    """Why a model can neither write answers nor say how likely they are, in words that follow its name; else None."""
    arch, text = _architecture(config), config.get("text_config") or config
    if text.get("is_causal") is False or text.get("use_bidirectional_attention") in (True, "all"):
        return f"sees a text as a whole, what it is to predict included ({arch})"
    headless = f"has no head that says which token comes next ({arch})"
    if _HEADLESS.search(arch) and not any("lm_head" in name or "embed_out" in name for name in shapes):
        return headless
    untied = text.get("tie_word_embeddings", config.get("tie_word_embeddings")) is False
    rows = None if "quantization_config" in config else embedding_rows(shapes)  # tensors may be packed
    if untied and rows and sum(len(shape) == 2 and shape[0] == rows for shape in shapes.values()) < 2:
        return headless
    if _plain(config):
        return None
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    kind = config.get("model_type")
    causal = config.get("is_decoder") or config.get("causal")
    if not (_MASKED.search(arch) or kind in _BOTH_WAYS or kind in MASKED):
        return None
    if not causal:
        return f"sees a text as a whole, what it is to predict included ({arch})"
    return f"counts positions as transformers' generate() does not ({arch})" if _SHIFTED.search(str(kind)) else None


def embedding_rows(shapes: Shapes) -> int | None:
    """How many tokens the weights know; None where no tensor or several are called as embeddings are."""
    found = {tuple(shape) for name, shape in shapes.items() if _EMBEDDINGS.search(name) and len(shape) == 2}
    return found.pop()[0] if len(found) == 1 else None


def check_folder_can(folder: Path, shapes: Shapes, continues: bool) -> None:
    """Raise ConfigError unless the model in `folder` can do what is asked of it: to continue texts, or only to read."""
    config = _read(folder / "config.json")
    if reason := why_unusable(config):
        raise ConfigError(f"{folder} {reason}: choose a causal language model.")
    if continues and (reason := why_only_read(config, shapes)):
        raise ConfigError(f"{folder} {cannot_continue(reason)}")
    said = (config.get("text_config") or config).get("vocab_size")
    rows = None if "quantization_config" in config else embedding_rows(shapes)
    if rows and isinstance(said, int) and rows != said:
        raise ConfigError(
            f"{folder} has a config.json of {said:,} tokens and weights of {rows:,}: they are not from the same model, "
            "so copy both again."
        )
    if isinstance(rows or said, int) and (beyond := token_beyond(folder, rows or said)):
        raise ConfigError(f"{folder} {beyond}")


def cannot_continue(reason: str) -> str:
    """What to say of a model that only reads, after its name."""
    return (
        f"{reason}, so it can neither write answers nor say how likely they are: choose a causal language model, or "
        "let it teach by its hidden states alone (objectives.features, or objectives.geometry with the gate uniform; "
        "evaluation.teachers 0)."
    )


def token_beyond(folder: Path, rows: int) -> str | None:
    """What is wrong where a tokenizer's files name a token beyond the `rows` of embeddings; None: nothing."""
    files = [folder / name for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json")]
    there = tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())
    return _beyond_files(there, rows)


def say_beyond(ids: Mapping[int, str], rows: int, settings: Mapping[str, Any]) -> str | None:
    """As `token_beyond`, of the tokens by their ids; `settings` say what some stand for ("image_token": ...)."""
    extra = settings.get("extra_special_tokens")
    named = {**settings, **(extra if isinstance(extra, dict) else {})}
    media = {_content(token) for key, token in named.items() if _MEDIA.match(key)}
    over = {index: token for index, token in ids.items() if index >= rows and token not in media}
    if not over:
        return None
    first = min(over)
    return (
        f"has a tokenizer that knows the token {over[first]!r} (number {first:,}) and weights for {rows:,} tokens: "
        "copy both again from one model, or resize the model's embeddings to its tokenizer."
    )


@lru_cache(maxsize=256)
def _beyond_files(files: tuple, rows: int) -> str | None:
    read = {file.name: _read(file) for file, *_ in files}
    settings, file = read.get("tokenizer_config.json", {}), read.get("tokenizer.json", {})
    try:
        vocab = file.get("model", {}).get("vocab", {})
        ids = {i: t for t, i in vocab.items()} if isinstance(vocab, dict) else {i: t for i, (t, *_) in enumerate(vocab)}
        ids |= {entry["id"]: entry["content"] for entry in file.get("added_tokens") or []}
        ids |= {int(i): _content(token) for i, token in (settings.get("added_tokens_decoder") or {}).items()}
        ids |= {i: token for token, i in read.get("added_tokens.json", {}).items()}
        return say_beyond(ids, rows, settings)
    except (AttributeError, TypeError, ValueError, KeyError):  # damaged: whoever loads it says so
        return None


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _plain(config: Mapping[str, Any]) -> bool:
    """Whether the name of its architecture says that it is a causal language model."""
    arch = _architecture(config)
    return bool(_CAUSAL.search(arch)) and not _DOUBTFUL.search(arch)


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    first = names[0] if isinstance(names, list) and names else None
    return first if isinstance(first, str) else str(config.get("model_type") or "a model without architecture")


def _known_kinds() -> Mapping[str, str]:
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

    return CONFIG_MAPPING_NAMES


def _read(file: Path) -> dict[str, Any]:
    """A JSON object; {} where it is damaged, which whoever loads it says."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
