"""A config as a command line with its differences from a preset, and as a config.yaml to download."""

from __future__ import annotations

import hashlib
import shlex
from typing import Any

import yaml

from distill.config import run_config
from distill.config.files import write_atomically
from distill.config.run_config import ConfigError, ModelRef, RunConfig
from distill.hub import jobs
from distill.objectives import KINDS
from distill.runs import estimate
from distill.ui.configure.binding import preset
from distill.ui.runs.downloads import scratch

_ROUNDS = 4  # of adding what the overrides so far leave different


def overrides(config: RunConfig, name: str) -> list[str] | None:
    """The fewest `--set` items that turn preset `name` into `config`; None where overrides cannot."""
    found: list[str] = []
    for _ in range(_ROUNDS):
        reached = _load(name, found)
        if reached is None:
            return None
        if reached == config:
            return _shortest(found, config, name)
        found += [f"{path}={_flow(value)}" for path, value in _differences(_dump(reached), _dump(config))]
    return None


def command(config: RunConfig, name: str, file: str = "config.yaml") -> str:
    """The command line that starts this very run; of `file` where overrides cannot express it."""
    items = overrides(config, name)
    if items is None:
        return f"python -m distill run {file}"
    sets = "".join(f" --set {shlex.quote(item)}" for item in items)
    return f"python -m distill run {name}{sets}"


def elsewhere(config: RunConfig, name: str) -> str:
    """The command line that does the run as a Hugging Face Job, on the cheapest machine that can, under a comment that
    names it; "" where none can, or where the config needs files of this machine."""
    try:
        jobs.refuse_local(config)
    except ConfigError:
        return ""
    found = jobs.smallest(config)
    if found is None:
        return ""
    flavor, cost = found
    on = f"{flavor.gpu}, {flavor.machine.gpu_gb:.0f} GB" if flavor.gpu else f"{flavor.machine.cores} cores"
    submit = command(config, name).replace(" run ", " submit ", 1) + f" --flavor {flavor.name}"
    return f"# on a machine of Hugging Face, paid by the minute ({on}; {estimate.text(cost.seconds)}):\n{submit}"


def yaml_file(config: RunConfig) -> str:
    """The path of a config.yaml to download, in this process's own temporary folder: one file for each config."""
    text = run_config.to_yaml(config)
    file = scratch() / "configs" / hashlib.sha256(text.encode()).hexdigest() / "config.yaml"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text)  # two visitors may ask for the same at once
    return str(file)


def _load(name: str, items: list[str]) -> RunConfig | None:
    try:
        return run_config.load(name, items) if items else preset(name)
    except ConfigError:
        return None


def _shortest(items: list[str], config: RunConfig, name: str) -> list[str]:
    """Drop items that follow from the rest, such as a similarity that follows from a mode."""
    for item in reversed(items):
        fewer = [other for other in items if other is not item]
        if _load(name, fewer) == config:
            items = fewer
    return items


def _dump(config: RunConfig) -> dict[str, Any]:
    """The settings in their shortest form: a model by its name alone, an objective without its defaults."""
    dump = config.model_dump(mode="json")
    dump["student"] = _short_model(config.student)
    dump["teachers"] = [_short_model(teacher) for teacher in config.teachers]
    dump["objectives"] = {objective.kind: objective.model_dump(mode="json") for objective in config.objectives}
    return dump


def _short_model(ref: ModelRef) -> str | dict[str, Any]:
    if ref == ModelRef(model=ref.model):
        return ref.model
    return ref.model_dump(mode="json", exclude_none=True)


def _differences(old: dict[str, Any], new: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """(dotted path, new value) wherever they differ. Objectives are named by kind, so other kinds go as a whole."""
    found: list[tuple[str, Any]] = []
    for key, value in new.items():
        path, before = f"{above}{key}", old.get(key)
        if before == value:
            continue
        if path == "objectives" and list(before) != list(value):
            found.append((path, [_short_objective(item) for item in value.values()]))
        elif isinstance(before, dict) and isinstance(value, dict) and path != "student":
            found += _differences(before, value, f"{path}.")
        else:
            found.append((path, value))
    return found


def _short_objective(dump: dict[str, Any]) -> dict[str, Any]:
    """The objective without its defaults."""
    model, short = KINDS[dump["kind"]], dict(dump)
    whole = model.model_validate(dump)
    for key in [key for key in dump if key != "kind"]:
        fewer = {name: value for name, value in short.items() if name != key}
        if model.model_validate(fewer) == whole:
            short = fewer
    return short


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
