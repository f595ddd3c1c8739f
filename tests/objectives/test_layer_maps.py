"""Which block beside which: the formula, the last state kept out, and every depth from 1 on."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from distill.losses.cka import layer_cka
from distill.objectives.layer_maps import KINDS, layer_pairs, stored_layers, usable

DEPTHS = (1, 2, 3, 7, 12, 24)


def table_of(student_layers: int, teacher_layers: int, seed: int = 0) -> list[list[float]]:
    return torch.rand(student_layers, teacher_layers, generator=torch.Generator().manual_seed(seed)).tolist()


def test_uniform_is_proportional_in_depth():
    assert layer_pairs("uniform", 2, 25, 13) == ((12, 6), (24, 12))
    assert layer_pairs("uniform", 4, 9, 25) == ((2, 6), (4, 11), (6, 17), (8, 22))  # 5.6, 11.1, 16.7, 22.2
    assert layer_pairs("uniform", 1, 24, 32) == ((23, 31),)  # 30.7


def test_last_is_aligned_from_the_end():
    assert layer_pairs("last", 3, 24, 13) == ((21, 10), (22, 11), (23, 12))
    assert layer_pairs("last", 3, 24, 3) == ((22, 1), (23, 2))


def test_the_normalised_last_state_is_left_out_unless_there_is_no_other():
    assert [usable(layers) for layers in (1, 2, 24)] == [1, 1, 23]


@pytest.mark.parametrize("kind", KINDS)
def test_any_depths_and_any_count(kind):
    for student, teacher, count in itertools.product(DEPTHS, DEPTHS, (1, 2, 5, 64)):
        pairs = layer_pairs(kind, count, student, teacher, table=table_of(student, teacher))
        expected = min(count, usable(student), usable(teacher) if kind == "last" else 64)
        assert len(pairs) == expected
        blocks = [s for s, _ in pairs]
        assert blocks == sorted(set(blocks))
        assert all(1 <= s <= usable(student) and 1 <= t <= usable(teacher) for s, t in pairs)
        if kind != "cka_argmax":
            assert [t for _, t in pairs] == sorted(t for _, t in pairs)


def test_random_is_seeded_and_leaves_the_random_stream_alone():
    draws = {layer_pairs("random", 4, 24, 32, seed=seed) for seed in range(20)}
    assert len(draws) > 15
    assert layer_pairs("random", 4, 24, 32, seed=3) == layer_pairs("random", 4, 24, 32, seed=3)
    of_student = [s for s, _ in layer_pairs("random", 4, 24, 32, seed=3)]
    assert of_student == [s for s, _ in layer_pairs("random", 4, 24, 13, seed=3)]  # the same beside any teacher


def test_random_repeats_only_what_it_must():
    for seed in range(10):
        assert [t for _, t in layer_pairs("random", 12, 13, 13, seed=seed)] == list(range(1, 13))
        repeated = [t for _, t in layer_pairs("random", 5, 13, 4, seed=seed)]  # 3 usable
        assert set(repeated) == {1, 2, 3} and max(map(repeated.count, repeated)) == 2


def test_cka_argmax_takes_the_most_alike():
    table = [[0.1, 0.9, 0.2, 1.0], [math.nan, 0.8, 0.3, 1.0], [0.2, 0.1, 0.7, 1.0], [1, 1, 1, 1]]
    assert layer_pairs("cka_argmax", 3, 4, 4, table=table) == ((1, 2), (2, 2), (3, 3))
    assert layer_pairs("cka_argmax", 1, 4, 4, table=table) == ((3, 3),)


def test_cka_argmax_finds_the_blocks_that_a_teacher_shares():
    def states(*shape: int, seed: int) -> torch.Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    x_nLD = states(40, 3, 8, seed=0)
    y_nME = states(40, 6, 12, seed=1)
    y_nME[:, 4, :8], y_nME[:, 1, :8] = 5 * x_nLD[:, 0], 5 * x_nLD[:, 1]  # the student's blocks 1 and 2
    table = layer_cka(x_nLD, y_nME).tolist()
    assert layer_pairs("cka_argmax", 2, 3, 6, table=table) == ((1, 5), (2, 2))


@pytest.mark.parametrize("table", [None, [[0.1, 0.2]], [[0.1], [0.2], [0.3]]])
def test_cka_argmax_without_a_fitting_table_is_refused(table):
    with pytest.raises(ValueError, match="needs a table of similarities"):
        layer_pairs("cka_argmax", 2, 3, 3, table=table)


@pytest.mark.parametrize("case", [("uniform", 0, 3, 3), ("last", 1, 0, 3), ("random", 1, 3, 0)])
def test_nothing_to_count_is_refused(case):
    with pytest.raises(ValueError, match="1 or more"):
        layer_pairs(*case)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="a layer map is one of uniform, last"):
        layer_pairs("first", 1, 3, 3)


def test_stored_layers_are_asked_for_once_each():
    assert stored_layers(((2, 6), (4, 3), (5, 6))) == ((3, 6), ((2, 1), (4, 0), (5, 1)))
    assert stored_layers(()) == ((), ())
