"""Loading models from disk: whole ones load, damaged or unsafe ones are refused in a sentence, none runs code."""

import json
import os
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file

from distill.config.errors import UserError
from distill.models.loading import fingerprint, load_model, load_tokenizer


@pytest.fixture
def copied(tiny_folder, tmp_path):
    """A model's folder of this test's own, to be damaged."""
    return Path(shutil.copytree(tiny_folder("qwen2-tiny"), tmp_path / "model"))


def test_a_whole_model_is_loaded_as_it_was_saved(tiny, tiny_folder):
    for name in ("qwen2-tiny", "minicpm3-tiny"):
        model, tokenizer = load_model(tiny_folder(name), torch.float32, "cpu"), load_tokenizer(tiny_folder(name))
        saved = tiny(name)[0].state_dict()
        assert not model.training and model.state_dict().keys() == saved.keys()
        assert all(torch.equal(value, saved[key]) for key, value in model.state_dict().items())
        assert tokenizer("3 pens").input_ids == tiny(name)[1]("3 pens").input_ids
        assert tokenizer.chat_template == tiny(name)[1].chat_template
    assert load_model(tiny_folder("qwen2-tiny"), "bfloat16").dtype == torch.bfloat16


def without_weights(folder):
    (folder / "model.safetensors").unlink()
    return "no weights"


def with_a_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return "is a pickle"


def cut_short(folder):
    os.truncate(folder / "model.safetensors", 100_000)
    return "cut short"


def with_another_config(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["layer_types"]
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 6}))
    return "lacks .* weights"


def of_unknown_architecture(folder):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"model_type": "qwen2"', '"model_type": "qwen99"'))
    return "has model type `qwen99` but Transformers does not recognize this architecture"


def of_other_widths(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": config["intermediate_size"] + 4}))
    return "can't be loaded"


def without_config(folder):
    (folder / "config.json").unlink()
    return "no config.json"


def without_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    return "has no tokenizer"


def with_code(folder):
    text = (folder / "config.json").read_text().replace('"model_type": "qwen2"', '"model_type": "mine"')
    auto = '{"auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}, '
    (folder / "config.json").write_text(auto + text.lstrip()[1:])
    (folder / "mine.py").write_text(f"from pathlib import Path\nPath({str(folder / 'was-run')!r}).touch()\n")
    return "contains custom code which must be executed"


def with_an_adapter(folder):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "/etc"}')
    return "holds an adapter"


@pytest.mark.parametrize(
    "damage",
    [
        without_weights,
        with_a_pickle,
        cut_short,
        with_another_config,
        of_unknown_architecture,
        of_other_widths,
        without_config,
        without_tokenizer,
        with_code,
        with_an_adapter,
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(copied, damage):
    reason = damage(copied)
    with pytest.raises(UserError, match=reason) as error:
        load_model(copied, name="qwen")
        load_tokenizer(copied, name="qwen")
    text = str(error.value)
    assert "\n" not in text and len(text) < 600 and text.endswith("."), text
    assert "qwen" in text or str(copied) in text
    assert not (copied / "was-run").exists()


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    for load in (load_model, load_tokenizer):
        with pytest.raises(UserError, match="nowhere"):
            load(tmp_path / "nowhere")


def test_a_fingerprint_is_of_what_is_in_the_folder(copied, tmp_path):
    first = fingerprint(copied)
    assert fingerprint(shutil.copytree(copied, tmp_path / "copy")) == first
    (copied / "README.md").write_text("words")
    assert fingerprint(copied) == first
    template = copied / "chat_template.jinja"
    template.write_text(template.read_text().replace("user", "human"))
    changed = fingerprint(copied)
    with (copied / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, os.SEEK_END)
        weights.write(b"\x55")
    assert len({first, changed, fingerprint(copied)}) == 3


def test_a_hub_id_is_known_by_its_revision(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fingerprint("nobody/nothing", "abc") == "nobody/nothing@abc"
    assert fingerprint("nobody/nothing") == "nobody/nothing@main"


def test_code_beside_a_known_model_is_never_run(copied):
    before = load_model(copied)
    ran = copied / "was-run"
    (copied / "mine.py").write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\n")
    for name, auto in (
        ("config.json", {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["mine.T", None]}),
    ):
        said = json.loads((copied / name).read_text())
        (copied / name).write_text(json.dumps({**said, "auto_map": auto}))
    assert type(load_model(copied)) is type(before) and load_tokenizer(copied)("a").input_ids
    assert not ran.exists()
