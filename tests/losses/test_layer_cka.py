"""Every layer against every layer: the same numbers as CKA one by one."""

import pytest
import torch
from feature_cases import normal, related

from distill.losses.cka import cka, layer_cka, null95
from distill.models.pooling import stack_layers


def layers(n, width, count, seed=0):
    return torch.stack([normal(n, width, seed=seed + layer) for layer in range(count)], dim=1)


def test_a_model_agrees_fully_with_itself_layer_by_layer():
    x_nLD = layers(128, 24, 4)
    table = layer_cka(x_nLD, 3 * x_nLD - 1)  # neither a scale nor a shift is seen
    assert table.diagonal().tolist() == pytest.approx([1] * 4)
    off = table[~torch.eye(4, dtype=torch.bool)]
    assert off.abs().mean() < null95(128)  # these layers have nothing to do with one another


def test_the_table_holds_cka_of_every_pair_whatever_the_widths():
    (a, b), (c, d) = related(40, 6, 9), related(40, 9, 6)
    x_nLD, y_nME = torch.stack([a, d], dim=1), torch.stack([b, c, c - b], dim=1)
    table = layer_cka(x_nLD, y_nME)
    assert table.shape == (2, 3)
    for row, x_nD in enumerate((a, d)):
        for column, y_nE in enumerate((b, c, c - b)):
            assert table[row, column].item() == pytest.approx(cka(x_nD, y_nE).item(), abs=1e-9)


def test_other_texts_have_nothing_in_common():
    x_nLD = layers(256, 8, 3)
    shuffled = x_nLD[torch.randperm(256, generator=torch.Generator().manual_seed(0))]
    assert layer_cka(x_nLD, shuffled).abs().max() < 2 * null95(256)


def test_a_layer_in_which_all_texts_are_the_same_agrees_with_none():
    x_nLD = layers(16, 8, 2)
    x_nLD[:, 0] = 0.5
    table = layer_cka(x_nLD, x_nLD)
    assert table[0].tolist() == table[:, 0].tolist() == [0, 0]
    assert table[1, 1].item() == pytest.approx(1)


def test_layers_of_several_widths_are_compared_as_they_are():
    wide, narrow = normal(20, 9, seed=1), normal(20, 5, seed=2)
    x_nLD = stack_layers([wide, narrow, wide])
    assert x_nLD.shape == (20, 3, 9)
    assert torch.equal(x_nLD[:, 0], wide) and torch.equal(x_nLD[:, 1, :5], narrow)
    table = layer_cka(x_nLD, x_nLD)
    assert table[0, 1].item() == pytest.approx(cka(wide, narrow).item(), abs=1e-9)
    assert table[0, 2].item() == pytest.approx(1)


def test_fewer_than_four_texts_are_refused():
    with pytest.raises(ValueError, match="needs at least 4"):
        layer_cka(layers(3, 8, 2), layers(3, 8, 2))
