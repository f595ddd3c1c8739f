"""What every picture has around it: a heading, download buttons, a frame, a legend and its numbers in a table.

Strings in, one HTML string out; whatever comes from outside is escaped with `words`. assets/pictures.css and
assets/pictures.js know these classes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from distill.ui.html import words


def slug(name: str) -> str:
    """`name` as an id: small letters, digits and hyphens. Names that differ in more than those stay apart."""
    found = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    plain = re.fullmatch(r"[A-Za-z0-9 _-]+", name) and found
    return found if plain else f"{found or 'picture'}-{zlib.crc32(name.encode()):x}"


@dataclass(frozen=True)
class Frame:
    """One drawing: `body` is what stands inside its SVG, `height` its height in pixels without the margins.

    `left`, `bottom` and `right` are the margins in pixels that labels need; `text` describes in words what it shows;
    `caption` stands above one of several drawings. `attributes`: more of the frame, as HTML.
    """

    body: str
    text: str
    height: int
    left: int = 48
    bottom: int = 44
    right: int = 14
    top: int = 28
    caption: str = ""
    attributes: str = ""
    reads: bool = True  # can values be read from it with the pointer and the arrow keys?


def figure(
    name: str,
    title: str,
    kind: str,
    frames: Sequence[Frame],
    *,
    below: str = "",
    numbers: str = "",
    empty: str | None = None,
    attributes: str = "",
) -> str:
    """A whole picture. `empty`: the sentence to show while there is nothing to draw. `below`: HTML under the frames.

    `kind` is lines, heat or bars; `numbers` the HTML of the tables. All but `title`, `name`, `empty` and the frames'
    text and captions is HTML already.
    """
    key, title = slug(name or title), words(title)
    off = " disabled" if empty is not None else ""
    tools = "".join(
        f'<button type="button" class="picture-download" data-kind="{what}"'
        f' aria-label="Download {title} as {what.upper()}"{off}>{what.upper()}</button>'
        for what in ("png", "csv")
    )
    drawn = "".join(_frame(f"{key}-{place}", title, frame, empty) for place, frame in enumerate(frames))
    body = numbers if empty is None else '<p class="picture-none">No numbers yet.</p>'
    scroll = f'<div class="picture-scroll" tabindex="0" role="region" aria-label="The numbers: {title}">{body}</div>'
    return (
        f'<figure class="picture" data-name="{key}" data-kind="{kind}"{attributes}>'
        f'<figcaption><h3 class="picture-title">{title}</h3></figcaption><div class="picture-tools">{tools}</div>'
        f'<div class="picture-frames">{drawn}</div>{below}'
        f'<details class="picture-numbers"><summary>The numbers</summary>{scroll}</details></figure>'
    )


def _frame(key: str, title: str, frame: Frame, empty: str | None) -> str:
    caption = words(frame.caption)
    name = f"{title}: {caption}" if caption else title
    focus = ' tabindex="0"' if frame.reads and empty is None else ""
    above = f'<p class="picture-caption">{caption}</p>' if caption else ""
    margins = f"{frame.top}px {frame.right}px {frame.bottom}px {frame.left}px"
    size = f"height:{frame.height}px;padding:{margins}"
    note = "" if empty is None else f'<p class="picture-empty" style="inset:{margins}"><span>{words(empty)}</span></p>'
    return (
        f'<div class="picture-panel">{above}<div class="picture-frame" style="{size}"{frame.attributes}>'
        f'<svg class="picture-svg" role="img"{focus} aria-labelledby="{key}-t" aria-describedby="{key}-d">'
        f'<title id="{key}-t">{name}</title><desc id="{key}-d">{words(frame.text if empty is None else empty)}</desc>'
        f"{frame.body}</svg>{note}</div></div>"
    )


def clip(text: str, most: int) -> str:
    """`text`, cut to `most` characters where it is longer."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
