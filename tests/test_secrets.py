"""Tokens never land in a run's folder, a log or an event: a run that trains, a failing one and a push are searched."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from end_to_end_cases import MINI, ROOT, only_run, write
from hub_writes import HubWrites
from loopback import Response

from distill.config import run_config as configs
from distill.config.secrets import HIDDEN
from distill.runs import store
from distill.runs.events import Error, read

TOKEN, KEY = "hf_SECRETMARKER0123456789abcdefghijkl", "0123456789abcdefSECRETMARKER0123456789ab"
SMALLEST = {
    **MINI,
    "teachers": ["gemma2-tiny"],
    "objectives": ["task", "geometry"],
    "data": {"train": 16, "held_out": 4, "new_phrasing": 0, "validation": 4},
    "budget": {"steps": 2, "batch_size": 4, "save_every": 2, "threads": 1},
    "probe": {"texts": 8, "every": 2, "samples": 1, "problems": 4},
    "evaluation": {"max_new_tokens": 8},
    "report_to": ["tensorboard"] if find_spec("tensorboard") else [],
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """(home, everything that the commands said, the stand-in): a run, its push, and one that the Hub refuses."""
    home = tmp_path_factory.mktemp("home")
    with HubWrites(tmp_path_factory.mktemp("hub")) as hub:
        hub.tokens[TOKEN] = "ada"
        # A Hub, or a proxy before it, that repeats what it was asked: the message holds the token.
        echo = f"Invalid credentials: Bearer {TOKEN} for https://ada:{TOKEN}@hub/x?key={KEY}"
        refused = Response({"error": echo}, 400, {"X-Error-Message": echo})
        for method, place in (
            ("GET", r"/api/models/org/echo.*"),
            ("GET", r"/org/echo/.*"),
            ("POST", r".*/ada/echo/.*"),
        ):
            hub.routes.insert(0, (method, re.compile(place), lambda request: refused))
        env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "WANDB_API_KEY": KEY, "HF_HUB_DISABLE_XET": "1"}
        env |= {"DISTILL_HOME": str(home), "HF_HOME": str(home / "hf"), "OMP_NUM_THREADS": "1", "HF_DEBUG": "0"}

        def command(*arguments):
            done = subprocess.run(
                [sys.executable, "-m", *map(str, arguments)],
                cwd=ROOT,
                env=env,
                capture_output=True,
                text=True,
                timeout=300,
            )
            return done.stdout + done.stderr

        said = [command("distill", "run", write(SMALLEST, home))]
        folder = only_run(home / "runs")
        said += [
            command("distill", "push", folder, "--to", "ada/student"),
            command("distill", "push", folder, "--to", "ada/echo"),
        ]
        failing = configs.parse({**SMALLEST, "student": "org/echo"})
        broken = store.create(failing, home / "runs")  # past what the command would have refused
        said.append(command("distill.training.worker", broken))
        yield home, said, hub, folder, broken


def test_it_did_what_it_was_asked(told):
    _, said, hub, folder, broken = told
    assert store.view(folder).state == "done", said[0]
    assert hub.visibility["ada/student"] == "private" and "ada/student" in said[1]
    assert f"(Invalid credentials: Bearer {HIDDEN} for https://ada:{HIDDEN}@hub/x?key={HIDDEN})" in said[2]
    assert {request.headers.get("authorization") for request in hub.requests} >= {f"Bearer {TOKEN}"}
    errors = [event.text for event in read(broken / "events.jsonl")[0] if isinstance(event, Error)]
    assert errors and store.view(broken).state == "failed"


def test_no_secret_is_in_what_was_said_or_written(told):
    home, said, hub, _, _ = told
    searched = 0
    for path in [*home.rglob("*"), *hub.folder.rglob("*")]:
        if path.is_file():
            searched += 1
            assert b"SECRETMARKER" not in path.read_bytes(), path
    assert searched > 20 and not any("SECRETMARKER" in text for text in said)


def test_the_numbers_of_each_step_can_be_read_back(told):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(told[3] / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {
        "train/loss",
        "train/term/task",
        "train/learning_rate",
        "train/accuracy/during",
        "train/cka/gemma2-tiny",
    } <= {*tags}
    losses = [event.loss for event in store.view(told[3]).events if event.kind == "metric"]
    assert [(e.step, pytest.approx(e.value)) for e in events.Scalars("train/loss")] == list(enumerate(losses, 1))
