"""A page on a ZeroGPU Space, for test_zerogpu.py: the real `spaces` package with its fork, pickling and generators.

Of the package only this is stood in for, as it needs an NVIDIA GPU: three names that it looks up when it is imported
and that the CPU build of torch lacks, and in the forked process `init` and `move`, which put the first tensors on the
GPU. bitsandbytes is imported before it, as on this build it can't be once there seems to be CUDA. The web service of
ZeroGPU is on loopback.

    python tests/zero_page.py

does one run through everything that may happen to it, and prints what was seen as JSON, in its last line.
"""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable

import bitsandbytes  # noqa: F401
import httpx
import torch

torch.version.cuda = torch.version.cuda or "13.0"
if not hasattr(torch._C, "_cuda_init"):
    torch._C._cuda_init = None
    torch.cuda._is_in_bad_fork = bool  # the build's own answer, False, can't be pickled
import spaces.zero.torch  # noqa: E402

spaces.zero.torch.init = lambda nvidia_uuid: None
spaces.zero.torch.move = lambda callback=None: None

from gradio_client import Client  # noqa: E402
from zero_cases import QUESTION, RUN  # noqa: E402

import app  # noqa: E402
from distill.config.errors import UserError  # noqa: E402
from distill.hub import zerogpu  # noqa: E402
from distill.runs import index, queue, store  # noqa: E402
from distill.runs.events import Metric, Status, read  # noqa: E402

PATIENCE = 100.0  # seconds for any one thing to happen


def until(happened: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.02)


def main() -> dict:
    page = app.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    client = Client(page.local_url, headers={"x-ip-token": "a.e30.b"}, verbose=False)  # as the Hub's proxy adds it
    started = client.submit("tiny", RUN, api_name="/start")
    until(lambda: started.outputs())
    said = started.outputs()[0]
    folder = index.find_id(said["run"])
    seen = {"cuda_in_the_page": torch.cuda.is_initialized(), "queued": store.view(folder).state}

    def worker() -> int:
        return json.loads((folder / "process.json").read_text())["pid"]

    def ended() -> dict:
        until(lambda: not (folder / "process.json").exists())
        now = store.view(folder)
        return {"state": now.state, "reason": now.reason, "step": now.step, "resumable": now.resumable}

    def resumed(slice_seconds: float):
        store.resume(folder, in_turn=True, begin=zerogpu.take_charge)
        return zerogpu.carry_out(folder, slice_seconds)

    def reached(step: int) -> bool:
        return store.view(folder).step >= step

    until(lambda: worker() != os.getpid())
    started.cancel()  # as a closed tab does
    seen["left"] = ended()

    slices = resumed(zerogpu.SLICE)
    until(lambda: reached(2))
    slices.close()
    seen["closed"] = ended()

    httpx.post(f"{os.environ['SPACES_ZERO_DEVICE_API_URL']}/refuse")
    client.predict(said["run"], said["token"], api_name="/resume")
    seen["refused"] = ended()

    slices = resumed(0.5)  # too short for more than a step
    until(lambda: reached(seen["closed"]["step"] + 3))
    try:
        store.resume(folder, in_turn=True, begin=zerogpu.take_charge)
    except UserError as error:
        seen["twice"] = str(error)
    store.stop(folder)
    seen["stopped"] = ended()

    slices = resumed(zerogpu.SLICE)
    until(lambda: reached(seen["stopped"]["step"] + 1))
    os.kill(worker(), signal.SIGKILL)
    seen["killed"] = ended()

    slices = resumed(zerogpu.SLICE)
    other = store.create(store.view(folder).config)
    store.start(other, in_turn=True, begin=zerogpu.take_charge)
    waits = zerogpu.carry_out(other)
    until(lambda: queue.waiting(other.parent) == [other.name])
    waits.close()
    seen["beats"] = sum(1 for _ in slices)
    seen["done"] = ended()
    seen["waited"] = store.view(other).state
    events, _ = read(folder / "events.jsonl")
    seen["words"] = [[e.state, e.reason] for e in events if isinstance(e, Status)]
    seen["steps"] = [e.step for e in events if isinstance(e, Metric)]
    seen["seconds"] = json.loads((folder / "seconds.json").read_text())

    seen["answers"] = client.predict(said["run"], QUESTION, "7", api_name="/generate")
    steps = zerogpu.both(folder, QUESTION)
    next(steps), next(steps)
    steps.close()
    try:
        list(zerogpu.both(folder, " "))
    except UserError as error:
        seen["no_question"] = str(error)
    return {**seen, "folder": str(folder)}


if __name__ == "__main__":
    found = main()
    print("\n" + json.dumps(found), flush=True)
    for forked in multiprocessing.active_children():  # they wait for another slice
        forked.kill()
    os._exit(0)  # without waiting for the page
