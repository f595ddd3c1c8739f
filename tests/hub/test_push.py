"""What is pushed is the run's own, private, in one commit, and loads again; what can go wrong is one sentence."""

import json
import shutil
import socket

import peft
import pytest
import torch
from hub_stand_in import TOKEN, take_for_the_hub
from hub_writes import READ_ONLY, HubWrites
from huggingface_hub import constants, snapshot_download
from model_card_cases import report
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill.__main__ import main
from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.hub.push import contents, push
from distill.runs import store
from distill.runs.events import EventWriter, Status

GATE = {"qwen2-tiny": 1.0}
CKA = {"qwen2-tiny": {"before": 0.25, "after": 0.5, "null95": 0.02, "n": 128}}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with HubWrites(tmp_path / "hub") as service:
        take_for_the_hub(service, monkeypatch, tmp_path)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield service


@pytest.fixture(scope="module")
def adapter(tiny, tiny_folder, tmp_path_factory):
    """An adapter as artifacts.py leaves it, of a base in a folder of this machine."""
    tokenizer = tiny("student-tiny")[1]
    folder = tmp_path_factory.mktemp("adapter")
    student = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_folder("student-tiny")),
        peft.LoraConfig(r=2, target_modules="all-linear"),
    )
    with torch.no_grad():
        for name, value in student.named_parameters():
            if "lora_B" in name:
                value.normal_()
    student.peft_config["default"].base_model_name_or_path = str(tiny_folder("student-tiny"))
    student.peft_config["default"].inference_mode = True
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def finished(adapter, tmp_path):
    """`finished(student)` -> a run that is done, with all that a run may leave behind."""

    def make(student="student-tiny", state="done"):
        asked = {"name": "mini", "student": student, "teachers": ["qwen2-tiny"], "objectives": ["task", "geometry"]}
        folder = store.create(configs.parse(asked), tmp_path / "runs")
        shutil.copytree(adapter, folder / "adapter")
        config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = student
        (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config))
        for name in ("gate", "heads"):
            save_file({name: torch.ones(2)}, folder / f"{name}.safetensors")
        said = report(
            run=folder.name,
            digests={},
            cka=CKA,
            gate=GATE,
            warnings=[{"code": "x", "text": f"Look at {folder}/x.log."}],
        )
        (folder / "report.json").write_text(json.dumps(said))
        (folder / "checkpoints").mkdir()
        (folder / "stdout.log").write_text("printed")
        with EventWriter(folder / "events.jsonl") as events:
            events.write(Status(state=state))
        return folder

    return make


def test_what_arrives_is_the_run_in_one_private_commit(hub, finished):
    folder = finished("Qwen/Qwen2.5-0.5B")
    assert push(folder, "ada/student") == f"{hub.url}/ada/student"
    assert hub.visibility == {"ada/student": "private"} and len(hub.commits) == 1
    arrived = hub.folder / "ada" / "student"
    names = {path.name for path in arrived.iterdir()}
    own = {path.name for path in (folder / "adapter").iterdir()} | {"README.md"}
    assert names == own | {"report.json", "config.yaml", "gate.safetensors", "heads.safetensors"}
    for name in own - {"README.md"}:
        assert (arrived / name).read_bytes() == (folder / "adapter" / name).read_bytes()
    for name in ("gate.safetensors", "heads.safetensors", "config.yaml"):
        assert (arrived / name).read_bytes() == (folder / name).read_bytes()
    assert len(hub.large) == 3  # the weights came the way of large files, and are the same bytes all the same


def test_the_adapters_of_each_epoch_go_along(hub, finished):
    folder = finished()
    for epoch in ("1", "2", "3"):
        shutil.copytree(folder / "adapter", folder / "epochs" / epoch)
    (folder / "epochs" / "3" / "adapter_config.json").unlink()  # not whole, so it stays here
    push(folder, "ada/student")
    kept = [name for name in hub.commits[0]["files"] if name.startswith("epochs/")]
    assert kept == [f"epochs/{n}/adapter_{part}" for n in "12" for part in ("config.json", "model.safetensors")]


def test_the_card_names_the_repository_and_its_base(hub, finished):
    push(finished("Qwen/Qwen2.5-0.5B"), "ada/student")
    card = (hub.folder / "ada" / "student" / "README.md").read_text()
    assert "base_model: Qwen/Qwen2.5-0.5B\n" in card
    assert 'AutoPeftModelForCausalLM.from_pretrained("ada/student")' in card and "not on the Hub" not in card
    assert "| qwen2-tiny | 0.250 | 0.500 | 1.00 |" in card


def test_the_adapter_loads_again_from_the_hub(hub, finished, adapter, tiny_folder, tmp_path):
    base = tiny_folder("student-tiny")
    hub.add_model("ada/base", base)
    push(finished("ada/base"), "ada/student")
    where = {"cache_dir": tmp_path / "cache"}
    fetched = snapshot_download("ada/student", **where)
    said = peft.PeftConfig.from_pretrained(fetched).base_model_name_or_path
    assert said == "ada/base"
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained("ada/student", **where)
    text = AutoTokenizer.from_pretrained("ada/student", **where)("Ann has 3 apples.", return_tensors="pt")
    expected = peft.AutoPeftModelForCausalLM.from_pretrained(adapter)
    assert torch.equal(loaded(**text).logits, expected(**text).logits)
    with loaded.disable_adapter():
        assert not torch.equal(loaded(**text).logits, expected(**text).logits)


def test_no_place_of_this_machine_is_given_away(hub, finished, tiny_folder):
    base = tiny_folder("student-tiny")
    folder = finished(str(base))
    push(folder, "ada/student")
    arrived = hub.folder / "ada" / "student"
    for path in arrived.iterdir():
        content = path.read_bytes()
        assert str(base).encode() not in content and str(folder.parent).encode() not in content, path.name
    assert json.loads((arrived / "adapter_config.json").read_text())["base_model_name_or_path"] == base.name
    assert configs.load(arrived / "config.yaml").student.model == base.name
    assert json.loads((arrived / "report.json").read_text())["warnings"][0]["text"] == "Look at x.log."
    card = (arrived / "README.md").read_text()
    assert "base_model:" not in card and f'from_pretrained("path/to/{base.name}")' in card
    assert {name for name, kept in contents(folder, "a/b").items() if isinstance(kept, bytes)} == {
        "adapter_config.json",
        "config.yaml",
        "report.json",
        "README.md",
    }


def test_a_repository_that_is_there_keeps_its_visibility(hub, finished, tmp_path, capsys):
    folder = finished()
    (tmp_path / "theirs").mkdir()
    hub.add_model("ada/theirs", tmp_path / "theirs")
    with pytest.raises(UserError, match="already exists and is public"):
        push(folder, "ada/theirs")
    assert main(["push", str(folder), "--to", "ada/theirs", "--public"]) == 0
    assert capsys.readouterr().out == f"{hub.url}/ada/theirs\n"
    push(folder, "ada/mine")
    push(folder, "ada/mine", private=False)
    assert hub.visibility == {"ada/mine": "private"}  # said once, when it was made


def test_public_only_where_that_is_said(hub, finished):
    assert main(["push", str(finished()), "--to", "ada/open", "--public"]) == 0
    assert hub.visibility == {"ada/open": "public"}


@pytest.mark.parametrize(
    ("name", "token", "words"),
    [
        ("ada/student", READ_ONLY, "the token may not write to ada/student"),
        ("bob/student", TOKEN, "the token may not write to bob/student"),
        ("ada/student", "hf_UnknownToken1234567890", "the Hub does not recognize that token"),
        ("student", TOKEN, "'student' can't be a repository's name"),
        ("ada/a b", TOKEN, "'ada/a b' can't be a repository's name"),
        ("ada/x/y", TOKEN, "can't be a repository's name"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(hub, finished, name, token, words):
    with pytest.raises(UserError) as caught:
        push(finished(), name, token)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value) and token not in str(caught.value)
    assert hub.commits == []


def test_without_a_token_nothing_is_asked(hub, finished, monkeypatch, capsys):
    folder = finished()
    for name, value in (("HF_TOKEN", None), ("HF_TOKEN_PATH", "/nowhere")):
        monkeypatch.delenv(name) if value is None else monkeypatch.setattr(constants, name, value)
    assert main(["push", str(folder), "--to", "ada/student"]) == 1
    assert capsys.readouterr().err.startswith("There is no token for the Hub")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)  # as on a public server
    with pytest.raises(UserError, match="There is no token"):
        push(folder, "ada/student")
    assert hub.requests == []


def test_without_a_network_it_says_so(hub, finished, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
    with pytest.raises(UserError, match=r"^Not pushed, and nothing is lost: the Hub can't be reached"):
        push(finished(), "ada/student")


def test_only_a_run_that_is_done_is_pushed(hub, finished):
    folder = finished(state="stopped")
    with pytest.raises(UserError, match=f"Run {folder.name} is stopped: only a run that is done can be pushed"):
        push(folder, "ada/student")
    folder = finished()
    for part in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / "adapter" / part).unlink()
        with pytest.raises(UserError, match=f"has no adapter to push: .* lacks {part}"):
            push(folder, "ada/student")
    assert hub.requests == []
