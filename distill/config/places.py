"""Places on this machine's disk taken out of texts that others will read: only the last part of a path is left."""

from __future__ import annotations

import re
import sys
import tempfile
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Any

from distill.config import paths

# A path inside a sentence: at least two parts, and not the end of a URL, of a fraction or of a Hub id.
_PATH = re.compile(r"(?<![\w:/.~-])~?/(?:[\w.@+-]+/)+([\w.@+-]*)|\b[A-Za-z]:\\(?:[^\\\s\"']+\\)+([^\\\s\"']*)")

_ANOTHER = re.compile(r"\s[/~]|\s[A-Za-z]:\\|\n")


def without_places(value: Any) -> Any:
    """What JSON holds, with the last part of each absolute path, alone or inside a sentence."""
    if isinstance(value, dict):
        return {without_places(key): without_places(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(item) for item in value]
    if not isinstance(value, str) or not ("/" in value or "\\" in value):
        return value
    absolute = Path(value).is_absolute() or value.startswith("~/") or PureWindowsPath(value).is_absolute()
    if absolute and not _ANOTHER.search(value):  # it may have spaces in it
        return _last(value) or "folder"
    value = _own_places(paths.home()).sub(lambda found: _last(found[0]) or "folder", value)
    return _PATH.sub(lambda found: _last(found[0]), value)


@lru_cache(maxsize=8)
def _own_places(home: paths.Home) -> re.Pattern[str]:
    """Folders of this machine that texts may name, as they may have spaces in them, and what is below them."""
    known = (Path.home(), Path.cwd(), paths.ROOT, home.runs, home.cache, Path(sys.prefix), Path(tempfile.gettempdir()))
    places = {str(form) for place in known for form in (place.absolute(), place.resolve()) if len(form.parts) > 1}
    # YAML may break a line where a folder's name has a space.
    named = (r"\s+".join(map(re.escape, place.split())) for place in sorted(places, key=len, reverse=True))
    return re.compile(rf"(?:{'|'.join(named)})(?![\w.-])(?:[/\\][^\s:,;\"'()`]*)*")


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
