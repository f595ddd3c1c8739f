"""Which architectures the installed transformers can load, read from its source: importing it would take seconds.

Where the source is another than expected nothing is known, and then nothing is refused: whoever loads says so. It knows
nothing of files, or of models.
"""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

_MODELS = ("models/auto/modeling_auto.py", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")


def writes(model_type: str) -> bool | None:
    """Whether transformers has a model that writes for config.json's `model_type`; None where it can't be told."""
    known = _names(*_MODELS)
    return model_type in known if known else None


def refusal(config: dict[str, Any]) -> str | None:
    """Why a model with this config.json can't be loaded here, a sentence without its subject; None where it may be."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or writes(kind) is not False:
        return None
    if config.get("auto_map"):
        return "is made of code of its own, and code from a model's folder is never run here"
    return f"is of the architecture {kind!r}, of which the installed transformers has no model that writes"


@cache
def _names(file: str, variable: str) -> frozenset[str]:
    """The keys of a dictionary, or of a list of pairs, that the file sets; empty where there is none."""
    found = importlib.util.find_spec("transformers")
    if found is None or found.origin is None:
        return frozenset()
    try:
        tree = ast.parse((Path(found.origin).parent / file).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return frozenset()
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == variable for target in targets):
            return frozenset(key.value for key in _keys(node.value) if isinstance(key, ast.Constant))
    return frozenset()


def _keys(value: ast.expr) -> list[ast.expr | None]:
    if isinstance(value, ast.Dict):
        return value.keys
    pairs = next((one for one in ast.walk(value) if isinstance(one, ast.List)), None)  # within OrderedDict(...)
    return [pair.elts[0] for pair in pairs.elts if isinstance(pair, ast.Tuple)] if pairs else []
