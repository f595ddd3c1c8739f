"""Which split a question belongs to: a hash of its words alone, whatever their case, spaces or encoding.

So no question can be in two splits, wherever it comes from, however a file is sorted, mixed or extended.
"""

from __future__ import annotations

import hashlib
import unicodedata

SHARES = {"train": 13, "held_out": 3, "probe": 2, "validation": 2}  # twentieths of the questions


def split_of_question(question: str) -> str:
    """The split that a question belongs to: a pure function of its words, not of their case, spacing or encoding."""
    return split_of_key(key_of(question))


def key_of(question: str) -> str:
    """What of a question counts: not its case, spaces, invisible characters or the way its letters are encoded."""
    text = unicodedata.normalize("NFKC", question).casefold()
    return "".join(letter for letter in text if not letter.isspace() and unicodedata.category(letter) != "Cf")


def split_of_key(key: str) -> str:
    """`split_of_question` for who has the key already."""
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % sum(SHARES.values())
    for split, share in SHARES.items():
        if bucket < share:
            return split
        bucket -= share
    raise AssertionError("the shares make up the whole")


def order_of(seed: int, key: str) -> bytes:
    """Sorted by this, questions are mixed, in the same way for every seed however many they are."""
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()
