"""What a run needs of the Hub is fetched before it gets a GPU: what is loaded and no more, said file by file."""

import shutil

import pytest
from hub_stand_in import HubStandIn, take_for_the_hub

from distill.config import run_config as configs
from distill.config.errors import Stopped, UserError
from distill.config.run_config import ModelRef
from distill.hub.fetch import fetch, fetch_models
from distill.models.loading import load_model, load_tokenizer
from distill.models.metadata import describe_model


@pytest.fixture
def hub(monkeypatch, tmp_path, tiny_folder):
    """A stand-in for the Hub with a student and a teacher; the student's repository holds more than is loaded."""
    folder = shutil.copytree(tiny_folder("qwen2-tiny"), tmp_path / "student")
    for more in ("pytorch_model.bin", "consolidated.safetensors", "onnx/model.onnx", "original/model.safetensors"):
        (folder / more).parent.mkdir(exist_ok=True)
        (folder / more).write_bytes(b"0" * 1000)
    with HubStandIn() as hub:
        take_for_the_hub(hub, monkeypatch, tmp_path)
        hub.add_model("org/student", folder)
        hub.add_model("org/teacher", tiny_folder("smollm2-tiny"))
        yield hub


class Told(list):
    def __call__(self, text):
        return lambda done, total: self.append((text, done, total))


def test_a_run_finds_all_that_it_loads_and_nothing_else_was_fetched(hub, tiny_folder):
    told = Told()
    config = configs.parse(
        {"name": "x", "student": "org/student", "teachers": ["org/teacher"], "objectives": ["geometry"]}
    )
    fetch(config, told)
    assert all(text == "fetching student, teacher from the Hub" for text, *_ in told)
    done = [at for _, at, _ in told]
    assert done == sorted(done) and done[-1] == told[-1][2] > 0
    served = {name.removeprefix("org/student/") for name, n in hub.served.items() if n and "student" in name}
    assert "model.safetensors" in served and not served & {"pytorch_model.bin", "consolidated.safetensors"}
    assert not any("/" in name for name in served)
    n = len(hub.requests)
    fetch(config, told)
    assert len(hub.requests) == n and len(told) == len(done)  # all is here
    assert describe_model("org/student").fetched
    size = hub.served["org/student/model.safetensors"]
    assert load_model("org/student").num_parameters() and len(load_tokenizer("org/student"))
    assert hub.served["org/student/model.safetensors"] == size


def test_of_several_weight_files_those_of_the_index_are_fetched(hub, tiny, tmp_path):
    model, tokenizer = tiny("qwen2-tiny")
    model.save_pretrained(tmp_path / "parts", max_shard_size="400KB")
    tokenizer.save_pretrained(tmp_path / "parts")
    parts = {path.name for path in (tmp_path / "parts").glob("*.safetensors")}
    (tmp_path / "parts" / "vision.safetensors").write_bytes(b"0" * 1000)
    hub.add_model("org/parts", tmp_path / "parts")
    fetch_models([ModelRef(model="org/parts")], Told())
    served = {name.removeprefix("org/parts/") for name, n in hub.served.items() if n and "/parts/" in name}
    assert len(parts) > 1 and {name for name in served if name.endswith(".safetensors")} == parts
    assert describe_model("org/parts").fetched


def test_stop_is_heard_between_files_and_what_is_there_stays(hub):
    served = []

    def stop():
        served.append(sum(1 for name, n in hub.served.items() if "student" in name and n))
        return len(served) > 2

    with pytest.raises(Stopped):
        fetch_models([ModelRef(model="org/student")], Told(), stop)
    assert len(served) == 3


def test_what_can_not_be_had_is_one_sentence(hub):
    with pytest.raises(UserError, match=r"^There is no model org/none on the Hub, or it is private"):
        fetch_models([ModelRef(model="org/none")], Told())


def test_nothing_is_asked_for_models_that_are_here(hub):
    fetch_models([ModelRef(model="student-tiny")], Told())
    assert not hub.requests
