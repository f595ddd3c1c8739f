"""What the Hub says of a model before it is fetched: facts from headers alone, and every refusal in one sentence."""

import json
import re
import shutil

import huggingface_hub
import pytest
from hub_stand_in import TOKEN, HubStandIn, take_for_the_hub
from hub_stand_in import _refusal as refused

from distill.config.errors import ConfigError, UserError
from distill.config.run_config import ModelRef, RunConfig
from distill.models import hub_lookup as asked
from distill.models.hardware import Machine
from distill.models.hub_lookup import look_up
from distill.models.loading import load_model
from distill.models.metadata import describe_model
from distill.runs.estimate import estimate
from distill.runs.preflight import check_room
from distill.ui.actions import start
from distill.ui.auth import Visitor

MACHINE = Machine(2, 24.0)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in that huggingface_hub takes for the Hub, an empty cache, nobody signed in."""
    with HubStandIn() as hub:
        take_for_the_hub(hub, monkeypatch, tmp_path)
        yield hub


@pytest.fixture
def folder(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder("qwen2-tiny"), tmp_path / "model")


def refusal(ref, kind=ConfigError, **how):
    with pytest.raises(kind) as error:
        look_up(ref, **how)
    text = str(error.value)
    assert type(error.value) is kind and text.endswith(".") and "\n" not in text and TOKEN not in text
    return text


def test_facts_come_from_headers_alone_and_are_asked_once(hub, folder, tiny):
    hub.add_model("org/tiny", folder)
    facts, model = look_up("org/tiny"), tiny("qwen2-tiny")[0]
    assert (facts.parameters, facts.width, facts.layers) == (model.num_parameters(), 144, 4)
    assert facts.vocabulary == 1792 and facts.architecture == "Qwen2ForCausalLM"
    assert facts.known and not facts.fetched and facts.refusal is None
    assert facts.download == sum(file.stat().st_size for file in folder.iterdir())
    assert hub.served["org/tiny/model.safetensors"] <= 100_001 < (folder / "model.safetensors").stat().st_size
    assert hub.served["org/tiny/tokenizer.json"] == 0
    n = len(hub.requests)
    assert look_up("org/tiny") == describe_model(ModelRef(model="org/tiny")) == facts and len(hub.requests) == n


def test_what_was_looked_up_is_what_a_run_is_estimated_by(hub, folder):
    hub.add_model("org/tiny", folder)
    config = RunConfig(student="org/tiny", objectives=["task"])
    before = estimate(config, MACHINE, [])
    assert before.memory_gb is None and not hub.requests
    check_room(config, MACHINE)
    after = estimate(config, MACHINE, [])
    assert after.seconds and after.memory_gb and after.disk_mb > before_mb(folder)


def before_mb(folder):
    return sum(file.stat().st_size for file in folder.iterdir()) / 2**20


def test_weights_in_several_files_are_added_up(hub, folder, tiny, tmp_path):
    model, split = tiny("qwen2-tiny")[0], tmp_path / "split"
    model.save_pretrained(split, max_shard_size="1MB")
    assert len(list(split.glob("*.safetensors"))) > 1
    hub.add_model("org/split", split)
    assert look_up("org/split").parameters == model.num_parameters()


def test_a_revision_is_asked_for_and_told_apart(hub, folder, tiny_folder):
    hub.add_model("org/two", folder)
    hub.add_model("org/two", tiny_folder("phi3-tiny"), revision="v2")
    assert look_up(ModelRef(model="org/two", revision="v2")).architecture == "Phi3ForCausalLM"
    assert look_up("org/two").architecture == "Qwen2ForCausalLM"
    assert "has no version 'v3'" in refusal(ModelRef(model="org/two", revision="v3"))


def test_a_repository_of_gguf_files_alone_is_refused(hub, folder, tmp_path):
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "tiny.gguf").write_bytes(b"GGUF")
    hub.add_model("org/tiny-GGUF", packed)
    text = refusal("org/tiny-GGUF")
    assert text.startswith("org/tiny-GGUF on the Hub holds only GGUF files, and only safetensors are read: name")
    shutil.copy(packed / "tiny.gguf", folder)
    hub.add_model("org/both", folder)
    assert look_up("org/both").known


def test_what_is_not_there_or_not_open_is_said_with_what_to_do(hub, folder, monkeypatch):
    for name in ("gated", "private"):
        hub.add_model(f"org/{name}", folder, **{name: True})
    for name in ("org/none", "org/private"):
        text = refusal(name)
        assert f"There is no model {name} on the Hub, or it is private" in text and "set HF_TOKEN" in text
    text = refusal("org/gated")
    assert f"licence to be accepted: do so at {hub.url}/org/gated and set HF_TOKEN" in text
    hub.tokens["hf_other"] = "other"
    assert "with the account of your token" in refusal("org/gated", token="hf_other")
    assert "that your token may read it" in refusal("org/none", token=TOKEN)
    assert "refuses your token" in refusal("org/gated", token="hf_wrong")
    assert look_up("org/gated", TOKEN).known
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(asked, "_refused", {})
    assert look_up("org/private").known


def test_a_token_that_is_switched_off_signs_nobody_in(hub, folder, monkeypatch):
    hub.add_model("org/gated", folder, gated=True)
    hub.tokens["hf_of_the_server"] = "server"
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_server")
    assert "with the account of your token" in refusal("org/gated")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)  # as on a public server
    monkeypatch.setattr(asked, "_refused", {})
    assert "and set HF_TOKEN to a token of yours" in refusal("org/gated")
    assert "or set HF_TOKEN to a token that may read it" in refusal("org/none")


def test_what_cannot_be_loaded_is_refused_before_it_is_fetched(hub, folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())

    def made(name, **changed):
        copy = shutil.copytree(folder, tmp_path / name)
        (copy / "config.json").write_text(json.dumps({**config, **changed}))
        hub.add_model(f"org/{name}", copy)
        return copy

    (made("pickled") / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    made("coded", model_type="mine", auto_map={"AutoModelForCausalLM": "mine.M"})
    made("new", model_type="qwen99")
    (made("empty") / "model.safetensors").unlink()
    (made("bare") / "config.json").unlink()
    (made("adapted") / "adapter_config.json").write_text("{}")
    (made("broken") / "config.json").write_text("{")
    (made("listed") / "config.json").write_text("[]")
    (made("short") / "model.safetensors").write_bytes(b"no weights at all")
    assert "only as pickles (pytorch_model.bin)" in refusal("org/pickled")
    assert "code from a model's folder is never run" in refusal("org/coded")
    assert "'qwen99'" in refusal("org/new") and "no whole weights" in refusal("org/empty")
    assert "config.json of org/listed on the Hub is damaged" in refusal("org/listed")
    assert "no config.json" in refusal("org/bare") and "damaged" in refusal("org/broken")
    assert "holds an adapter (adapter_config.json)" in refusal("org/adapted")
    assert "no safetensors files" in refusal("org/short")
    assert max(hub.served.values()) < 10_000


def test_without_a_network_it_says_so_and_what_is_listed_is_still_known(hub, monkeypatch):
    listed = "Qwen/Qwen2.5-0.5B-Instruct"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "off the network, so unset it, or choose a model that is here" in refusal(listed, UserError)
    assert describe_model(listed).parameters == 494_032_768
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(asked, "_refused", {})
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    text = refusal(listed, UserError)
    assert text.startswith(f"{listed} isn't on this machine and can't be looked up: the Hub can't be reached at http")
    assert text.endswith("so check the network, then try again, or choose a model that is here.")


def test_a_hub_in_trouble_is_told_from_one_that_refuses(hub, folder, monkeypatch):
    hub.add_model("org/tiny", folder)
    for status, then in ((503, "try again in a minute, or choose a model that is here."), (400, "choose a model that")):
        hub.routes.insert(0, ("GET", re.compile("/api/models/.*"), lambda _, status=status: refused(status, "", "Odd")))
        monkeypatch.setattr(asked, "_refused", {})
        assert f"looked up: the Hub answered with {status} (Odd), so {then}" in refusal("org/tiny", UserError)


def test_the_page_says_it_too_and_makes_no_run(hub, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "home"))
    hub.add_model("org/gated", folder, gated=True)
    config = RunConfig(student="student-tiny", teachers=["org/gated"], objectives=["geometry"])
    with pytest.raises(ConfigError, match=r"^The teacher 'gated' can't be used: org/gated .* licence"):
        start(config, Visitor("", local=True), public=False)
    assert not list((tmp_path / "home").rglob("config.yaml"))


def test_an_adapter_on_the_hub_opens_no_folder_of_this_machine(hub, folder, tiny_folder, tmp_path):
    """Its adapter_config.json may name any folder as its base: whoever asked for a Hub id gets nothing else."""
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(tiny_folder("minicpm3-tiny"))})
    )
    hub.add_model("org/adapted", folder)
    with pytest.raises(ConfigError, match=r"^org/adapted holds an adapter"):
        load_model("org/adapted")
