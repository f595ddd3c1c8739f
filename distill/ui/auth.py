"""Who a visitor is, which runs are theirs to stop, resume or delete, and which gated models and data sets they may use.

A visitor is a random id in a token that the browser keeps, signed with this server's key so that it cannot be forged;
where visitors sign in, their name counts instead. A run's folder keeps only a digest of its owner's id, so reading it
lets nobody in. A run that was started from the command line has no owner: whoever is at this machine may end it,
strangers on a public server may not. The owner of a public server may do anything to any run: they give the secret that
DISTILL_OWNER_SECRET holds, or sign in with the Space's own account.

All visitors share the server's cache, but each of them has to accept a licence for themselves: so the Hub is asked with
the visitor's own token before anything of a repository is used, even where it is already here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from distill.config.errors import ConfigError, UserError
from distill.config.files import write_atomically
from distill.config.paths import home
from distill.hub import host
from distill.models import hub_errors
from distill.models.hardware import is_zerogpu
from distill.models.hub_lookup import PATIENCE
from distill.models.references import model_path
from distill.runs.index import list_runs
from distill.runs.retention import OWNER
from distill.runs.store import OWNER_SECRET as SECRET

if TYPE_CHECKING:
    from distill.config.run_config import ModelRef

_SIGNED_IN = "name:"  # what the id of a visitor who signed in begins with
_BY_SECRET = "owner:"  # what the id of whoever gave the secret begins with
_SHORTEST = 16  # characters of a secret: a shorter one could be guessed

_FRESH = 3600.0  # seconds for which a repository that was open counts as open
_AT_ONCE = 8  # repositories that are asked about at a time

_open: dict[tuple[str, str], float] = {}  # (kind, id) of what is open to all -> when the Hub said so


# --- visitors and their runs -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Visitor:
    """Who asks. `id` is "" for somebody without a token; `local`: the server can only be reached from this machine.

    `hub_token`: the token from their sign-in, with which the Hub is asked for them; None without sign-in, and where
    `local`, as this machine's own token counts there. Only this process and those it starts for them use it, and it is
    never written anywhere. `address`: a digest of the network address they ask from, "" where that doesn't matter.
    """

    id: str
    local: bool
    hub_token: str | None = field(default=None, repr=False, compare=False)
    address: str = field(default="", repr=False, compare=False)

    @property
    def name(self) -> str:
        """The name that this visitor signed in with, "" without sign-in."""
        return self.id.removeprefix(_SIGNED_IN) if self.id.startswith(_SIGNED_IN) else ""

    @property
    def runs_server(self) -> bool:
        """Whether they are the owner of this public server: by its secret, or by the Space's account."""
        if self.local:
            return False
        if self.id.startswith(_BY_SECRET):
            secret = _secret()
            return bool(secret) and hmac.compare_digest(self.id, _BY_SECRET + _digest(secret))
        account = os.environ.get("SPACE_AUTHOR_NAME", "")
        return bool(account and self.name) and self.name.lower() == account.lower()

    @property
    def marks(self) -> list[str]:
        """Digests that tell this visitor, and this network address, from others."""
        return [mark for mark in (_digest(self.id) if self.id else "", self.address) if mark]

    def started(self, folder: Path) -> bool:
        """Whether this visitor started the run."""
        owner = _owner(folder)
        return owner is not None and bool(self.id) and hmac.compare_digest(owner, _digest(self.id))

    def shares_address(self, folder: Path) -> bool:
        """Whether the run was started from this visitor's network address."""
        return bool(self.address) and hmac.compare_digest(str(_said(folder).get("address", "")), self.address)

    def owns(self, folder: Path) -> bool:
        """Whether this visitor may stop, resume and delete the run."""
        if self.runs_server or (self.local and _owner(folder) is None):
            return True
        return self.started(folder)

    def whose(self, folder: Path) -> str:
        """Whose run it is, in words, as this visitor sees it."""
        if _owner(folder) is None:
            return "Started from the command line"
        return "Yours" if self.started(folder) else "Started by another visitor"

    def check(self, folder: Path, what: str) -> None:
        """Raises UserError unless the run is this visitor's."""
        if not self.owns(folder):
            how = "whoever runs this server can use the command line" if _owner(folder) is None else "they can"
            who = "was started from the command line" if _owner(folder) is None else "was started by another visitor"
            raise UserError(f"Run {folder.name} {who}, so you can watch it but not {what} it: {how}.")

    def claim(self, folder: Path) -> None:
        """Make the run this visitor's. Without an id it stays nobody's."""
        if self.id:
            said = {"owner": _digest(self.id), **({"address": self.address} if self.address else {})}
            write_atomically(folder / OWNER, json.dumps(said))


def owner_token(secret: str) -> str:
    """The token of the owner of this server. Raises UserError where that isn't its secret."""
    if not _is_secret(secret):
        raise UserError("That is not this server's owner secret: it is in its environment, as DISTILL_OWNER_SECRET.")
    return _signed(_BY_SECRET + _digest(secret))


def check_secret() -> None:
    """Raises ConfigError where the owner's secret is set but too short to be one."""
    if 0 < len(os.environ.get(SECRET, "").strip()) < _SHORTEST:
        raise ConfigError(f"{SECRET} is too short to be safe: give at least {_SHORTEST} random characters.")


def _secret() -> str:
    said = os.environ.get(SECRET, "").strip()
    return said if len(said) >= _SHORTEST else ""


def _is_secret(text: str) -> bool:
    """Compared in constant time, so that how long it takes says nothing of how much is right."""
    secret = _secret()
    return bool(secret) and hmac.compare_digest(text.strip().encode(), secret.encode())


def new_token(name: str | None = None) -> str:
    """A token, "id.signature", for a visitor who has none; the same for everybody who signed in as `name`."""
    return _signed(f"{_SIGNED_IN}{name}" if name else secrets.token_urlsafe(24))


def hand_over(before: Visitor, after: Visitor) -> None:
    """Give one visitor's runs to another: whoever signs in keeps the runs they started before."""
    for run in list_runs():
        if before.started(run.folder):
            after.claim(run.folder)


def visitor(token: str | None, local: bool, hub_token: str | None = None, address: str = "") -> Visitor:
    """The visitor that a browser's token stands for; `hub_token`: see there. A forged or missing token is nobody's.

    The owner's secret is a token too, for programs. `address`: the network address, "" where that doesn't matter.
    """
    said = token if isinstance(token, str) else ""
    if not local and _is_secret(said):
        said = owner_token(said)
    text, _, signature = said.rpartition(".")
    signed = bool(text) and hmac.compare_digest(signature.encode(), _signature(text).encode())
    mark = _signature(f"address:{address}")[:32] if address and not local else ""
    return Visitor(text if signed else "", local, None if local else hub_token, mark)


def _owner(folder: Path) -> str | None:
    return None if not (folder / OWNER).exists() else str(_said(folder).get("owner", "unreadable"))  # nobody's digest


def _said(folder: Path) -> dict[str, str]:
    """What is written down of who started a run."""
    try:
        said = json.loads((folder / OWNER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _signed(text: str) -> str:
    return f"{text}.{_signature(text)}"


def _signature(text: str) -> str:
    return hmac.new(_key(), text.encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    """This server's key, made when first needed; readable by its user alone. Where nothing can be written, it is this
    process's alone: the page opens, and says what is wrong when a run is started."""
    path = home().cache / "page.key"
    try:
        return _kept_key(path)
    except OSError:
        return _passing_key()


@cache
def _passing_key() -> bytes:
    return secrets.token_bytes(32)


def _kept_key(path: Path) -> bytes:
    for _ in range(2):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"page.key.{os.getpid()}.{secrets.token_hex(4)}")
            part.write_bytes(secrets.token_bytes(32))
            part.chmod(0o600)
            try:
                os.link(part, path)  # fails where another process was first: then theirs is read
            except FileExistsError:
                pass
            finally:
                part.unlink()
    return path.read_bytes()


# --- gated and private repositories ----------------------------------------------------------------------------------


def check_access(visitor: Visitor, models: Sequence[ModelRef], dataset: str | None = None) -> list[ModelRef]:
    """Those of `models` that are open to this visitor but not to everybody; [] for a visitor at this machine, whose own
    token counts there: then nothing is asked.

    One request for each open repository, none within the hour. Where the Hub doesn't answer, a repository counts as
    open if it was open earlier in this process. Raises ConfigError or UserError, one sentence, where the visitor may
    not use a model or the data set, or where that is not known.
    """
    if visitor.local:
        return []
    paths = [(ref, model_path(ref)) for ref in models]
    on_hub = [(ref, ("model", path)) for ref, path in paths if isinstance(path, str)]
    asked = list(dict.fromkeys([place for _, place in on_hub] + ([("dataset", dataset)] if dataset else [])))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        restricted = dict(zip(asked, pool.map(lambda place: _is_restricted(visitor, *place), asked), strict=True))
    if dataset and restricted["dataset", dataset] and is_zerogpu():
        raise ConfigError(
            f"The data set {dataset} on the Hub is not open to all, and the processes that ZeroGPU lends a GPU have no "
            "token: upload its rows as a file instead."
        )
    return [ref for ref, place in on_hub if restricted[place]]


def _is_restricted(visitor: Visitor, kind: str, name: str) -> bool:
    """Whether a repository is open to this visitor but not to everybody. Raises like `check_access`."""
    import httpx2  # what huggingface_hub asks with
    from huggingface_hub import errors

    since = _open.get((kind, name))
    if since is not None and time.monotonic() - since < _FRESH:
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
            f"{called} on the Hub requires its licence to be accepted: do so at {_page(kind, name)} with the account "
            "that you signed in with here; if you have, sign out and in again."
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
            f"{called} may require its licence to be accepted, and the Hub does not answer: try again in a minute, or "
            "choose something that is not on the Hub."
        ) from error


def _is_open(kind: str, name: str, token: str | None) -> bool:
    """Whether anybody may read a repository, as the Hub tells an anonymous client."""
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
    """HfApi.auth_check, with a timeout. Raises the errors of huggingface_hub."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    url = f"{constants.ENDPOINT}/api/{kind}s/{name}/auth-check"
    hf_raise_for_status(get_session().get(url, headers=build_hf_headers(token=token), timeout=PATIENCE))


def _sign_in(kind: str, name: str, called: str) -> str:
    if host.why_no_sign_in():
        return (
            f"{called} on the Hub requires its licence to be accepted by its users, and nobody can sign in on this "
            "server: choose one that is open to all."
        )
    return (
        f"{called} on the Hub requires its licence to be accepted: sign in with the button at the top of the page, and "
        f"accept it at {_page(kind, name)}, then try again."
    )


def _page(kind: str, name: str) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
