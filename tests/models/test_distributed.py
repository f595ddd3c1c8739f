"""How a step is shared out, and that several GPUs in one process are one GPU."""

import os
from itertools import product

import pytest
import torch
from torch.testing._internal.distributed.fake_pg import FakeStore

from distill.__main__ import main
from distill.config.errors import ConfigError, Stopped
from distill.config.run_config import RunConfig
from distill.config.settings import BudgetConfig, LoraConfig
from distill.models import distributed
from distill.models.hardware import Machine, visible_gpus
from distill.runs import store
from distill.training import worker
from distill.training.trainer import training_arguments


def test_a_step_is_as_many_texts_however_it_is_shared():
    refused = 0
    for batch_size, accumulation, processes in product([1, 4, 6, 8], [1, 2, 3, 4, 8], range(1, 9)):
        ways = [n for n in range(1, processes + 1) if accumulation % n == 0 == processes % n]
        if any(batch_size % (processes // dealt) == 0 for dealt in ways):
            texts, parts = distributed.shares(batch_size, accumulation, processes)
            assert texts * parts * processes == batch_size * accumulation
        else:
            refused += 1
            with pytest.raises(ConfigError, match=r"can't share a step .* evenly: .* a multiple of \d+\."):
                distributed.shares(batch_size, accumulation, processes)
    assert refused
    assert distributed.shares(4, 8, 2) == (4, 4)  # whole micro-batches where that is possible
    assert distributed.shares(8, 1, 4) == (2, 1)


def test_alone_everything_is_said_and_done_at_once():
    assert (distributed.size(), distributed.rank()) == (1, 0)
    assert distributed.is_main() and not distributed.is_sharded()
    assert distributed.everyones("x") == ["x"] and distributed.any_of(True) and not distributed.any_of(False)
    assert distributed.whole(distributed.share("abc"), 3) == ["a", "b", "c"]
    assert distributed.by_main(lambda: 5) == distributed.all_or_none(lambda: 5) == 5
    assert distributed.first_to_fail() and not distributed.has_failed()
    z = torch.ones(2, 3, requires_grad=True)
    assert distributed.joined(z) is z

    def stopped():
        raise Stopped

    for do in (distributed.by_main, distributed.all_or_none):
        with pytest.raises(Stopped):
            do(stopped)


def test_what_the_launcher_is_told_is_heeded_or_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    distributed.join()
    assert "ACCELERATE_USE_FSDP" not in os.environ and not distributed.is_sharded()
    cpu = Machine(2, 4.0, "cpu")
    assert training_arguments(BudgetConfig(), tmp_path, cpu, 0).mixed_precision == "no"
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ConfigError, match="DeepSpeed"):
        distributed.join()
    assert worker.main([str(tmp_path)]) == worker.WRONG_CONFIG


def test_a_quantised_student_is_not_spread_and_that_is_said_before_it_is_loaded(monkeypatch):
    monkeypatch.setattr(distributed, "_sharded", True)
    config = RunConfig(student="student-tiny", lora={"quantize": "4bit"}, objectives=["task"])
    worker._check_shared(config)  # alone there is nobody to spread it over
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        with pytest.raises(ConfigError, match=r"remove lora\.quantize, or --use_fsdp"):
            worker._check_shared(config)
        worker._check_shared(config.model_copy(update={"lora": LoraConfig()}))
    finally:
        torch.distributed.destroy_process_group()


def test_a_process_that_sees_three_gpus_trains_on_one(tmp_path, monkeypatch):
    """Else transformers would split every batch over them with DataParallel."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    gpu = Machine(2, 4.0, "cuda")
    arguments = training_arguments(BudgetConfig(batch_size=4), tmp_path, gpu, 0)
    assert arguments.n_gpu == 1 and arguments.train_batch_size == 4
    assert visible_gpus(gpu) == 3 and visible_gpus(Machine(2, 4.0, "cpu")) == 0


def test_a_run_can_be_made_for_a_launcher_to_carry_out(tmp_path, capsys):
    assert main(["run", "tiny", "--create", "--runs", str(tmp_path)]) == 0
    assert store.view(capsys.readouterr().out.strip()).state == "queued"
