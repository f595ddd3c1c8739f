"""What the methods of a config ask of each teacher: it must be what the run then asks."""

import pytest

from distill.config import requirements
from distill.config.requirements import Demand, demand, heard, notes
from distill.config.run_config import parse

SIX = ["qwen2-tiny", "smollm2-tiny", "phi3-tiny", "gemma2-tiny", "minicpm3-tiny", "nemotron-tiny"]


def config(*objectives, teachers=("qwen2-tiny", "sibling-tiny"), **more):
    return parse(
        {"student": "student-tiny", "teachers": list(teachers), "objectives": list(objectives)}
        | {"data": {"train": 100}}
        | more
    )


def of(*objectives, name="sibling-tiny", **more):
    return demand(config(*objectives, **more), name)


def test_only_those_that_a_method_names_are_heard():
    one = {"kind": "logits", "teachers": ["sibling-tiny"]}
    assert [teacher.name for teacher in heard(config(one))] == ["sibling-tiny"]
    assert [teacher.name for teacher in heard(config(one, "geometry"))] == ["qwen2-tiny", "sibling-tiny"]
    assert heard(config("task")) == [] and of("task") == Demand()
    assert of(one, name="qwen2-tiny") == Demand()


@pytest.mark.parametrize(
    ("objective", "asked"),
    [
        ({"kind": "geometry"}, Demand(read=100)),
        ({"kind": "logits", "top_k": 8}, Demand(read=100, tokens=True, top_k=8)),
        ({"kind": "logits", "source": "live", "gate": "uniform"}, Demand(live=True)),
        ({"kind": "logits", "source": "live"}, Demand(read=100, live=True)),  # the gate asks how likely the texts are
        ({"kind": "features", "count": 3}, Demand(read=100, tokens=True, layers=3)),
        ({"kind": "cross_tokenizer"}, Demand(read=100, tokens=True)),
        ({"kind": "cross_tokenizer", "shared": 1.0}, Demand(read=100, tokens=True, top_k=64)),
        ({"kind": "cross_tokenizer", "loss": "uld"}, Demand(read=100, tokens=True, top_k=64)),
        ({"kind": "gkd"}, Demand(live=True)),
        ({"kind": "gkd", "seq_kd": True}, Demand(written=50, live=True)),
        ({"kind": "response"}, Demand(written=100)),
        ({"kind": "response", "problems": "share", "samples": 3}, Demand(written=150)),
    ],
)
def test_what_each_method_asks_of_two_teachers(objective, asked):
    assert of(objective) == asked


def test_answers_are_read_by_the_teachers_of_other_methods_too():
    assert of({"kind": "response"}, "geometry").read == 200  # both teachers' answers, and no solutions
    assert of({"kind": "response"}, "geometry", "task").read == 300
    assert of({"kind": "response", "keep": "majority"}, "geometry", "task").read == 200  # one answer a problem


def test_seq_kd_asks_as_trl_does():
    asked = requirements.wants_answers(config({"kind": "gkd", "seq_kd": True, "max_new_tokens": 9}))
    assert (asked.keep, asked.problems, asked.max_new_tokens) == ("all", "share", 9)
    assert requirements.wants_answers(config({"kind": "gkd"})) is None
    assert not requirements.wants_solutions(config({"kind": "response"}))
    assert requirements.wants_solutions(config({"kind": "response"}, "task"))


def test_it_is_said_in_plain_words():
    assert notes(config("task")) == []
    assert notes(config({"kind": "response", "problems": "share"}, teachers=SIX)) == [
        "6 teachers write 100 answers to the training problems between them, once"
    ]
    assert notes(config("gkd", {"kind": "logits"}, teachers=["sibling-tiny"])) == [
        "the teacher sibling-tiny reads 100 training texts, once",
        "the teacher sibling-tiny stays in memory while the student trains",
    ]
    assert notes(config({"kind": "gkd", "seq_kd": True})) == [
        "the teachers qwen2-tiny and sibling-tiny write 100 answers to the training problems between them, once",
        "the teachers qwen2-tiny and sibling-tiny stay in memory while the student trains",
    ]
    assert notes(config("geometry")) == ["each of 2 teachers reads 100 training texts, once"]


def test_problems_without_a_solution_are_solved_by_the_teachers_between_them():
    some = {"data": {"train": 100, "labelled": 30}}
    asked = config("task", "geometry", **some)
    assert demand(asked, "qwen2-tiny") == Demand(read=100, written=35)
    assert notes(asked)[0].endswith("write 70 answers to the training problems between them, once")
    assert [teacher.name for teacher in heard(config("task", **some))] == ["qwen2-tiny", "sibling-tiny"]
    # Who has teachers answer everything anyway asks nothing more.
    answered = {"kind": "response", "problems": "share", "keep": "majority"}
    assert demand(config(answered, **some), "qwen2-tiny").written == 50
    # Without a teacher, the solved ones are all there is.
    alone = config("task", teachers=(), budget={"epochs": 1, "batch_size": 10}, **some)
    assert requirements.planned_steps(alone) == 3 and not requirements.fills_in(alone)
