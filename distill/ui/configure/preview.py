"""What the student will read: the first training problems in its own chat template, and how many tokens they are.

`python -m distill.ui.configure.preview N` reads a config (YAML) on stdin and prints the preview as JSON, so that the
page can show it without ever loading torch. This module imports nothing slow before it is called.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import traceback
from collections import OrderedDict
from pathlib import Path
from typing import Any

import yaml

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.paths import SOURCES
from distill.config.run_config import ConfigError, DataConfig, RunConfig
from distill.config.secrets import guard_output
from distill.config.settings import MADE_HERE
from distill.models import references
from distill.models.hub_errors import acting_for
from distill.models.references import absolute

ROWS = 10
TIMEOUT = 120.0  # seconds: a data set of the Hub may have to be fetched

_KEPT = 32  # previews
_BROKE_OFF = 3  # the child's exit status for an error that is not the user's

_kept: OrderedDict[tuple, str] = OrderedDict()
_one_at_a_time = threading.Lock()  # a child holds torch: many visitors must not mean many children


def preview(config: RunConfig, n: int = ROWS) -> list[dict[str, Any]]:
    """The first `n` training problems as the student will see them, in this process (imports torch).

    Each is {"prompt": text, "completion": text with what ends it, "prompt_tokens", "completion_tokens": counts,
    "truncated": whether budget.max_length cut it, "family": name}. Raises UserError or ConfigError.
    """
    from distill.data.sources import problems_for

    counts = {"train": min(n, config.data.train)}
    if config.data.source not in MADE_HERE:  # there may be too few rows to judge by: better known now than in a run
        counts |= {"held_out": config.data.held_out, "validation": config.data.validation}
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
    """`preview`, made by a child process; the latest are cached. Where torch is loaded here anyway, a preview that
    reads no file and asks no Hub, and so is quick, is made in this process.

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
    return config.data.source in MADE_HERE and Path(references.model_path(config.student)).is_dir()


def _essentials(config: RunConfig) -> str:
    """The config as YAML, with everything that makes no difference to a preview at its default."""
    fields = {"student": True, "data": True, "budget": {"max_length"}}
    kept = absolute(config).model_dump(mode="json", include=fields)
    return configs.to_yaml(configs.parse({**kept, "objectives": ["task"]}))


def _stamp(data: DataConfig) -> tuple[int, int] | None:
    """Tells a file from an earlier one of the same name."""
    place = data.path or data.dataset
    try:
        found = place and Path(os.path.expanduser(place)).stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found else None


def _child(config: str, n: int, token: str | None = None) -> str:
    """The preview as JSON from a process of its own."""
    path = os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "distill.ui.configure.preview", str(n)],
            input=config,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", **acting_for(token)},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"The preview was not ready after {TIMEOUT:.0f} seconds: try again, or start without it."
        ) from error
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]  # libraries may have printed more before
    if done.returncode == ConfigError.exit_code:
        raise ConfigError(said)
    if done.returncode == UserError.exit_code:
        raise UserError(said)
    if done.returncode:
        raise UserError(f"The preview could not be made ({said[:300]}): check the student and the data.")
    return done.stdout.strip().splitlines()[-1]


def main() -> int:
    """Print the preview of the config on stdin; the exit status is the error's."""
    try:
        config = configs.parse(yaml.safe_load(sys.stdin.read()))
        rows = preview(config, int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return _BROKE_OFF
    print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    guard_output()
    sys.exit(main())
