"""What the tests of pictures share: pictures parsed as a browser parses them, and a series as training makes them."""

from html.parser import HTMLParser

import numpy as np

from distill.ui.charts.lines import Series
from distill.ui.charts.palette import teacher_style

TEACHERS = ["qwen2-tiny", "smollm2-tiny", "phi3-tiny", "gemma2-tiny", "minicpm3-tiny", "nemotron-tiny"]
EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


class Parsed(HTMLParser):
    """`elements`: (tag, attributes) in order; `texts`: every text that is not blank, `cells`: those of the tables."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self.rows, self._cell = [], [], [], False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        self._cell = tag in ("td", "th") or (self._cell and tag == "span")
        if tag in ("td", "th"):
            self.rows[-1].append("")

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        if tag == "table":
            self._cell = False

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data)
        if self._cell:
            self.rows[-1][-1] += data

    def all(self, tag, name=None):
        """The attributes of every such element, of those of a class if `name` is given."""
        return [
            attributes
            for found, attributes in self.elements
            if found == tag and (name is None or name in (attributes.get("class") or "").split())
        ]

    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


def noisy(n, seed=0):
    """A falling curve with noise: (steps, values)."""
    return np.arange(1, n + 1), 2 * np.exp(-np.arange(n) / n * 4) + 0.3 + 0.05 * np.random.default_rng(seed).random(n)


def six(n=120):
    """A series for each of six teachers."""
    return [Series(name, *noisy(n, k), teacher_style(k)) for k, name in enumerate(TEACHERS)]


def frame_of(html):
    """The size of a picture's drawing: what must not change while it updates."""
    return [attributes["style"] for attributes in Parsed(html).all("div", "picture-frame")]
