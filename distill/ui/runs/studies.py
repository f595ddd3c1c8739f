"""Studies, under Runs: begin one from presets and finished runs, watch it, and read what it says."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from distill.config import paths
from distill.config.errors import ConfigError, UserError
from distill.config.paths import parse_yaml, preset_names
from distill.models.references import check_models
from distill.runs.views import RunView
from distill.studies import conduct, cost, results, worker
from distill.studies.conduct import StudyFolder
from distill.studies.plan import Plan, plan
from distill.ui.auth import Visitor
from distill.ui.errors import catch_errors
from distill.ui.html import click_script, clicked, words
from distill.ui.runs import study_html
from distill.ui.session import QUIET, PageSession, recent_runs

# Settings that are worth a ladder; any other can be typed.
_LADDERS = ["data.labelled", "data.train", "budget.steps", "budget.learning_rate", "lora.r"]
_STRANGER = (
    "A study is many runs, so on a public server none can be begun or stopped in the page: duplicate the Space and use "
    "python -m distill study there, or run it at home."
)
_MOST_VALUES = 20  # of a ladder
_LONGEST = 2000  # characters in which they are written
_seen: tuple[float, str, tuple] = (0.0, "", ())  # (when, of which folder, the marks of all studies)


def build(session: PageSession) -> None:
    """The section."""
    gr.HTML("<h2>Studies</h2>")
    shown = gr.State("")
    listing = gr.HTML(study_html.NONE, js_on_load=click_script("opened"), elem_id="studies")
    with gr.Accordion("Begin a study", open=False, elem_id="study-new", visible=not session.public):
        arms = gr.Dropdown(
            preset_names(),
            multiselect=True,
            label="Arms",
            info="Two or more presets or finished runs. Each is compared with the first.",
            elem_id="study-arms",
        )
        with gr.Row():
            seeds = gr.Slider(
                1, 5, 3, step=1, label="Seeds", info="How often each arm is trained.", elem_id="study-seeds"
            )
            setting = gr.Dropdown(
                _LADDERS,
                value=None,
                allow_custom_value=True,
                label="Ladder (optional)",
                info="A setting with several values.",
                elem_id="study-ladder",
            )
            values = gr.Textbox("", label="Its values", info="Such as 16, 64, 256.", elem_id="study-values")
        name = gr.Textbox("", label="Name", info="Leave blank to use the arms' names.", elem_id="study-name")
        asked = [arms, seeds, setting, values, name]
        said = gr.HTML("", elem_id="study-cost")
        with gr.Row():
            look = gr.Button("What does it cost?", size="sm", elem_id="study-look")
            begin = gr.Button("Begin", variant="primary", size="sm", elem_id="study-begin")
    view = gr.HTML("", elem_id="study")
    with gr.Row():
        stop = gr.Button("Stop the study", size="sm", visible=False, elem_id="study-stop")
        go_on = gr.Button("Continue the study", size="sm", visible=False, elem_id="study-continue")

    def choose(event: gr.EventData) -> str:
        return clicked(event, "study")

    def costs(token: str, *values: Any) -> str:
        _check(session.who(token))
        return _cost(_plan(*values))

    def begun(token: str, *values: Any) -> str:
        return _begin(session.who(token), *values)

    def stopped(token: str, study_id: str) -> None:
        worker.stop(_own(session.who(token), study_id))

    def continued(token: str, study_id: str) -> None:
        worker.start(_own(session.who(token), study_id))

    session.live(
        "studies", listing, lambda run, study_id: study_html.listing(_all(), study_id), "runs", [shown], key=_marks
    )
    session.live("study", view, lambda run, study_id: study_html.view(_find(study_id)), "runs", [shown], key=_marks)
    session.live("study-arms", arms, lambda run: gr.update(choices=_choices()), "runs", key=_done_runs)
    for button, at_work in ((stop, True), (go_on, False)):
        session.live(
            f"study-may-{'stop' if at_work else 'continue'}",
            button,
            lambda run, study_id, token, at_work=at_work: _may(session.who(token), study_id, at_work),
            "runs",
            [shown, session.token],
            key=_marks,
        )
    listing.opened(choose, None, shown, **QUIET)
    look.click(catch_errors(costs), [session.token, *asked], said, **QUIET)
    begin.click(catch_errors(begun), [session.token, *asked], shown, **QUIET)
    stop.click(catch_errors(stopped), [session.token, shown], None, **QUIET)
    go_on.click(catch_errors(continued), [session.token, shown], None, **QUIET)


# --- what there is ---------------------------------------------------------------------------------------------------


def _all() -> list[StudyFolder]:
    """Every study, the newest first. One that can't be read, as it is being made or is damaged, is left out."""
    found = []
    for path in (paths.home().runs / conduct.FOLDER).glob("*/study.yaml"):
        with suppress(UserError, OSError, ValueError, TypeError, LookupError):
            when = path.stat().st_mtime_ns
            found.append((when, _opened(str(path.parent.resolve()), when)))
    return [study for _, study in sorted(found, key=lambda pair: pair[0], reverse=True)]


@lru_cache(maxsize=32)
def _opened(folder: str, modified: int) -> StudyFolder:
    return conduct.open_study(Path(folder))


def _find(study_id: str) -> StudyFolder | None:
    """The study of an id; for "" the newest."""
    every = _all()
    return next((one for one in every if one.id == study_id), None) if study_id else next(iter(every), None)


def _marks() -> tuple:
    """What the drawings of studies depend on, at most a second old: several parts of many tabs ask at once."""
    global _seen
    where = str(paths.home().runs.resolve())
    when, of, marks = _seen
    if of != where or time.monotonic() - when > 1.0:
        marks = tuple((one.id, worker.working(one), tuple(one.states.values()), _written(one)) for one in _all())
        _seen = (time.monotonic(), where, marks)
    return marks


def _written(study: StudyFolder) -> int:
    """When its results were written last (ns); 0 where there are none yet."""
    with suppress(OSError):
        return (study.path / results.RESULTS).stat().st_mtime_ns
    return 0


def _done_runs() -> tuple:
    return tuple(run.id for run in recent_runs() if run.state == "done")


def _choices() -> list[tuple[str, str]]:
    runs = [(f"run {run.id[:6]}: {run.name}", run.id) for run in recent_runs() if run.state == "done"]
    return [(name, name) for name in preset_names()] + runs[:50]


def _may(who: Visitor, study_id: str, at_work: bool) -> dict:
    study = _find(study_id)
    there = study is not None and who.local and not study.done and worker.working(study) is at_work
    return gr.update(visible=there)


def _check(who: Visitor) -> None:
    """Raises UserError unless they are at this machine."""
    if not who.local:
        raise UserError(_STRANGER)


def _own(who: Visitor, study_id: str) -> StudyFolder:
    _check(who)
    study = _find(study_id)
    if study is None:
        raise UserError("There is no study here yet: begin one.")
    return study


# --- a new one -------------------------------------------------------------------------------------------------------


def _plan(arms: Any, seeds: Any, setting: Any, values: Any, name: Any) -> Plan:
    """The plan of what the form says. Raises ConfigError."""
    chosen = [str(arm) for arm in arms] if isinstance(arms, list) else []
    if len(chosen) < 2:
        raise ConfigError("Choose two or more arms: presets, or finished runs.")
    content: dict[str, Any] = {"arms": dict(map(_arm, chosen)), "seeds": list(range(int(seeds)))}
    content["name"] = str(name or "").strip() or " and ".join(content["arms"])[:80]
    if setting:
        content["ladder"] = {"setting": str(setting), "values": _values(str(values or ""))}
    return plan(content)


def _arm(choice: str) -> tuple[str, dict[str, str]]:
    if choice in preset_names():
        return choice, {"preset": choice}
    run: RunView | None = next((one for one in recent_runs() if one.id == choice), None)
    if run is None:
        raise ConfigError("A run among the arms has been deleted: choose another.")
    return f"{run.name[:73]} {run.id[:6]}", {"preset": str((run.folder / "config.yaml").resolve())}


def _values(text: str) -> list[Any]:
    parts = [part for part in re.split(r"[,;\s]+", text[:_LONGEST]) if part]
    if not 2 <= len(parts) <= _MOST_VALUES:
        raise ConfigError(f"The ladder needs two to {_MOST_VALUES} values, such as 16, 64, 256.")
    try:
        return [parse_yaml(part, aliases=False) for part in parts]
    except ValueError as error:
        raise ConfigError(f"The ladder's values can't be read: {error}.") from error


def _cost(asked: Plan) -> str:
    said = cost.lines(asked, cost.cost_of(asked, None))
    return "".join(f"<p>{words(line)}</p>" for line in said)


def _begin(who: Visitor, *asked: Any) -> str:
    """Begin a study, or go on with an unfinished one that asks for the same; its id."""
    _check(who)
    made = _plan(*asked)
    for cell in made.cells:
        check_models(cell.config)
    obstacles = cost.cost_of(made, None).obstacles
    if obstacles:
        raise UserError(f"Not possible here: {obstacles[0]}.")
    study = conduct.begin(made)
    worker.start(study)
    return study.id
