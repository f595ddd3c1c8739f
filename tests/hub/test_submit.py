"""Jobs of Hugging Face before they begin: what is asked wrongly, what the Hub refuses, and what is sent along."""

from pathlib import Path

import pytest
from end_to_end_cases import ROOT
from hub_stand_in import TOKEN, _refusal
from huggingface_hub import JobHardware, constants
from jobs_cases import TINY
from jobs_stand_in import JobsStandIn

from distill.__main__ import main
from distill.config import paths
from distill.config import run_config as configs
from distill.config.run_config import ConfigError
from distill.hub import jobs
from distill.models import metadata
from distill.models.metadata import ModelFacts
from distill.runs import store
from distill.runs.events import Status


@pytest.fixture
def hub(tmp_path):
    with JobsStandIn(tmp_path / "service") as service:
        yield service


@pytest.fixture
def elsewhere(hub, tmp_path, monkeypatch):
    """This process knows the stand-in as the Hub. What it gives sets one more of the Hub's library's settings."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "here"))
    for name, value in (("ENDPOINT", hub.url), ("HF_HUB_DISABLE_XET", True), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", False)):
        monkeypatch.setattr(constants, name, value)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)  # made of ENDPOINT at import
    return lambda name, value: monkeypatch.setattr(constants, name, value)


SUBMIT = ["submit", "tiny-ce", "--flavor", "t4-small"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*SUBMIT, "--flavor", "a10"], "There is no flavour 'a10': take one of cpu-basic, t4-small, a10g-small."),
        ([*SUBMIT, "--timeout", "soon"], "--timeout is 'soon': give a minute to a week, such as 90m, 4h or 1d."),
        (["submit", "tiny-ce"], "--flavor cpu-basic is the cheapest that works (2 cores, about "),
        (
            ["submit", "tiny-ce", "--set", "student=openbmb/MiniCPM-2B-sft-bf16"],
            "None is known to work (openbmb/MiniCPM-2B-sft-bf16 can't be used",
        ),
        ([*SUBMIT, "--set", "report_to=tensorboard"], "add --set report_to=[]"),
        ([*SUBMIT, "--set", "student=org/none"], "The student 'none' can't be used: there is no model org/none"),
        (["submit", "tny"], "There is no preset 'tny': did you mean 'tiny'?"),
    ],
)
def test_what_is_asked_wrongly(hub, elsewhere, capsys, arguments, said):
    refused(hub, capsys, said, arguments)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((402, "Pre-paid credit balance is insufficient"), "the account has no credit (Pre-paid credit balance"),
        ((403, "missing permission: job.write"), "the token may not (missing permission: job.write)"),
        ((500, "Oops"), "the Hub answered with 500 (Oops)"),
    ],
)
def test_what_the_hub_refuses(hub, elsewhere, capsys, refusal, said):
    hub.refusal = _refusal(refusal[0], "", refusal[1])
    refused(hub, capsys, said)


def test_no_token_a_wrong_one_and_no_network(hub, elsewhere, capsys, monkeypatch):
    elsewhere("HF_HUB_OFFLINE", True)
    refused(hub, capsys, "HF_HUB_OFFLINE keeps this machine off the network")
    elsewhere("HF_HUB_OFFLINE", False)
    elsewhere("ENDPOINT", "http://127.0.0.1:9")
    refused(hub, capsys, "the Hub can't be reached")
    elsewhere("ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", "hf_SomebodyElse0123456789")
    refused(hub, capsys, "the Hub does not recognize that token")
    elsewhere("HF_HUB_DISABLE_IMPLICIT_TOKEN", True)  # as on a public server
    refused(hub, capsys, "Jobs need a token of Hugging Face")


def test_a_model_that_a_flavour_can_not_hold_is_not_sent_there(hub, elsewhere, capsys, monkeypatch):
    monkeypatch.setattr(metadata, "_told", {})
    large = ModelFacts("org/large", parameters=30 * 2**30 // 4, download=1, width=1000, layers=20, vocabulary=50_000)
    metadata.remember("org/large", None, large)
    said = "The student 'large' has 30.0 GB of weights, and t4-small's GPU 15.0 GB: choose smaller models, "
    refused(hub, capsys, said, [*SUBMIT, "--set", "student=org/large"])


def test_a_job_that_nobody_here_would_know_of_is_cancelled(hub, elsewhere, capsys, monkeypatch):
    hub.wait = 600
    monkeypatch.setattr(jobs, "TICKET", "nowhere/job.json")  # can't be written
    assert main(SUBMIT) == 2
    said = capsys.readouterr().err
    assert "job.json can't be written (No such file or directory), so it was cancelled" in said
    assert said.count("\n") == 1 and not list(paths.home().runs.glob("*"))
    (job,) = hub.jobs.values()
    assert job.stage == "CANCELED"


def refused(hub, capsys, said, arguments=SUBMIT):
    """One sentence on stderr, exit status 2, and nothing is left behind."""
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and told.out == ""
    assert not list((paths.home().runs).glob("*")) and not hub.jobs


def test_a_model_that_lies_here_can_not_be_had_there(tmp_path, tiny_folder):
    config = configs.parse({**TINY, "student": str(tiny_folder("student-tiny"))})
    with pytest.raises(ConfigError, match="is a folder of this machine, which a Job can't see"):
        jobs.submit(config, "t4-small", runs_dir=tmp_path)


def test_the_smallest_flavour_that_can():
    assert jobs.smallest(configs.load("tiny"))[0].name == "cpu-basic"
    large = configs.load("tiny-ce", ["student=nvidia/Nemotron-Mini-4B-Instruct", "budget.batch_size=8"])
    flavor, cost = jobs.smallest(large)
    assert flavor.gpu and 15 < cost.gpu_gb <= flavor.machine.gpu_gb
    assert jobs.smallest(large.model_copy(update={"student": configs.ModelRef(model="nobody/knows")})) is None
    names = [one.name for one in jobs.FLAVORS]
    assert set(names) <= {one.value for one in JobHardware}


def test_what_is_sent_along_is_the_same_for_the_same_files():
    import io
    import zipfile

    first = jobs.packed()
    assert first == jobs.packed()
    names = zipfile.ZipFile(io.BytesIO(first)).namelist()
    assert {"requirements.txt", "distill/hub/job_worker.py", "assets/presets/tiny.yaml"} <= set(names)
    assert any(name.startswith("assets/zoo/student-tiny/") for name in names)
    assert not any("__pycache__" in name or name.startswith(("runs", "tests", "assets/images")) for name in names)
    assert (Path(ROOT) / "requirements.txt").read_bytes() == zipfile.ZipFile(io.BytesIO(first)).read("requirements.txt")


def test_a_mirror_is_a_run_whose_last_word_counts(tmp_path):
    folder = store.create(configs.load("tiny"), tmp_path)
    assert jobs.ticket(folder) is None
    with pytest.raises(Exception, match="is no Job of Hugging Face"):
        store.follow(folder)
    (folder / "job.json").write_text("{}")
    assert jobs.ticket(folder) is None  # damaged
    assert isinstance(store.view(folder).last(Status), Status)
