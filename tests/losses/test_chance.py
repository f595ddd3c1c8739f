"""What CKA says of features that have nothing to do with each other: docs/methods.md, "1. CKA"."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from feature_cases import normal, related
from torch import Tensor

from distill.losses.cka import cka, kernel_cka, null95, unit_kernel


def test_independent_features_at_the_students_width():
    """D = 896, n = 16, 2000 draws: the biased form is all artefact, the debiased one is centred on 0."""
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(2000):
        x, y = torch.randn(2, 16, 896, generator=generator)
        draws.append((cka(x, y, kind="debiased"), cka(x, y, kind="biased")))
    debiased, biased = torch.tensor(draws).T
    assert abs(debiased.mean()) < 0.01
    assert 0.09 <= debiased.std() <= 0.105
    assert biased.mean().item() == pytest.approx(0.9825, abs=0.002)


@pytest.mark.parametrize(
    ("n", "biased_mean", "debiased_sd"), [(4, 0.996, 0.71), (8, 0.991, 0.23), (32, 0.966, 0.047), (64, 0.934, 0.022)]
)
def test_chance_by_batch_size(n, biased_mean, debiased_sd):
    generator = torch.Generator().manual_seed(n)
    draws = []
    for _ in range(300):
        x, y = torch.randn(2, n, 896, generator=generator)
        draws.append((cka(x, y, kind="debiased"), cka(x, y, kind="biased")))
    debiased, biased = torch.tensor(draws).T
    assert biased.mean().item() == pytest.approx(biased_mean, abs=0.002)
    assert debiased.std().item() == pytest.approx(debiased_sd, rel=0.12)


@pytest.mark.parametrize("n", [4, 5, 6])
def test_random_pairing_has_mean_zero_and_the_stated_variance_for_any_data(n):
    """Over ALL pairings, exactly: so no student can lower the debiased loss on shuffled pairs."""
    x, y = normal(n, 2), normal(n, 3, seed=1) ** 3
    values = torch.stack([cka(x, y[list(order)]) for order in itertools.permutations(range(n))])
    assert values.mean().item() == pytest.approx(0, abs=1e-12)
    assert values.square().mean().item() == pytest.approx(2 / (n * (n - 3)), abs=1e-12)


def test_null95_is_passed_by_about_one_random_pairing_in_twenty():
    n = 64
    x, y = related(n, 48, 48, noise=0.1)
    generator = torch.Generator().manual_seed(0)
    u_x, u_y = unit_kernel(x), unit_kernel(y)
    orders = [torch.randperm(n, generator=generator) for _ in range(2000)]
    passed = torch.stack([kernel_cka(u_x, u_y[order][:, order]) > null95(n) for order in orders])
    assert 0.03 < passed.double().mean() < 0.07
    assert cka(x, y) > null95(n)
    assert null95(128) == pytest.approx(1.64 * math.sqrt(2 / (128 * 125)))


@pytest.mark.parametrize(("kind", "falls"), [("biased", True), ("debiased", False)])
def test_only_the_biased_loss_falls_when_pairs_are_reshuffled_each_step(kind, falls):
    """Features trained on pairs without meaning: what a biased loss 'learns' there is nothing but its artefact."""
    n = 8
    x, y = normal(n, 12, dtype=torch.float32) * torch.linspace(1, 0.1, 12), normal(n, 64, seed=1, dtype=torch.float32)
    x.requires_grad_()
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam([x], lr=0.01)

    def shuffled_loss() -> Tensor:
        return 1 - cka(x, y[torch.randperm(n, generator=generator)], kind=kind)

    def mean_loss() -> float:
        with torch.no_grad():
            return torch.stack([shuffled_loss() for _ in range(1000)]).mean().item()

    before = mean_loss()
    for _ in range(400):
        optimiser.zero_grad()
        shuffled_loss().backward()
        optimiser.step()
    fall = before - mean_loss()
    assert fall > 0.2 * before if falls else abs(fall) < 0.03
