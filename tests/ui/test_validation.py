"""Everything wrong with a draft is said at once, each at its field, in the config's own sentences."""

import pytest
from configure_cases import TEACHER, edited

from distill.config import paths
from distill.config import run_config as configs
from distill.config.run_config import ConfigError
from distill.ui.actions import check_public
from distill.ui.configure.binding import draft_of, preset, settings
from distill.ui.configure.validation import (
    FILE,
    NAME,
    NO_AIM,
    NO_FAMILY,
    NO_FILE,
    OBJECTIVES,
    TEACHERS,
    check,
    plain,
    step_of,
)


@pytest.mark.parametrize("name", paths.preset_names())
def test_presets_are_valid_at_once(name):
    checked = check(draft_of(name), public=True)
    assert checked.faults == {}
    assert checked.config == preset(name)


def test_all_faults_come_up_together_each_at_its_field():
    faults = check(
        edited(budget__steps=0, budget__learning_rate=None, lora__r=2.5, objectives__geometry__gate__kind="learned"),
        public=False,
    ).faults
    assert faults == {
        "objectives.geometry.gate.kind": "“Teacher weights (gate)” is 'learned', but mode 'kernel' lets no "
        "gradient reach the gate, so it would learn nothing: use 'prior' or 'meta', or mode 'deku'.",
        "budget.steps": "“Steps” is 0: it must be at least 1.",
        "budget.learning_rate": "“Learning rate” is empty: it must be a number.",
        "lora.r": "“LoRA rank” is 2.5: it must be a whole number.",
    }
    assert [step_of(key) for key in faults] == ["method", "budget", "budget", "budget"]


OF_TINY = ("task", "response", "geometry")  # the preset's methods


@pytest.mark.parametrize(
    ("values", "key", "said"),
    [
        ({"budget__batch_size": 2}, "budget.batch_size", "“Batch size” times “Gradient accumulation” make 2"),
        ({"data__train": 2}, "data.train", "“Training problems” is 2"),
        ({"objectives__geometry__gate__kind": "meta", "data__validation": 0}, "data.validation", "is 0"),
        ({"objectives__geometry__similarity": "nbs"}, "objectives.geometry.similarity", "mode 'kernel'"),
        ({f"objectives__{kind}__weight": 0 for kind in OF_TINY}, OBJECTIVES, "all have weight 0"),
        ({f"objectives__{kind}": False for kind in OF_TINY}, OBJECTIVES, NO_AIM),
        ({"data__families": []}, "data.families", NO_FAMILY),
        ({"data__source": "file"}, FILE, NO_FILE),
        ({"data__source": "hub"}, "data.dataset", "openai/gsm8k"),
        ({"student__model": ""}, "student.model", "“Student” is empty"),
        ({"student__model": "student-tny"}, "student.model", "did you mean 'student-tiny'?"),
        ({"teachers": ()}, TEACHERS, "The list of teachers is empty"),
        ({"teachers": (TEACHER, TEACHER)}, TEACHERS, "holds two with the name 'qwen2-tiny'"),
        ({"teachers": ({**TEACHER, "model": "nobody"},)}, TEACHERS, "Not found: 'nobody'"),
        ({"name": "a/b"}, NAME, "must not hold"),
    ],
)
def test_one_fault_at_its_field(values, key, said):
    checked = check(edited(**values), public=False)
    assert checked.config is None
    assert list(checked.faults) == [key]
    assert said in checked.faults[key]


@pytest.mark.parametrize("kind", ["logits", "gkd"])
def test_a_method_that_the_teachers_are_not_made_for_is_said_at_its_switch(kind):
    faults = check(edited(**{f"objectives__{kind}": True, "budget__steps": 0}), public=True).faults
    assert list(faults) == [f"objectives.{kind}", "budget.steps"]
    assert "compares token by token, but 'qwen2-tiny', 'smollm2-tiny'" in faults[f"objectives.{kind}"]
    assert "have other tokenizers than the student: use “" in faults[f"objectives.{kind}"]
    assert "objectives." not in faults[f"objectives.{kind}"]
    assert step_of(f"objectives.{kind}") == "method"
    # Of models that are not the draft's nothing is foreseen.
    assert list(check(edited(**{f"objectives__{kind}": True, "student__model": "nobody"}), public=True).faults) == [
        "student.model"
    ]


def test_every_sentence_of_the_config_is_mapped():
    """What check says is what config.parse says, with labels for keys: no rule is written twice."""
    draft = edited(lora__dropout=1)
    with pytest.raises(ConfigError) as error:
        configs.parse(settings(draft))
    assert check(draft, public=False).faults["lora.dropout"] == plain(str(error.value))


@pytest.mark.parametrize("public", [True, False])
def test_folders_are_for_those_at_the_machine(public, tiny_folder):
    folder = str(tiny_folder("student-tiny"))
    faults = check(edited(student__model=folder), public).faults
    assert bool(faults) is public
    if public:
        missing = check(edited(student__model="/nowhere/at/all"), public).faults["student.model"]
        assert faults["student.model"].replace(folder, "X") == missing.replace("/nowhere/at/all", "X")
        assert "no folders" in check(edited(data__source="hub", data__dataset="/etc"), public).faults["data.dataset"]


def test_models_that_need_code_of_their_own_are_refused():
    said = check(edited(teachers=({**TEACHER, "model": "openbmb/MiniCPM-2B-sft-bf16"},)), public=False).faults[TEACHERS]
    assert "code of its own" in said


def test_names():
    assert check(edited(), public=False).config.name == "tiny"
    assert check(edited(budget__steps=60), public=False).config.name == "tiny, edited"
    assert check(edited(budget__steps=60, name="mine"), public=False).config.name == "mine"


def test_a_preset_with_a_file_of_its_own_can_start_as_it_is_and_opens_no_other_file():
    found = check(draft_of("teacher-file"), public=True)
    assert found.faults == {} and found.config == configs.load("teacher-file")
    check_public(found.config)
    path = paths.PROBLEMS / "teacher_solutions.jsonl"
    for other in (path.parent / ".." / "problems" / path.name, path.parent / "none.jsonl", paths.ROOT / "README.md"):
        data = found.config.data.model_copy(update={"path": str(other)})
        with pytest.raises(ConfigError, match="can't name another"):
            check_public(found.config.model_copy(update={"data": data}))
