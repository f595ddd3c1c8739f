"""Requests larger than any that the page sends are refused before they are parsed, and the page goes on."""

import json
import threading
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

import app
from distill.config.paths import home
from distill.ui.body_limit import MOST, MOST_UPLOADED

ENDPOINTS = [f"/gradio_api/{name}" for name in ("call/status", "queue/join", "run/status", "component_server")]
SAID = {"detail": "This request is larger than 0.5 MB, the most that is read here: send less."}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILL_HOME", str(tmp_path_factory.mktemp("home")))
        page = app.launch(public=False, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        yield page.local_url.rstrip("/")
        page.close()


def post(url: str, body: bytes | Iterator[bytes], kind: str = "application/json") -> httpx.Response:
    return httpx.post(url, content=body, headers={"content-type": kind}, timeout=60)


def small_objects(size: int) -> bytes:
    """JSON of so many bytes that takes fifty times as many once it is parsed."""
    return json.dumps({"data": [{}] * (size // 4), "fn_index": 0, "session_hash": "x"}).encode()


def pieces(body: bytes) -> Iterator[bytes]:
    """Sent in chunks, without a word of how many bytes there will be."""
    yield from (body[at : at + 100_000] for at in range(0, len(body), 100_000))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("how", [bytes, pieces])
def test_a_large_body_is_refused_in_one_sentence(url, endpoint, how):
    answer = post(url + endpoint, how(small_objects(MOST + 50_000)))
    assert (answer.status_code, answer.json()) == (413, SAID)


@pytest.mark.parametrize("how", [bytes, pieces])
def test_24_mb_of_small_objects_cost_neither_memory_nor_anybodys_time(url, how):
    slowest, done = [0.0], threading.Event()

    def tick():
        while not done.wait(0.05):
            began = time.monotonic()
            httpx.get(f"{url}/gradio_api/startup-events", timeout=60)
            slowest[0] = max(slowest[0], time.monotonic() - began)

    body, ticking = small_objects(24_000_000), threading.Thread(target=tick)
    before = psutil.Process().memory_info().rss
    ticking.start()
    answers = [post(f"{url}/gradio_api/queue/join", how(body)) for _ in range(3)]
    done.set()
    ticking.join()
    assert {answer.status_code for answer in answers} == {413}
    assert slowest[0] < 1 and psutil.Process().memory_info().rss - before < 100e6


def test_what_the_page_sends_is_let_through(url):
    body = json.dumps({"data": ["x" * (MOST - 1_000)]}).encode()
    assert post(f"{url}/gradio_api/call/status", body).status_code == 200
    assert post(f"{url}/gradio_api/call/status", pieces(body)).status_code == 200
    files = {"files": ("a.csv", b"x" * 19_900_000)}
    assert httpx.post(f"{url}/gradio_api/upload", files=files, timeout=60).status_code == 200


@pytest.mark.parametrize("endpoint", ["/gradio_api/upload", "/gradio_api/component_server"])
def test_many_files_at_once_are_one_upload(url, endpoint):
    before = set(home().cache.rglob("*"))
    files = [("files", (f"{i}.csv", b"x" * 9_000_000)) for i in range(3)]
    answer = httpx.post(url + endpoint, files=files, timeout=60)
    most = MOST_UPLOADED if endpoint.endswith("upload") else MOST
    assert answer.status_code == 413 and f"larger than {most / 1e6:.1f} MB" in answer.json()["detail"]
    assert set(home().cache.rglob("*")) == before
