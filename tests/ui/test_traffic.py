"""Network addresses behind proxies, a queue in which no kind of request keeps out another, and uploads by the hour."""

import json
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import gradio as gr
import pytest
from starlette.datastructures import Headers
from starlette.middleware import Middleware

from distill.ui.traffic import MODEL, UploadLimit, address_of, guard_queue


def asked(*forwarded, host="10.16.3.80"):
    """A request from `host` with these lines of X-Forwarded-For."""
    headers = Headers(raw=[(b"x-forwarded-for", line.encode()) for line in forwarded])
    return SimpleNamespace(client=SimpleNamespace(host=host), headers=headers)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["8.8.8.8, 1.1.1.1, 203.0.113.7"], "203.0.113.7"),  # all but the last is what the visitor sent
        (["8.8.8.8", "203.0.113.7"], "203.0.113.7"),  # in two lines
        (["8.8.8.8,, 203.0.113.7 ,"], "203.0.113.7"),
        (["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["nonsense" * 99], "nonsense" * 8),
        ([], "10.16.3.80"),
    ],
)
def test_behind_a_spaces_proxy_only_its_own_entry_counts(monkeypatch, lines, address):
    monkeypatch.setenv("SPACE_ID", "me/distill")
    assert address_of(asked(*lines)) == address


def test_without_a_proxy_nobody_says_where_they_come_from(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert address_of(asked("203.0.113.7", host="192.0.2.1")) == "192.0.2.1"
    assert address_of(None) == "" and address_of(SimpleNamespace(client=None, headers={})) == ""
    monkeypatch.setenv("DISTILL_PROXY_HOPS", "2")
    assert address_of(asked("8.8.8.8, 203.0.113.7, 192.0.2.1")) == "203.0.113.7"


@pytest.fixture(scope="module")
def server():
    """A small page with a model that answers when told to, guarded as ours: (its address, "go on")."""
    go = threading.Event()

    def answer(question: str) -> str:
        go.wait(60)
        return question

    def status() -> str:
        return "fine"

    with gr.Blocks() as page:
        gr.api(answer, api_name="answer", concurrency_id=MODEL, concurrency_limit=1)
        gr.api(status, api_name="status", queue=False)
    guard_queue(page.queue(max_size=None, api_open=False))
    limits = {"app_kwargs": {"middleware": [Middleware(UploadLimit, kept=600)]}}
    page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **limits)
    yield page.local_url, go
    go.set()
    page.close()


def send(server, path, body, address, **headers):
    """(status, what was said); `address` as a proxy on this machine would say it."""
    headers = {"Content-Type": "application/json", "X-Forwarded-For": address, **headers}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{server[0]}gradio_api/{path}", data, headers), timeout=60
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_flood_of_questions_keeps_nobody_from_status(server):
    said = [send(server, "call/answer", {"data": ["?"]}, "203.0.113.7") for _ in range(12)]
    refused = [text for code, text in said if code == 503]
    assert 8 <= len(refused) <= 9 and "3 questions from your network address are waiting" in refused[0]
    for number in range(20):  # from many addresses
        said = send(server, "call/answer", {"data": ["?"]}, f"203.0.113.{100 + number}")
    assert said[0] == 503 and "8 questions are waiting already, the most allowed" in said[1]
    assert send(server, "run/status", {"data": []}, "203.0.113.7")[0] == 200  # directly, as the page's Stop
    assert send(server, "call/status", {"data": []}, "203.0.113.7")[0] == 200  # and as gradio_client asks
    assert send(server, "run/answer", {"data": ["?"]}, "203.0.113.8")[0] in (404, 500)  # no way past the queue
    server[1].set()


@pytest.mark.parametrize("fn_index", [-1, 99, "x", None, 2**70])
def test_a_forged_event_is_an_error_and_no_more(server, fn_index):
    said = send(server, "queue/join", {"data": [], "fn_index": fn_index, "session_hash": "x"}, "203.0.113.7")
    assert said[0] >= 400
    assert send(server, "run/status", {"data": []}, "203.0.113.7")[0] == 200


def test_uploads_are_bounded_before_they_are_read(server, monkeypatch):
    def upload(address, size=1000):
        form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n\r\n%s\r\n--x--\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        return send(server, "upload", form % (b"1" * size), address, **kind)

    assert upload("203.0.113.1")[0] == 200
    code, said = upload("203.0.113.1", 22_000_000)
    assert code == 413 and "more than 20" in said
    monkeypatch.setenv("DISTILL_SENT_MB", "0.003")
    assert upload("203.0.113.1")[0] == 200
    code, said = upload("203.0.113.1")
    assert code == 429 and "uploaded from your network address within an hour" in said
    assert upload("203.0.113.2")[0] == 200
    monkeypatch.setenv("DISTILL_UPLOADS_MB", "0.004")
    code, said = upload("203.0.113.3")
    assert code == 429 and "too many files at once" in said
