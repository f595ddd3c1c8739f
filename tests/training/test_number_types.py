"""What a model is computed in on a CPU: float32, or bfloat16 where the CPU has products of it and the model is large
enough to gain by them."""

import json
from dataclasses import replace

import pytest
import torch
from end_to_end_cases import MINI

from distill.config import run_config as configs
from distill.config.run_config import LoraConfig
from distill.models import hardware
from distill.models.generation import generate_batch
from distill.models.hardware import Machine, detect
from distill.models.student import load_student
from distill.runs import store
from distill.runs.estimate import estimate
from distill.runs.time_model import speed_of
from distill.training import worker

CPU = Machine(2, 16.0, "cpu", amx=True, description="CPU, 2 cores, 16.0 GB of memory")
LARGE, SMALL = 135_000_000, 1_000_000


@pytest.mark.parametrize(
    ("machine", "parameters", "dtype"),
    [
        (CPU, LARGE, "bfloat16"),
        (CPU, SMALL, "float32"),
        (CPU, None, "float32"),
        (replace(CPU, amx=False), LARGE, "float32"),
        (replace(CPU, device="mps"), LARGE, "float32"),
        (replace(CPU, device="cuda", dtype="bfloat16"), SMALL, "bfloat16"),
        (Machine(2, 16, amx=True), LARGE, "bfloat16"),
        (Machine(2, 16), LARGE, "float32"),
    ],
)
def test_the_type_follows_from_the_machine_and_the_model(machine, parameters, dtype):
    found = machine.suited_to(parameters)
    assert found.dtype == dtype and found.suited_to(parameters) == found


def test_a_report_says_so():
    assert CPU.suited_to(LARGE).description == "CPU in bfloat16, 2 cores, 16.0 GB of memory"
    assert CPU.suited_to(SMALL).description == CPU.description


def test_an_estimate_reckons_with_it():
    config = configs.parse({"student": "Qwen/Qwen2.5-0.5B-Instruct", "objectives": ["task"]})
    slow, fast = (estimate(config, Machine(2, 64, amx=amx), ()) for amx in (False, True))
    assert fast.stages["train"] < slow.stages["train"] and fast.memory_gb < slow.memory_gb
    assert speed_of(Machine(2, 16, dtype="bfloat16", amx=True)).measured


def test_attention_stays_in_float32_and_is_the_same(tmp_path):
    """Of a student in sixteen bits on a CPU: torch's fused attention is many times slower there in the other type."""
    ref = configs.parse({"student": "student-tiny", "objectives": ["task"]}).student
    seen = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def watched(query, *args, **kwargs):
        seen.append(query.dtype)
        return attend(query, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
        narrow, wide = (
            load_student(ref, LoraConfig(r=2), replace(CPU, dtype=dtype), 0)[0] for dtype in ("bfloat16", "float32")
        )
        ids = torch.arange(40).view(2, 20) + 5
        mask = torch.ones_like(ids)
        mask[1, 12:] = 0
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = narrow(input_ids=ids, attention_mask=mask).logits
        assert seen and set(seen) == {torch.float32}
    expected = wide(input_ids=ids, attention_mask=mask).logits
    close = (found.float() - expected)[mask.bool()].abs().max() / expected[mask.bool()].abs().max()
    assert close < 0.05
    found.float().square().sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for n, p in narrow.named_parameters() if "lora_B" in n)


def test_what_is_written_is_written_in_float32_and_the_weights_are_as_before(monkeypatch):
    ref = configs.parse({"student": "student-tiny", "objectives": ["task"]}).student
    student, tokenizer = load_student(ref, LoraConfig(r=2), replace(CPU, dtype="bfloat16"), 0)
    before = {name: weight.clone() for name, weight in student.named_parameters()}
    seen = set()
    student.get_input_embeddings().register_forward_hook(lambda _, args, out: seen.add(out.dtype))
    prompts = ["Tom has 3 pens", "Ann has 40 pens and buys 2"]
    found = generate_batch(student, tokenizer, prompts, 6)
    assert seen == {torch.float32}
    assert all(torch.equal(weight, before[name]) for name, weight in student.named_parameters())
    assert student.get_input_embeddings().weight.dtype == torch.bfloat16
    wide, _ = load_student(ref, LoraConfig(r=2), CPU, 0)
    for name, weight in wide.named_parameters():  # the same numbers, kept wide
        weight.data = before[name].float()
    assert [one.text for one in generate_batch(wide, tokenizer, prompts, 6)] == [one.text for one in found]


def test_a_run_in_sixteen_bits_on_a_cpu_from_its_settings_to_the_report(tmp_path, monkeypatch):
    """With a student that counts as large, and teachers, some of which do not."""
    monkeypatch.setattr(hardware, "WIDE", 980_000)  # student-tiny has 985,216 parameters, phi3-tiny 1,016,960
    monkeypatch.setattr(hardware, "has_amx", lambda: True)
    asked = []
    load = worker_loads(monkeypatch, asked)
    settings = {**MINI, "teachers": ["phi3-tiny"]}
    settings["objectives"] = [{"kind": "response", "max_new_tokens": 40, "keep": "all"}, {"kind": "task"}]
    settings["objectives"] += [{"kind": "cross_tokenizer"}, {"kind": "geometry"}]
    folder = store.create(configs.parse(settings), tmp_path)
    before = torch.get_num_threads()
    try:
        assert worker.main([str(folder)]) == worker.DONE, (folder / "events.jsonl").read_text()[-600:]
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(False)
    report = json.loads((folder / "report.json").read_text())
    assert report["hardware"].startswith("CPU in bfloat16, ")
    assert load and set(asked) == {torch.bfloat16}
    assert report["after"]["n"] == report["before"]["n"] > 0


def worker_loads(monkeypatch, asked: list) -> bool:
    """Notes the type of every model that is loaded."""
    from distill.models import loading

    usual = loading.load_model

    def noted(path, dtype=torch.float32, *args, **kwargs):
        asked.append(dtype)
        return usual(path, dtype, *args, **kwargs)

    for module in ("distill.models.student", "distill.teachers.signal_cache", "distill.teachers.response_cache"):
        monkeypatch.setattr(f"{module}.load_model", noted)
    return True


def test_the_cpu_is_asked_once_and_a_system_without_an_answer_has_none(monkeypatch, tmp_path):
    hardware.has_amx.cache_clear()
    try:
        for flags, has in (("fpu avx512_bf16 amx_bf16 amx_tile", True), ("fpu avx512_bf16", False)):
            (tmp_path / "cpuinfo").write_text(f"model name : X\nflags : {flags}\n")
            monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "cpuinfo")
            hardware.has_amx.cache_clear()
            assert hardware.has_amx() is has
        monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "none")
        hardware.has_amx.cache_clear()
        assert hardware.has_amx() is False and detect().suited_to(LARGE).dtype != "bfloat16"
    finally:
        hardware.has_amx.cache_clear()
