"""Which texts are alike? Centred kernel alignment between two sets of representations of the same n texts.

A representation is a matrix [n, D], one row a text. Its Gram matrix [n, n] says which texts are like which, whatever
the width and the tokenizer of the model, and two centred Gram matrices are compared by their cosine. This module holds
that comparison (biased, debiased, NBS) and the mixture of several teachers' kernels.

Two centrings. The *biased* one (H K H) rewards independent features: at n = 16 and D = 896 they score .98. The
*debiased* one (U-centring, Song et al. 2012) scores them 0 on average, with a known spread (`null95`): train on that.

Sources: Kornblith et al. 1905.00414; Song et al. 2012 (HSIC_1); Nguyen et al. 2010.15327; docs/methods.md, "1. CKA".
Every function leaves autocast and computes in float32, or in float64 when given float64.
Shape suffixes: n texts, D width, T teachers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from distill.losses import SMALLEST_BATCH
from distill.losses.precision import full_precision

TINY = 1e-12  # what counts as 0 in a denominator


def check_batch(n: int) -> None:
    """Refuse, with `ValueError`, a geometry batch that is too small to have a geometry."""
    if n < SMALLEST_BATCH:
        raise ValueError(
            f"A geometry batch compares its texts with one another and needs at least {SMALLEST_BATCH} of them, but "
            f"this one has {n}: raise budget.batch_size, 32 or more is best."
        )


# --- kernels -----------------------------------------------------------------------------------------------------


@full_precision
def standardise(x_nD: Tensor) -> Tensor:
    """[n, D] with its column means taken away and then its overall RMS divided out.

    CKA does not see either; sums of products do. Centring must come before anything is multiplied: features far from
    the origin have Gram matrices of nearly equal entries, and their differences are lost to rounding.
    """
    x_nD = x_nD - x_nD.mean(0)
    rms = torch.linalg.vector_norm(x_nD) / math.sqrt(x_nD.numel())
    return x_nD / rms.clamp_min(TINY)


@full_precision
def gram(x_nD: Tensor) -> Tensor:
    """The linear kernel X X^T, [n, n]."""
    return x_nD @ x_nD.T


@full_precision
def centre(k_nn: Tensor) -> Tensor:
    """H K H with H = I - 1/n: the biased centring. It keeps a positive semi-definite kernel so."""
    return k_nn - k_nn.mean(0, keepdim=True) - k_nn.mean(1, keepdim=True) + k_nn.mean()


@full_precision
def u_centre(k_nn: Tensor) -> Tensor:
    """U(K): zero diagonal, zero row sums, and the inner products of the unbiased HSIC (Song et al. 2012). Needs n >= 4.

    It is the orthogonal projection onto such matrices, hence linear, idempotent and its own gradient.
    """
    n = len(k_nn)
    check_batch(n)
    diagonal_nn = torch.eye(n, dtype=torch.bool, device=k_nn.device)
    k_nn = k_nn.masked_fill(diagonal_nn, 0)
    rows_n1, columns_1n = k_nn.sum(1, keepdim=True), k_nn.sum(0, keepdim=True)
    u_nn = k_nn - (rows_n1 + columns_1n) / (n - 2) + k_nn.sum() / ((n - 1) * (n - 2))
    return u_nn.masked_fill(diagonal_nn, 0)


@full_precision
def unit_kernel(x_nD: Tensor, centring: Callable[[Tensor], Tensor] = u_centre) -> Tensor:
    """The centred kernel of [n, D] features scaled to Frobenius norm 1: CKA is the inner product of two of these."""
    k_nn = centring(gram(standardise(x_nD)))
    return k_nn / torch.linalg.vector_norm(k_nn).clamp_min(TINY)


@full_precision
def mixture_kernel(g_nT: Tensor, kernels_Tnn: Tensor, centring: Callable[[Tensor], Tensor] = u_centre) -> Tensor:
    """M = U(sum_t (sqrt(g_t) sqrt(g_t)^T) o K_t), [n, n]: one kernel of T teachers, trusted differently on each text.

    Two texts are compared by the teachers that both of them trust. The square roots make each summand a Schur product
    of positive semi-definite matrices, so M is one too (with `centring=centre`; U-centring gives up the diagonal). With
    the same g for all texts M is the plain weighted sum.
    """
    root_nT = g_nT.sqrt()
    return centring(torch.einsum("it,jt,tij->ij", root_nT, root_nT, kernels_Tnn))


# --- similarities ------------------------------------------------------------------------------------------------


@full_precision
def kernel_cka(u_nn: Tensor, v_nn: Tensor) -> Tensor:
    """The cosine of two kernels that are centred already (the same way): CKA, a scalar in [-1, 1]."""
    return _cosine((u_nn * v_nn).sum(), torch.linalg.vector_norm(u_nn) * torch.linalg.vector_norm(v_nn))


@full_precision
def cka(x_nD: Tensor, y_nE: Tensor, kind: str = "debiased") -> Tensor:
    """Centred kernel alignment of two feature matrices of the same n texts, a scalar; the widths may differ.

    `kind` "debiased" lies in [-1, 1], is 0 on average for independent features and needs n >= 4 (ValueError below).
    "biased" lies in [0, 1] and needs n >= 2, where it is 1 for any input: a loss should refuse it (`check_batch`).
    """
    x_nD, y_nE = standardise(x_nD), standardise(y_nE)
    if kind == "debiased":
        return kernel_cka(u_centre(gram(x_nD)), u_centre(gram(y_nE)))
    if kind != "biased":
        raise ValueError(f"CKA is 'debiased' or 'biased', not {kind!r}")
    if len(x_nD) < max(x_nD.shape[1], y_nE.shape[1]):
        return kernel_cka(gram(x_nD), gram(y_nE))  # the features are centred, hence the kernels are
    norm = torch.linalg.vector_norm  # feature space: the same number from D x E products
    return _cosine(norm(x_nD.T @ y_nE).square(), norm(x_nD.T @ x_nD) * norm(y_nE.T @ y_nE))


@full_precision
def layer_cka(x_nLD: Tensor, y_nME: Tensor) -> Tensor:
    """Debiased CKA, [L, M], of each of the L layers of one model with each of the M of another, on the same n texts.

    Every kernel is made once: n^2 (L + M) numbers in memory. Needs n >= 4.
    """
    kernels = [torch.stack([unit_kernel(layer_nD).flatten() for layer_nD in x.unbind(1)]) for x in (x_nLD, y_nME)]
    return kernels[0] @ kernels[1].T


@full_precision
def nbs(x_nD: Tensor, y_nE: Tensor) -> Tensor:
    """Normalised Bures similarity |X_c^T Y_c|_* / (|X_c|_F |Y_c|_F), a scalar in [0, 1].

    The same invariances as CKA, but it grows with the standard deviation along a direction where CKA grows with the
    square of the variance, so it sees the small directions. It is biased as biased CKA is.
    """
    x_nD, y_nE = standardise(x_nD), standardise(y_nE)
    nuclear = torch.linalg.matrix_norm(_narrow(x_nD).T @ _narrow(y_nE), "nuc")
    return _cosine(nuclear, torch.linalg.vector_norm(x_nD) * torch.linalg.vector_norm(y_nE))


def _narrow(x_nD: Tensor) -> Tensor:
    """[n, D] rotated into the span of its own rows, [n, min(n, D)]: the same singular values from a small matrix.

    The rotation counts as a constant. The gradient is still exact: the singular vectors of X^T Y lie in the two spans.
    """
    n, width = x_nD.shape
    return x_nD if n >= width else x_nD @ torch.linalg.qr(x_nD.detach().T).Q


def _cosine(inner: Tensor, norms: Tensor) -> Tensor:
    """inner / norms; 0 with a zero gradient where a norm is 0, as when all texts of a batch are the same."""
    return torch.where(norms > TINY, inner / norms.clamp_min(TINY), 0.0)


# --- reading the numbers -----------------------------------------------------------------------------------------


def null95(n: int) -> float:
    """What debiased CKA on n texts exceeds by chance about once in 20 times: 1.64 standard deviations of its null.

    Under random pairing of the texts its mean is 0 and its variance 2/(n(n-3)) exactly, for any data: U-centred
    matrices are an irreducible representation of the permutations, of dimension n(n-3)/2 (Schur's lemma). Only the
    factor 1.64 assumes that the null is normal.
    """
    check_batch(n)
    return 1.64 * math.sqrt(2 / (n * (n - 3)))


@full_precision
def participation_ratio(x_nD: Tensor) -> Tensor:
    """(tr S)^2 / tr S^2 of the covariance S of [n, D]: how many directions carry its variance, 1 to min(n-1, D)."""
    x_nD = standardise(x_nD)
    s = x_nD @ x_nD.T if len(x_nD) < x_nD.shape[1] else x_nD.T @ x_nD  # the same non-zero eigenvalues
    return s.trace().square() / s.square().sum().clamp_min(TINY)
