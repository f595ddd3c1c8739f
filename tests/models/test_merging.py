"""An adapter or a run's folder given as a model is named for what it is, and can be made a model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill.__main__ import main
from distill.config.errors import ConfigError, UserError
from distill.config.run_config import LoraConfig, ModelRef, parse
from distill.models import references
from distill.models.hardware import detect
from distill.models.loading import load_model, load_tokenizer
from distill.models.merging import merge
from distill.models.student import load_student, save_adapter

IDS = torch.arange(40, 60)[None]


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory):
    """(the folder of an adapter that changes what its model says, what it says then)."""
    folder = tmp_path_factory.mktemp("made") / "adapter"
    ref = ModelRef(model=str(tiny_folder("qwen2-tiny")))
    student, tokenizer = load_student(ref, LoraConfig(r=2), detect(), seed=0)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
        said = student.eval()(input_ids=IDS).logits
    save_adapter(student, tokenizer, ref, folder)
    return folder, said


@pytest.fixture
def adapter(trained, tmp_path):
    return Path(shutil.copytree(trained[0], tmp_path / "adapter"))


@pytest.fixture
def run(adapter):
    """The folder of a run that made the adapter."""
    folder = adapter.parent / "0123456789ab"
    folder.mkdir()
    for name in ("config.yaml", "events.jsonl"):
        (folder / name).touch()
    shutil.copytree(adapter, folder / "adapter")
    return folder


def check(model, role="student"):
    given = {"student": str(model)} if role == "student" else {"student": "student-tiny", "teachers": [str(model)]}
    references.check_models(parse({**given, "objectives": ["task" if role == "student" else "response"]}))


def refused(model, role="student"):
    with pytest.raises(ConfigError) as caught:
        check(model, role)
    text = str(caught.value)
    assert text.startswith(f"The {role} ") and text.endswith(".") and "\n" not in text
    return text


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_what_is_no_whole_model_is_named_for_what_it_is(adapter, run, role, monkeypatch):
    assert f"{adapter} is an adapter, not a whole model: make a whole model of it with python -m distill merge" in (
        refused(adapter, role)
    )
    assert f"{run} is the folder of a run, whose student is an adapter" in refused(run, role)
    monkeypatch.setenv("DISTILL_HOME", str(run.parent))
    (run.parent / "runs").mkdir()
    named = run.rename(run.parent / "runs" / run.name)
    assert f"{named} is the folder of a run, whose student is an adapter" in refused(run.name, role)
    shutil.rmtree(named / "adapter")
    assert "a run that has no adapter yet" in refused(named, role)
    checkpoints = run.parent / "trained"
    for step in (90, 500):
        shutil.copytree(adapter, checkpoints / f"checkpoint-{step}")
    assert "holds no config.json" in refused(checkpoints, role)
    assert "checkpoint-500 is an adapter" in refused(checkpoints / "checkpoint-500", role)


def test_a_folder_of_checkpoints_names_the_newest(tiny_folder, tmp_path):
    for step in (90, 500, 1000):
        shutil.copytree(tiny_folder("student-tiny"), tmp_path / f"checkpoint-{step}")
    assert f"give one of them, such as {tmp_path / 'checkpoint-1000'}." in refused(tmp_path)
    check(tmp_path / "checkpoint-90")


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_merged_adapter_is_a_model_that_says_the_same(trained, tmp_path, capsys, role):
    folder, said = trained
    assert main(["merge", str(folder), "--to", str(tmp_path / "whole")]) == 0
    whole = Path(capsys.readouterr().out.strip())
    check(whole, role)
    model, tokenizer = load_model(whole), load_tokenizer(whole)
    assert torch.allclose(model(input_ids=IDS).logits, said, atol=1e-4)
    assert not torch.allclose(model(input_ids=IDS).logits, load_model(_base(folder))(input_ids=IDS).logits, atol=0.1)
    assert tokenizer("3 pens").input_ids == load_tokenizer(folder)("3 pens").input_ids


def _base(adapter):
    return json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]


def rewrite(adapter, **more):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | more))


def no_base(adapter):
    rewrite(adapter, base_model_name_or_path="/nowhere/at all")
    return ConfigError, "The model /nowhere/at all that the adapter"


def unnamed_base(adapter):
    rewrite(adapter, base_model_name_or_path=None)
    return ConfigError, "is damaged, or names no model"


def of_another_model(adapter):
    rewrite(adapter, base_model_name_or_path="gemma2-tiny")
    return UserError, "is damaged or of another model"


def of_another_kind(adapter):
    rewrite(adapter, peft_type="PROMPT_TUNING")
    return ConfigError, "of the kind PROMPT_TUNING"


def weights_of_another(adapter):
    file = adapter / "adapter_model.safetensors"
    save_file({f"x.{name}": weight for name, weight in load_file(file).items()}, file)
    return UserError, "is damaged or of another model"


def a_pickle(adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    return ConfigError, "holds no adapter_model.safetensors"


def no_adapter(adapter):
    (adapter / "adapter_config.json").unlink()
    return ConfigError, "so it is no adapter"


@pytest.mark.parametrize(
    "damage", [no_base, unnamed_base, of_another_model, of_another_kind, weights_of_another, a_pickle, no_adapter]
)
def test_what_can_not_be_merged_is_one_sentence_and_leaves_nothing(adapter, tmp_path, damage):
    kind, reason = damage(adapter)
    with pytest.raises(kind, match=reason) as caught:
        merge(adapter, tmp_path / "whole")
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".") and not (tmp_path / "whole").exists()


def test_a_folder_that_holds_something_is_left_alone(adapter):
    with pytest.raises(ConfigError, match="not empty: give a new folder"):
        merge(adapter, adapter)
