"""Before anything is loaded: methods that don't go with their teachers, and models that are too large, are refused."""

import shutil
from dataclasses import replace

import pytest
from huggingface_hub.constants import HF_HUB_CACHE
from tokenizers import normalizers

from distill.config import paths
from distill.config.errors import UserError
from distill.config.run_config import ConfigError, RunConfig, load, parse, teachers_of
from distill.models import metadata as known
from distill.models.hardware import Machine
from distill.models.loading import load_tokenizer
from distill.models.metadata import ModelFacts
from distill.runs.preflight import check_pairs, check_room, foreseen, refuse_foreseen

OTHERS = ["qwen2-tiny", "phi3-tiny"]


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    """`remade(name, change)` -> a folder with the model `name`'s config and weights and its tokenizer, changed."""

    def remake(change=lambda tokenizer: None, name="student-tiny", called="own"):
        folder = tmp_path_factory.mktemp("made") / called
        shutil.copytree(paths.ZOO / name, folder)
        tokenizer = load_tokenizer(folder)
        change(tokenizer)
        (folder / "chat_template.jinja").unlink()
        tokenizer.save_pretrained(folder)
        return str(folder)

    return remake


@pytest.fixture(scope="module")
def sibling(tmp_path_factory):
    """A model with the student's tokenizer and 16 logits more, of which only config.json tells here."""
    folder = tmp_path_factory.mktemp("made") / "sibling"
    shutil.copytree(paths.ZOO / "student-tiny", folder)
    file = folder / "config.json"
    file.write_text(file.read_text().replace('"vocab_size": 1536', '"vocab_size": 1552'))
    return str(folder)


def config(*objectives, teachers=OTHERS, student="student-tiny") -> RunConfig:
    return parse({"student": student, "teachers": list(teachers), "objectives": list(objectives)})


def refused(asked: RunConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        check_pairs(asked, lambda *_: None)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text
    return text


def warned(asked: RunConfig) -> dict[str, str]:
    found = []
    check_pairs(asked, lambda code, text: found.append((code, text)))
    assert all(text.endswith(".") and text[0].isupper() | (text[0] == "'") for _, text in found)
    return dict(found)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["logits", "gkd"])
def test_token_by_token_needs_the_students_tokenizer(kind, sibling):
    said = refused(config(kind))
    assert said.startswith(
        f"objectives.{kind} compares token by token, but 'qwen2-tiny' and 'phi3-tiny' have other tokenizers than the "
        "student (in '"
    )
    assert said.endswith("): use objectives.cross_tokenizer or objectives.response.")
    mixed = config(kind, teachers=[sibling, "phi3-tiny"])
    assert refused(mixed).startswith(
        f"objectives.{kind} compares token by token, but 'phi3-tiny' has another tokenizer"
    )
    assert refused(mixed).endswith(
        f"response, or name only teachers with the student's tokenizer in objectives.{kind}.teachers ('sibling')."
    )
    named = config({"kind": kind, "teachers": ["sibling"]}, "geometry", teachers=[sibling, "phi3-tiny"])
    pairs = check_pairs(named, lambda *_: None)
    assert {name: pair.same_tokenizer for name, pair in pairs.items()} == {"sibling": True, "phi3-tiny": False}
    assert pairs["sibling"].vocabulary == 1536 and pairs["sibling"].padded == (0, 16)


def lowercase(tokenizer):
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


@pytest.mark.parametrize("kind", ["cross_tokenizer", "features"])
def test_what_changes_text_is_lined_up_with_nothing(kind, remade):
    lower = remade(lowercase, "smollm2-tiny", "lower")
    said = refused(config(kind, teachers=["phi3-tiny", lower]))
    assert said == (
        f"objectives.{kind} lines up tokens by the characters they stand for, which can't be done with the teacher "
        "'lower', for the teacher's tokenizer turns '= Ann =' into '= ann =': use objectives.response or "
        "objectives.geometry."
    )
    assert "with the teacher 'qwen2-tiny', for the student's tokenizer turns" in refused(config(kind, student=lower))
    assert refused(config("logits", teachers=[lower])).endswith("): use objectives.response.")
    for works in ("response", "geometry"):
        check_pairs(config(works, teachers=[lower]), lambda *_: None)
    check_pairs(config(kind, student=lower, teachers=[lower]), lambda *_: None)  # token by token, whatever the text


def test_only_tokenizers_are_read_and_only_of_who_is_heard(tmp_path):
    folder = tmp_path / "without-tokenizer"
    shutil.copytree(paths.ZOO / "phi3-tiny", folder)
    (folder / "tokenizer.json").unlink()
    shutil.copytree(paths.ZOO / "phi3-tiny", tmp_path / "hollow")
    weights = tmp_path / "hollow" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000] + bytes(weights.stat().st_size - 100_000))  # numbers are gone
    teachers = [str(folder), str(tmp_path / "hollow")]
    pairs = check_pairs(config({"kind": "geometry", "teachers": ["hollow"]}, teachers=teachers), lambda *_: None)
    assert list(pairs) == ["hollow"]
    assert check_pairs(config("task", teachers=teachers), lambda *_: None) == {}


def test_teachers_that_are_named_must_be_there():
    with pytest.raises(ConfigError) as caught:
        config({"kind": "logits", "teachers": ["phi3-tny"]})
    assert str(caught.value) == (
        "objectives.logits.teachers names 'phi3-tny', which is not among the teachers: did you mean 'phi3-tiny'?"
    )


@pytest.mark.parametrize("kind", ["response", "logits", "features", "gkd", "cross_tokenizer", "geometry"])
def test_every_method_but_the_task_needs_a_teacher(kind):
    with pytest.raises(ConfigError) as caught:
        config(kind, teachers=[])
    assert str(caught.value) == (
        f"teachers is empty, but objectives.{kind} needs at least one: add a teacher or drop {kind}."
    )
    config("task", teachers=[])


def test_whom_a_method_listens_to():
    asked = config("task", "geometry", {"kind": "response", "teachers": ["phi3-tiny"]})
    heard = [[teacher.name for teacher in teachers_of(objective, asked)] for objective in asked.objectives]
    assert heard == [[], OTHERS, ["phi3-tiny"]]


# --- what should be known --------------------------------------------------------------------------------------------


def test_nothing_is_said_where_nothing_is_to_be_known(remade):
    own = remade()
    assert warned(config("logits", "features", "gkd", "response", teachers=[own])) == {}
    assert warned(config("geometry", "response")) == {}


def test_a_base_student_is_warned_of(remade):
    def base(tokenizer):
        tokenizer.chat_template, tokenizer.eos_token = None, "<pad>"

    student, teacher = remade(base, called="base"), remade(called="chat")
    said = warned(config("gkd", student=student, teachers=[teacher]))
    assert said["no_template"] == "The student has no chat template: questions are asked with a line break."
    assert said["ends_differ"] == (
        "'chat' ends its answers with '<|im_end|>' and the student 'base' with '<pad>': answers end at either, and the "
        "student is taught the teacher's too."
    )
    stored = warned(config("logits", student=student, teachers=[teacher]))
    assert stored["ends_differ"].endswith("answers end at either, and the student is taught its own.")
    assert "templates_differ" not in said
    said = warned(config("response", student=student, teachers=["phi3-tiny"]))
    assert said["ends_differ"].endswith("with '<pad>': whatever it is shown, the student is taught its own.")
    assert "ends_differ" not in warned(config("geometry", student=student))
    assert "ends_differ" not in warned(config("cross_tokenizer"))  # each has its own, and a chunk of its own


def test_other_templates_are_warned_of_together():
    said = warned(config("cross_tokenizer", teachers=["qwen2-tiny", "phi3-tiny", "gemma2-tiny"]))
    assert said == {
        "templates_differ": "'phi3-tiny' and 'gemma2-tiny' have another chat template than the student: each is asked "
        "in its own."
    }


def test_padding_with_an_end_is_said_once(remade):
    def pads(tokenizer):
        tokenizer.pad_token = tokenizer.eos_token

    first, second = (remade(pads, called=name) for name in ("first", "second"))
    assert warned(config("logits", student=first, teachers=[first, second]))["pad_is_end"] == (
        "The student, 'first' and 'second' pad with an end token: the attention mask tells padding from the end, so "
        "there is nothing to do."
    )
    assert warned(config("logits", teachers=[first]))["pad_is_end"].startswith("'first' pads with an end token")


def test_a_teacher_that_could_be_heard_exactly_is_named(remade):
    said = warned(config("cross_tokenizer", teachers=[remade(), "phi3-tiny"]))
    assert said["tokenizer_shared"] == (
        "'own' has the student's own tokenizer: objectives.logits would be exact where objectives.cross_tokenizer is "
        "rough."
    )


def test_padded_logits_are_said_where_logits_are_compared(sibling):
    assert warned(config("logits", "gkd", teachers=[sibling])) == {
        "vocabulary_padded": "The student and 'sibling' are compared on 1,536 logits, one for each token both have: "
        "the rest, up to 1,552, are left out."
    }
    assert warned(config("features", teachers=[sibling])) == {}


# --- what is foreseen from files alone -------------------------------------------------------------------------------


def test_data_sets_that_reasoning_gym_lacks_or_that_cannot_be_judged():
    pytest.importorskip("reasoning_gym")
    gym = ["data.source=reasoning_gym"]
    assert foreseen(load("tiny-ce", gym)) == []
    for family, said in (("gcd_", "did you mean 'gcd'?"), ("word_sorting", "answers can't be judged here")):
        (sentence,) = foreseen(load("tiny-ce", [*gym, f"data.families=[gcd, {family}]"]))
        assert sentence.startswith(f"data.families names '{family}'") and said in sentence


def test_what_is_foreseen_is_what_is_refused(sibling):
    for kind in ("logits", "gkd"):
        for teachers in (OTHERS, [sibling, "phi3-tiny"]):
            asked = config(kind, teachers=teachers)
            before, after = refused(asked).split(" (in ")[0], refused(asked).split("): ")[1]
            assert foreseen(asked) == [f"{before}: {after}"]
        assert foreseen(config({"kind": kind, "teachers": ["sibling"]}, teachers=[sibling, "phi3-tiny"])) == []
    fine = config("cross_tokenizer", "features", "geometry", "response", "task")
    assert foreseen(fine) == [] and refuse_foreseen(fine) is None
    with pytest.raises(ConfigError, match=r"objectives\.gkd compares token by token"):
        refuse_foreseen(config("gkd"))
    assert len(foreseen(config("logits", "gkd"))) == 2


def test_models_that_are_not_here_are_foreseen_by_their_family():
    hub = "Qwen/Qwen2.5-0.5B-Instruct"
    assert foreseen(config("logits", student=hub, teachers=["Qwen/Qwen2.5-1.5B-Instruct"])) == []
    assert foreseen(config("logits", student=hub, teachers=["org/nobody-knows"])) == []
    both = config("logits", student=hub, teachers=["Qwen/Qwen2.5-1.5B-Instruct", "google/gemma-2-2b-it"])
    assert "'gemma-2-2b-it' has another tokenizer" in foreseen(both)[0]
    assert foreseen(both)[0].endswith("objectives.logits.teachers ('Qwen2.5-1.5B-Instruct').")


# --- memory and disk -------------------------------------------------------------------------------------------------

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

    monkeypatch.setattr("distill.runs.preflight.free_disk_mb", lambda folder: 2**20)
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
    monkeypatch.setattr("distill.runs.preflight.free_disk_mb", lambda folder: 1024)
    text = refusal(config, Machine(2, 64.0))
    assert text.startswith("5.4 GB are to be fetched from the Hub (org/s, org/t)") and "has 1.1 GB free" in text
    assert "HF_HOME" in text and HF_HUB_CACHE not in text  # on a public server visitors read it
    check_room(RunConfig(student=told("org/v", 1), objectives=["task"]), Machine(2, 64.0))


def test_a_teacher_whom_nobody_hears_is_not_asked_for(told):
    config = RunConfig(student=told("org/s", 1), teachers=["no/such-teacher"], objectives=["task"])
    check_room(config, Machine(2, 2.0))
