"""Which tokens of a teacher the tokens of a student stand for: what the losses across tokenizers compare them by.

Tokens are compared as the bytes they stand for, not as their tokenizers write them: a space is "\u0120" in one and
"\u2581" in another. Then, as X-Token's authors do it (2605.21699; NVIDIA-NeMo/RL, tools/x_token): a token that the
teacher has as well stands for that one; any other is given to the teacher's tokenizer, and stands for the first four
tokens that it is made of, with shares 0.9, 0.09, 0.009, 0.0009, scaled to add up to 1. What the authors do besides is
left out: special tokens are not paired by likeness of their names, but only the ends of both models' answers. And a
token whose bytes the teacher can't write (half a character, an unknown letter) stands for none.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distill.models.chat_template import end_token, special_ids

MOST = 4  # tokens of the teacher that one of the student's may stand for
_DECAY = 0.1
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_BEFORE = "\n"  # read before a token, so that no tokenizer puts a space of its own there


@dataclass(frozen=True)
class Bridge:
    """What the vocabularies of a student (V_S tokens) and a teacher (V_T) have to do with one another.

    ids_Vk, weights_Vk [V_S, k]: W, sparse; student token v stands for the teacher's tokens ids[v] with shares
    weights[v], which add up to 1, or to 0 where there is none. shared_T [V_T]: the student token that is exactly the
    same as a teacher's, -1 for none; no student token occurs twice.
    """

    ids_Vk: Tensor
    weights_Vk: Tensor
    shared_T: Tensor


def bridge(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, k: int = MOST) -> Bridge:
    """What the student's tokens are in the teacher's vocabulary; `k`: for how many tokens one may stand."""
    ours, theirs = surfaces(student), surfaces(teacher)
    images = _images(ours, theirs, teacher)
    images[end_token(student)] = [end_token(teacher)]
    ids_Vk = torch.zeros(len(ours), k, dtype=torch.long)
    weights_Vk = torch.zeros(len(ours), k)
    for token, image in images.items():
        image = image[:k]
        weights = torch.tensor([_DECAY**place for place in range(len(image))])
        ids_Vk[token, : len(image)] = torch.tensor(image)
        weights_Vk[token, : len(image)] = weights / weights.sum()
    shared_T = torch.full((len(theirs),), -1)
    here, there = _unique(ours), _unique(theirs)
    for surface in here.keys() & there.keys():
        shared_T[there[surface]] = here[surface]
    shared_T[shared_T == end_token(student)] = -1
    shared_T[end_token(teacher)] = end_token(student)
    return Bridge(ids_Vk, weights_Vk, shared_T)


def surfaces(tokenizer: PreTrainedTokenizerBase) -> list[bytes | None]:
    """The bytes that each token stands for in the middle of a text; None for special tokens and ids that are none."""
    vocabulary = {index: token for token, index in tokenizer.get_vocab().items()}
    special, added = special_ids(tokenizer), tokenizer.added_tokens_decoder
    kinds = _decoders(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"])
    found: list[bytes | None] = [None] * (max(vocabulary) + 1)
    plain = [index for index in vocabulary if index not in special and index != tokenizer.unk_token_id]
    if "ByteLevel" in kinds:
        byte_of = _byte_alphabet()
        for index in plain:
            token = vocabulary[index]
            as_it_is = index in added or not all(letter in byte_of for letter in token)
            found[index] = token.encode() if as_it_is else bytes(byte_of[letter] for letter in token)
        return found
    before = tokenizer(_BEFORE, add_special_tokens=False).input_ids[-1:]
    start = _decoded(tokenizer, [before])[0]
    for index, text in zip(plain, _decoded(tokenizer, [[*before, index] for index in plain]), strict=True):
        byte = _BYTE.fullmatch(vocabulary[index]) if "ByteFallback" in kinds else None
        if byte:
            found[index] = bytes([int(byte[1], 16)])
        elif text.startswith(start):
            found[index] = text[len(start) :].encode() or None
    return found


def _images(
    ours: list[bytes | None], theirs: list[bytes | None], teacher: PreTrainedTokenizerBase
) -> dict[int, list[int]]:
    """{student token: the teacher's tokens for its bytes}, without those that it has none for."""
    known = _unique(theirs)
    images = {token: [known[surface]] for token, surface in enumerate(ours) if surface in known}
    texts = {}
    for token, surface in enumerate(ours):
        if surface is not None and token not in images:
            try:
                texts[token] = surface.decode()
            except UnicodeDecodeError:  # part of a character, for which the teacher has no token of its own
                continue
    for before in ("", _BEFORE):  # the second only for tokenizers that change what a text begins with
        for token, image in zip(texts, _written(teacher, before, list(texts.values())), strict=True):
            if b"".join(theirs[index] or b"\0?" for index in image) == ours[token]:
                images[token] = image
        texts = {token: text for token, text in texts.items() if token not in images}
    return images


def _written(tokenizer: PreTrainedTokenizerBase, before: str, texts: list[str]) -> list[list[int]]:
    """The tokens of each text behind `before`, without those of `before`."""
    if not texts:
        return []
    made = tokenizer([before + text for text in texts], add_special_tokens=False, return_offsets_mapping=True)
    return [
        [index for index, (start, _) in zip(ids, offsets, strict=True) if start >= len(before)]
        for ids, offsets in zip(made["input_ids"], made["offset_mapping"], strict=True)
    ]


def _unique(surfaces: list[bytes | None]) -> dict[bytes, int]:
    """{bytes: token} of the bytes that are one token's alone: WordPiece has two for a letter, and which is meant?"""
    counts = Counter(surfaces)
    return {surface: token for token, surface in enumerate(surfaces) if surface and counts[surface] == 1}


def _decoded(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> list[str]:
    return tokenizer.batch_decode(rows, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _decoders(decoder: dict | None) -> set[str]:
    """The kinds of decoders that a tokenizer runs one after another."""
    if decoder is None:
        return set()
    return {decoder["type"]}.union(*(_decoders(part) for part in decoder.get("decoders", ())))


def _byte_alphabet() -> dict[str, int]:
    """How byte-level tokenizers write bytes (GPT-2): printable ones as themselves, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
