"""Where things are: runs and caches, and what ships beside the code (presets and the tiny zoo), found by name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from distill.config.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = _PACKAGE.parent  # where Python finds this package: for processes of their own
# What holds assets/: the folder that was cloned, and once it is installed the package itself.
ROOT = _PACKAGE if (_PACKAGE / "assets").is_dir() else SOURCES
PRESETS = ROOT / "assets" / "presets"
STUDIES = ROOT / "assets" / "studies"
PROBLEMS = ROOT / "assets" / "problems"
ZOO = ROOT / "assets" / "zoo"


class Home(NamedTuple):
    """Where runs and caches live."""

    runs: Path
    cache: Path


def home() -> Home:
    """DISTILL_HOME/runs and DISTILL_HOME/cache where that is set, else ./runs and ~/.cache/distill."""
    said = os.environ.get("DISTILL_HOME")
    if said:
        base = Path(said).expanduser()
        return Home(base / "runs", base / "cache")
    return Home(Path("runs"), Path.home() / ".cache" / "distill")


def preset_names() -> list[str]:
    """The presets that ship, by name, in alphabetical order."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_preset(name: str) -> dict[str, Any]:
    """The settings of a preset that ships; a file of problems that it names is the one that ships with it."""
    settings = read_yaml(PRESETS / f"{name}.yaml")
    data = settings.get("data")
    if isinstance(data, dict) and data.get("path"):
        data["path"] = str(ROOT / data["path"])
    return settings


def ships(file: str | Path) -> bool:
    """Whether this is a file of problems that ships, by its whole path."""
    return Path(file).parent == PROBLEMS and Path(file).is_file()


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings a YAML file holds. Raises ConfigError where it can't be read or is no YAML mapping."""
    try:
        settings = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file: give a YAML file of settings.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}.") from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(f"{path} holds no settings: it must be YAML lines such as 'student: student-tiny'.")
    return settings


class _WithoutAliases(yaml.SafeLoader):
    """Aliases of aliases make a short text a value of any size: a stranger's text may have none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "it has an alias", self.peek_event().start_mark)
        return super().compose_node(parent, index)


def parse_yaml(text: str, aliases: bool = True) -> Any:
    """`text` as YAML, `aliases` (`*name`) allowed or not. Raises ValueError with what is wrong and the line, in a few
    words."""
    try:
        return yaml.load(text, yaml.SafeLoader if aliases else _WithoutAliases)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        raise ValueError((problem or "it can't be parsed") + (f" (line {mark.line + 1})" if mark else "")) from error


def zoo_folder(name: str) -> Path | None:
    """The folder of the zoo model `name`, or None where the zoo holds no such model."""
    folder = ZOO / name
    return folder if re.fullmatch(r"\w[\w.-]*", name) and folder.is_dir() else None


def preset_models() -> list[str]:
    """The models the preset `tiny` names, the student first: what a complete zoo holds."""
    settings = read_yaml(PRESETS / "tiny.yaml")
    return [settings["student"], *settings["teachers"]]


def zoo_names() -> list[str]:
    """Every zoo model, made already or still to be made."""
    made = [path.parent.name for path in ZOO.glob("*/config.json")]
    return sorted({*made, *preset_models()})
