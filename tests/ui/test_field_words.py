"""When a method's dials matter, and that what is filled in for them is what is asked."""

import gradio as gr
import pytest
from configure_cases import edited

from distill.config import run_config as configs
from distill.ui.configure.binding import draft_of, relevant, settings, values_of
from distill.ui.configure.draft import restored_values
from distill.ui.configure.fields import FIELDS, OBJECTIVES
from distill.ui.configure.form import Form
from distill.ui.configure.validation import check

SIBLING = {"model": "sibling-tiny", "name": "sibling-tiny", "revision": None}
MIX = [
    {"kind": "task", "weight": 0.5},
    {"kind": "response", "problems": "share", "samples": 3, "keep": "majority", "top_p": 0.9, "max_new_tokens": 40},
    {"kind": "logits", "divergence": "jsd", "beta": 0.1, "scaling": "continuous", "teachers": ["sibling-tiny"]},
    {"kind": "features", "loss": "cka", "layers": "last", "count": 1, "gate": "uniform", "teachers": ["qwen2-tiny"]},
    {"kind": "geometry", "teachers": ["qwen2-tiny", "phi3-tiny"]},
    {"kind": "gkd", "seq_kd": True, "lmbda": 0.25, "beta": 1.0, "teachers": ["sibling-tiny"]},
    {
        "kind": "cross_tokenizer",
        "shared": 0.5,
        "top_k": 8,
        "gate": {"tau": 0.5},
        "teachers": ["qwen2-tiny", "phi3-tiny"],
    },
]


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """A config of every method at once, as a preset would be."""
    asked = {"name": "tiny", "student": "student-tiny", "objectives": MIX}
    return configs.parse(asked | {"teachers": ["qwen2-tiny", "phi3-tiny", "sibling-tiny"]})


def test_any_mix_comes_back_as_it_was(mixed):
    teachers = tuple(teacher.model_dump() for teacher in mixed.teachers)
    draft = edited(teachers=teachers, **{key.replace(".", "__"): value for key, value in values_of(mixed).items()})
    assert configs.parse(settings(draft)).objectives != []
    by_kind = {one.kind: one for one in configs.parse(settings(draft)).objectives}
    assert by_kind == {one.kind: one for one in mixed.objectives}
    assert check(draft, public=True).faults == {}


def test_a_temperature_left_out_follows_the_samples(mixed):
    assert values_of(mixed)["objectives.response.temperature"] is None
    for samples, temperature in ((1, 0.0), (4, 0.8)):
        asked = settings(edited(objectives__response=True, objectives__response__samples=samples))
        assert configs.parse(asked).objective("response").temperature == temperature
    asked = settings(edited(objectives__response=True, objectives__response__temperature=0.5))
    assert values_of(configs.parse(asked))["objectives.response.temperature"] == 0.5


@pytest.mark.parametrize(
    ("dial", "with_", "without"),
    [
        ("logits.beta", {"logits.divergence": "jsd"}, {"logits.divergence": "forward"}),
        ("logits.scaling", {"logits.divergence": "jsd"}, {"logits.divergence": "reverse"}),
        ("logits.top_k", {"logits.source": "stored"}, {"logits.source": "live"}),
        ("logits.gate.tau", {"logits.gate.kind": "prior"}, {"logits.gate.kind": "uniform"}),
        ("gkd.gate.epsilon", {"gkd.gate.kind": "prior"}, {"gkd.gate.kind": "uniform"}),
        ("cross_tokenizer.tau", {"cross_tokenizer.loss": "alm"}, {"cross_tokenizer.loss": "xtoken"}),
        ("cross_tokenizer.shared", {"cross_tokenizer.loss": "alm"}, {"cross_tokenizer.loss": "uld"}),
        ("cross_tokenizer.top_k", {"cross_tokenizer.loss": "uld"}, {"cross_tokenizer.loss": "alm"}),
        ("cross_tokenizer.top_k", {"cross_tokenizer.shared": 0.1}, {"cross_tokenizer.shared": None}),
        ("response.top_p", {"response.temperature": 0.5}, {"response.temperature": 0.0}),
        ("response.top_p", {"response.samples": 2}, {"response.samples": 1}),
    ],
)
def test_a_dial_is_shown_where_it_matters(dial, with_, without):
    kind = dial.split(".")[0]
    values = {**draft_of("tiny").values, f"objectives.{kind}": True}

    def shown(more):
        more = {f"objectives.{key}": value for key, value in more.items()}
        return relevant(FIELDS[f"objectives.{dial}"], {**values, **more})

    assert shown(with_) and not shown(without)


def test_a_method_says_what_it_needs_and_its_term_of_art():
    said = {one.kind: one.help for one in OBJECTIVES}
    for kind in ("logits", "gkd"):
        assert "student's own tokenizer" in said[kind]
    for kind in ("response", "features", "geometry", "cross_tokenizer"):
        assert "Any teachers will do" in said[kind]
    for kind, term in {"response": "sequence-level", "logits": "logits", "gkd": "on-policy (GKD)"}.items():
        assert term in said[kind] or term.replace(" (", ", ").rstrip(")") in said[kind]


def test_no_teacher_chosen_is_all_of_them_and_a_stranger_is_refused_at_the_field():
    assert configs.parse(settings(edited(objectives__geometry__teachers=[]))).geometry.teachers is None
    found = check(edited(objectives__geometry__teachers=["nobody"]), public=True)
    assert list(found.faults) == ["objectives.geometry.teachers"]
    assert "names 'nobody'" in found.faults["objectives.geometry.teachers"]


def test_a_method_that_needs_the_students_tokenizer_says_so_at_its_switch():
    found = check(edited(objectives__logits=True), public=True)
    assert list(found.faults) == ["objectives.logits"]
    assert "“Likelihoods across tokenizers”" in found.faults["objectives.logits"]
    assert check(edited(objectives__logits=True, teachers=(SIBLING,)), public=True).faults == {}


def test_teachers_are_chosen_from_those_of_the_run():
    with gr.Blocks():
        form = Form(draft_of("tiny").values)
        for objective in OBJECTIVES:
            form.add_objective(objective)
    rest = {key: None for key in FIELDS if key not in form.widgets}
    form.widgets |= rest
    values = draft_of("tiny").values
    updates = dict(zip(FIELDS, form.show(values, {}, ["a", "b"])[-len(FIELDS) :], strict=True))
    assert updates["objectives.gkd.teachers"]["choices"] == ["a", "b"]
    assert form.widgets["objectives.gkd.teachers"].multiselect
    assert isinstance(form.widgets["objectives.gkd.seq_kd"], gr.Checkbox)


def test_what_is_wrong_is_shown_even_where_it_does_not_matter():
    with gr.Blocks():
        form = Form(draft_of("tiny").values)
    values = {**draft_of("tiny").values, "objectives.logits": True}
    key = "objectives.logits.beta"  # of jsd only, and it is forward
    updates = dict(zip(FIELDS, form.show(values, {key: "wrong"})[-len(FIELDS) :], strict=True))
    assert updates[key]["visible"] and updates[key]["info"] == "wrong"
    assert not dict(zip(FIELDS, form.show(values, {})[-len(FIELDS) :], strict=True))[key]["visible"]


def test_names_and_switches_that_a_browser_kept_are_not_believed():
    sent = {"objectives.gkd.teachers": ["a", 1, None, "b" * 999], "objectives.gkd.seq_kd": "yes"}
    kept = restored_values(sent, "tiny")
    assert kept["objectives.gkd.teachers"] == ["a", "b" * 200]
    assert kept["objectives.gkd.seq_kd"] is False
