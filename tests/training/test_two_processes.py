"""A step is the same step however many processes share it: tokens are counted over all of them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("two_processes.py")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def started(out, **environment):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "TOKENIZERS_PARALLELISM": "false", **environment}
    return subprocess.Popen([sys.executable, str(SCRIPT), str(out)], env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")
def test_two_processes_make_the_steps_that_one_makes(tmp_path):
    one = started(tmp_path / "one.safetensors")
    port = free_port()
    two = [
        started(
            tmp_path / "two.safetensors",
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
        )
        for rank in range(2)
    ]
    for process in (one, *two):
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said[-2000:]
    expected, found = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "two.safetensors")
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5, msg=name)
