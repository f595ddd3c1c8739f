"""The named endpoints, each called as a program calls it: over HTTP, with gradio_client."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from run_cases import made

import app
from distill.config.paths import home
from distill.runs import store

SMALL = [
    "data.train=64",
    "data.held_out=12",
    "data.new_phrasing=12",
    "budget.batch_size=8",
    "budget.save_every=5",
    "probe.texts=24",
    "probe.problems=12",
    "teachers=[gemma2-tiny, minicpm3-tiny]",
]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_HOME", str(tmp_path_factory.mktemp("home")))
        yield from _client()


def _client():
    page = app.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield Client(page.local_url, verbose=False)
    page.close()


@pytest.fixture(scope="module")
def done(client):
    """A run that was started and has ended: {"run", "token"}."""
    started = client.predict("tiny", [*SMALL, "budget.steps=6"], "", api_name="/start")
    wait(client, started["run"], "done")
    return started


def wait(client, run, *states, seconds=240):
    ends = time.monotonic() + seconds
    while (now := client.predict(run, api_name="/status"))["state"] not in states:
        assert not now["final"] and time.monotonic() < ends, now
        time.sleep(0.3)
    return now


def test_start_and_status_and_report(client, done):
    status = client.predict(done["run"], api_name="/status")
    assert (status["state"], status["step"], status["steps"], status["final"]) == ("done", 6, 6, True)
    report = client.predict(done["run"], api_name="/report")
    assert report["run"] == done["run"] and report["before"]["n"] == report["after"]["n"] == 12
    assert client.predict("", api_name="/status")["run"] == done["run"]  # no id: the newest


def test_a_report_does_not_say_where_an_upload_lies(client):
    run = made("tiny")
    stored = home().cache / "uploads" / f"{'ab' * 32}.csv"
    (run.folder / "report.json").write_text(json.dumps({"run": run.id, "data": {"path": str(stored)}}))
    try:
        report = client.predict(run.id, api_name="/report")
    finally:
        shutil.rmtree(run.folder)
    assert report == {"run": run.id, "data": {"file": "upload abababab.csv"}}


def test_generate_answers_with_the_adapter_off_and_on(client, done):
    question = "Tom has 3 boxes of pens. Each box has 4 pens. He gives 2 pens to Mia. How many pens does Tom have left?"
    both = client.predict(done["run"], question, "10", api_name="/generate")
    assert isinstance(both["before"]["text"], str) and isinstance(both["after"]["text"], str)
    assert isinstance(both["after"]["right"], bool)
    assert both["note"] is None  # it has learnt such questions
    adapter = store.view(home().runs / done["run"]).report["digests"]["adapter"]
    assert both["digests"]["adapter"] == adapter  # the very weights the report is about


def test_stop_keeps_the_model_and_resume_goes_on(client):
    started = client.predict("tiny", [*SMALL, "budget.steps=400"], "", api_name="/start")
    run, token = started["run"], started["token"]
    wait(client, run, "training")
    with pytest.raises(AppError, match="you can watch it but not stop it"):
        client.predict(run, "somebody else's", api_name="/stop")
    client.predict(run, token, api_name="/stop")
    stopped = wait(client, run, "stopped")
    assert 0 <= stopped["step"] < 400
    assert (home().runs / run / "adapter" / "adapter_model.safetensors").is_file()
    goal = stopped["step"] + 3
    client.predict(run, token, [f"budget.steps={goal}"], api_name="/resume")
    assert wait(client, run, "done")["step"] == goal


@pytest.mark.parametrize(
    ("endpoint", "arguments", "said"),
    [
        ("/start", ("tniy", [], ""), "There is no preset 'tniy'"),
        ("/start", ("/etc/passwd", [], ""), "There is no preset"),
        ("/start", ("tiny", ["budget.steps=0"], ""), "budget.steps"),
        ("/start", ("tiny", ["nonsense"], ""), "--set nonsense can't be read"),
        ("/status", ("zzz",), "There is no run 'zzz' here"),
        ("/report", ("zzz",), "There is no run 'zzz' here"),
        ("/stop", ("zzz", ""), "There is no run 'zzz'"),
        ("/generate", ("zzz", "1 + 1?", ""), "There is no run 'zzz' here"),
    ],
)
def test_what_is_wrong_is_one_sentence(client, endpoint, arguments, said):
    with pytest.raises(AppError) as error:
        client.predict(*arguments, api_name=endpoint)
    assert said in str(error.value) and "Traceback" not in str(error.value)


def test_every_endpoint_is_named_documented_and_no_other_is_public(client):
    named = {"/start", "/stop", "/resume", "/delete", "/status", "/report", "/generate"}
    assert set(client.view_api(return_format="dict", print_info=False)["named_endpoints"]) == named
    usage = (Path(app.__file__).parent / "docs" / "usage.md").read_text(encoding="utf-8")
    assert set(re.findall(r'api_name="(/\w+)"', usage)) == named
