"""What a visitor may take home: copies outside the run's folder, and nothing but what is named."""

import tempfile
import zipfile
from pathlib import Path

import pytest
from run_cases import made

from distill.config.errors import UserError
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
