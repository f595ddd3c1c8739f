"""Settings: what is read, what `--set` reaches, and the one sentence for everything that is wrong."""

import pytest
import yaml

from distill.config import paths
from distill.config.messages import show
from distill.config.run_config import ConfigError, RunConfig, load, parse, to_yaml

TASK = {"student": "student-tiny", "objectives": [{"kind": "task"}]}


def sentence(source, *overrides):
    """The sentence that `load` (a preset or file) or `parse` (settings) refuses with."""
    with pytest.raises(ConfigError) as caught:
        load(source, list(overrides)) if not isinstance(source, dict) else parse(source)
    text = str(caught.value)
    assert text.endswith((".", "?")) and "\n" not in text
    return text


def test_the_presets_ask_for_what_they_say():
    tiny, deku, plain = (load(name) for name in ("tiny", "tiny-deku", "tiny-ce"))
    names = ["qwen2-tiny", "smollm2-tiny", "phi3-tiny", "gemma2-tiny", "minicpm3-tiny", "nemotron-tiny"]
    assert [teacher.name for teacher in tiny.teachers] == [teacher.name for teacher in deku.teachers] == names
    assert (tiny.geometry.mode, tiny.geometry.gate.kind, tiny.geometry.weight) == ("kernel", "prior", 0.5)
    assert (deku.geometry.mode, deku.geometry.gate.kind, deku.geometry.similarity) == ("deku", "learned", "biased")
    assert plain.teachers == [] and plain.geometry is None
    assert all(preset.name == name for preset, name in [(tiny, "tiny"), (deku, "tiny-deku"), (plain, "tiny-ce")])
    assert all(load(name).description for name in paths.preset_names())


def test_pooling_follows_the_mode_unless_it_is_set():
    assert load("tiny").geometry.pooling == "rms"
    # deku_frozen is deku with frozen heads: what is left out is the card's.
    assert load("tiny", ["objectives.geometry.mode=deku_frozen"]).geometry.pooling == "mean"
    card = parse({**TASK, "teachers": ["a/b"], "objectives": ["task", {"kind": "geometry", "mode": "deku"}]}).geometry
    assert (card.gate.kind, card.similarity, card.pooling) == ("learned", "biased", "mean")
    assert load("tiny", ["objectives.geometry.mode=deku"]).geometry.pooling == "mean"
    assert load("tiny", ["objectives.geometry.mode=deku", "objectives.geometry.pooling=rms"]).geometry.pooling == "rms"


def test_bare_strings_stand_for_groups():
    asked = parse(
        {**TASK, "teachers": ["org/Some-Model/"], "objectives": ["task", {"kind": "geometry", "gate": "meta"}]}
    )
    assert asked.student.model == asked.student.name == "student-tiny"
    assert asked.teachers[0].name == "Some-Model"
    assert asked.geometry.gate.kind == "meta" and asked.geometry.gate.tau == 0.1


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("budget.steps=60", "budget.steps", 60),
        ("budget.learning_rate=2e-4", "budget.learning_rate", 2e-4),  # YAML itself reads 2e-4 as text
        ("name=12", "name", "12"),
        ("data.families=[rate, average]", "data.families", ["rate", "average"]),
        ("objectives.0.weight=2", "objectives.0.weight", 2),
        ("objectives.geometry.weight=2", "objectives.2.weight", 2),
        ("objectives.geometry.gate=uniform", "objectives.2.gate.kind", "uniform"),
        ("objectives.geometry.gate.tau=0.5", "objectives.2.gate.tau", 0.5),
        ("teachers.phi3-tiny.revision=main", "teachers.2.revision", "main"),
        ("student=org/model", "student.model", "org/model"),
        ("student.revision=abc", "student.revision", "abc"),
        ("evaluation.problems=50", "data.held_out", 50),
        ("lora.targets=[q_proj]", "lora.targets", ["q_proj"]),
    ],
)
def test_set_reaches_every_setting(override, place, value):
    found = load("tiny", [override]).model_dump()
    for key in place.split("."):
        found = found[int(key)] if isinstance(found, list) else found[key]
    assert found == value


def test_yaml_keeps_every_setting(tmp_path):
    asked = load(
        "tiny", ["objectives.geometry.mode=deku", "budget.learning_rate=1e-5", "teachers.0.name=Ünï", "seed=7"]
    )
    path = tmp_path / "again.yaml"
    path.write_text(to_yaml(asked), encoding="utf-8")
    assert load(path) == asked
    settings = yaml.safe_load(to_yaml(asked))
    assert set(settings) == set(RunConfig.model_fields) and settings["budget"]["save_every"] == 25


def test_a_file_without_a_name_is_called_after_itself(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TASK))
    assert load(str(tmp_path / "mine.yaml")).name == "mine"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("budget.step=3", "budget.step is not a setting: did you mean budget.steps?"),
        ("steps=3", "steps is not a setting: did you mean budget.steps?"),
        ("budgt.steps=3", "budgt is not a setting: did you mean budget?"),
        ("budget.steps=0", "budget.steps is 0: it must be at least 1."),
        ("budget.steps=2000000", "budget.steps is 2000000: it must be at most 1,000,000."),
        ("budget.steps=1.5", "budget.steps is 1.5: it must be a whole number."),
        ("budget.steps=many", "budget.steps is 'many': it must be a whole number."),
        ("budget.steps=", "budget.steps is empty: it must be a whole number, or give budget.epochs in its place."),
        (
            "budget.epochs=2",
            "budget.steps is 90, but budget.epochs is 2: give one of the two, and null for the other.",
        ),
        ("budget.steps=yes", "budget.steps is true: it must be a number or text, not yes or no."),
        ("budget.learning_rate=0", "budget.learning_rate is 0: it must be above 0."),
        ("budget.learning_rate=.nan", "budget.learning_rate is nan: it must be at most 1."),
        ("lora.dropout=1", "lora.dropout is 1: it must be below 1."),
        ("budget=3", "budget is 3: it must be a group of settings."),
        (
            "budget.schedule=sine",
            "budget.schedule is 'sine', not one of 'cosine', 'linear' or 'constant': did you mean 'cosine'?",
        ),
        ("data.source=web", "data.source is 'web': choose one of 'problems', 'reasoning_gym', 'file' or 'hub'."),
        (
            "objectives.geometry.wight=2",
            "objectives.geometry.wight is not a setting: did you mean objectives.geometry.weight?",
        ),
        ("objectives.geometri.weight=2", "objectives.geometri is not there: did you mean 'geometry'?"),
        ("objectives.7.weight=2", "objectives.7 is not there: objectives has 3 items, counted from 0."),
        ("objectives=[tusk]", "objectives.0.kind is 'tusk': did you mean 'task'?"),
        ("objectives=[{weight: 1}]", "objectives.0 has no kind: give it one, such as 'kind: task'."),
        ("objectives=[]", "objectives is empty: give at least one, such as 'kind: task'."),
        ("objectives=[task, task]", "objectives holds the same kind twice (task, task): keep one of each."),
        (
            "teachers=[]",
            "teachers is empty, but objectives.response needs at least one: add a teacher or drop response.",
        ),
        ("teachers=[a/b, c/b]", "teachers holds two with the name 'b': give one of them another name."),
        ("teachers=[{name: x}]", "teachers.0.model is missing: add it to the settings."),
        ("name=a/b", "name is 'a/b': it must not hold line breaks, slashes or other control characters."),
        ("evaluation.problems=0", "data.held_out is 0: it must be at least 1."),
        ("foo", "--set foo can't be read: write a setting and its value, such as --set budget.steps=60."),
        ("name.first=x", "name.first is not a setting: name is a single value with nothing below it."),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(override, expected):
    assert sentence("tiny", override) == expected


def test_a_value_that_is_no_yaml():
    assert "not valid YAML" in sentence("tiny", "budget.steps=[")


def test_aliases_and_long_values_in_overrides_are_refused(tmp_path):
    bomb = "objectives=[&a [x, x, x, x, x, x, x, x, x]" + "".join(
        f", &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefg", "bcdefgh", strict=True)
    )
    with pytest.raises(ConfigError, match="the value is not valid YAML, it has an alias"):
        load("tiny", [bomb + "]"])
    with pytest.raises(ConfigError, match=r"has 10,005 characters, more than 10,000"):
        load("tiny", ["name=" + "x" * 10_000])
    with pytest.raises(ConfigError, match="nested too deep"):
        load("tiny", ["name=" + "[" * 4_000])
    file = tmp_path / "mine.yaml"
    file.write_text("student: &one student-tiny\nobjectives: [task]\nname: *one\n")
    assert load(file).name == "student-tiny"


def test_a_huge_value_is_shown_without_being_written_out():
    value = ["x"] * 9
    for _ in range(12):
        value = [value] * 9  # 9^13 items in a few hundred bytes
    assert show(value).startswith("[[[[") and len(show(value)) == 60
    assert show("x" * 100) == "'" + "x" * 56 + "..." and show([1, 2, {"a": 0.5}]) == "[1, 2, {'a': 0.5}]"


def test_two_names_for_the_held_out_problems_must_agree():
    both = {**TASK, "data": {"held_out": 9}, "evaluation": {"problems": 8}}
    assert "another name for data.held_out, which is 9" in sentence(both)
    assert load("tiny", ["data.held_out=9", "evaluation.problems=8"]).data.held_out == 8  # on the command line the last
    assert load("tiny", ["data.held_out=9", "evaluation.problems=9"]).data.held_out == 9


def test_what_the_kernel_mode_cannot_do_is_refused():
    assert sentence("tiny", "objectives.geometry.gate=learned").startswith(
        "objectives.geometry.gate is 'learned', but mode 'kernel' lets no gradient reach the gate"
    )
    assert "defined for 'debiased' only" in sentence("tiny", "objectives.geometry.similarity=nbs")
    learned = [
        "objectives.geometry.gate=learned",
        "objectives.geometry.similarity=nbs",
        "objectives.geometry.mode=deku",
    ]
    assert load("tiny", learned).geometry.gate.kind == "learned"


@pytest.mark.parametrize(
    ("batch", "accumulation", "enough"), [(3, 1, False), (1, 3, False), (2, 2, True), (4, 1, True)]
)
def test_a_geometry_batch_has_four_texts(batch, accumulation, enough):
    overrides = [f"budget.batch_size={batch}", f"budget.accumulation={accumulation}"]
    if enough:
        assert load("tiny", overrides).budget.batch_size == batch
    else:
        assert f"make {batch * accumulation}, but a geometry batch needs at least 4" in sentence("tiny", *overrides)
    assert load("tiny-ce", overrides).budget.batch_size == batch


def test_a_geometry_batch_is_large_enough_from_the_first_step():
    few = ["budget.batch_size=3", "budget.accumulation=4"]
    assert load("tiny", few).budget.accumulation == 4
    # A bank is empty at first, and a meta gate looks at one batch of the window.
    assert "budget.batch_size makes 3" in sentence("tiny", *few, "objectives.geometry.window=bank")
    assert "budget.batch_size makes 3" in sentence("tiny", *few, "objectives.geometry.gate=meta")
    assert "data.train is 3" in sentence("tiny", "data.train=3")


def test_nothing_to_learn_and_nothing_to_measure_on():
    assert "weight 0" in sentence({**TASK, "objectives": [{"kind": "task", "weight": 0}]})
    assert "data.validation is 0" in sentence("tiny", "objectives.geometry.gate=meta", "data.validation=0")


def test_what_has_no_known_answer_cannot_be_judged_by_it():
    said = sentence("tiny-response", "objectives.response.keep=right")
    assert said.startswith("objectives.response.keep is 'right', but data.labelled leaves problems whose answer")
    assert load("tiny-response", ["objectives.response.keep=right", "data.labelled=384"]).data.solved == 384
    assert load("tiny", ["data.train=20"]).data.solved == 20


def test_unknown_presets_and_files(tmp_path):
    assert sentence("tny") == "There is no preset 'tny': did you mean 'tiny'?"
    said = sentence("xyzzy")
    assert said.startswith("There is no preset 'xyzzy': choose one of 'deku', 'deku-kernel', ")
    assert all(repr(name) in said for name in paths.preset_names())
    assert sentence("nope.yaml").startswith("There is no file nope.yaml")
    assert "is a folder" in sentence(str(tmp_path))
    for name, content in [
        ("list.yaml", b"- 1"),
        ("torn.yaml", b"a: ["),
        ("binary.yaml", b"\xff\xfe\x00"),
        ("empty.yaml", b""),
    ]:
        (tmp_path / name).write_bytes(content)
        assert name in sentence(str(tmp_path / name))
