"""Before and after, side by side: each side is what its own weights say, whatever the other said before or says now."""

import gc
import hashlib
import json
import os
import threading
from itertools import pairwise

import pytest
import torch
from adapted_cases import MOST, adapted_run, save_adapter
from peft import PeftModel, get_peft_model_state_dict
from transformers import Gemma2ForCausalLM

from distill.config import run_config as configs
from distill.config.errors import ConfigError, UserError
from distill.config.run_config import ModelRef
from distill.data.problems import generate
from distill.evaluation import side_by_side
from distill.evaluation.side_by_side import _opened, answer_as_teacher, answer_both, open_student
from distill.models.chat_template import render
from distill.models.generation import generate_batch
from distill.models.loading import fingerprint, load_model, load_tokenizer
from distill.models.references import model_path

BASE = model_path("student-tiny")
QUESTIONS = [problem.question for problem in generate("held_out", 3)]

torch.set_num_threads(1)


@pytest.fixture
def make_run(tmp_path):
    yield lambda seed=1: adapted_run(tmp_path, seed)
    side_by_side._opened.clear()


@pytest.fixture(scope="module")
def base():
    """The base model as anybody loads it, with no adapter anywhere near."""
    return load_model(BASE), load_tokenizer(BASE)


def alone(model, tokenizer, question, most=MOST):
    return generate_batch(model, tokenizer, [render(tokenizer, question)], most)[0]


def last_steps(steps):
    return {step.side: step for step in steps}


def test_each_side_says_what_its_weights_say(make_run, base):
    folder = make_run()
    plain, tokenizer = base
    adapted = PeftModel.from_pretrained(load_model(BASE), folder / "adapter")
    opened = open_student(folder)
    for _ in range(2):  # again, once "after" has been said
        for question in QUESTIONS:
            sides = last_steps(answer_both(opened, question))
            for side, model in (("before", plain), ("after", adapted)):
                wanted = alone(model, tokenizer, question)
                assert (sides[side].text, sides[side].tokens) == (wanted.text, len(wanted.tokens))
                assert sides[side].finished == wanted.finished
            assert sides["before"].text != sides["after"].text


def test_two_readers_at_once_get_what_each_gets_alone(make_run):
    opened = open_student(make_run())
    wanted = [last_steps(answer_both(opened, question)) for question in QUESTIONS]
    found = [None] * len(QUESTIONS)

    def read(place):
        found[place] = last_steps(answer_both(opened, QUESTIONS[place]))

    readers = [threading.Thread(target=read, args=(place,)) for place in range(len(QUESTIONS))]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    texts = [[{side: step.text for side, step in sides.items()} for sides in some] for some in (found, wanted)]
    assert texts[0] == texts[1]


def test_the_sides_grow_together_and_end_once_each(make_run, monkeypatch):
    monkeypatch.setattr(side_by_side, "_TURN", 0.0)  # a token a turn
    steps = list(answer_both(open_student(make_run()), QUESTIONS[0], 6))
    assert [step.side for step in steps[:4]] == ["before", "after", "before", "after"]
    for side in ("before", "after"):
        own = [step for step in steps if step.side == side]
        assert [step.over for step in own] == [False] * (len(own) - 1) + [True]
        assert all(b.text.startswith(a.text) and b.seconds > a.seconds for a, b in pairwise(own))
        assert own[-1].tokens_per_second == own[-1].tokens / own[-1].seconds > 0


def test_an_answer_that_is_cut_off_is_over_but_not_finished(make_run):
    sides = last_steps(answer_both(open_student(make_run()), QUESTIONS[0], 1))
    assert {(step.over, step.finished, step.tokens) for step in sides.values()} == {(True, False, 1)}


def test_closing_it_midway_leaves_the_adapter_on(make_run):
    opened = open_student(make_run())
    wanted = last_steps(answer_both(opened, QUESTIONS[0]))
    for stop_at in (1, 2, 3):
        steps = answer_both(opened, QUESTIONS[0])
        for _ in range(stop_at):
            next(steps)
        assert opened.student.get_model_status().enabled is True  # nor is it off while somebody reads
        assert not torch.is_inference_mode_enabled()
        steps.close()
    assert not opened.lock.locked()
    again = last_steps(answer_both(opened, QUESTIONS[0]))
    assert {side: step.text for side, step in again.items()} == {side: step.text for side, step in wanted.items()}


def test_the_digests_are_those_of_the_files_and_a_new_adapter_is_loaded_anew(make_run, base):
    folder = make_run()
    weights = folder / "adapter" / "adapter_model.safetensors"
    first = open_student(folder)
    assert first.adapter == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert first.base == fingerprint(BASE)
    assert open_student(folder) is first and folder.resolve() in _opened
    before = last_steps(answer_both(first, QUESTIONS[0]))
    trained_on = save_adapter(folder, 2)  # as when a stopped run goes on
    second = open_student(folder)
    assert second.adapter == hashlib.sha256(weights.read_bytes()).hexdigest() != first.adapter
    loaded, saved = (get_peft_model_state_dict(student) for student in (second.student, trained_on))
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
    after = last_steps(answer_both(second, QUESTIONS[0]))
    assert after["before"].text == before["before"].text and after["after"].text != before["after"].text


def test_two_students_stay_loaded_and_no_more(make_run):
    folders = [make_run(number) for number in range(3)]
    first, second = (open_student(folder) for folder in folders[:2])
    assert open_student(folders[0]) is first  # now the second is the one not asked for longest
    open_student(folders[2])
    assert [folder.resolve() in _opened for folder in folders] == [True, False, True]
    assert open_student(folders[1]) is not second


def test_what_cannot_be_opened_is_one_sentence(make_run, tmp_path):
    folder = make_run()
    weights = folder / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="is damaged or of another model"):
        open_student(folder)
    save_adapter(folder, 1, width=4)
    with pytest.raises(UserError, match="is damaged or of another model"):
        open_student(folder)
    weights.unlink()
    with pytest.raises(ConfigError, match=f"Run {folder.name} has no adapter yet: let it train"):
        open_student(folder)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (" \n", "There is no question"),
        ("How many apples? " * 200, r"tokens long and its answer may take 24, but student-tiny reads at most 512"),
        ("x" * 50_000, "has 50,000 characters, and at most 20,000 are read"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(make_run, question, reason):
    with pytest.raises(UserError, match=reason):
        next(answer_both(open_student(make_run()), question))


def test_a_teacher_answers_and_is_let_go():
    ref = ModelRef(model="gemma2-tiny")
    path = model_path(ref)
    wanted = alone(load_model(path), load_tokenizer(path), QUESTIONS[0])
    steps = answer_as_teacher(ref, QUESTIONS[0], MOST)
    first, *_, last = steps
    assert (first.side, last.side, last.text, last.over) == ("gemma2-tiny", "gemma2-tiny", wanted.text, True)
    others = gemmas()  # other tests may hold some
    for broken_off in (False, True):
        steps = answer_as_teacher(ref, QUESTIONS[0], MOST)
        next(steps)
        if broken_off:
            steps.close()
        else:
            list(steps)
        assert gemmas() == others


def gemmas():
    gc.collect()
    return sum(type(thing) is Gemma2ForCausalLM for thing in gc.get_objects())


@pytest.fixture
def giant(tmp_path):
    """The folder of a model of 500 billion parameters."""
    (tmp_path / "config.json").write_text("{}")
    weight = {"dtype": "F16", "shape": [500_000_000_000], "data_offsets": [0, 1_000_000_000_000]}
    header = json.dumps({"weight": weight}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(file, 8 + len(header) + 1_000_000_000_000)  # a hole: it takes no room
    return str(tmp_path)


def test_a_teacher_that_does_not_fit_is_not_loaded(giant):
    ref = ModelRef(model=giant, name="giant")
    with pytest.raises(UserError, match=r"The teacher giant takes 1,862\.6 GB of memory, and [\d,.]+ GB are free"):
        next(answer_as_teacher(ref, QUESTIONS[0], MOST))


def test_a_student_that_does_not_fit_is_not_loaded(giant, make_run):
    folder = make_run()
    config = configs.load(folder / "config.yaml")
    student = config.student.model_copy(update={"model": giant, "name": "giant"})
    (folder / "config.yaml").write_text(configs.to_yaml(config.model_copy(update={"student": student})))
    with pytest.raises(UserError, match=r"The student giant takes 1,862\.6 GB of memory, and [\d,.]+ GB are free"):
        open_student(folder)


def test_it_does_not_change_how_many_threads_others_get(make_run):
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in answer_both(open_student(make_run()), QUESTIONS[0], 4):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(usual)
