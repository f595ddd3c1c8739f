"""A run on ZeroGPU, in slices, through the real `spaces` package; only its web service and CUDA are stood in for.

What can't be seen here: a GPU in the forked process, and how the service counts a visitor's seconds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from end_to_end_cases import ROOT, weights
from hub_stand_in import TOKEN, HubStandIn, take_for_the_hub
from loopback import Loopback, Response
from zero_cases import QUESTION, RUN

from distill.config import run_config as configs
from distill.hub import zerogpu
from distill.models.metadata import describe_model
from distill.runs import events, store
from distill.runs.events import Status, read
from distill.training.worker import DONE, work

pytest.importorskip("spaces")


class Service(Loopback):
    """What `spaces` asks on a ZeroGPU Space. After a POST to /refuse 20 s are left, until 30 are asked for."""

    def __init__(self):
        super().__init__()
        self.refusing = False
        self.on("POST", "/refuse", self._refuse)
        self.on("POST", "/schedule", self._schedule)
        self.on("POST", "/allow|/release|/startup-report", lambda request: Response({}))

    def _refuse(self, request):
        self.refusing = True
        return Response({})

    def _schedule(self, request):
        if self.refusing:
            self.refusing = float(request.query["durationSeconds"][0]) > zerogpu.SHORTEST
            return Response({"left": 20, "wait": 7200.0}, 429, {"X-Authenticated": "regular"})
        return Response({"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "granted"})

    def asked(self, path):
        return [request.query for request in self.requests if request.path == path]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of the same run, uninterrupted, in this process."""
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_HOME", str(home))
        folder = store.create(configs.load("tiny", RUN))
        try:
            assert work(folder, lambda: False) == DONE
        finally:
            torch.use_deterministic_algorithms(False)
    return folder


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """(what zero_page.py saw, the service that it asked)."""
    home = tmp_path_factory.mktemp("page")
    (home / "cgroup").write_text("0::/a-space\n")
    with Service() as service:
        done = subprocess.run(
            [sys.executable, str(ROOT / "tests" / "zero_page.py")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "DISTILL_HOME": str(home),
                "SPACES_ZERO_GPU": "true",
                "SPACES_ZERO_DEVICE_API_URL": service.url,
                "ZEROGPU_PROC_SELF_CGROUP_PATH": str(home / "cgroup"),
                "OMP_NUM_THREADS": "1",
            },
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        yield json.loads(done.stdout.strip().splitlines()[-1]), service


def test_a_run_in_slices_ends_in_the_same_bytes(seen, whole):
    found, _ = seen
    folder = Path(found["folder"])
    assert found["done"]["state"] == "done"
    assert found["done"]["step"] == 32 == max(found["steps"])
    assert weights(folder) == weights(whole)
    reports = [json.loads((f / "report.json").read_text()) for f in (folder, whole)]
    for key in ("before", "after", "flips", "cka", "steps", "tokens"):
        assert reports[0][key] == reports[1][key], key
    answers = [json.loads((f / "answers.json").read_text()) for f in (folder, whole)]
    assert answers[0] == answers[1]
    began = 1 + found["words"].count(["queued", "resumed"])
    assert found["words"].count(["queued", events.WAITING]) > began + 1  # between slices too


def test_the_page_leaves_cuda_alone_and_says_who_wants_a_gpu(seen):
    found, service = seen
    assert not found["cuda_in_the_page"]
    assert service.asked("/startup-report")
    scheduled = service.asked("/schedule")
    assert scheduled[0]["token"] == ["a.e30.b"]  # the visitor's who pressed Start
    asked = [(query.get("token"), query["durationSeconds"]) for query in scheduled]
    assert asked[-3] == (["a.e30.b"], [str(zerogpu.ANSWERING)])  # and of who asked a question
    assert 0 < len(service.asked("/release")) <= len(scheduled) - 3  # three were turned down


def test_a_closed_tab_leaves_a_run_that_goes_on_later(seen):
    for how in ("left", "closed"):
        now = seen[0][how]
        assert (now["state"], now["reason"], now["resumable"]) == ("stopped", zerogpu.LEFT, True)
    assert 2 <= seen[0]["closed"]["step"] < 32


def test_a_used_up_quota_is_said_after_shorter_slices_were_asked_for(seen):
    found, service = seen
    assert found["refused"]["state"] == "stopped" and found["refused"]["resumable"]
    assert (
        "used up (You have exceeded your free ZeroGPU quota (30s requested vs. 20s left)" in found["refused"]["reason"]
    )
    assert found["refused"]["reason"].endswith("); resume continues from here")
    wanted = [query["durationSeconds"] for query in service.asked("/schedule")]
    assert [["120"], ["60"], ["30"]] in [wanted[at : at + 3] for at in range(len(wanted))]
    assert found["refused"]["step"] == found["closed"]["step"]


def test_stop_saves_and_a_second_resume_is_refused(seen):
    found, _ = seen
    assert (found["stopped"]["state"], found["stopped"]["reason"]) == ("stopped", zerogpu.ASKED)
    assert found["stopped"]["step"] > found["closed"]["step"]
    assert "is being trained by process" in found["twice"]


def test_a_slice_that_is_killed_leaves_a_run_that_goes_on(seen):
    killed = seen[0]["killed"]
    assert (killed["state"], killed["resumable"]) == ("crashed", True)
    assert "in the middle of a slice (GPU task aborted)" in killed["reason"]


def test_who_waits_for_another_run_is_seen_and_can_leave(seen):
    assert seen[0]["waited"] == "stopped"
    assert seen[0]["beats"] > 0


def test_time_is_counted_once(seen):
    seconds = seen[0]["seconds"]
    assert seconds["total"] >= 0.9 * sum(seconds[name] for name in ("prepare", "signals", "train", "evaluate"))


def test_questions_are_answered_on_a_gpu_that_is_lent(seen, whole):
    from distill.evaluation.side_by_side import both

    which, *steps = both(whole, QUESTION)
    last = {step.side: step for step in steps}
    answers = seen[0]["answers"]
    assert {side: answers[side]["text"] for side in last} == {side: step.text for side, step in last.items()}
    assert answers["digests"] == {"model": which.base, "adapter": which.adapter}
    assert seen[0]["no_question"].startswith("There is no question")


def test_elsewhere_nothing_is_sliced():
    code = "import contextlib, sys, distill.hub.zerogpu as z\n"
    code += "with contextlib.closing(z.carry_out('/nowhere')) as beats: print('spaces' in sys.modules, list(beats))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "False []\n", done.stderr


def test_a_slice_ends_as_long_before_its_time_as_saving_took_and_a_step_takes(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(zerogpu.time, "monotonic", lambda: now[0])
    fresh, steps = zerogpu.Deadline(tmp_path, 100), zerogpu.Deadline(tmp_path, 100)
    (tmp_path / "slices.json").write_text('{"saving": 20}')
    saved = zerogpu.Deadline(tmp_path, 100)

    def asked(at):
        now[0] = at
        return fresh(), saved()

    assert [asked(at) for at in (58, 59)] == [(False, False)] * 2
    assert asked(61) == (False, True)  # 10 s are kept back, and half as much again as saving took
    assert [asked(at) for at in (87, 88)] == [(True, True)] * 2  # 26 s went by in between, so 26 more may
    now[0] = 0
    assert not steps()
    for now[0] in range(20, 80, 20):
        assert not steps()
    now[0] = 80
    assert steps()  # another step would not end in time
    (tmp_path / "STOP").touch()
    assert zerogpu.Deadline(tmp_path, 100)()


def test_slices_that_keep_nothing_end_the_run(tmp_path, monkeypatch):
    """Slices that are over before anything can be saved: the run is not tried for ever."""
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    folder = store.create(configs.load("tiny", ["budget.threads=1"]))
    store.start(folder, begin=zerogpu.take_charge)
    try:
        for _ in zerogpu.carry_out(folder, 0.0):
            pass
    finally:
        torch.use_deterministic_algorithms(False)
    said = [event for event in read(folder / "events.jsonl")[0] if isinstance(event, Status)]
    assert said[-1].state == "failed" and said[-1].reason.startswith("2 slices of 0 s on a GPU went by in a row")
    assert store.view(folder).resumable


def test_a_gated_model_is_fetched_with_the_token_of_whoever_asks(tmp_path, monkeypatch, tiny_folder):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    with HubStandIn() as hub:
        take_for_the_hub(hub, monkeypatch, tmp_path)
        hub.add_model("org/gated", tiny_folder("student-tiny"), gated=True)
        for token, fetched in ((None, False), (TOKEN, True)):
            folder = store.create(configs.load("tiny", ["student=org/gated", "budget.threads=1"]))
            store.start(folder, begin=zerogpu.take_charge)
            try:
                for _ in zerogpu.carry_out(folder, 0.0, token):
                    pass
            finally:
                torch.use_deterministic_algorithms(False)
            assert describe_model("org/gated").fetched == fetched
            assert ("org/gated on the Hub requires its licence" in store.view(folder).reason) != fetched
        assert not [path for path in folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
