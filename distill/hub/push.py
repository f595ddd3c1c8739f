"""A finished run kept on the Hub: its adapter, model card, report, config, gate and heads, in one commit.

The files are the run's own, byte for byte, but for places on this machine's disk: of those only the last part is given
away. Events, output, answers and checkpoints stay here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.places import without_places
from distill.models import hub_errors
from distill.models.hub_errors import TOKENS
from distill.runs import store
from distill.runs.model_card import model_card

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_WEIGHTS, _ADAPTER = "adapter_model.safetensors", "adapter_config.json"
_BESIDE = ("report.json", "config.yaml", "gate.safetensors", "heads.safetensors")
_OTHER_NAME = "the Hub does not take it as {repo}{hint}: try another name."
_NOT_YOURS = (
    f"the token may not write to {{repo}}{{hint}}: is the name before the '/' yours, and may the token write? {TOKENS} "
    "shows what it may."
)
_REFUSALS = {
    401: "the Hub does not recognize that token{hint}: it may have run out, so sign in or log in again.",
    **dict.fromkeys((403, 404), _NOT_YOURS),
    **dict.fromkeys((400, 409, 422), _OTHER_NAME),
}


def push(folder: Path, repo_id: str, token: str | None = None, private: bool = True) -> str:
    """Keep the run at `folder` in the model repository `repo_id` ("name/repository"); the repository's address.

    A repository that isn't there is made, `private` or public; one that is there keeps its visibility. Without `token`
    the one that this machine is logged in with is used, unless that is switched off as on a public server. Raises
    UserError, one sentence, where the run is not done, the name or the token won't do, or the Hub can't be reached.
    """
    files = contents(folder, repo_id)
    from huggingface_hub import HfApi

    token = token or hub_errors.own_token()
    if not token:
        raise UserError(
            f"There is no token for the Hub: make one that may write at {TOKENS}, then run hf auth login or set "
            "HF_TOKEN."
        )
    _check_name(repo_id)
    api = HfApi(token=token)
    try:
        _repository(api, repo_id, private)
        _upload(api, repo_id, folder.name, files)
    except UserError:
        raise
    except Exception as error:  # of several libraries: of the Hub, of HTTP, of what carries large files
        refusals = {status: text.replace("{repo}", repo_id) for status, text in _REFUSALS.items()}
        raise UserError(hub_errors.why(error, "Not pushed, and nothing is lost", refusals)) from error
    return f"{api.endpoint}/{repo_id}"


def contents(folder: Path, repo_id: str) -> dict[str, Path | bytes]:
    """{name in the repository: the run's file, or its text without places of this machine}.

    Raises UserError unless the run is done and its adapter is there. An epoch whose adapter isn't whole is left out.
    """
    seen = store.view(folder)
    if seen.state != "done" or seen.config is None or seen.report is None:
        raise UserError(f"Run {folder.name} is {seen.state}: only a run that is done can be pushed.")
    for part in (_WEIGHTS, _ADAPTER):
        if not (folder / "adapter" / part).is_file():
            raise UserError(f"Run {folder.name} has no adapter to push: {folder / 'adapter'} lacks {part}.")
    dumped = seen.config.model_dump(mode="json")
    config = configs.parse(without_places(dumped))
    report = without_places(seen.report)
    found: dict[str, Path | bytes] = {
        path.name: path
        for path in sorted((folder / "adapter").iterdir())  # no folder of it is PEFT's own; a link could lead anywhere
        if path.is_file() and not path.is_symlink() and path.name != "README.md"  # PEFT's empty card
    }
    found |= {name: folder / name for name in _BESIDE if (folder / name).is_file()}
    epochs = [path for path in folder.glob(f"epochs/*/{_WEIGHTS}") if path.with_name(_ADAPTER).is_file()]
    found |= {path.relative_to(folder).as_posix(): path for path in epochs}
    for name in [name for name in found if name.endswith(_WEIGHTS)]:
        config_of = name.replace(_WEIGHTS, _ADAPTER)
        found[config_of] = _adapter_config(folder / ("" if "/" in name else "adapter") / config_of)
    if config != seen.config:
        found["config.yaml"] = configs.to_yaml(config).encode()
    if report != seen.report:
        found["report.json"] = (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode()
    found["README.md"] = model_card(report, config, repo_id).encode()
    return found


# --- what stays here -------------------------------------------------------------------------------------------------


def _adapter_config(file: Path) -> Path | bytes:
    """With the base model's name where it holds a folder: the zoo's is "student-tiny" wherever the zoo is."""
    said = json.loads(file.read_text(encoding="utf-8"))
    kept = without_places(said)
    return file if kept == said else (json.dumps(kept, indent=2) + "\n").encode()


# --- the Hub ---------------------------------------------------------------------------------------------------------


def _check_name(repo_id: str) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
        good = repo_id.count("/") == 1
    except HFValidationError:
        good = False
    if not good:
        raise UserError(
            f"{repo_id[:100]!r} can't be a repository's name: give yours and one of letters, digits, '-', '_' and '.', "
            "such as my-name/my-student."
        )


def _repository(api: HfApi, repo_id: str, private: bool) -> None:
    """Make the repository unless it is there; what was meant to be private must not become public by that."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        public = api.model_info(repo_id).private is False
    except RepositoryNotFoundError:
        api.create_repo(repo_id, private=private, exist_ok=True)
        return
    if private and public:
        raise UserError(
            f"{repo_id} already exists and is public, but private was asked for: choose public, or give another name."
        )


def _upload(api: HfApi, repo_id: str, run: str, files: dict[str, Path | bytes]) -> None:
    from huggingface_hub import CommitOperationAdd

    added = [CommitOperationAdd(name, content) for name, content in files.items()]
    api.create_commit(repo_id, added, commit_message=f"Add the adapter of run {run}, its report and its card")
