"""A stand-in for a web service, on loopback: real HTTP, real clients, no network. It answers what it is told to.

Nothing here knows of the Hub: `hub_stand_in.py` and whoever needs another service say which paths there are.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    """What a client asked: `path` without its query, `query` {name: [values]}, header names in lower case."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Response:
    """`body` may be bytes, text, anything JSON holds, or an iterator of bytes, which are sent as they come."""

    body: object = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[..., Response]


class Loopback:
    """`with Loopback() as service: service.on("GET", r"/api/models/(.+)", answer)`; `service.url` is where it is.

    `answer(request, *groups)` gives the Response. What matches nothing is a 404. `requests` keeps all that was asked.
    """

    def __init__(self):
        self.routes: list[tuple[str, re.Pattern[str], Answer]] = []
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def on(self, method: str, pattern: str, answer: Answer) -> None:
        """Answer requests whose whole path matches; the first that was said goes first. GET answers HEAD too."""
        self.routes.append((method, re.compile(pattern), answer))

    def answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        for wanted, pattern, answer in self.routes:
            found = pattern.fullmatch(request.path)
            if wanted == method and found:
                return answer(request, *found.groups())
        return Response({"error": f"there is no {request.path}"}, 404)

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(service) -> type[BaseHTTPRequestHandler]:  # the class below has the name `self`
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                split = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                request = Request(self.command, split.path, parse_qs(split.query), headers, body)
                service.requests.append(request)
                response = service.answer(request)
                content = response.body
                if hasattr(content, "__next__"):
                    self._stream(response, content)
                    return
                if isinstance(content, str):
                    content = content.encode()
                elif not isinstance(content, bytes):
                    content = json.dumps(content).encode()
                    response.headers.setdefault("Content-Type", "application/json")
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in response.headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def _stream(self, response: Response, pieces: Iterator[bytes]) -> None:
                """As they come, until there are no more; then the connection is closed."""
                self.close_connection = True
                self.send_response(response.status)
                for name, value in (response.headers | {"Connection": "close"}).items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):  # the client may go
                    for piece in pieces:
                        self.wfile.write(piece)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _serve

            def log_message(self, *_: object) -> None:
                pass

        return Handler
