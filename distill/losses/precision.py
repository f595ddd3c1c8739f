"""Arithmetic that a loss must not do in sixteen bits.

Under bf16 autocast every matrix product is rounded to eight bits of mantissa. Features whose mean is 100 times their
spread then lose their geometry altogether (docs/methods.md, "1. CKA": a CKA of .056 in place of .982). A loss decorated
with `full_precision` computes the same value inside and outside autocast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable


def full_precision(function: Callable) -> Callable:
    """`function`, run outside autocast, its floating-point tensor arguments in float32 (in float64 if one of them is).

    Integer and boolean tensors pass unchanged, and so do tensors inside containers: those the function casts itself.
    """

    @functools.wraps(function)
    def exact(*args, **kwargs):
        import torch  # here, as files with a decorated loss are read where torch is not wanted
        from torch import Tensor

        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor) and a.is_floating_point()]
        dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32

        def widen(a):
            return a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a

        device = tensors[0].device.type if tensors else "cpu"
        with torch.autocast(device, enabled=False):
            return function(*map(widen, args), **{name: widen(a) for name, a in kwargs.items()})

    return exact
