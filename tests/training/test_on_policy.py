"""The student's own answers as a batch: which steps have them, what is labelled, and that counting follows them."""

import copy

import pytest
import torch
from window_cases import training_texts

from distill.models.generation import end_tokens
from distill.training.on_policy import OnPolicy, prompts_of

ROWS = [0, 3, 5, 7]


@pytest.fixture(scope="module")
def student(tiny):
    return tiny("student-tiny")


def policy(student, **settings):
    model, tokenizer = student
    given = {"lmbda": 1.0, "max_new_tokens": 12, **settings}
    return OnPolicy(tokenizer, end_tokens(model, tokenizer), **given)


def test_steps_are_drawn_by_seed_and_step_alone(student):
    draws = [policy(student, lmbda=0.3, seed=1).is_own(step) for step in range(2000)]
    assert draws == [policy(student, lmbda=0.3, seed=1).is_own(step) for step in range(2000)]
    assert 0.26 < sum(draws) / 2000 < 0.34
    assert draws != [policy(student, lmbda=0.3, seed=2).is_own(step) for step in range(2000)]
    assert not any(policy(student, lmbda=0.0).is_own(step) for step in range(200))
    assert all(policy(student, lmbda=1.0).is_own(step) for step in range(200))


def test_prompts_are_what_comes_before_the_answer_on_either_side_of_the_padding(tiny, student):
    texts = training_texts(tiny)
    batch = texts.collate(ROWS)
    expected = [texts.examples[row].input_ids[: texts.examples[row].completion_start] for row in ROWS]
    assert prompts_of(batch) == expected
    left = {name: batch[name].flip(1) for name in ("input_ids", "attention_mask", "labels")}
    width = batch["input_ids"].shape[1]
    for row, number in enumerate(ROWS):  # the same texts, padded on the left
        example = texts.examples[number]
        for name, values in (("input_ids", example.input_ids), ("labels", example.labels)):
            left[name][row] = batch[name][row].new_tensor([0] * (width - len(values)) + values)
        left["labels"][row, : width - len(example.labels)] = -100
        left["attention_mask"][row] = torch.tensor([0] * (width - len(example.labels)) + [1] * len(example.labels))
    assert prompts_of(left) == expected


def test_only_what_the_student_wrote_is_labelled_up_to_its_first_end(tiny, student):
    model, tokenizer = student
    batch = training_texts(tiny).collate(ROWS)
    metrics = policy(student).answer(model, [batch], step=0)
    own, ends = batch["own"], end_tokens(model, tokenizer)
    unfinished = 0
    for row, prompt in enumerate(prompts_of(batch)):
        ids, labels = own["input_ids"][row], own["labels"][row]
        length = int(own["attention_mask"][row].sum())
        assert ids[: len(prompt)].tolist() == prompt
        assert (labels[: len(prompt)] == -100).all() and (labels[length:] == -100).all()
        assert torch.equal(labels[len(prompt) : length], ids[len(prompt) : length])
        written = ids[len(prompt) : length].tolist()
        assert not set(written[:-1]) & set(ends)
        unfinished += written[-1] not in ends
        text = tokenizer.decode(written, skip_special_tokens=True)
        assert own["completion_bytes"][row] == len(text.encode())
    assert metrics == {"gkd/own": 1.0, "gkd/unfinished": unfinished / len(ROWS)}


def test_the_split_into_micro_batches_changes_no_answer(tiny, student):
    model, _ = student
    texts = training_texts(tiny)
    whole, parts = [texts.collate(ROWS)], [texts.collate(ROWS[:1]), texts.collate(ROWS[1:])]
    for batches in (whole, parts):
        policy(student).answer(model, batches, step=4)
    answers = [
        [labels[labels != -100].tolist() for batch in batches for labels in batch["own"]["labels"]]
        for batches in (whole, parts)
    ]
    assert answers[0] == answers[1]
    policy(student).answer(model, again := [texts.collate(ROWS)], step=5)
    assert [row[row != -100].tolist() for row in again[0]["own"]["labels"]] != answers[0]


def test_it_writes_only_tokens_that_its_teachers_can_read(tiny, student):
    """Many a model has more logits than there are tokens, and another one has fewer."""
    model, _ = student
    batch = training_texts(tiny).collate(ROWS)
    policy(student, temperature=50.0, vocabulary=300).answer(model, [batch], step=0)
    labels = batch["own"]["labels"]
    assert labels.max() < 300
    policy(student, temperature=50.0).answer(model, [batch], step=0)
    assert batch["own"]["labels"].max() >= 300


def test_a_step_of_the_data_is_left_alone(tiny, student):
    batch = training_texts(tiny).collate(ROWS)
    before = copy.copy(batch)
    assert policy(student, lmbda=0.0).answer(student[0], [batch], step=0) == {"gkd/own": 0.0}
    assert batch.keys() == before.keys()


def test_sampling_leaves_dropout_off_the_mode_and_torchs_random_state_as_they_were(tiny, student):
    model, _ = student
    model = copy.deepcopy(model).train()
    batch = training_texts(tiny).collate(ROWS)
    state = torch.get_rng_state()
    policy(student).answer(model, [batch], step=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
