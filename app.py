"""The page: `python app.py`. It builds and launches; training is done by processes of their own."""

from __future__ import annotations

import argparse
import os
from typing import Any

import gradio as gr
from huggingface_hub import constants as hub
from starlette.middleware import Middleware

from distill.config.paths import home
from distill.config.secrets import guard_output
from distill.hub import zerogpu  # noqa: F401 - on ZeroGPU `spaces` comes before CUDA, and what it lends GPUs to before launch()
from distill.ui.body_limit import BodyLimit
from distill.ui.page import CSS, build, head, theme

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
    launch(public, server_name=options.host, server_port=options.port, share=options.share, inbrowser=options.open)


def launch(public: bool = False, **kwargs: Any) -> gr.Blocks:
    """The launched page, the same wherever it runs; `kwargs` go to gr.Blocks.launch."""
    if public:
        _forget_credentials()
    page = build(public).queue(max_size=64, default_concurrency_limit=8)
    page.launch(
        theme=theme(),
        css_paths=CSS,
        head=head(),
        footer_links=["api"],
        run_history=False,
        blocked_paths=[str(home().runs.resolve()), str(home().cache.resolve())],
        max_file_size="20mb",
        app_kwargs={"middleware": [Middleware(BodyLimit)]},
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
