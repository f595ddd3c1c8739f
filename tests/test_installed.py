"""The package as pip installs it, and its command line where the console or the reader is not as one would wish."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from distill.config import paths

ROOT = Path(__file__).parents[1]
SHIPPED = ["distill", "assets", "pyproject.toml", "setup.py", "requirements.txt", "README.md", "LICENSE"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds the package as the wheel has it."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    wheel = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "-w",
        built,
        source,
    ]
    done = subprocess.run(wheel, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        archive.extractall(built / "site-packages")
    return built / "site-packages"


def distill(*arguments, cwd, path=ROOT, **environment):
    more = {"PYTHONPATH": str(path), "DISTILL_HOME": str(cwd / "home")} | environment
    command = [sys.executable, "-m", "distill", *arguments]
    return subprocess.run(command, cwd=cwd, env=os.environ | more, capture_output=True, timeout=300)


def test_what_is_installed_works_from_any_folder(installed, tmp_path):
    assert [found.name for found in installed.iterdir() if not found.name.endswith(".dist-info")] == ["distill"]
    code = "from distill.config import paths; print(paths.ROOT, paths.SOURCES)"
    where = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)}, capture_output=True
    )
    assert where.stdout.decode().split() == [str(installed / "distill"), str(installed)]
    for arguments in (["list"], ["show", "tiny"], ["show", "teacher-file"]):
        done = distill(*arguments, cwd=tmp_path, path=installed)
        assert done.returncode == 0, done.stderr.decode()
    assert str(installed / "distill" / "assets" / "problems") in done.stdout.decode()
    made = distill("run", "tiny-ce", "--create", cwd=tmp_path, path=installed)
    assert made.returncode == 0 and (Path(made.stdout.decode().strip()) / "config.yaml").is_file()


def test_the_wheel_holds_all_that_ships(installed):
    for pattern in ("*.css", "*.js", "*.yaml", "presets/*.yaml", "problems/**/*", "zoo/*/*", "zoo/zoo.json"):
        here = {file.relative_to(ROOT) for file in (ROOT / "assets").glob(pattern) if file.is_file()}
        assert here and all((installed / "distill" / file).is_file() for file in here), pattern


def test_a_job_gets_the_same_code_from_what_is_installed(installed, tmp_path):
    code = "from distill.hub import jobs; import sys; sys.stdout.buffer.write(jobs.packed())"
    found = {}
    for name, path in (("cloned", ROOT), ("installed", installed)):
        environment = os.environ | {"PYTHONPATH": str(path)}
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True)
        (tmp_path / name).write_bytes(done.stdout)
        with zipfile.ZipFile(tmp_path / name) as archive:
            found[name] = set(archive.namelist())
    assert found["cloned"] == found["installed"] and "distill/hub/job_worker.py" in found["cloned"]
    assert f"assets/presets/{paths.preset_names()[0]}.yaml" in found["cloned"]


@pytest.mark.parametrize(
    ("name", "encoding"), [("实验", "cp1252"), ("Прогон", "ascii"), ("run 🚀", "shift_jis"), ("Übung…", "latin-1")]
)
def test_what_a_console_has_no_letters_for_is_replaced(tmp_path, name, encoding):
    how = {"PYTHONIOENCODING": encoding}
    made = distill("run", "tiny-ce", "--set", f"name={name}", "--create", cwd=tmp_path, **how)
    assert made.returncode == 0
    for arguments in (["list"], ["show", made.stdout.decode(encoding).strip()]):
        done = distill(*arguments, cwd=tmp_path, **how)
        assert done.returncode == 0 and not done.stderr, done.stderr.decode("ascii", "replace")
        assert name.encode(encoding, "replace") in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status"),
    # argparse itself says nothing where its help can't be printed.
    [
        (["show", "tiny"], 141),
        (["list"], 141),
        (["show", "tiny", "--json"], 141),
        (["--help"], 0),
        (["show", "tny"], 2),
    ],
)
def test_a_reader_that_leaves_ends_it_quietly(tmp_path, arguments, status):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DISTILL_HOME": str(tmp_path)}
    reading, writing = os.pipe()
    os.close(reading)  # it has left before the first line
    command = [sys.executable, "-m", "distill", *arguments]
    done = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE, timeout=300)
    os.close(writing)
    assert b"Traceback" not in done.stderr and b"Broken" not in done.stderr
    assert done.returncode == status
