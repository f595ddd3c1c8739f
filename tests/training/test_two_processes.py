"""A step is the same step however many processes share it, and a run that loses one of them can be resumed."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import two_processes
import yaml
from end_to_end_cases import MINI, ROOT, wait_for_step
from safetensors.torch import load_file

from distill.config import run_config as configs
from distill.runs import store
from distill.runs.events import Metric, Status, latest_by_step, read

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def two(*command, **environment):
    """Two processes of one launch, as a launcher would start them."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    shared |= {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", **environment}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def finish(processes):
    """Their exit statuses, and what they said last."""
    said = [process.communicate(timeout=240)[1][-3000:] for process in processes]
    return [process.returncode for process in processes], "\n".join(said)


SMALL = {
    **MINI,
    "teachers": ["gemma2-tiny"],
    "data": {"train": 32, "held_out": 5, "validation": 4, "new_phrasing": 0},
    "budget": {**MINI["budget"], "batch_size": 4},
    "probe": {"texts": 16, "every": 6, "samples": 1},
    "evaluation": {"max_new_tokens": 8},
}


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """(what one process and each of two trained and reported, by case; the folder of a run that then lost the second).

    One launch for both: to start is what takes long.
    """
    base = tmp_path_factory.mktemp("two")
    (base / "small.yaml").write_text(yaml.safe_dump(SMALL))
    run = store.create(configs.load(base / "small.yaml"), base / "runs")
    processes = two(Path(__file__).with_name("two_processes.py"), base, run, free_port(), DISTILL_HOME=str(base))
    alone = {case: two_processes.train(case) for case in two_processes.CASES}
    wait_for_step(base / "runs", 3)
    processes[1].kill()
    statuses, said = finish(processes)
    assert statuses == [1, -9], said

    def of(case, rank):
        name = base / f"{case}.{rank}"
        return load_file(f"{name}.safetensors"), json.loads(Path(f"{name}.json").read_text())

    return {case: [alone[case], of(case, 0), of(case, 1)] for case in alone}, run


@pytest.fixture
def trained(launched):
    return launched[0]


@pytest.mark.parametrize("case", two_processes.CASES)
def test_two_processes_make_the_steps_that_one_makes_and_report_them_whole(trained, case):
    (expected, told), *both = trained[case]
    assert {name.split(".")[1] for name in expected} >= {"base_model", "features"}
    assert len(told) == two_processes.STEPS
    for found, said in both:
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5, msg=name)
        assert said == [pytest.approx(step, abs=1e-5, rel=1e-5) for step in told]


def test_each_of_the_two_is_told_the_same(trained):
    assert all(first == second for _, (_, first), (_, second) in trained.values())


def test_a_run_that_loses_a_process_says_so_and_goes_on_when_launched_again(launched):
    folder = launched[1]
    assert store.view(folder).state == "failed"
    assert store.view(folder).reason.startswith("Another process of this run ended unexpectedly")
    (folder / "STOP").touch()  # by somebody who had given it up

    statuses, said = finish(two("-m", "distill.training.worker", folder, DISTILL_HOME=str(folder.parents[1])))
    assert statuses == [0, 0], said
    events, _ = read(folder / "events.jsonl")
    assert [e.step for e in latest_by_step(events, Metric)] == [1, 2, 3, 4, 5, 6]
    assert [e.resumed_from for e in events if isinstance(e, Status) and e.resumed_from] in ([2], [4])
    assert store.view(folder).state == "done"
    report = json.loads((folder / "report.json").read_text())
    assert (report["before"]["n"], report["after"]["n"], report["steps"]) == (5, 5, 6)
    assert report["hardware"].startswith("2 processes")
    assert report["warnings"] == []
