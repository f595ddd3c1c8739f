"""The page: `python app.py`. It builds and launches; training is done by processes of their own."""

from __future__ import annotations

import argparse
import os
from typing import Any

import gradio as gr
from huggingface_hub import constants as hub
from starlette.middleware import Middleware

from distill.config.errors import UserError
from distill.config.limits import limit
from distill.config.paths import home
from distill.config.secrets import guard_output
from distill.hub import zerogpu  # noqa: F401 - on ZeroGPU `spaces` comes before CUDA, and what it lends GPUs to before launch()
from distill.runs.retention import keep_tidy
from distill.ui.auth import check_secret
from distill.ui.body_limit import BodyLimit
from distill.ui.page import CSS, PUBLIC_CACHE, build, head, theme
from distill.ui.traffic import UploadLimit, guard_queue

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(arguments: list[str] | None = None) -> None:
    """Open the page on this machine; reached from others only where that is asked for."""
    parser = argparse.ArgumentParser(description="Distill: many teachers, one small student, in a web page.")
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")  # Spaces set it
    parser.add_argument("--host", default=host, help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="a public link through gradio.live, for 72 hours")
    parser.add_argument("--open", action="store_true", help="open a browser too")
    options = parser.parse_args(arguments)
    public = options.share or options.host not in _LOOPBACK
    try:
        launch(public, server_name=options.host, server_port=options.port, share=options.share, inbrowser=options.open)
    except UserError as error:
        parser.exit(2, f"{error}\n")


def launch(public: bool = False, **kwargs: Any) -> gr.Blocks:
    """The launched page, the same wherever it runs; `kwargs` go to gr.Blocks.launch."""
    middleware = [Middleware(BodyLimit)]
    if public:
        _forget_credentials()
        check_secret()
        keep_tidy()
        middleware.append(Middleware(UploadLimit, kept=sum(PUBLIC_CACHE)))
    # Gradio counts all events in statistics that nobody may see here, and makes them anew after each.
    os.environ |= {"GRADIO_ANALYTICS_MAX_EVENTS": "1", "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(2**31)}
    # api_open: what is queued can't be called past the queue. max_size: guard_queue has limits for each kind.
    page = build(public).queue(max_size=None, default_concurrency_limit=4, api_open=False)
    guard_queue(page)
    page.launch(
        theme=theme(),
        css_paths=CSS,
        head=head(),
        footer_links=["api"],
        run_history=False,
        blocked_paths=[str(home().runs.resolve()), str(home().cache.resolve())],
        max_file_size="20mb",
        state_session_capacity=int(limit("SESSIONS")),
        enable_monitoring=False,
        app_kwargs={"middleware": middleware},
        **kwargs,
    )
    return page


def _forget_credentials() -> None:
    """Strangers must not read private models and data with what the server's owner may read; children inherit this."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY"):
        os.environ.pop(name, None)
    os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    hub.HF_HUB_DISABLE_IMPLICIT_TOKEN = True  # it was read when gradio was imported


if __name__ == "__main__":
    guard_output()
    main()
