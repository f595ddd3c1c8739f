"""Whether a visitor of a public server may use what the Hub keeps shut: gated models and data sets, and private ones.

All visitors share the server's cache, but a licence is accepted by each of them: so the Hub is asked with the visitor's
own token before anything of a repository is used, also where it is here already. This module knows nothing of pages, of
what a model is for or of how it is fetched.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from distill.config.errors import ConfigError, UserError
from distill.hub import host
from distill.models import hub_errors
from distill.models.hardware import is_zerogpu
from distill.models.hub_lookup import PATIENCE
from distill.models.references import model_path

if TYPE_CHECKING:
    from distill.config.run_config import ModelRef
    from distill.ui.owners import Visitor

_BELIEVED = 3600.0  # seconds for which a repository that was open counts as open
_AT_ONCE = 8  # repositories that are asked about at a time

_open: dict[tuple[str, str], float] = {}  # (kind, id) of what is open to all -> when the Hub said so


def check_access(visitor: Visitor, models: Sequence[ModelRef], dataset: str | None = None) -> list[ModelRef]:
    """Those of `models` that are not open to all, but to this visitor; [] for who is at this machine, whose own token
    counts there, and who is asked nothing.

    One request for what is open, none within the hour. Where the Hub doesn't answer, what it has called open since this
    process began still is. Raises ConfigError or UserError, one sentence, where a model or the data set isn't open to
    the visitor or that can't be told.
    """
    if visitor.local:
        return []
    paths = [(ref, model_path(ref)) for ref in models]
    on_hub = [(ref, ("model", path)) for ref, path in paths if isinstance(path, str)]
    asked = list(dict.fromkeys([place for _, place in on_hub] + ([("dataset", dataset)] if dataset else [])))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        shut = dict(zip(asked, pool.map(lambda place: _is_shut(visitor, *place), asked), strict=True))
    if dataset and shut["dataset", dataset] and is_zerogpu():
        raise ConfigError(
            f"The data set {dataset} on the Hub is not open to all, and the processes that ZeroGPU lends a GPU have no "
            "token: upload its rows as a file instead."
        )
    return [ref for ref, place in on_hub if shut[place]]


def _is_shut(visitor: Visitor, kind: str, name: str) -> bool:
    """Whether a repository is shut to others than the visitor. Raises as `check_access`."""
    import httpx2  # what huggingface_hub asks with
    from huggingface_hub import errors

    since = _open.get((kind, name))
    if since is not None and time.monotonic() - since < _BELIEVED:
        return False
    called = f"The data set {name}" if kind == "dataset" else name
    try:
        if _is_open(kind, name, visitor.hub_token):
            _open[kind, name] = time.monotonic()
            return False
        _open.pop((kind, name), None)
        if visitor.hub_token is None:
            raise ConfigError(_sign_in(kind, name, called))
        _ask(kind, name, visitor.hub_token)
        return True
    except errors.GatedRepoError as error:
        raise ConfigError(
            f"{called} on the Hub wants its licence to be accepted: do so at {_page(kind, name)} with the account that "
            "you signed in with here; if you have, sign out and in again."
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        what = "data set" if kind == "dataset" else "model"
        raise ConfigError(f"There is no {what} {name} on the Hub, or it is private: check its name.") from error
    except (httpx2.HTTPError, OSError) as error:  # the Hub's own are among them
        if not hub_errors.unreachable(error):
            again = {401: "it refuses your sign-in{hint}: sign in again with the button at the top of the page."}
            raise UserError(hub_errors.why(error, f"The Hub doesn't say whether you may use {name}", again)) from error
        if since is not None:
            return False
        raise UserError(
            f"{called} may want its licence to be accepted, and the Hub, which knows, doesn't answer: try again in a "
            "minute, or choose what is not of the Hub."
        ) from error


def _is_open(kind: str, name: str, token: str | None) -> bool:
    """Whether anybody may read a repository, as it tells those who say nothing of themselves."""
    from huggingface_hub import HfApi, errors

    try:
        asked = {"repo_type": kind, "timeout": PATIENCE, "expand": ["gated", "private"]}
        found = HfApi(token=False).repo_info(name, **asked)
    except errors.RepositoryNotFoundError:
        if token is None:
            raise
        return False
    return not (found.gated or found.private)


def _ask(kind: str, name: str, token: str) -> None:
    """HfApi.auth_check, which would wait for ever. Raises the errors of huggingface_hub."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    url = f"{constants.ENDPOINT}/api/{kind}s/{name}/auth-check"
    hf_raise_for_status(get_session().get(url, headers=build_hf_headers(token=token), timeout=PATIENCE))


def _sign_in(kind: str, name: str, called: str) -> str:
    if host.why_no_sign_in():
        return (
            f"{called} on the Hub wants its licence to be accepted by whoever uses it, and nobody can sign in on this "
            "server: choose one that is open to all."
        )
    return (
        f"{called} on the Hub wants its licence to be accepted: sign in with the button at the top of the page, and "
        f"accept it at {_page(kind, name)}, then try again."
    )


def _page(kind: str, name: str) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
