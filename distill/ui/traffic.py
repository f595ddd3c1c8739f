"""Who asks, by network address, and how much of the page one address may have waiting: its queue, and its uploads.

Addresses count because everything else about a visitor can be made up anew at each request.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import gradio as gr
from starlette.responses import PlainTextResponse

from distill.config.limits import limit

MODEL = "model"  # the concurrency id of whatever has a model answer a question
_MB = 1_000_000
_LARGEST = 21 * _MB  # bytes of one upload, the form around the file included


# --- addresses -------------------------------------------------------------------------------------------------------


def address_of(request: Any) -> str:
    """The network address that a request comes from, "" where there is none; all of an IPv6 network's are one.

    Behind a Space's proxy the connection is the proxy's, and the visitor stands in X-Forwarded-For. Each proxy adds to
    its end the address it was asked from; what stands before is what the visitor sent, and can be any lie. So only the
    last entry is believed (of PROXY_HOPS proxies the last but so many), and only where there is a proxy.
    """
    if request is None:
        return ""
    request = getattr(request, "request", None) or request  # gradio's around starlette's
    host = str(getattr(request.client, "host", "") or "")
    if os.environ.get("SPACE_ID") or os.environ.get("DISTILL_PROXY_HOPS"):
        lines = ",".join(request.headers.getlist("x-forwarded-for"))
        said = [part.strip() for part in lines.split(",") if part.strip()]
        hops = int(limit("PROXY_HOPS"))
        host = said[-hops] if len(said) >= hops else host
    return _network(host)


def _network(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))  # one customer has at least so many
    return str(address)


# --- the queue -------------------------------------------------------------------------------------------------------


def guard_queue(page: gr.Blocks) -> None:
    """Give each kind of request a small queue of its own, and one address a part of it.

    Gradio has one limit for all: whoever fills it with questions keeps everybody from Stop and Status.
    """
    queue = page._queue
    push = queue.push

    async def guarded(body: Any, request: Any, username: str | None) -> Any:
        refused = _refusal(page, body, request)
        return (False, refused, "queue_full") if refused else await push(body, request, username)

    queue.push = guarded


def _refusal(page: gr.Blocks, body: Any, request: Any) -> str:
    """Why a request may not join its queue, "" where it may."""
    function = page.fns.get(body.fn_index) if isinstance(body.fn_index, int) else None
    if function is None:
        return ""  # gradio says what is wrong with it
    asks = function.concurrency_id == MODEL
    queued = page._queue.event_queue_per_concurrency_id.get(function.concurrency_id)
    waiting = queued.queue if queued else []
    most = limit("QUESTIONS_WAITING" if asks else "REQUESTS_WAITING")
    address = address_of(request)
    if asks and address:
        mine = sum(address_of(event.request) == address for event in waiting)
        if mine >= limit("QUESTIONS_OF_ADDRESS"):
            return f"{mine} questions from your network address are waiting already: try again when one is answered."
    if len(waiting) >= most:
        what = "questions" if asks else "requests of this kind"
        return f"{len(waiting)} {what} are waiting already, the most allowed: try again in a minute."
    return ""


# --- uploads ---------------------------------------------------------------------------------------------------------


class UploadLimit:
    """Refuses uploads before they are read: without a length, too long, or too much from one address or from all.

    Gradio itself limits the size of a file but not how many there are; its copies are deleted within `kept` seconds.
    """

    def __init__(self, app: Any, kept: float) -> None:
        self._app = app
        self._kept = kept
        self._lock = threading.Lock()
        # {(minute, address): bytes} of the last hour, all addresses under None: a flood of tiny files adds no entries.
        self._sent: Counter[tuple[int, str | None]] = Counter()

    async def __call__(self, scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload"):
            from starlette.requests import Request

            request = Request(scope, receive)
            status, refused = self._refusal(request)
            if refused:
                # A client that may not send to its end hears no reason; what is longer than any file is cut off.
                if status != 411 and int(request.headers["content-length"]) <= 2 * _LARGEST:
                    async for _ in request.stream():
                        pass
                await PlainTextResponse(refused, status)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, request: Any) -> tuple[int, str]:
        length = request.headers.get("content-length", "")
        if not re.fullmatch("[0-9]{1,15}", length):
            return 411, "An upload must say how long it is (Content-Length)."
        size, address, minute = int(length), address_of(request), int(time.monotonic() // 60)
        if size > _LARGEST:
            return 413, f"The upload has {size / _MB:,.0f} MB, more than {_LARGEST / _MB - 1:.0f}."
        with self._lock:
            if (minute, None) not in self._sent:
                self._sent = Counter({key: sent for key, sent in self._sent.items() if minute - key[0] <= 60})
            mine = sum(self._sent[minute - ago, address] for ago in range(61))
            there = sum(self._sent[minute - ago, None] for ago in range(math.ceil(self._kept / 60) + 1))
            if mine + size > limit("SENT_MB") * _MB:
                return 429, (
                    f"{mine / _MB:,.0f} MB were uploaded from your network address within an hour, and "
                    f"{limit('SENT_MB'):,.0f} MB are allowed: try again later."
                )
            if there + size > limit("UPLOADS_MB") * _MB:
                return 429, "This server is receiving too many files at once: try again in a few minutes."
            self._sent.update({(minute, address): size, (minute, None): size})
        return 200, ""
