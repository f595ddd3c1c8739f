"""Coupled losses under gradient accumulation: the window gives the very gradients of one big batch."""

from dataclasses import replace

import pytest
import torch
from transformers import TrainingArguments
from window_cases import N, distiller, training_texts

from distill.objectives.base import Objective, ObjectiveOutput
from distill.teachers.ragged import Ragged
from distill.training.distiller import Distiller, FifoBank, carry_gradients, rng_state, set_rng_state
from distill.training.trainer import DistillTrainer


@pytest.fixture
def texts(tiny):
    return training_texts(tiny)


def gradients(module):
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def one_batch(module, texts, num_items):
    module.zero_grad()
    result = module(**texts.whole(), num_items=num_items)
    result["loss"].backward()
    return gradients(module), {name: float(value) for name, value in result["terms"].items()}


def window(module, texts, num_items, pieces):
    module.zero_grad()
    size = N // pieces
    batches = [texts.collate(range(start, start + size)) for start in range(0, N, size)]
    terms, _ = carry_gradients(module, batches)
    terms = {name: float(value) for name, value in terms.items()}
    for batch in batches:
        set_rng_state(batch.pop("rng"))
        result = module(**batch, num_items=num_items)
        result["loss"].backward()
        for name, value in result["terms"].items():
            terms[name] = terms.get(name, 0.0) + float(value)
    return gradients(module), terms


@pytest.mark.parametrize(("mode", "gate"), [("kernel", "prior"), ("kernel", "meta"), ("deku", "learned")])
@pytest.mark.parametrize("pieces", [2, 3, 6])
def test_a_window_of_micro_batches_gives_the_gradients_of_one_batch(tiny, texts, mode, gate, pieces):
    module = distiller(tiny, mode, gate)
    num_items = int((texts.whole()["labels"][:, 1:] != -100).sum())
    expected, expected_terms = one_batch(module, texts, num_items)
    found, found_terms = window(module, texts, num_items, pieces)
    assert found.keys() == expected.keys()
    assert any("lora_A" in name for name in found)
    # The losses compute in float64; pooling sums padded rows of another width, hence the last digits.
    assert max((found[name] - expected[name]).abs().max() for name in found) < 1e-12
    assert found_terms == pytest.approx(expected_terms, abs=1e-12)


def test_without_the_window_the_gradient_is_another(tiny, texts):
    module = distiller(tiny)
    num_items = int((texts.whole()["labels"][:, 1:] != -100).sum())
    expected, _ = one_batch(module, texts, num_items)
    module.zero_grad()
    for start in (0, 6):
        batch = texts.collate(range(start, start + 6)) | {"share": {"geometry": 0.5}}
        module(**batch, num_items=num_items)["loss"].backward()
    assert max((gradients(module)[name] - expected[name]).abs().max() for name in expected) > 1e-4


def test_dropout_is_the_same_in_both_passes(tiny, texts):
    module = distiller(tiny, dropout=0.3)
    seen = []
    represent = module.objectives["geometry"].represent

    def spy(outputs, batch):
        seen.append(represent(outputs, batch).detach())
        return represent(outputs, batch)

    module.objectives["geometry"].represent = spy
    window(module, texts, 100, 2)
    first, second = seen[:2], seen[2:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def with_tokens(texts):
    """The same texts, with something said of every token: rows of unlike length, padded to each batch's longest."""
    lengths = torch.tensor([len(example.ends) for example in texts.examples])
    said = {teacher: Ragged(torch.zeros(int(lengths.sum())), lengths) for teacher in texts.signals["pooled"]}
    return replace(texts, signals={**texts.signals, "chunk_logprobs": said})


def test_what_is_said_of_tokens_is_no_part_of_what_is_joined(tiny, texts):
    module, banked = distiller(tiny), distiller(tiny, banks={"geometry": 5})
    expected, _ = window(module, texts, 100, 3)
    found, _ = window(module, with_tokens(texts), 100, 3)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    for rows in (range(0, 4), range(4, 8)):
        banked(**with_tokens(texts).collate(rows), num_items=100)
    assert {key.split("/")[0] for key in banked.banks["geometry"].entries} == {"z", "pooled", "nll_per_byte"}


class ReadsOwn(Objective):
    """Reads the student's own answers, first, and makes nothing of them."""

    kind = "gkd"
    reads_own = True

    def forward(self, outputs, batch):
        return ObjectiveOutput({"gkd": 0 * outputs.states_BLD.sum()})


def test_dropout_is_the_same_in_both_passes_when_the_students_own_answers_are_read_too(tiny, texts):
    plain = distiller(tiny, dropout=0.3)
    geometry, task = plain.objectives["geometry"], plain.objectives["task"]
    module = Distiller(plain.student, [ReadsOwn(), geometry, task]).train()
    seen, represent = [], geometry.represent

    def spy(outputs, batch):
        seen.append(represent(outputs, batch).detach())
        return represent(outputs, batch)

    geometry.represent = spy
    batches = [{**texts.collate(rows), "own": texts.collate(rows)} for rows in (range(6), range(6, N))]
    carry_gradients(module, batches)
    for batch in batches:
        set_rng_state(batch.pop("rng"))
        module(**batch, num_items=100)["loss"].backward()
    assert all(torch.equal(a, b) for a, b in zip(seen[:2], seen[2:], strict=True))


def test_the_trainers_two_passes_have_the_same_precision(tiny, texts, tmp_path):
    """In bfloat16 both compute under autocast, so that the gradient belongs to the loss."""
    module = distiller(tiny).float()
    seen, represent = [], module.objectives["geometry"].represent

    def spy(outputs, batch):
        seen.append(represent(outputs, batch).detach())
        return represent(outputs, batch)

    module.objectives["geometry"].represent = spy
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=N // 2, gradient_accumulation_steps=2,
        bf16=True, use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    DistillTrainer(module, args=arguments, train_dataset=texts, data_collator=texts.collate).train()
    assert len(seen) == 4
    assert all(torch.equal(a, b) for a, b in zip(seen[:2], seen[2:], strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_random_state_may_have_travelled_to_the_device():
    state = rng_state()
    expected = torch.rand(3), torch.rand(3, device="cuda")
    set_rng_state({name: value.cuda() for name, value in state.items()})
    assert torch.equal(torch.rand(3), expected[0]) and torch.equal(torch.rand(3, device="cuda"), expected[1])


def test_the_bank_keeps_the_newest_and_survives_a_checkpoint(tiny, texts):
    module = distiller(tiny, banks={"geometry": 5})
    module(**texts.collate(range(0, 4)), num_items=100)
    module(**texts.collate(range(4, 8)), num_items=100)
    entries = module.banks["geometry"].entries
    assert len(entries["z"]) == 5
    wide = texts.signals["pooled"]["wide"]
    assert torch.equal(entries["pooled/wide"], wide[[4, 5, 6, 7, 0]])
    other = distiller(tiny, banks={"geometry": 5})
    other.load_training_state(module.training_state())
    assert torch.equal(other.banks["geometry"].entries["z"], entries["z"])


def test_the_bank_joins_the_batch_and_is_detached():
    bank = FifoBank(4)
    old, new = torch.ones(3, 2, requires_grad=True), torch.zeros(2, 2, requires_grad=True)
    bank.push(old, {"pooled": {"t": torch.ones(3, 1)}})
    z, signals = bank.extended(new, {"pooled": {"t": torch.zeros(2, 1)}})
    assert z.shape == (5, 2)
    assert signals["pooled"]["t"].flatten().tolist() == [0, 0, 1, 1, 1]
    z.sum().backward()
    assert old.grad is None
    assert new.grad is not None
