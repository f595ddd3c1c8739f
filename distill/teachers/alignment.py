"""Two tokenizations of one text, side by side: the smallest chunks that end at the same character on both sides.

What a teacher said of its tokens becomes what it said of chunks of the student's (docs/methods.md, "4. Across
tokenizers", after ALM, 2503.20083). A token is known by where it ends: the number of characters of the solution up to
its end, as running maximum, so that the bytes of an emoji, which are several tokens, all end where the emoji does; -1
is the end token and -2 a token that was cut off in the middle of a character (`data.encoding.Example.ends`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from distill.teachers.ragged import Ragged

END = -1
Chunk = tuple[int, int, int, int]


def chunks(ends_S: Sequence[int], ends_T: Sequence[int]) -> list[Chunk]:
    """(s0, s1, t0, t1) of each chunk: the student's tokens [s0, s1) and the teacher's [t0, t1) are the same text.

    A chunk closes at every end that both sides have, with the last token of each that reaches it. What follows the last
    such end (one side was truncated) is in no chunk. The end tokens, where both sides have one, are the last chunk.
    """
    return [tuple(chunk) for chunk in _chunks(np.asarray(ends_S), np.asarray(ends_T)).tolist()]


def aligned(
    student_ends: Sequence[Sequence[int]],
    teacher_tokens: Ragged,
    signals: Mapping[str, Ragged],
    student_ids: Sequence[Sequence[int]] | None = None,
) -> dict[str, Ragged]:
    """What one teacher said of n texts, by chunks; a row of each result is a text.

    `student_ends`: the ends of the student's labelled tokens. `teacher_tokens` [m, 2] int32: (id, end). `signals`:
    any of token_logprobs [m], topk_logprobs and topk_ids [m, k], hidden [m, layers, D]. Always given are

        chunk_of             int64 [labelled tokens]   the chunk of each of the student's tokens, -1 for none
        chunk_single         bool [C]                  one token of the student's, one of the teacher's (the same one,
                                                       where `student_ids` are given)

    and, of the signals that were given,

        chunk_logprobs       float32 [C]               the teacher's log-probability of the whole chunk, nats
        chunk_topk_logprobs  float32 [C, k]            at the first of the teacher's tokens
        chunk_topk_ids       int64 [C, k]
        chunk_hidden         float32 [C, layers, D]    mean over the teacher's tokens

    `student_ids`: the labelled tokens themselves, to be given only where both have one and the same tokenizer. Then
    every token is a chunk (the bytes of an emoji too, which end at the same character) as far as both read the same
    tokens. Where their answers end with different tokens, the two change places in what the teacher said: what ends
    its answers stands for what ends the student's.
    """
    if len(student_ends) != len(teacher_tokens):
        raise ValueError(f"the student has {len(student_ends)} texts and the teacher {len(teacher_tokens)}")
    swap = _ends_swapped(student_ends, student_ids, teacher_tokens)
    ids_T = swap(teacher_tokens.values[:, 0].long())
    found = _chunks_of_texts(student_ends, student_ids, teacher_tokens, ids_T)
    counts = torch.tensor([len(some) for some in found], dtype=torch.long)
    sizes = torch.tensor([len(ends) for ends in student_ends], dtype=torch.long)
    s0, s1, t0, t1 = torch.from_numpy(np.concatenate([*found, np.empty((0, 4), np.int64)])).unbind(1)
    row = torch.repeat_interleave(torch.arange(len(found)), counts)
    number = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]  # of the chunk within its text
    first_S = (sizes.cumsum(0) - sizes)[row] + s0
    chunk_of = torch.full((int(sizes.sum()),), -1)
    chunk_of[_spread(first_S, s1 - s0)] = number.repeat_interleave(s1 - s0)
    first_T = (teacher_tokens.lengths.cumsum(0) - teacher_tokens.lengths)[row] + t0
    single = (s1 - s0 == 1) & (t1 - t0 == 1)
    if student_ids is not None:
        ids_S = torch.tensor([token for ids in student_ids for token in ids], dtype=torch.long)
        single &= ids_S[first_S] == ids_T[first_T]
    said = _said_of_chunks(signals, first_T, t1 - t0, swap)
    out = {"chunk_of": Ragged(chunk_of, sizes), "chunk_single": Ragged(single, counts)}
    return out | {name: Ragged(values, counts) for name, values in said.items()}


def _said_of_chunks(
    signals: Mapping[str, Ragged], first: Tensor, lengths: Tensor, swap: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """What the signals say of each chunk, which is `lengths` [C] of the teacher's tokens, from `first` [C] on."""
    said = {}
    if "token_logprobs" in signals:
        said["chunk_logprobs"] = _sums(signals["token_logprobs"].values, first, lengths)
    if "topk_logprobs" in signals:
        said["chunk_topk_logprobs"] = signals["topk_logprobs"].values[first].float()
    if "topk_ids" in signals:
        said["chunk_topk_ids"] = swap(signals["topk_ids"].values[first].long())
    if "hidden" in signals:
        said["chunk_hidden"] = _sums(signals["hidden"].values, first, lengths).div_(lengths[:, None, None])
    return said


def _chunks_of_texts(
    student_ends: Sequence[Sequence[int]],
    student_ids: Sequence[Sequence[int]] | None,
    teacher_tokens: Ragged,
    ids_T: Tensor,
) -> list[np.ndarray]:
    """`_chunks` of each text; where `student_ids` are given and the teacher's are the same, every token is one."""
    theirs = [ids.numpy() for ids in ids_T.split(teacher_tokens.lengths.tolist())]
    found = []
    for row, ends in enumerate(student_ends):
        ours = None if student_ids is None else np.asarray(student_ids[row], dtype=np.int64)
        both = 0 if ours is None else min(len(ours), len(theirs[row]))
        if both and (ours[:both] == theirs[row][:both]).all():
            token = np.arange(both)
            found.append(np.stack([token, token + 1, token, token + 1], axis=1))
        else:
            found.append(_chunks(np.asarray(ends, dtype=np.int64), teacher_tokens.row(row)[:, 1].numpy()))
    return found


def _ends_swapped(
    student_ends: Sequence[Sequence[int]], student_ids: Sequence[Sequence[int]] | None, teacher_tokens: Ragged
) -> Callable[[Tensor], Tensor]:
    """What to do with ids of the teacher's: nothing, or to let the ends of its and the student's answers change places.

    Of the swap nothing is lost: it is a permutation, so a distribution stays one.
    """
    theirs = teacher_tokens.values[teacher_tokens.values[:, 1] == END, 0]
    ours = [
        ids[-1] for ids, ends in zip(student_ids or (), student_ends, strict=False) if len(ends) and ends[-1] == END
    ]
    if not ours or not len(theirs) or ours[0] == int(theirs[0]):
        return lambda ids: ids
    student_end, teacher_end = int(ours[0]), int(theirs[0])

    def swap(ids: Tensor) -> Tensor:
        swapped = torch.where(ids == teacher_end, student_end, ids)
        return torch.where(ids == student_end, teacher_end, swapped)

    return swap


def _chunks(ends_S: np.ndarray, ends_T: np.ndarray) -> np.ndarray:
    """`chunks` as an array [C, 4]."""
    inside_S, inside_T = ends_S[ends_S >= 0], ends_T[ends_T >= 0]
    cuts = np.intersect1d(inside_S, inside_T)
    s1, t1 = (np.searchsorted(inside, cuts, side="right") for inside in (inside_S, inside_T))
    s0, t0 = (np.concatenate([[0], last[:-1]])[: len(cuts)] for last in (s1, t1))
    found = np.stack([s0, s1, t0, t1], axis=1).astype(np.int64)
    if len(ends_S) and len(ends_T) and ends_S[-1] == END == ends_T[-1]:
        end = [len(ends_S) - 1, len(ends_S), len(ends_T) - 1, len(ends_T)]
        found = np.concatenate([found, [end]])
    return found


def _spread(starts: Tensor, lengths: Tensor) -> Tensor:
    """The numbers of [start, start + length), one run after another."""
    before = lengths.cumsum(0) - lengths
    return torch.arange(int(lengths.sum())) + (starts - before).repeat_interleave(lengths)


def _sums(values: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """[C, ...] float32: the sums of values[start : start + length]."""
    chunk = torch.arange(len(starts)).repeat_interleave(lengths)
    sums = torch.zeros(len(starts), *values.shape[1:])
    return sums.index_add_(0, chunk, values[_spread(starts, lengths)].float())
