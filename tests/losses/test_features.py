"""Distances between chunk vectors: vectors by hand, what must change nothing, and states with one huge channel."""

from __future__ import annotations

import math

import pytest
import torch
from feature_cases import normal, related
from torch.autograd import gradcheck

from distill.losses import features
from distill.losses.cka import cka, nbs
from distill.losses.features import centred_cosine, cka_distance, group_means, nbs_distance, rms_normalised, token_mse

TEXTS = torch.tensor([0, 0, 0, 2, 2, 2, 2])  # no text 1
DISTANCES = {"cka": (cka_distance, cka), "nbs": (nbs_distance, nbs)}
every_distance = pytest.mark.parametrize(("distance", "similarity"), DISTANCES.values(), ids=DISTANCES)


def f64(rows: list) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# --- vectors -----------------------------------------------------------------------------------------------------


def test_rows_are_scaled_to_rms_one():
    x = rms_normalised(f64([[3, 4], [0.03, -0.04], [0, 0]]))
    torch.testing.assert_close(x, f64([[3, 4], [3, -4], [0, 0]]) * math.sqrt(2) / 5)


def test_means_of_groups():
    x = f64([[1, 2], [3, 4], [5, 6], [7, 8]])
    means = group_means(x, torch.tensor([2, 0, 2, 2]), 4)
    torch.testing.assert_close(means, f64([[3, 4], [0, 0], [13 / 3, 16 / 3], [0, 0]]))


def test_token_mse_vector():
    # (1, 7) has RMS 5, so the target is (.2, 1.4): ((1 - .2)^2 + (1 - 1.4)^2) / 2
    assert token_mse(f64([[1, 1]]), f64([[1, 7]])).item() == pytest.approx(0.4)
    assert token_mse(f64([[0, 0]]), f64([[1, 7]])).item() == pytest.approx(1)


def test_centred_cosine_vector():
    # RMS 1 already. Means (1/3, 1/3), so less them the rows are (2,-4)/3, (-4,2)/3 and (2,2)/3.
    y = f64([[1, -1], [-1, 1], [1, 1]])
    x = f64([[5, 1], [4, 4], [3, 1]])  # mean (4, 2): (1,-1), (0,2), (-1,-1)
    expected = f64([1 - 3 / math.sqrt(10), 1 - 1 / math.sqrt(5), 2])
    torch.testing.assert_close(centred_cosine(x, y, torch.zeros(3, dtype=torch.long)), expected)


@every_distance
def test_distances_are_one_less_the_similarity_of_normalised_chunks(distance, similarity):
    x, y = related(9, 5, 12)
    expected = 1 - similarity(rms_normalised(x), rms_normalised(y))
    torch.testing.assert_close(distance(x, y), expected)


# --- properties --------------------------------------------------------------------------------------------------


def test_an_equal_vector_costs_nothing():
    y = normal(7, 12)
    assert token_mse(rms_normalised(y), 5 * y).abs().max() < 1e-12
    assert centred_cosine(3 * rms_normalised(y) + 7, y, TEXTS).abs().max() < 1e-12
    assert cka_distance(3 * y, y).abs() < 1e-9 and nbs_distance(y, 3 * y).abs() < 1e-9


@pytest.mark.parametrize("function", [token_mse, lambda x, y: centred_cosine(x, y, TEXTS), cka_distance, nbs_distance])
def test_the_size_of_the_teachers_states_changes_nothing(function):
    x, y = related(7, 6, 6)
    sizes = 10 ** normal(7, 1, seed=9)
    torch.testing.assert_close(function(x, sizes * y), function(x, y))


def test_cosine_of_a_text_does_not_depend_on_its_neighbours():
    x, y = related(7, 6, 6)
    together = centred_cosine(x, y, TEXTS)
    alone = torch.cat([centred_cosine(x[part], y[part], TEXTS[part]) for part in (slice(0, 3), slice(3, 7))])
    torch.testing.assert_close(together, alone)


def test_cosine_of_texts_that_say_nothing_is_zero_without_gradient():
    x, y = normal(4, 6).requires_grad_(), normal(4, 6, seed=1)
    y[3] = y[2]  # text 2 has two chunks but one vector; text 0 a single chunk; text 1 has one too
    loss = centred_cosine(x, y, torch.tensor([0, 1, 2, 2]))
    loss.sum().backward()
    assert torch.equal(loss, torch.zeros_like(loss))
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_a_student_that_does_not_vary_pays_full_cosine_with_a_finite_gradient():
    x, y = torch.ones(7, 6, dtype=torch.float64, requires_grad=True), normal(7, 6)
    loss = centred_cosine(x, y, TEXTS)
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.ones_like(loss))
    assert x.grad.isfinite().all()


@every_distance
@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_fewer_than_four_chunks_are_zero_with_a_graph(distance, similarity, n):
    x = normal(n, 5).requires_grad_()
    loss = distance(x, normal(n, 3))
    loss.backward()
    assert loss.shape == () and loss.item() == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_no_chunk_at_all():
    x, y = torch.zeros(0, 5, requires_grad=True), torch.zeros(0, 5)
    for loss in (token_mse(x, y), centred_cosine(x, y, torch.zeros(0, dtype=torch.long))):
        assert loss.shape == (0,) and loss.requires_grad


@every_distance
def test_many_chunks_are_compared_in_blocks(monkeypatch, distance, similarity):
    x, y = related(401, 6, 9)
    whole = distance(x, y).item()
    monkeypatch.setattr(features, "LARGEST_BLOCK", 200)
    x = x.requires_grad_()
    in_blocks = distance(x, y)
    in_blocks.backward()
    assert in_blocks.item() != whole and in_blocks.item() == pytest.approx(whole, abs=0.02)
    assert (x.grad.abs().sum(1) > 0).all()  # no chunk is left out


@pytest.mark.parametrize(
    "function",
    [
        rms_normalised,
        lambda x: group_means(x, TEXTS, 3),
        lambda x: token_mse(x, normal(7, 4, seed=1)),
        lambda x: centred_cosine(x, normal(7, 4, seed=1), TEXTS),
        lambda x: cka_distance(x, normal(7, 3, seed=1)),
        lambda x: nbs_distance(x, normal(7, 3, seed=1)),
    ],
    ids=["rms", "means", "mse", "cosine", "cka", "nbs"],
)
def test_gradcheck(function):
    assert gradcheck(function, (normal(7, 4).requires_grad_(),))


@pytest.mark.parametrize("function", [token_mse, lambda x, y: centred_cosine(x, y, TEXTS), cka_distance, nbs_distance])
def test_sixteen_bits_are_widened_and_autocast_left(function):
    x, y = ((50 + z).bfloat16() for z in related(7, 6, 6))
    exact = function(x.double(), y.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = function(x, y)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, atol=1e-3, rtol=1e-3)


# --- massive activations (docs/methods.md, "5. Features": 1938 against a median of .23) ------------------------------


def with_massive(y, rows):
    y = 0.23 / 0.6745 * y  # the median size of a standard normal number is .6745
    y[rows, 3] = 1938 * (1 + 0.01 * y[rows, 0])
    return y


def test_one_massive_token_has_no_more_weight_than_any_other():
    y = with_massive(normal(50, 64), [7])
    raw = y.square().mean(1)
    assert raw[7] / raw.sum() > 0.999  # what a plain squared error would fit
    pays = token_mse(torch.zeros_like(y), y)
    assert pays.max() / pays.sum() == pytest.approx(1 / 50)


@every_distance
def test_one_massive_token_moves_a_similarity_little(distance, similarity):
    x, y = related(200, 32, 32, noise=0.3)
    plain, massive = distance(x, y).item(), distance(x, with_massive(y.clone(), [7])).item()
    assert massive == pytest.approx(plain, abs=0.05)
    raw = 1 - similarity(x, with_massive(y.clone(), [7])).item()
    assert raw > plain + 0.3  # without the scaling one token is all there is


def test_a_channel_that_is_massive_everywhere_is_no_answer():
    """A student that knows this channel and nothing else satisfies a plain cosine; centred, it knows nothing."""
    y = with_massive(normal(30, 64, seed=4), slice(None))
    text = torch.zeros(30, dtype=torch.long)
    knows_it = torch.zeros(30, 64, dtype=torch.float64)
    knows_it[:, 3] = 8  # sqrt(64)
    assert torch.cosine_similarity(knows_it, y).min() > 0.999
    guess = knows_it + 0.01 * normal(30, 64, seed=5)
    assert centred_cosine(guess, y, text).mean() > 0.8
    assert centred_cosine(rms_normalised(y), y, text).max() < 1e-9
    assert cka_distance(guess, y) > 0.8 and cka_distance(y, y) < 1e-9
