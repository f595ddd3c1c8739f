"""The head: logits as exact as what they are made of, whatever autocast says."""

import pytest
import torch
from feature_cases import normal
from logit_cases import capped, head
from torch.autograd import gradcheck

from distill.losses import head as module

M, V, D = 7, 40, 24


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA GPU"))])  # fmt: skip
@pytest.mark.parametrize("kept_in", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("make", [head, capped])
def test_products_of_sixteen_bit_factors_are_not_rounded_to_sixteen_bits(device, kept_in, autocast, make, monkeypatch):
    """A head kept in float32 (as QLoRA's is) holds the same sixteen-bit numbers."""
    monkeypatch.setattr(module, "TILE", 9 * D)
    states = normal(M, D).to(device, torch.bfloat16)
    made = make(V, D, 2, torch.bfloat16)
    bias_V = None if made.bias_V is None else made.bias_V.to(device)
    given = type(made)(made.weight_VD.to(device, kept_in), bias_V, made.scale, made.softcap)
    wide = type(made)(given.weight_VD.double(), None if bias_V is None else bias_V.double(), made.scale, made.softcap)
    exact_S, found_S = states.double().requires_grad_(), states.clone().requires_grad_()
    expected = wide.logits(exact_S)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
        found = given.logits(found_S)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    weight = normal(M, V, seed=4).to(device)
    (found.double() * weight).sum().backward()
    (expected * weight).sum().backward()
    assert found_S.grad.dtype == torch.bfloat16
    torch.testing.assert_close(found_S.grad.double(), exact_S.grad, rtol=1e-2, atol=0.1 if device == "cuda" else 1e-2)


def test_gradients_are_right_and_any_leading_shape_will_do():
    made, states = capped(V, D), normal(2, 3, D).requires_grad_()
    assert gradcheck(made.logits, (states,))
    plain = torch.nn.functional.linear(states, made.weight_VD, made.bias_V) * made.scale
    torch.testing.assert_close(made.logits(states), made.softcap * torch.tanh(plain / made.softcap))
    assert made.logits(states[:0]).shape == (0, 3, V)
    assert made.logits(states[:0, 0]).sum().requires_grad


def test_the_wider_of_states_and_weights_decides():
    states = normal(M, D)
    assert head(V, D).logits(states.float()).dtype == torch.float64
    assert head(V, D, dtype=torch.float32).logits(states).dtype == torch.float64
    assert head(V, D, dtype=torch.float32).logits(states.float()).dtype == torch.float32
