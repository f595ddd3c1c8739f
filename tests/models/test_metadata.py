"""What is told of a model without loading it: from its files, from the Hub's cache, or from the list."""

import json
import math
import os
import shutil

import huggingface_hub
import pytest
from safetensors.torch import save_file
from torch import zeros

from distill.config import paths
from distill.config.errors import ConfigError
from distill.config.run_config import load
from distill.models.loading import load_tokenizer
from distill.models.metadata import describe_model, same_tokenizer
from distill.models.tokenizer_compat import Reader, pair

CONFIG = {"architectures": ["ThisForCausalLM"], "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 50}
PADDED = {"sibling-tiny": 1600}  # of 1,536 tokens
ENTRIES = json.loads((paths.ZOO / "zoo.json").read_text())


def write_model(folder, config=CONFIG, **shapes):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: zeros(shape) for name, shape in (shapes or {"w": (50, 8)}).items()}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_the_zoo_is_as_it_was_measured(entry):
    facts = describe_model(entry["name"])
    assert facts.known and facts.fetched
    for key in ("parameters", "width", "layers", "tokenizer", "architecture"):
        assert getattr(facts, key) == entry[key], key
    # Logits, which are as many as there are tokens but where they are padded.
    assert facts.vocabulary == PADDED.get(entry["name"], entry["vocabulary"])


def test_a_folder_is_read_again_when_it_changes(tmp_path):
    folder = write_model(tmp_path / "model", a=(50, 8), b=(3,))
    (folder / "tokenizer.json").write_text('{"added_tokens": [], "model": {"type": "Unigram", "vocab": []}}')
    facts = describe_model(str(folder))
    assert (facts.parameters, facts.width, facts.layers, facts.vocabulary) == (403, 8, 2, 50)
    assert (facts.tokenizer, facts.architecture, facts.model) == ("unigram", "ThisForCausalLM", str(folder))
    write_model(folder, {"text_config": CONFIG | {"hidden_size": 9}}, a=(50, 9))
    os.utime(folder / "config.json", (1, 1))
    facts = describe_model(str(folder))
    assert (facts.parameters, facts.width, facts.architecture) == (450, 9, None)


def test_only_the_weights_that_the_index_names_count(tmp_path):
    folder = write_model(tmp_path / "model", a=(50, 8))
    save_file({"again": zeros(50, 8)}, folder / "consolidated.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model.safetensors"}}))
    assert describe_model(str(folder)).parameters == 400


def test_what_is_no_model_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="Not found: 'nonsense'"):
        describe_model("nonsense")
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ConfigError, match="damaged"):
        describe_model(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"no config\.json"):
        describe_model(str(folder))


def test_what_the_hub_has_is_known_once_it_is_here(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert not describe_model("org/name").known
    fetched = tmp_path / "models--org--name"
    write_model(fetched / "snapshots" / "abc")
    (fetched / "refs").mkdir()
    (fetched / "refs" / "main").write_text("abc")
    facts = describe_model("org/name")
    assert facts.known and facts.fetched and (facts.parameters, facts.model) == (400, "org/name")
    (fetched / "snapshots" / "abc" / "model.safetensors").unlink()  # as while it is being fetched
    assert not describe_model("org/name").known


def test_the_well_known_are_known_before_they_are_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for preset in paths.preset_names():
        config = load(preset)
        for ref in [config.student, *config.teachers]:
            assert describe_model(ref).known, ref.model
    qwen, cpm = describe_model("Qwen/Qwen2.5-0.5B-Instruct"), describe_model("openbmb/MiniCPM-2B-sft-bf16")
    assert (qwen.parameters, qwen.width, qwen.layers, qwen.fetched) == (494_032_768, 896, 24, False)
    assert "code of its own" in cpm.refusal and qwen.refusal is None
    assert math.isclose(cpm.parameters, 2.7e9, rel_tol=0.02)  # as on the Deku card
    snapshot = write_model(tmp_path / "models--Qwen--Qwen2.5-0.5B-Instruct" / "snapshots" / "main", a=(7,))
    assert describe_model("Qwen/Qwen2.5-0.5B-Instruct").parameters == 7, snapshot


# --- whether two tokenizers are the same -----------------------------------------------------------------------------


@pytest.mark.parametrize("student", paths.zoo_names())
def test_of_the_zoo_it_is_told_from_files_as_by_comparing(student):
    ours = Reader(load_tokenizer(paths.ZOO / student))
    for teacher in paths.zoo_names():
        theirs = Reader(load_tokenizer(paths.ZOO / teacher))
        assert same_tokenizer(student, teacher) is pair(ours, theirs).same_tokenizer


@pytest.fixture
def altered(tmp_path):
    """`altered(change)` -> a copy of the student whose tokenizer.json, as a dict, was changed."""

    def alter(change, name="tokenizer.json"):
        folder = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(paths.ZOO / "student-tiny", folder)
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content, indent=1))
        return str(folder)

    return alter


def test_it_is_the_tokenizer_that_counts_not_its_width_or_its_file(altered):
    def swap(file):
        vocabulary = file["model"]["vocab"]
        first, second = (token for token, index in vocabulary.items() if index in (400, 401))
        vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]

    def add(name):
        return lambda file: file["added_tokens"].append({**file["added_tokens"][0], "id": 1536, "content": name})

    assert same_tokenizer("student-tiny", altered(lambda file: file.update(padding=None))) is True
    assert same_tokenizer("student-tiny", altered(lambda c: c.update(vocab_size=1600), "config.json")) is True
    assert same_tokenizer("student-tiny", altered(swap)) is False
    assert same_tokenizer("student-tiny", altered(add("<think>"))) is not False
    assert same_tokenizer(altered(add("<think>")), altered(add("<tool>"))) is False
    assert same_tokenizer(altered(add("<think>")), altered(add("<|reserved_0|>"))) is True


def test_what_files_cannot_tell_is_left_open(altered, tmp_path):
    """transformers gives a model of type qwen2 Qwen's own rule for cutting texts, whatever its tokenizer.json says."""
    assert same_tokenizer("student-tiny", altered(lambda file: file.update(pre_tokenizer=None))) is None
    assert same_tokenizer("student-tiny", altered(lambda c: c.update(model_type="llama"), "config.json")) is None
    assert same_tokenizer("student-tiny", str(write_model(tmp_path / "bare"))) is None
    broken = altered(dict.clear)
    assert same_tokenizer("student-tiny", broken) is None
    with pytest.raises(ConfigError, match="Not found: 'nonsense'"):
        same_tokenizer("student-tiny", "nonsense")


def test_models_not_here_are_told_by_family(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    ours = "Qwen/Qwen2.5-0.5B-Instruct"
    assert same_tokenizer(ours, "Qwen/Qwen2.5-1.5B-Instruct") is True
    assert same_tokenizer(ours, "HuggingFaceTB/SmolLM2-1.7B-Instruct") is False
    assert same_tokenizer(ours, "org/name") is None
    assert same_tokenizer("student-tiny", ours) is None


def test_a_tokenizer_is_read_again_when_it_changes(altered):
    folder = altered(lambda file: None)
    assert same_tokenizer("student-tiny", folder) is True
    shutil.copy(paths.ZOO / "phi3-tiny" / "tokenizer.json", folder)
    assert same_tokenizer("student-tiny", folder) is False
