"""The models that a config names: whole folders pass, and for what is damaged or missing there is one sentence."""

import json
import pickle
import shutil

import pytest

from distill.config import paths
from distill.config.run_config import ConfigError, parse
from distill.models import references
from distill.models.references import absolute, model_path
from distill.ui.actions import check_public_model

TASK = {"student": "student-tiny", "objectives": [{"kind": "task"}]}


def safetensors(floats=4, name="w"):
    """A safetensors file's bytes: one float32 tensor."""
    header = json.dumps({name: {"dtype": "F32", "shape": [floats], "data_offsets": [0, 4 * floats]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * (4 * floats)


@pytest.fixture
def teacher(tmp_path):
    """A folder that looks like a model."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(safetensors())
    return folder


def check(folder):
    teachers = [{"model": str(folder), "name": "Mr T"}]
    references.check_models(parse({**TASK, "student": str(folder), "teachers": teachers}))


def refused(folder):
    """The sentence the teacher is refused with, beside a student that is whole."""
    student = folder.with_name("whole")
    shutil.rmtree(student, ignore_errors=True)
    student.mkdir()
    (student / "config.json").write_text("{}")
    (student / "model.safetensors").write_bytes(safetensors())
    asked = parse({**TASK, "student": str(student), "teachers": [{"model": str(folder), "name": "Mr T"}]})
    with pytest.raises(ConfigError) as caught:
        references.check_models(asked)
    text = str(caught.value)
    assert text.startswith("The teacher 'Mr T' can't be used: ") and text.endswith((".", "?"))
    return text


def test_a_whole_model_passes(teacher):
    check(teacher)
    (teacher / "training_args.bin").write_bytes(b"beside safetensors a pickle does no harm: it isn't read")
    check(teacher)


def test_a_folder_without_config_or_weights(teacher):
    (teacher / "config.json").rename(teacher / "elsewhere.json")
    assert "no config.json" in refused(teacher)
    (teacher / "elsewhere.json").rename(teacher / "config.json")
    (teacher / "model.safetensors").unlink()
    assert "holds no weights" in refused(teacher)


def test_a_pickle_in_place_of_safetensors(teacher):
    (teacher / "model.safetensors").unlink()
    (teacher / "pytorch_model.bin").write_bytes(pickle.dumps({"w": 1}))
    assert "pytorch_model.bin is a pickle" in refused(teacher)
    (teacher / "pytorch_model.bin").rename(teacher / "model.safetensors")
    assert "model.safetensors is a pickle" in refused(teacher)
    (teacher / "model.safetensors").write_bytes(b"PK\x03\x04" + bytes(100))  # torch.save writes a zip
    assert "model.safetensors is a pickle" in refused(teacher)


@pytest.mark.parametrize("length", [0, 5, 8, 9, 40, -1])
def test_a_truncated_file_at_every_depth(teacher, length):
    (teacher / "model.safetensors").write_bytes(safetensors()[:length])
    assert "is cut short" in refused(teacher)


def test_damaged_weights(teacher):
    for content in (
        b"<html>not found</html>",
        (2).to_bytes(8, "little") + b"{}",
        safetensors() + b"more",
        b"\xff" * 64,
    ):
        (teacher / "model.safetensors").write_bytes(content)
        assert "model.safetensors" in refused(teacher)


def test_a_weight_file_the_index_names_is_missing(teacher):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (teacher / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-2.safetensors" in refused(teacher)


def test_a_gguf_file_is_refused_with_what_to_name_instead(teacher):
    packed = teacher.rename(teacher.with_name("packed"))
    (packed / "model.safetensors").rename(packed / "tiny.gguf")
    for model, wrong in [
        (str(packed / "tiny.gguf"), "is a GGUF file"),
        ("org/name-GGUF/q4.gguf", "is a GGUF file"),
        (str(packed), "holds only GGUF files"),
    ]:
        with pytest.raises(ConfigError) as caught:
            references.check_models(parse({**TASK, "teachers": [{"model": model, "name": "Mr T"}]}))
        assert str(caught.value) == (
            f"The teacher 'Mr T' can't be used: {model} {wrong}, and only safetensors are read: name the model that it "
            "was made from (its page on the Hub calls it the base model), which is there as safetensors."
        )
        with pytest.raises(ConfigError, match=r"is a GGUF file|reads no folders"):
            check_public_model(model)
    with pytest.raises(ConfigError, match=r"^student\.gguf is no longer a setting: only safetensors"):
        parse({**TASK, "student": {"model": "org/name", "gguf": "q4.gguf"}})
    assert parse({**TASK, "student": {"model": "student-tiny", "gguf": None}}) == parse(TASK)  # as earlier runs have it


def test_what_a_reference_means(teacher, tmp_path, monkeypatch):
    zoo = tmp_path / "zoo"
    shutil.copytree(teacher, zoo / "qwen2-tiny")
    monkeypatch.setattr(paths, "ZOO", zoo)
    monkeypatch.chdir(tmp_path)
    assert model_path("qwen2-tiny") == zoo / "qwen2-tiny"
    assert model_path(str(teacher)) == teacher
    assert model_path("teacher").resolve() == teacher
    assert model_path("org/name") == "org/name"
    for reference, expected in [
        ("qwen2-tny", "did you mean 'qwen2-tiny'?"),
        ("student-tiny", "python -m distill zoo"),
        ("zzzzzz", "Not found: 'zzzzzz'"),
        ("./nowhere", "There is no folder ./nowhere"),
        ("a/b/c", "There is no folder a/b/c"),
        ("teacher/config.json", "is a file"),
        ("../zoo", "There is no folder"),
    ]:
        with pytest.raises(ConfigError) as caught:
            model_path(reference)
        assert expected in str(caught.value)
    asked = absolute(parse({**TASK, "student": "teacher", "teachers": ["qwen2-tiny", "org/name"]}))
    assert [asked.student.model, *(ref.model for ref in asked.teachers)] == [str(teacher), "qwen2-tiny", "org/name"]
