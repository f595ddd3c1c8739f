"""Our generalised JSD is TRL's, value and gradient: of GKDTrainer and of its chunked kernel.

TRL differs from us in what surrounds it, which is not compared here: it never multiplies by T^2 and knows no
`continuous` scaling. Its GKD applies `temperature` to sampling only; `generalized_jsd_loss` takes one all the same.
"""

from __future__ import annotations

import pytest
import torch

from distill.losses.chunked import divergence_of_states
from distill.losses.divergences import divergence
from distill.losses.head import Head

pytest.importorskip("trl")

BETAS = (0.0, 0.1, 0.5, 0.9, 1.0)
B, L, V, D, E = 3, 6, 23, 5, 7


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


def drawn(*shape: int, seed: int, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def masked_labels() -> torch.Tensor:
    labels_BL = torch.randint(0, V, (B, L), generator=torch.Generator().manual_seed(0))
    labels_BL[0, :3] = labels_BL[1, 4:] = labels_BL[2, 1] = -100
    return labels_BL


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("temperature", [1.0, 0.9, 2.0])
@pytest.mark.parametrize("masked", [False, True])
def test_of_logits(beta, temperature, masked):
    from trl.experimental.gkd import GKDTrainer

    z_s, z_t = 3 * drawn(B, L, V, seed=1), 3 * drawn(B, L, V, seed=2)
    labels_BL = masked_labels() if masked else None
    counts_BL = labels_BL != -100 if masked else torch.ones(B, L, dtype=torch.bool)
    ours_z, theirs_z = (z_s.clone().requires_grad_() for _ in range(2))

    log_s, log_t = ((z[counts_BL] / temperature).log_softmax(-1) for z in (ours_z, z_t))
    ours = divergence(log_s, log_t, "jsd", beta).sum() / 40
    theirs = GKDTrainer.generalized_jsd_loss(theirs_z, z_t, labels_BL, beta, temperature, num_items_in_batch=40)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(ours_z.grad, theirs_z.grad, rtol=0, atol=1e-6)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_of_states(beta, masked, dtype):
    """The chunked form against TRL's loss on all logits."""
    from trl.experimental.gkd import GKDTrainer

    weights = drawn(V, D, seed=3, dtype=dtype), drawn(V, E, seed=4, dtype=dtype)
    states, teacher = drawn(B, L, D, seed=1, dtype=dtype), drawn(B, L, E, seed=2, dtype=dtype)
    labels_BL = masked_labels() if masked else torch.zeros(B, L, dtype=torch.long)
    counts_BL = labels_BL != -100
    ours_s, theirs_s = (states.clone().requires_grad_() for _ in range(2))

    heads = [Head(weight) for weight in weights]
    found = divergence_of_states(ours_s[counts_BL], heads[0], teacher[counts_BL], heads[1], "jsd", beta, elements=4 * V)
    ours = found.losses_m.sum() / counts_BL.sum()
    logits = theirs_s @ weights[0].T, teacher @ weights[1].T
    theirs = GKDTrainer.generalized_jsd_loss(*logits, labels_BL, beta)  # batchmean: over the labelled tokens
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(ours_s.grad, theirs_s.grad, rtol=1e-6, atol=1e-6)
    assert torch.equal(ours_s.grad[~counts_BL], torch.zeros_like(ours_s.grad[~counts_BL]))


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("softcap", [None, 4.0])
def test_the_chunked_kernel(beta, temperature, softcap):
    """In float32, as theirs is; with bias, scale and softcap, and tokens of different weight."""
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    f32 = torch.float32
    weights = drawn(V, D, seed=3, dtype=f32), drawn(V, E, seed=4, dtype=f32)
    biases = drawn(V, seed=5, dtype=f32), drawn(V, seed=6, dtype=f32)
    states, teacher = drawn(B * L, D, seed=1, dtype=f32), drawn(B * L, E, seed=2, dtype=f32)
    ours_s, theirs_s = (states.clone().requires_grad_() for _ in range(2))

    heads = [Head(weight, bias, 0.8, softcap) for weight, bias in zip(weights, biases, strict=True)]
    ours = divergence_of_states(ours_s, heads[0], teacher, heads[1], "jsd", beta, temperature, elements=4 * V).losses_m
    theirs, _ = ChunkedDivergenceFunction.apply(
        theirs_s, weights[0], biases[0], teacher, weights[1], biases[1], beta, temperature, 0.8, softcap, 0.8, softcap
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    weight_m = drawn(B * L, seed=7, dtype=f32)
    (weight_m * ours).sum().backward()
    (weight_m * theirs).sum().backward()
    torch.testing.assert_close(ours_s.grad, theirs_s.grad, rtol=1e-5, atol=2e-6)
