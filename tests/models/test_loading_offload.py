"""A teacher larger than the memory of its device says the same with some of its layers elsewhere, and that is told."""

import pytest
import torch

from distill.models.lm_head import device_of
from distill.models.loading import device_map, load_model
from distill.teachers.ragged import Ragged
from distill.teachers.response_cache import ResponseBank, ResponseRequest
from distill.teachers.signal_cache import SignalBank
from distill.teachers.signals import ALL_SIGNALS, Request

TEXTS = [("What is 2 + 3?", "5"), ("How many are left of 12, if 4 go?", "12 - 4 = 8\n#### 8")]
# Tied and not, with and without a scale of its own.
NAMES = ["qwen2-tiny", "gemma2-tiny", "phi3-tiny"]


def room_for(model, layers):
    """Bytes for so many of its layers, and the one that is brought in."""
    sizes = [sum(p.nbytes for p in layer.parameters()) for layer in model.model.layers]
    return sum(p.nbytes for p in model.parameters()) - sum(sizes[layers + 1 :])


@pytest.mark.parametrize("name", NAMES)
def test_what_fits_stays_and_the_rest_waits(name, tiny):
    model, _ = tiny(name)
    whole = sum(p.nbytes for p in model.parameters())
    assert device_map(model.config, torch.float32, whole, "cpu") is None
    places = device_map(model.config, torch.float32, room_for(model, 1), "cpu")
    first, *rest = [f"model.layers.{number}" for number in range(len(model.model.layers))]
    assert places.pop(first) == "cpu" and {places.pop(layer) for layer in rest} == {"disk"}
    assert set(places.values()) == {"cpu"} and {"model.embed_tokens", "model.norm", "lm_head"} <= set(places)
    assert set(device_map(model.config, torch.float32, 0, "cuda:0").values()) == {"cuda:0", "cpu"}
    assert device_map(model.config, torch.bfloat16, whole // 2, "cpu") is None


@pytest.mark.parametrize("name", NAMES)
def test_the_signals_are_the_same(name, tiny, tiny_folder, monkeypatch, tmp_path):
    room, layers, told = room_for(tiny(name)[0], 1), len(tiny(name)[0].model.layers), []
    asked = Request(frozenset(ALL_SIGNALS), top_k=4, layers=(1, 3))
    expected = SignalBank(tmp_path / "whole").ask("t", tiny_folder(name), TEXTS, asked)
    monkeypatch.setattr("distill.models.loading.free_bytes", lambda device: room)
    found = SignalBank(tmp_path / "part", on_warning=lambda *said: told.append(said)).ask(
        "t", tiny_folder(name), TEXTS, asked
    )
    [(code, text)] = told
    assert (
        code == "larger_than_gpu:t"
        and text.startswith("The teacher t is larger than")
        and f"{layers - 1} of its layers" in text
    )
    for signal, values in expected.items():
        same = found[signal]
        if isinstance(values, Ragged):
            assert torch.equal(values.lengths, same.lengths)
            values, same = values.values, same.values
        assert torch.equal(values, same), signal


def test_the_answers_are_the_same(tiny, tiny_folder, monkeypatch, tmp_path):
    name, questions = "qwen2-tiny", [question for question, _ in TEXTS]
    request = ResponseRequest(max_new_tokens=8)
    expected = ResponseBank(tmp_path / "whole").ask("t", tiny_folder(name), questions, request)
    monkeypatch.setattr("distill.models.loading.free_bytes", lambda device: 0)
    told = []
    bank = ResponseBank(tmp_path / "part", on_warning=lambda *said: told.append(said))
    assert bank.ask("t", tiny_folder(name), questions, request) == expected
    assert "larger_than_gpu:t" in dict(told)


def test_a_student_is_loaded_whole(tiny, tiny_folder, monkeypatch):
    monkeypatch.setattr("distill.models.loading.free_bytes", lambda device: 0)
    model = load_model(tiny_folder("qwen2-tiny"))
    assert not hasattr(model, "hf_device_map") and device_of(model) == torch.device("cpu")
