"""How large a request may be: what is larger than any that the page sends is refused before it is parsed.

As JSON, 24 MB of small objects take 1.2 GB of memory, and seconds in which nobody else is answered.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distill.data.tables import MAX_BYTES

MOST = 512_000  # bytes: all fields of Configure take 20,000, and 200,000 more with a file of very many columns
MOST_UPLOADED = MAX_BYTES + 100_000  # one file, and what stands around it
_UPLOADS = "/gradio_api/upload"
_DRAINED = 64_000_000  # bytes that are let pass unread, so that whoever sends them hears why they are refused


class BodyLimit:
    """ASGI middleware: answers 413 and one sentence to a request whose body is too large, whether it says so or not."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = MOST_UPLOADED if scope["path"].endswith(_UPLOADS) else MOST
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            await _drain(receive)
            await JSONResponse({"detail": _said(most)}, 413)(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                if message.get("more_body"):
                    await _drain(receive)
                raise HTTPException(413)
            return message

        async def answered(message: Message) -> None:
            if taken <= most:
                await send(message)
            elif message["type"] == "http.response.start":  # some endpoints have another word for whatever is raised
                await JSONResponse({"detail": _said(most)}, 413)(scope, receive, send)

        await self.app(scope, counted, answered)


def _said(most: int) -> str:
    return f"This request is larger than {most / 1e6:.1f} MB, the most that is read here: send less."


async def _drain(receive: Receive) -> None:
    passed = 0
    while passed < _DRAINED:
        message = await receive()
        passed += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return
