"""What a study is to compare: arms, seeds, perhaps a ladder; each cell of the three is an ordinary run.

name: few-labels
base: tiny                               # a preset, or a YAML file beside this one
arms:
  task: {objectives: [task]}             # settings by their dotted names, on top of the base
  gkd: {preset: tiny-gkd}                # or of another preset
seeds: [0, 1, 2]
ladder: {setting: data.labelled, values: [16, 64]}
compare: [[gkd, task]]                   # left out: every arm with the first
controls: {gkd: [mirror]}                # arms that should not do as well as gkd
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from distill.config import paths
from distill.config.errors import ConfigError
from distill.config.messages import fault, instead, sentence, show
from distill.config.overrides import put
from distill.config.run_config import RunConfig, parse
from distill.config.settings import Location, Name, Settings
from distill.config.settings import setting as described

Split = Literal["held_out", "new_phrasing"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
MOST_CELLS = 1000
# What a student is judged by: with another of these, two arms have not answered the same problems in the same way.
_JUDGES = ("source", "path", "dataset", "subset", "split", "columns", "held_out", "new_phrasing", "families", "seed")


class Ladder(Settings):
    """One setting that takes several values in every arm."""

    setting: Name = described(..., "Setting", "Its dotted name, such as data.labelled.")
    values: list[Any] = described(..., "Values", "In the order in which they are shown.", min_length=2, max_length=20)


class Study(Settings):
    """A study as it is written down. `settings` hold in every arm, beneath the arm's own."""

    name: Name = described(..., "Name", "What the study is called.")
    title: str = described("", "Title", "What its card says.", max_length=100)
    description: str = described("", "Description", "What it asks, in a sentence or two.", max_length=1000)
    base: Location = described("tiny", "Base", "The preset or YAML file that every arm begins with.")
    settings: dict[str, Any] = described({}, "Settings of all arms")
    arms: dict[Name, dict[str, Any]] = described(..., "Arms", "Each with the settings that are its own.")
    seeds: list[Seed] = described([0, 1, 2], "Seeds", "Every arm is trained once with each.", min_length=1)
    ladder: Ladder | None = described(None, "Ladder", "One setting with several values.")
    compare: list[tuple[Name, Name]] = described(
        [], "Comparisons", "Pairs of arms. If left out: every arm with the first."
    )
    controls: dict[Name, list[Name]] = described({}, "Controls", "Arms that should not do as well as this one.")
    splits: list[Split] = described(
        ["held_out", "new_phrasing"], "Judged by", "The verdicts are about the first.", min_length=1
    )

    @field_validator("seeds", "splits")
    @classmethod
    def _once(cls, value: list) -> list:
        return list(dict.fromkeys(value))

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        if len(self.arms) < 2:
            raise fault("arms", " has fewer than two: a study compares arms, so name at least two.")
        for one, other in self.comparisons:
            self._check_arm("compare", one)
            self._check_arm("compare", other)
            if one == other:
                raise fault("compare", f" holds {one!r} with itself: name two different arms.")
        for arm, controls in self.controls.items():
            for name in (arm, *controls):
                self._check_arm("controls", name)
        values = self.values
        if any(values.count(value) > 1 for value in values):
            raise fault("ladder.values", " holds the same value twice: keep one of each.")
        if (cells := len(self.arms) * len(values) * len(self.seeds)) > MOST_CELLS:
            raise fault("arms", f", ladder and seeds make {cells:,} runs, more than {MOST_CELLS:,}: leave some out.")
        return self

    def _check_arm(self, where: str, name: str) -> None:
        if name not in self.arms:
            raise fault(where, f" names {show(name)}, which is no arm: {instead(name, self.arms)}")

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """Pairs of arms that a verdict is about."""
        first, *others = self.arms
        return [tuple(pair) for pair in self.compare] or [(other, first) for other in others]

    @property
    def values(self) -> list[Any]:
        """The ladder's values; one None where there is no ladder."""
        return list(self.ladder.values) if self.ladder else [None]


@dataclass(frozen=True)
class Cell:
    """One run of a study. `value`: the ladder's, None without one."""

    arm: str
    value: Any
    seed: int
    config: RunConfig

    @property
    def key(self) -> str:
        return key_of(self.arm, self.value, self.seed)


def key_of(arm: str, value: Any, seed: int) -> str:
    """What a cell is called in the files of a study."""
    return json.dumps([arm, value, seed], ensure_ascii=False)


@dataclass(frozen=True)
class Plan:
    """A study and all its cells, in the order in which they are carried out."""

    study: Study
    cells: tuple[Cell, ...]

    @property
    def digest(self) -> str:
        """Of all that decides the results."""
        said = {cell.key: cell.config.model_dump(mode="json") for cell in self.cells}
        rest = self.study.model_dump(mode="json", include={"compare", "controls", "splits"})
        return hashlib.sha256(json.dumps([said, rest], sort_keys=True).encode()).hexdigest()

    @property
    def notes(self) -> list[str]:
        """What somebody should know before it starts."""
        if len(self.study.seeds) > 1:
            return []
        return ["One seed: the intervals say how sure the problems make it, and nothing of other seeds."]


def study_names() -> list[str]:
    """The studies that ship."""
    return sorted(path.stem for path in paths.STUDIES.glob("*.yaml"))


def load(source: str | Path) -> Plan:
    """The plan of a study that ships, by its name, or of a YAML file. Raises ConfigError."""
    names = study_names()
    path = paths.STUDIES / f"{source}.yaml" if str(source) in names else Path(source)
    if not path.is_file():
        raise ConfigError(f"There is no study {str(source)!r}: give a YAML file, or {instead(str(source), names)}")
    return plan({"name": path.stem, **paths.read_yaml(path)}, path.parent)


def plan(content: Mapping[str, Any], folder: Path = Path()) -> Plan:
    """The plan of what a study's file holds; `folder` is where its files are. Raises ConfigError."""
    try:
        study = Study.model_validate(dict(content))
    except ValidationError as error:
        raise ConfigError(sentence(error, Study)) from None
    settings = {arm: _settings(study, arm, folder) for arm in study.arms}
    # Seeds first, so that a study that was stopped half way has compared all arms.
    cells = tuple(
        _cell(study, settings[arm], arm, value, seed)
        for seed in study.seeds
        for value in study.values
        for arm in study.arms
    )
    _check(cells)
    return Plan(study, cells)


def _settings(study: Study, arm: str, folder: Path) -> dict[str, Any]:
    """The settings of an arm, but for seed and ladder."""
    own = dict(study.arms[arm])
    base = str(own.pop("preset", study.base))
    if base in paths.preset_names():
        found = paths.read_preset(base)
    elif (folder / base).is_file():
        found = paths.read_yaml(folder / base)
    else:
        raise ConfigError(f"The arm {arm!r} begins with {base!r}, which is no preset or file: {_presets(base)}")
    found.pop("title", None)
    for key, value in {**study.settings, **own}.items():
        _put(found, arm, key, value)
    return found


def _presets(name: str) -> str:
    return instead(name, paths.preset_names())


def _cell(study: Study, settings: Mapping[str, Any], arm: str, value: Any, seed: int) -> Cell:
    of = f"{study.ladder.setting.rpartition('.')[2]} {value}, " if study.ladder else ""
    asked = {**settings, "seed": seed, "name": f"{study.name}: {arm}, {of}seed {seed}"[:80]}
    if study.ladder:
        _put(asked, arm, study.ladder.setting, value)
    try:
        return Cell(arm, value, seed, parse(asked))
    except ConfigError as error:
        raise ConfigError(f"The arm {arm!r} can't be run: {error}") from error


def _put(settings: dict[str, Any], arm: str, key: str, value: Any) -> None:
    try:
        put(settings, key.split("."), value)
    except ConfigError as error:
        raise ConfigError(f"The arm {arm!r} can't be run: {error}") from error


def _check(cells: tuple[Cell, ...]) -> None:
    """Raises ConfigError where two arms are the same run, or were judged differently."""
    first, judges, runs = cells[0], None, {}
    for cell in cells:
        said = cell.config.model_dump(mode="json", exclude={"name", "description"})
        own = _judges(said)
        judges = judges or own
        differs = [name for name, value in own.items() if value != judges[name]]
        if differs:
            raise ConfigError(
                f"{_called(first).capitalize()} and {_called(cell)} are not judged alike ({differs[0]} differs), so "
                "they can't be compared: give both the same held-out problems."
            )
        same = runs.setdefault(json.dumps([said, cell.value, cell.seed], sort_keys=True), cell)
        if same is not cell:
            raise ConfigError(f"The arms {same.arm!r} and {cell.arm!r} are the same run: change a setting of one.")


def _judges(said: Mapping[str, Any]) -> dict[str, Any]:
    return {f"data.{name}": said["data"][name] for name in _JUDGES} | {
        "evaluation.max_new_tokens": said["evaluation"]["max_new_tokens"]
    }


def _called(cell: Cell) -> str:
    return f"the arm {cell.arm!r}" + ("" if cell.value is None else f" at {cell.value}")
