"""Before long work: what a machine can't hold or fetch is refused with figures, what it can is let through."""

from dataclasses import replace

import pytest
from huggingface_hub.constants import HF_HUB_CACHE

from distill.config.errors import UserError
from distill.config.run_config import RunConfig
from distill.models import metadata as known
from distill.models.hardware import Machine
from distill.models.metadata import ModelFacts
from distill.runs.room import check_room

SHAPE = {"width": 1000, "layers": 20, "vocabulary": 50_000}
GIB = 2**30


@pytest.fixture
def told(monkeypatch):
    """`told(name, GiB)`: what the Hub said of a model, whose weights take so much in float32."""
    monkeypatch.setattr(known, "_told", {})

    def tell(name, gib):
        facts = ModelFacts(name, parameters=int(gib * GIB / 4), download=int(gib * GIB / 2), **SHAPE)
        known.remember(name, None, facts)
        return name

    monkeypatch.setattr("distill.runs.room.free_disk_mb", lambda folder: 2**20)
    return tell


def refusal(config, machine):
    with pytest.raises(UserError) as error:
        check_room(config, machine)
    return str(error.value)


def taught(student, *teachers, kind="geometry", **more):
    return RunConfig(student=student, teachers=list(teachers), objectives=[kind], **more)


def test_the_student_and_its_largest_teacher_are_held_together(told):
    student, teachers = told("org/s", 4), [told("org/t", 6), told("org/u", 5)]
    config, machine = taught(student, *teachers), Machine(2, 10.0)
    check_room(config, machine)  # one teacher at a time
    assert refusal(config, replace(machine, memory_gb=9.9)) == (
        "The student 's' (4.0 GB of weights) and the teacher 't' (6.0 GB) are in memory together, 10.0 GB, and this "
        "machine has 9.9 GB: choose smaller models, set lora.quantize, or take a larger machine."
    )
    check_room(taught(student, *teachers, lora={"quantize": "4bit"}), Machine(2, 8.0))
    check_room(config, Machine(2, 7.0, amx=True))  # the teacher takes half, the student is wide while it writes
    assert "(3.0 GB)" in refusal(config, Machine(2, 6.9, amx=True))
    alone = RunConfig(student=student, lora={"quantize": "8bit"}, objectives=["task"])
    assert refusal(alone, Machine(2, 1.0)) == (
        "The student 's' (1.1 GB of weights) must be in memory, and this machine has 1.0 GB: choose smaller models, or "
        "take a larger machine."
    )


def test_each_process_has_a_student_of_its_own(told, monkeypatch):
    config = taught(told("org/s", 4), told("org/t", 3))
    check_room(config, Machine(2, 8.0))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    text = refusal(config, Machine(2, 8.0))
    assert "the student" in text.lower() and "(8.0 GB of weights in 2 processes)" in text and "11.0 GB" in text
    check_room(config, Machine(2, 8.0, "cuda", 6.0, dtype="float32"))  # each on a GPU


def test_teachers_that_stay_are_held_all_at_once(told):
    config = taught(told("org/s", 1), told("org/t", 3), told("org/u", 4), kind="gkd")
    check_room(config, Machine(2, 8.0))
    text = refusal(config, Machine(2, 7.0))
    assert "the teacher 't' (3.0 GB) and the teacher 'u' (4.0 GB) are" in text and "8.0 GB, and" in text


def test_a_student_must_be_on_the_gpu_and_a_teacher_may_be_in_part(told):
    config = taught(told("org/s", 10), told("org/t", 40))
    gpu = Machine(8, 32.0, "cuda", 24.0, dtype="float32")
    check_room(config, gpu)
    assert "has 10.0 GB of weights, and this machine's GPU 8.0 GB" in refusal(config, replace(gpu, gpu_gb=8.0))
    assert "this machine has 40.0 GB" in refusal(config, replace(gpu, memory_gb=16.0))


def test_what_is_to_be_fetched_must_fit_on_the_disk(told, monkeypatch):
    config = taught(told("org/s", 4), told("org/t", 6))
    monkeypatch.setattr("distill.runs.room.free_disk_mb", lambda folder: 1024)
    text = refusal(config, Machine(2, 64.0))
    assert text.startswith("5.4 GB are to be fetched from the Hub (org/s, org/t)") and "has 1.1 GB free" in text
    assert "HF_HOME" in text and HF_HUB_CACHE not in text  # on a public server visitors read it
    check_room(RunConfig(student=told("org/v", 1), objectives=["task"]), Machine(2, 64.0))


def test_a_teacher_whom_nobody_hears_is_not_asked_for(told):
    config = RunConfig(student=told("org/s", 1), teachers=["no/such-teacher"], objectives=["task"])
    check_room(config, Machine(2, 2.0))
