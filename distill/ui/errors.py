"""Errors as visitors see them: one sentence on the page, never a traceback; the details go to the server's log."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from distill.config.errors import UserError
from distill.config.secrets import redacted
from distill.ui.actions import published
from distill.ui.html import words

_LOG = logging.getLogger("distill.page")
_SECONDS = 20  # how long a message stays: some read slowly


def catch_errors(handler: Callable[..., Any], html: bool = True) -> Callable[..., Any]:
    """`handler`, with whatever it raises turned into one sentence; `html=False` where a program reads it."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def streaming(*args: Any, **kwargs: Any) -> Any:
            try:
                yield from handler(*args, **kwargs)
            except Exception as error:
                raise page_error(error, html) from None

        return streaming

    @functools.wraps(handler)
    def calling(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise page_error(error, html) from None

    return calling


def page_error(error: Exception, html: bool = True) -> gr.Error:
    """An error as the page shows it. The box shows HTML, so what comes from outside is escaped."""
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, UserError):
        text = published(redacted(str(error)))
        return gr.Error(
            words(text) if html else text, duration=_SECONDS, print_exception=False, title="That can't be done"
        )
    _LOG.error("a handler of the page failed", exc_info=error)
    text = (
        f"Something unexpected went wrong ({type(error).__name__}); the server's log has the details. Nothing is lost."
    )
    return gr.Error(text, duration=_SECONDS, print_exception=False, title="Sorry")
