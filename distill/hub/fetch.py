"""What a run needs of the Hub, brought to this machine before its work begins, where the work must not wait for it.

Only what is loaded is fetched: safetensors, the tokenizer, configs. It loads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from distill.config.errors import OnProgress, ShouldStop, UserError, raise_if_stopped
from distill.config.requirements import heard
from distill.config.run_config import ModelRef, RunConfig
from distill.data.sources import problems_for
from distill.models.hub_lookup import look_up, weight_files
from distill.models.references import model_path

if TYPE_CHECKING:
    from huggingface_hub import DryRunFileInfo

Progress = Callable[[str], OnProgress]  # a text -> what to call with (done, in all)
# Beside the weights that the index names: others hold the same weights in another layout, or other models. Where there
# is one whole file too, transformers reads that one.
_LOADED = ["model.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]


def fetch(
    config: RunConfig, progress: Progress, should_stop: ShouldStop | None = None, token: str | None = None
) -> None:
    """Fetch the models of a run as `fetch_models` does, then its data set, but for that without `token`."""
    fetch_models([config.student, *heard(config)], progress, should_stop, token)
    raise_if_stopped(should_stop)
    if config.data.source == "hub":
        progress(f"fetching the data set {config.data.dataset}")(0, 1)
        problems_for(config, lambda code, text: None)  # they will be drawn again, from the cache


def fetch_models(
    refs: Sequence[ModelRef], progress: Progress, should_stop: ShouldStop | None = None, token: str | None = None
) -> None:
    """Fetch what of these models is on the Hub and not here yet, with `token` or this machine's own.

    `progress(text)` gives what is told (MB done, MB in all), file by file; `should_stop` is asked between files and
    raises `Stopped`: what is fetched by then stays. Raises UserError where something is not available.
    """
    missing = [(ref, file) for ref in refs for file in _missing(ref, token)]
    if not missing:
        return
    sizes = [(file.file_size or 0) / 2**20 for _, file in missing]
    tell = progress(f"fetching {', '.join(dict.fromkeys(ref.name for ref, _ in missing))} from the Hub")
    for number, (ref, file) in enumerate(missing):
        raise_if_stopped(should_stop)
        tell(round(sum(sizes[:number])), max(1, round(sum(sizes))))
        _download(ref, file, token)
    tell(round(sum(sizes)), max(1, round(sum(sizes))))


def _missing(ref: ModelRef, token: str | None) -> list[DryRunFileInfo]:
    """The files of a model that have still to be fetched, nothing for one that is in a folder."""
    path = model_path(ref)
    if not isinstance(path, str) or look_up(ref, token).fetched:
        return []
    from huggingface_hub import snapshot_download

    # folders hold other formats or other models
    wanted = {"allow_patterns": [*weight_files(ref, token), *_LOADED], "ignore_patterns": ["*/*"]}
    try:
        found = snapshot_download(path, revision=ref.revision, dry_run=True, token=token, **wanted)
    except Exception as error:  # of the library, the network, the disk
        raise _failure(ref, error) from error
    return [file for file in found if file.will_download]


def _download(ref: ModelRef, file: DryRunFileInfo, token: str | None) -> None:
    from huggingface_hub import hf_hub_download

    try:
        # By the same name as it will be loaded by: "main" stays what it was when the run began.
        hf_hub_download(str(model_path(ref)), file.filename, revision=ref.revision, token=token)
    except Exception as error:
        raise _failure(ref, error) from error


def _failure(ref: ModelRef, error: Exception) -> UserError:
    first = " ".join(str(error).split()).split(". ")[0].rstrip(".:")[:300] or type(error).__name__
    return UserError(f"The model {ref.name} can't be fetched from the Hub ({first}): check its name and the network.")
