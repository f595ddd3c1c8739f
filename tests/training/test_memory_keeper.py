"""Memory that was freed goes back to the system, once there is a good deal of it."""

import pytest
import torch

from distill.models.hardware import give_back_memory, memory_mb
from distill.training.callbacks import MemoryKeeper


@pytest.mark.skipif(not give_back_memory(), reason="it takes glibc")
def test_what_was_freed_among_what_is_in_use_goes_back():
    keeper = MemoryKeeper(most=100)
    keeper.on_train_begin(None, None, None)
    before = memory_mb()
    # In pieces too small to be given back one by one, every other one of which stays in use.
    pieces = [torch.ones(16_000) for _ in range(4_000)]
    del pieces[::2]
    held = memory_mb()
    assert held > before + 200
    keeper.on_step_end(None, None, None)
    assert memory_mb() < held - 80
    assert all(bool((piece == 1).all()) for piece in pieces)
    kept = memory_mb()
    MemoryKeeper(most=1e6).on_step_end(None, None, None)
    assert abs(memory_mb() - kept) < 20
