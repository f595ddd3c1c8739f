"""CKA and its relatives: the vectors and properties of docs/methods.md, 1 and 6."""

from __future__ import annotations

import itertools

import pytest
import torch
from feature_cases import normal, related
from torch.autograd import gradcheck

from distill.losses.cka import (
    centre,
    check_batch,
    cka,
    gram,
    kernel_cka,
    mixture_kernel,
    nbs,
    null95,
    participation_ratio,
    standardise,
    u_centre,
    unit_kernel,
)


def hsic_0(k, l):  # noqa: E741
    """tr(K H L H) / (n-1)^2, the biased estimate of the Hilbert-Schmidt independence criterion."""
    return (centre(k) * centre(l)).sum() / (len(k) - 1) ** 2


def hsic_1(k, l):  # noqa: E741
    """<U(K), U(L)> / (n (n-3)), the unbiased estimate (Song et al. 2012)."""
    return (u_centre(k) * u_centre(l)).sum() / (len(k) * (len(k) - 3))


X = torch.tensor([[0, 1], [1, 0], [2, 2], [3, 1], [5, 4]], dtype=torch.float64)
Y = torch.tensor([[0, 0], [1, 2], [3, 1], [3, 4], [6, 5]], dtype=torch.float64)
SIMILARITIES = {
    "debiased": cka,
    "biased": lambda x, y: cka(x, y, kind="biased"),
    "nbs": nbs,
}
every_similarity = pytest.mark.parametrize("similarity", SIMILARITIES.values(), ids=SIMILARITIES)


# --- vectors -----------------------------------------------------------------------------------------------------


def test_vectors():
    assert cka(X, Y, kind="biased").item() == pytest.approx(0.9195178874, abs=1e-10)
    assert cka(X, Y, kind="debiased").item() == pytest.approx(0.8759659227, abs=1e-10)
    assert hsic_0(gram(X), gram(Y)).item() == pytest.approx(44.4375, abs=1e-10)
    assert hsic_1(gram(X), gram(Y)).item() == pytest.approx(24.0666667, abs=1e-7)


@every_similarity
def test_float32_agrees_with_float64(similarity):
    x, y = related(24, 40, 30)
    assert similarity(x.float(), y.float()).dtype == torch.float32
    assert similarity(x, y).dtype == torch.float64
    assert similarity(x.float(), y.float()).item() == pytest.approx(similarity(x, y).item(), abs=1e-6)


# --- definitions agree -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "width"), [(12, 40), (40, 12), (12, 12)])
def test_gram_form_is_feature_form(n, width):
    x, y = related(n, width, width + 3)
    x_c, y_c = x - x.mean(0), y - y.mean(0)
    feature = (x_c.T @ y_c).norm() ** 2 / ((x_c.T @ x_c).norm() * (y_c.T @ y_c).norm())
    in_gram_space = kernel_cka(centre(gram(x)), centre(gram(y)))
    torch.testing.assert_close(cka(x, y, kind="biased"), feature)
    torch.testing.assert_close(cka(x, y, kind="biased"), in_gram_space)


def test_u_form_is_songs_form():
    n = 9
    x, y = related(n, 7, 5)
    k, l = (gram(z).fill_diagonal_(0) for z in (x, y))  # noqa: E741
    one = torch.ones(n, dtype=torch.float64)
    song = (k @ l).trace() + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)
    torch.testing.assert_close(hsic_1(gram(x), gram(y)), song / (n * (n - 3)))


def test_u_centre_follows_its_formula_entry_by_entry():
    n = 5
    k = gram(X)
    u = u_centre(k)
    for i, j in itertools.product(range(n), repeat=2):
        zero = k.clone().fill_diagonal_(0)
        expected = zero[i, j] - zero[i].sum() / (n - 2) - zero[:, j].sum() / (n - 2) + zero.sum() / ((n - 1) * (n - 2))
        assert u[i, j].item() == pytest.approx(0 if i == j else expected.item(), abs=1e-12)


def test_u_centre_is_a_projection_that_no_shift_survives():
    k = gram(normal(8, 6))
    u = u_centre(k)
    shift = normal(8, 1, seed=5)
    torch.testing.assert_close(u.sum(0), torch.zeros(8, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(u_centre(u), u)
    torch.testing.assert_close(u_centre(k + shift + shift.T), u)
    torch.testing.assert_close(u_centre(centre(k)), u)


def test_hsic_0_is_its_trace_form():
    n = len(X)
    h = torch.eye(n, dtype=torch.float64) - 1 / n
    torch.testing.assert_close(hsic_0(gram(X), gram(Y)), (gram(X) @ h @ gram(Y) @ h).trace() / (n - 1) ** 2)


# --- what similarities do not see --------------------------------------------------------------------------------


@every_similarity
def test_same_features_score_one(similarity):
    x = normal(10, 6)
    assert similarity(x, x).item() == pytest.approx(1, abs=1e-12)


@every_similarity
@pytest.mark.parametrize("width", [6, 30])
def test_invariant_to_rotation_scale_and_shift(similarity, width):
    x, y = related(10, width, width)
    q = torch.linalg.qr(normal(width, width, seed=9)).Q
    torch.testing.assert_close(similarity(3 * x @ q + 7, y), similarity(x, y))
    torch.testing.assert_close(similarity(x @ q, x), torch.ones((), dtype=torch.float64))


@every_similarity
def test_symmetric_and_bounded(similarity):
    for seed in range(20):
        x, y = normal(6, 4, seed=seed), normal(6, 9, seed=100 + seed)
        assert abs(similarity(x, y).item()) <= 1
        torch.testing.assert_close(similarity(x, y), similarity(y, x))


def test_two_texts_always_score_one_when_biased():
    for seed in range(5):
        assert cka(normal(2, 3, seed=seed), normal(2, 8, seed=50 + seed), kind="biased").item() == pytest.approx(1)


def test_nbs_sees_a_small_direction_that_cka_does_not():
    x, _ = torch.linalg.qr(normal(64, 6) - normal(64, 6).mean(0))
    x = x * torch.tensor([1, 1, 1, 1, 1, 0.1], dtype=torch.float64)
    without = x.clone()
    without[:, -1] = 0
    assert 1 - cka(x, without).item() < 1e-4  # quadratic in the share of variance
    assert 1 - nbs(x, without).item() > 9e-4  # linear in it


@pytest.mark.parametrize(("n", "width"), [(20, 7), (7, 20)])
def test_nbs_is_the_nuclear_norm(n, width):
    x, y = related(n, width, width + 2)
    x_c, y_c = x - x.mean(0), y - y.mean(0)
    torch.testing.assert_close(nbs(x, y), torch.linalg.svdvals(x_c.T @ y_c).sum() / (x_c.norm() * y_c.norm()))


# --- gradients ---------------------------------------------------------------------------------------------------


@every_similarity
@pytest.mark.parametrize(("n", "width"), [(7, 3), (6, 11)])
def test_gradcheck(similarity, n, width):
    x, y = related(n, width, width + 1)
    assert gradcheck(lambda a, b: 1 - similarity(a, b), (x.requires_grad_(), y.requires_grad_()))


def test_gradcheck_of_kernels():
    x, g = normal(6, 4).requires_grad_(), normal(6, 2, seed=1).softmax(-1).requires_grad_()
    kernels = torch.stack([unit_kernel(normal(6, width, seed=width)) for width in (3, 9)])
    assert gradcheck(lambda a, b: kernel_cka(unit_kernel(a), mixture_kernel(b, kernels)), (x, g))
    assert gradcheck(lambda a: hsic_0(gram(a), gram(X[:, :1].repeat(2, 1)[:6])), (x,))
    assert gradcheck(lambda a: hsic_1(gram(a), gram(X[:, :1].repeat(2, 1)[:6])), (x,))
    assert gradcheck(participation_ratio, (x,))


@pytest.mark.parametrize(("kind", "centring"), [("biased", centre), ("debiased", u_centre)])
def test_gradient_is_2AX(kind, centring):
    x, y = related(8, 12, 9)
    x.requires_grad_()
    c = cka(x, y, kind=kind)
    (gradient,) = torch.autograd.grad(c, x)
    k, l = centring(gram(x)).detach(), centring(gram(y))  # noqa: E741
    a = (l / l.norm() - c.detach() * k / k.norm()) / k.norm()
    torch.testing.assert_close(gradient, 2 * a @ x.detach())
    assert (gradient * x).sum().item() == pytest.approx(0, abs=1e-12)  # scale is no way down


@every_similarity
def test_texts_without_geometry_score_zero_with_a_finite_gradient(similarity):
    x = torch.ones(6, 5, requires_grad=True)
    value = similarity(x, normal(6, 5).float())
    value.backward()
    assert value.item() == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


# --- numerics ----------------------------------------------------------------------------------------------------


@every_similarity
def test_bf16_autocast_far_from_the_origin(similarity):
    """Mean 100 times the spread, under autocast: the Gram-first order of work gives .06 in place of .98."""
    x, y = related(64, 96, 80, noise=0.1)
    x, y = (100 + x).float(), (100 + y).float()
    exact = similarity(x.double(), y.double()).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x.T).dtype == torch.bfloat16  # autocast is on
        assert similarity(x, y).item() == pytest.approx(exact, abs=1e-3)
    assert exact > 0.5


@every_similarity
def test_bf16_features_are_widened(similarity):
    x, y = (z.bfloat16() for z in related(32, 48, 40))
    assert similarity(x, y).item() == pytest.approx(similarity(x.double(), y.double()).item(), abs=1e-6)


FUNCTIONS = [standardise, gram, centre, u_centre, unit_kernel, participation_ratio]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_every_step_leaves_autocast(function):
    x = gram(normal(9, 12)).float()  # square: features and a kernel at once
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = function(x)
    assert inside.dtype == torch.float32 and torch.equal(inside, function(x))


@pytest.mark.parametrize("scale", [1e-6, 1e3, 1e6])
def test_scale_changes_nothing(scale):
    x, y = (z.float() for z in related(16, 24, 20))
    torch.testing.assert_close(cka(scale * x, y), cka(x, y), atol=1e-5, rtol=0)


def test_standardise_centres_then_scales():
    x = standardise(5 + 3 * normal(9, 4))
    torch.testing.assert_close(x.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    assert x.square().mean().item() == pytest.approx(1)


# --- the mixture of teachers -------------------------------------------------------------------------------------


def test_mixture_is_positive_semi_definite_with_biased_centring():
    n, T = 12, 5
    g = (4 * normal(n, T)).softmax(-1)
    kernels = torch.stack([unit_kernel(normal(n, 3 + t, seed=t), centring=centre) for t in range(T)])
    eigenvalues = torch.linalg.eigvalsh(mixture_kernel(g, kernels, centring=centre))
    assert eigenvalues.min() > -1e-12
    assert eigenvalues.max() > 0.01


def test_mixture_with_a_one_hot_gate_is_that_teacher():
    kernels = torch.stack([unit_kernel(normal(9, 5, seed=t)) for t in range(3)])
    for t in range(3):
        one_hot = torch.eye(3, dtype=torch.float64)[t].expand(9, 3)
        torch.testing.assert_close(mixture_kernel(one_hot, kernels), kernels[t])


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 3])
@pytest.mark.parametrize(
    "ask",
    [check_batch, null95, lambda n: cka(torch.ones(n, 5), torch.ones(n, 5)), lambda n: u_centre(torch.ones(n, n))],
)
def test_fewer_than_four_texts_are_refused_in_one_sentence(n, ask):
    with pytest.raises(ValueError) as caught:
        ask(n)
    message = str(caught.value)
    assert f"this one has {n}" in message and "at least 4" in message and "batch_size" in message
    assert message.count(". ") == 0 and message.endswith(".")


def test_four_texts_are_enough():
    check_batch(4)
    assert -1 <= cka(normal(4, 6), normal(4, 5, seed=1)).item() <= 1


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="debiased"):
        cka(X, Y, kind="unbiased")


# --- participation ratio -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [4, 400])
def test_participation_ratio_counts_directions(width):
    directions, _ = torch.linalg.qr(normal(100, 4) - normal(100, 4).mean(0))
    directions, _ = torch.linalg.qr(directions - directions.mean(0))
    basis = torch.linalg.qr(normal(width, 4, seed=1)).Q.T
    for variances, expected in [([1, 1, 1, 1], 4), ([1, 1, 0, 0], 2), ([3, 1, 0, 0], 16 / 10)]:
        scales = torch.tensor(variances, dtype=torch.float64).sqrt()
        assert participation_ratio(100 + directions * scales @ basis).item() == pytest.approx(expected)
