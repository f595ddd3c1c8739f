"""Drafts for the tests of Configure."""

from dataclasses import replace

from distill.ui.configure.binding import Draft, draft_of

TEACHER = {"model": "qwen2-tiny", "name": "qwen2-tiny", "revision": None}


def edited(preset: str = "tiny", **more) -> Draft:
    """A preset's draft with some fields changed: `edited(budget__steps=60)`; teachers, upload, file and name too."""
    draft = draft_of(preset)
    own = {key: more.pop(key) for key in ("teachers", "upload", "file", "name") if key in more}
    values = {**draft.values, **{key.replace("__", "."): value for key, value in more.items()}}
    return replace(draft, values=values, **own)
