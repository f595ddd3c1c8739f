"""Which block of the student is compared with which block of a teacher?

Blocks are numbered from 1, as in transformers' hidden_states, where [l] is what comes out of block l. The last entry
of hidden_states has been through the final normalisation in most models and is unlike all others, so a model of L
blocks offers blocks 1 to L - 1; a model with a single block offers that one.

    uniform      evenly spaced blocks of the student, the deepest included; each with the teacher's at the same depth
    last         the last blocks of both, aligned from the end
    random       random blocks of both, in order: the control that the others must beat
    cka_argmax   the student's as in uniform; of the teacher the block whose geometry is most alike

The choice matters little (2502.04499).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

KINDS = ("uniform", "last", "random", "cka_argmax")
Pairs = tuple[tuple[int, int], ...]


def usable(layers: int) -> int:
    """The deepest block, from 1, of a model of this many whose states have not been through the final normalisation."""
    return max(1, layers - 1)


def layer_pairs(
    kind: str,
    count: int,
    student_layers: int,
    teacher_layers: int,
    seed: int = 0,
    table: Sequence[Sequence[float]] | None = None,
) -> Pairs:
    """((student block, teacher block), ...), student blocks rising and all different.

    student_layers, teacher_layers: how many blocks they have. count: how many pairs; fewer where the student (and, for
    `last`, the teacher) has fewer. A shallower teacher's block may occur twice. seed: for `random`; the same seed gives
    the same student blocks beside any teacher. table, for `cka_argmax`: [student block - 1][teacher block - 1],
    similarities (`losses.cka.layer_cka` of the two models' states after each block); NaN is never chosen.

    Raises ValueError for an unknown kind, a count or depth below 1, and a table missing or too small.
    """
    if min(count, student_layers, teacher_layers) < 1:
        raise ValueError(
            f"layer pairs need a count and depths of 1 or more, not count {count}, {student_layers} student and "
            f"{teacher_layers} teacher layers"
        )
    deepest_S, deepest_T = usable(student_layers), usable(teacher_layers)
    count = min(count, deepest_S)
    spread = [round(i * deepest_S / count) for i in range(1, count + 1)]
    if kind == "uniform":
        return tuple((s, min(max(1, round(s * teacher_layers / student_layers)), deepest_T)) for s in spread)
    if kind == "last":
        return tuple((deepest_S - i, deepest_T - i) for i in reversed(range(min(count, deepest_T))))
    if kind == "random":
        return tuple(
            zip(_draw(seed, "student", deepest_S, count), _draw(seed, "teacher", deepest_T, count), strict=True)
        )
    if kind == "cka_argmax":
        return tuple((s, _most_alike(table, s, deepest_T)) for s in spread)
    raise ValueError(f"a layer map is one of {', '.join(KINDS)}, not {kind!r}")


def stored_layers(pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, ...], Pairs]:
    """(blocks to ask the teacher for, rising and each once; the pairs as (student block, index into those blocks))."""
    pairs = tuple(pairs)
    blocks = tuple(sorted({teacher for _, teacher in pairs}))
    return blocks, tuple((student, blocks.index(teacher)) for student, teacher in pairs)


def _draw(seed: int, whose: str, deepest: int, count: int) -> list[int]:
    """`count` blocks of 1 to `deepest`, rising; none twice unless there are too few."""
    stream, blocks = random.Random(f"{seed} {whose}"), range(1, deepest + 1)
    drawn = [block for _ in range(count // deepest) for block in blocks]
    return sorted(drawn + stream.sample(blocks, count % deepest))


def _most_alike(table: Sequence[Sequence[float]] | None, student: int, deepest_T: int) -> int:
    if table is None or len(table) < student or len(table[student - 1]) < deepest_T:
        raise ValueError(
            f"the layer map cka_argmax needs a table of similarities, {student} rows and {deepest_T} columns at least"
        )
    row = [float(value) for value in table[student - 1][:deepest_T]]
    return 1 + max(range(deepest_T), key=lambda at: -math.inf if math.isnan(row[at]) else row[at])
