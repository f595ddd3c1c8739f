"""What is wrong with what a visitor filled in: each fault at its field, in the sentences of run_config.parse.

run_config.parse raises for the first fault; here that is repaired for the moment, so that the next one shows up too.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from distill.config import run_config
from distill.config.run_config import ConfigError, RunConfig
from distill.objectives import KINDS
from distill.runs.estimate import describe_model
from distill.runs.preflight import foreseen
from distill.ui.actions import check_public_dataset, check_public_model, check_public_trackers
from distill.ui.configure.binding import FIRST, Draft, draft_of, file_of, get, preset, put, settings, spec
from distill.ui.configure.fields import FIELDS, STEPS
from distill.ui.configure.fields.steps import GYM
from distill.ui.configure.uploads import fault

# Faults that belong to none of FIELDS.
TEACHERS, OBJECTIVES, FILE, NAME, ELSEWHERE = "teachers", "objectives", "data.path", "name", ""
NO_FAMILY = "No kind of problem is chosen: choose at least one."
NO_AIM = "No method is switched on: switch on at least one."
NO_FILE = "There is no file yet: upload a JSONL, CSV or Parquet file."

_MOST_FAULTS = 20  # looked for at most
_KEY = re.compile(r"[a-z_]+(?:\.[a-z_0-9]+)*")
_GROUPS = {
    TEACHERS: "the list of teachers",
    OBJECTIVES: "the list of methods",
    FILE: "the file",
    NAME: "the name of the run",
}
_STEPS = {TEACHERS: "teachers", OBJECTIVES: "method", FILE: "problems", NAME: "review", ELSEWHERE: "method"}


@dataclass(frozen=True)
class Checked:
    """A draft's config, None while anything is wrong; `faults`: {field, or one of those above: sentence}, in order."""

    config: RunConfig | None
    faults: dict[str, str]


def check(draft: Draft, public: bool) -> Checked:
    """Everything wrong with a draft. An uploaded file is read once for each choice of its columns."""
    faults: dict[str, str] = {}
    for key, sentence in [*_refusals(draft, public), *_left_empty(draft)]:
        faults.setdefault(key, sentence)
    asked = settings(draft)
    for key in (FILE, OBJECTIVES):
        if key in faults:
            _repair(asked, key, draft)
    config = None
    for _ in range(_MOST_FAULTS):
        try:
            config = run_config.parse(asked)
            break
        except ConfigError as error:
            key, before = field_of(str(error)), copy.deepcopy(asked)
            faults.setdefault(key, plain(str(error)))
            _repair(asked, key, draft)
            if asked == before:
                break
    repaired = any(key == "student.model" or key.endswith(TEACHERS) for key in faults)
    if config is not None and not repaired:  # else these models are not the draft's
        for sentence in foreseen(config):
            faults.setdefault(field_of(sentence), plain(sentence))
    if faults or config is None:
        order = [TEACHERS, OBJECTIVES, FILE, *FIELDS, NAME, ELSEWHERE]
        return Checked(None, {key: faults[key] for key in order if key in faults})
    said = fault(config, draft.file) if config.data.source == "file" else ""
    if said:
        return Checked(None, {FILE: plain(said)})
    if not draft.name.strip():
        config = config.model_copy(update={"name": automatic_name(config, draft.preset)})
    return Checked(config, {})


def check_model(model: str, public: bool) -> None:
    """Raises ConfigError unless the reference is a model that this server may use, complete in its folder."""
    if public:
        check_public_model(model)
    facts = describe_model(model)
    if facts.refusal:
        raise ConfigError(f"{model} can't be used: it {facts.refusal}.")


def automatic_name(config: RunConfig, name: str) -> str:
    """A run's name where its visitor gave none: the preset's, with ", edited" where it was."""
    base = preset(name)
    return base.name if config.model_copy(update={"name": base.name}) == base else f"{base.name}, edited"


def field_of(sentence: str) -> str:
    """The field that a ConfigError is about: its sentence begins with the setting."""
    found = _KEY.match(sentence)
    path = found[0] if found else ""
    while path:
        for key in (path, f"{path}.kind", f"{path}.model"):
            if key in FIELDS or key in _GROUPS:
                return key
        path = path.rpartition(".")[0]
    return ELSEWHERE


def step_of(key: str) -> str:
    """The step that a field is on."""
    found = next((step for step, (_, fields) in STEPS.items() if any(field.key == key for field in fields)), None)
    return found or _STEPS[key]


def plain(sentence: str) -> str:
    """A ConfigError with its settings called by their labels."""

    def called(found: re.Match[str]) -> str:
        key = next((key for key in (found[0], f"{found[0]}.kind") if key in FIELDS), None)
        return f"“{FIELDS[key].label}”" if key else _GROUPS.get(found[0], found[0])

    start = next((name for name in _GROUPS if sentence.startswith(f"{name} ")), "")
    rest = re.sub(r"\b[a-z_]+(?:\.[a-z_0-9]+)+\b", called, sentence[len(start) :])
    return _GROUPS[start].capitalize() + rest if start else re.sub(r"^[a-z]+\b", called, rest)


def _left_empty(draft: Draft) -> Iterator[tuple[str, str]]:
    """Fields that mean something else to the config when empty than to whoever left them empty."""
    source = draft.values["data.source"]
    if source == "problems" and not draft.values["data.families"]:
        yield "data.families", NO_FAMILY
    if source == "reasoning_gym" and not draft.values[GYM]:
        yield GYM, NO_FAMILY
    if source == "file" and not file_of(draft):
        yield FILE, NO_FILE
    if source in ("file", "hub") and not draft.values["data.columns.messages"]:
        for part in ("question", "solution"):
            if not draft.values[f"data.columns.{part}"]:
                yield f"data.columns.{part}", f"Choose the column that holds the {part}."
    if not settings(draft)["objectives"]:
        yield OBJECTIVES, NO_AIM


def _refusals(draft: Draft, public: bool) -> Iterator[tuple[str, str]]:
    wanted = [("student.model", draft.values["student.model"])]
    wanted += [(TEACHERS, teacher["model"]) for teacher in draft.teachers]
    for key, model in wanted:
        if model:  # run_config.parse reports a missing one
            yield from _refusal(key, lambda model=model: check_model(str(model).strip(), public))
    if public and draft.values["report_to"]:
        yield from _refusal("report_to", lambda: check_public_trackers(draft.values["report_to"]))
    dataset = draft.values["data.dataset"]
    if public and draft.values["data.source"] == "hub" and dataset:
        yield from _refusal("data.dataset", lambda: check_public_dataset(str(dataset).strip()))


def _refusal(key: str, look: Callable[[], None]) -> Iterator[tuple[str, str]]:
    try:
        look()
    except ConfigError as error:
        yield key, str(error)


def _repair(asked: dict[str, Any], key: str, draft: Draft) -> None:
    """Replace a faulty setting, in place, by the preset's own value or the default."""
    if key == TEACHERS:
        own = draft_of(draft.preset).teachers or draft_of(FIRST).teachers
        asked["teachers"] = [dict(teacher) for teacher in own]
        for objective in asked["objectives"]:  # the teachers that it names may be gone now
            objective.pop("teachers", None)
    elif key == OBJECTIVES:
        asked["objectives"] = ["task"]
    elif key == NAME:
        asked["name"] = draft.preset
    elif key == FILE:
        asked["data"]["path"] = "problems.jsonl"
    elif key.startswith("objectives."):
        kind, parts = key.split(".")[1], key.split(".")[2:]
        for objective in asked["objectives"]:
            if objective["kind"] == kind:
                put(objective, parts, get(KINDS[kind]().model_dump(mode="json"), parts))
    elif key in FIELDS:
        value = get(preset(draft.preset).model_dump(mode="json"), key.split("."))
        put(asked, key.split("."), value if value is not None else spec(key).default)
