"""What a visitor may take home: copies outside the run's folder, and nothing but what is named."""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from run_cases import made

from distill.config.errors import UserError
from distill.config.paths import ROOT, home, zoo_folder
from distill.ui.actions import uploads
from distill.ui.runs import downloads


@pytest.fixture
def folder():
    run = made("tiny")
    adapter = run.folder / "adapter"
    (adapter / "deep").mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    (adapter / "deep" / "tokenizer.json").write_text("{}")
    (run.folder / "report.json").write_text('{"run": 1}')
    return run.folder


def test_the_adapter_is_a_zip_of_its_folder(folder):
    path = downloads.copy(folder, "adapter")
    assert path.name == f"distill-{folder.name[:6]}-adapter.zip"
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["adapter/adapter_model.safetensors", "adapter/deep/tokenizer.json"]
        assert archive.read("adapter/adapter_model.safetensors") == b"weights"


def test_copies_lie_in_the_temporary_folder_and_never_in_the_runs(folder):
    path = downloads.copy(folder, "report")
    assert path.is_relative_to(Path(tempfile.gettempdir()).resolve()) or path.is_relative_to(tempfile.gettempdir())
    assert not path.is_relative_to(folder) and path.read_text() == '{"run": 1}'


def test_a_file_that_changed_is_copied_anew(folder):
    first = downloads.copy(folder, "report")
    (folder / "report.json").write_text('{"run": 2}')
    assert downloads.copy(folder, "report") == first and first.read_text() == '{"run": 2}'


def test_copies_do_not_say_where_an_upload_lies(folder):
    stored = uploads() / f"{'ab' * 32}.csv"
    for name, what in (("config.yaml", "config"), ("README.md", "card"), ("report.json", "report")):
        (folder / name).write_text(f'"path": "{stored}"')
        assert downloads.copy(folder, what).read_text() == '"path": "upload abababab.csv"'


def test_the_copies_of_a_run_can_be_forgotten(folder):
    copies = [downloads.copy(folder, what) for what in ("adapter", "report")]
    downloads.remove_copies(folder.name)
    assert not any(path.exists() for path in copies) and downloads.scratch().is_dir()
    assert downloads.copy(folder, "report").read_text() == '{"run": 1}'


def test_a_link_out_of_the_adapter_is_left_out(folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("token")
    (folder / "adapter" / "link").symlink_to(secret)
    (folder / "README.md").symlink_to(secret)
    with zipfile.ZipFile(downloads.copy(folder, "adapter")) as archive:
        assert "adapter/link" not in archive.namelist()
    with pytest.raises(UserError, match="isn't there yet"):
        downloads.copy(folder, "card")


def test_what_is_not_there_yet_is_said(folder):
    assert downloads.available(folder, "config") and downloads.available(folder, "adapter")
    assert not downloads.available(folder, "card")
    with pytest.raises(UserError, match=f"The model card of run {folder.name} isn't there yet"):
        downloads.copy(folder, "card")


def test_runs_whose_ids_begin_alike_keep_their_own_files(folder):
    twin = folder.with_name(folder.name[:6] + "zzzzzz")
    twin.mkdir()
    (twin / "report.json").write_text("the twin's")
    try:
        assert downloads.copy(folder, "report").read_text() == '{"run": 1}'
        assert downloads.copy(twin, "report").read_text() == "the twin's"
    finally:
        (twin / "report.json").unlink()
        twin.rmdir()


# --- an adapter that works anywhere ----------------------------------------------------------------------------------

LOAD = """
import os, sys
from peft import AutoPeftModelForCausalLM
model = AutoPeftModelForCausalLM.from_pretrained("adapter")
print(type(model).__name__, sorted(model.peft_config))
"""


def adapted(student, name):
    """A run whose adapter names this as its base model, as the worker writes it."""
    import peft
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from distill.config.run_config import ModelRef
    from distill.models.student import save_adapter

    folder = made("tiny-ce").folder
    base = AutoModelForCausalLM.from_pretrained(zoo_folder("student-tiny"))
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules="all-linear"))
    tokenizer = AutoTokenizer.from_pretrained(zoo_folder("student-tiny"))
    save_adapter(model, tokenizer, ModelRef(model=student), folder / "adapter")
    config = folder / "adapter" / "adapter_config.json"
    if name:
        config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": name}))
    (folder / "README.md").write_text(f"the card, from {home().runs.resolve()}/x/y")
    return folder


def test_the_zip_of_a_bundled_students_adapter_loads_elsewhere(tmp_path):
    with zipfile.ZipFile(downloads.copy(adapted("student-tiny", ""), "adapter")) as archive:
        archive.extractall(tmp_path)
    said = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    for place in (str(ROOT), str(home().runs.resolve().parent), tempfile.gettempdir()):
        assert not [file for file, content in said.items() if place.encode() in content]
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "student-tiny"
    assert (tmp_path / "adapter" / "README.md").read_text().startswith("the card")
    elsewhere = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", LOAD], cwd=tmp_path, env=elsewhere, capture_output=True, text=True)
    assert done.stdout == "PeftModelForCausalLM ['default']\n", done.stderr


@pytest.mark.parametrize(
    ("named", "base"), [("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B"), ("/srv/models/my own base", "my own base")]
)
def test_the_zip_names_other_base_models_without_their_place(named, base):
    with zipfile.ZipFile(downloads.copy(adapted("student-tiny", named), "adapter")) as archive:
        assert json.loads(archive.read("adapter/adapter_config.json"))["base_model_name_or_path"] == base
        assert {Path(name).parts[0] for name in archive.namelist()} == {"adapter"}
        assert json.loads(archive.read("adapter/tokenizer.json"))
