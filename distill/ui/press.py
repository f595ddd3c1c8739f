"""Buttons inside our own HTML: pressing one with `data-event` tells the server which, with all its data attributes.

This module knows nothing of what the buttons do.
"""

from __future__ import annotations

import json

import gradio as gr


def pressing(*events: str, then: str = "") -> str:
    """The script of a gr.HTML whose buttons raise these events; `then` is added to it."""
    return (
        f"const events = {json.dumps(events)};"
        "element.addEventListener('click', (event) => {"
        "  const button = event.target.closest('button[data-event]');"
        "  if (button && events.includes(button.dataset.event)) trigger(button.dataset.event, {...button.dataset});"
        f"}});{then}"
    )


def pressed(event: gr.EventData, name: str) -> str:
    """A data attribute of the button that was pressed, "" where it has none: whatever a browser sends is text."""
    data = event._data if isinstance(event._data, dict) else {}
    return str(data.get(name, ""))[:200]
