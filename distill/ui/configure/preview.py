"""What the student will read: the first training problems in its own chat template, and how many tokens they are.

`python -m distill.ui.configure.preview N` reads a config (YAML) on stdin and prints the preview as JSON, so that the
page can show it without ever loading torch. This module imports nothing slow before it is called.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import yaml

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.run_config import DataConfig, RunConfig
from distill.config.secrets import guard_output
from distill.config.settings import MADE_HERE
from distill.data import reader
from distill.data.limits import limited
from distill.data.reader import Broken, answer_on_stdout, in_child
from distill.models import references
from distill.models.hub_errors import acting_for
from distill.models.references import absolute

ROWS = 10
TIMEOUT = 120.0  # seconds: a data set of the Hub may have to be fetched

_KEPT = 32  # previews
_HUB_MEMORY = 3 * 2**30  # bytes that the library which reads data sets may take: it maps the whole of one

_kept: OrderedDict[tuple, str] = OrderedDict()
_one_at_a_time = threading.Lock()  # a child holds torch: many visitors must not mean many children


def preview(config: RunConfig, n: int = ROWS, memory: int | None = None) -> list[dict[str, Any]]:
    """The first `n` training problems as the student will see them, in this process (imports torch).

    Reading them may take `memory` bytes, if that is given, else MemoryError.
    Each is {"prompt": text, "completion": text with what ends it, "prompt_tokens", "completion_tokens": counts,
    "truncated": whether budget.max_length cut it, "family": name}. Raises UserError or ConfigError.
    """
    from distill.data.sources import problems_for

    counts = {"train": min(n, config.data.train)}
    if config.data.source not in MADE_HERE:  # there may be too few rows to judge by: better known now than in a run
        counts |= {"held_out": config.data.held_out, "validation": config.data.validation}
    with limited(memory):
        problems = problems_for(config, lambda code, text: None, counts)["train"]

    from distill.data.encoding import encode_many  # takes seconds, so only once the data are known to be good
    from distill.models.chat_template import end_token, template_of
    from distill.models.loading import load_tokenizer

    tokenizer = load_tokenizer(references.model_path(config.student), config.student.revision, config.student.name)
    template, closing = template_of(tokenizer), tokenizer.decode([end_token(tokenizer)])
    texts = [(problem.question, problem.solution) for problem in problems]
    encoded = encode_many(tokenizer, texts, config.budget.max_length, keep_unlabelled=True)
    rows = []
    for problem, example in zip(problems, encoded.examples, strict=True):
        prompt = template.render(problem.question, problem.solution)
        if not example.labelled:  # max_length ends within the prompt
            prompt = tokenizer.decode(example.input_ids)
        completion = problem.solution.encode("utf-8", "replace")[: example.completion_bytes].decode("utf-8", "ignore")
        rows.append(
            {
                "prompt": prompt,
                "completion": completion if example.truncated else completion + closing,
                "prompt_tokens": example.completion_start,
                "completion_tokens": example.labelled,
                "truncated": example.truncated,
                "family": problem.family,
            }
        )
    return rows


def preview_in_child(config: RunConfig, n: int = ROWS, token: str | None = None) -> list[dict[str, Any]]:
    """`preview`, made by a child process; the latest are cached. Where torch is loaded here anyway, a preview of
    generated problems, which is quick, is made in this process.

    One child at a time, at most 120 seconds each; it asks the Hub with `token` in place of this machine's own. Whoever
    asks gets what is cached: the caller checks whether they may. Raises UserError or ConfigError like `preview`.
    """
    essentials = _essentials(config)
    key = (essentials, n, _stamp(config.data))
    found = _kept.get(key)
    if found is None:
        with _one_at_a_time:
            found = _kept.get(key)  # somebody else may have asked meanwhile
            if found is None:
                here = "torch" in sys.modules and _is_quick(config)
                found = json.dumps(preview(config, n)) if here else _child(essentials, n, token)
                _kept[key] = found
                if len(_kept) > _KEPT:
                    _kept.popitem(last=False)
    return json.loads(found)


def _is_quick(config: RunConfig) -> bool:
    return config.data.source == "problems" and Path(references.model_path(config.student)).is_dir()


def _essentials(config: RunConfig) -> str:
    """The config as YAML, with everything that makes no difference to a preview at its default."""
    fields = {"student": True, "data": True, "budget": {"max_length"}}
    kept = absolute(config).model_dump(mode="json", include=fields)
    return configs.to_yaml(configs.parse({**kept, "objectives": ["task"]}))


def _stamp(data: DataConfig) -> tuple[int, int] | None:
    place = data.path or data.dataset
    return reader.stamp(place) if place else None


def _child(config: str, n: int, token: str | None = None) -> str:
    """The preview as JSON from a process of its own."""
    try:
        return in_child("distill.ui.configure.preview", config, TIMEOUT, str(n), env=acting_for(token))
    except TimeoutError as error:
        raise UserError(
            f"The preview was not ready after {TIMEOUT:.0f} seconds: try again, or start without it."
        ) from error
    except MemoryError as error:
        raise UserError("The problems take too much memory to read: give fewer rows or shorter texts.") from error
    except Broken as error:
        raise UserError(f"The preview could not be made ({error}): check the student and the data.") from error


def main() -> list[dict[str, Any]]:
    """The preview of the config on stdin."""
    config = configs.parse(yaml.safe_load(sys.stdin.read()))
    import pyarrow.parquet  # noqa: F401 - what it reserves is no part of the limit

    memory = _HUB_MEMORY if config.data.source == "hub" else reader.MEMORY
    return preview(config, int(sys.argv[1]) if len(sys.argv) > 1 else ROWS, memory)


if __name__ == "__main__":
    guard_output()
    sys.exit(answer_on_stdout(main))
