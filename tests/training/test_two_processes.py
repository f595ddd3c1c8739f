"""A step is the same step however many processes share it: tokens are counted over all of them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")
SCRIPT = Path(__file__).with_name("two_processes.py")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def started(*arguments, **environment):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "TOKENIZERS_PARALLELISM": "false", **environment}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def two(*arguments):
    """Two processes that train together."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [started(*arguments, **shared, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]


def finish(*processes):
    for process in processes:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said[-2000:]


def test_two_processes_make_the_steps_that_one_makes(tmp_path):
    finish(started(tmp_path / "one"), *two(tmp_path / "two"))
    expected, found = load_file(tmp_path / "one.0.safetensors"), load_file(tmp_path / "two.0.safetensors")
    assert expected.keys() == found.keys() and any("projectors" in name for name in found)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5, msg=name)


def test_two_processes_train_the_same_gate_and_heads(tmp_path):
    """Each compares its own texts, so their steps are not one process's; but there is one model, not two."""
    finish(*two(tmp_path / "two", "geometry"))
    first, second = (load_file(tmp_path / f"two.{rank}.safetensors") for rank in range(2))
    assert any("heads" in name for name in first)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=1e-6, msg=name)
