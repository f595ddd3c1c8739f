"""Who may stop, resume or delete a run: the visitor who started it.

A visitor is a random id in a token that the browser keeps, signed with this server's key so that none can be made up;
where visitors sign in, their name counts instead. A run's folder keeps a digest only, so reading it lets nobody in. A
run that was started from the command line has no owner: whoever is at this machine may end it, strangers on a public
server may not. This module knows nothing of pages or of requests.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from distill.config.errors import UserError
from distill.config.paths import home
from distill.runs.index import list_runs

_FILE = "owner.json"
_SIGNED_IN = "name:"  # what the id of a visitor who signed in begins with


@dataclass(frozen=True)
class Visitor:
    """Who asks. `id` is "" for somebody without a token; `local`: the server is only reached from this machine.

    `hub_token`: what the Hub is asked with for them, given by their sign-in; None without, and where `local`, as this
    machine's own counts there. It is for this process and for those it starts for them, and is never written anywhere.
    """

    id: str
    local: bool
    hub_token: str | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The name that this visitor signed in with, "" without sign-in."""
        return self.id.removeprefix(_SIGNED_IN) if self.id.startswith(_SIGNED_IN) else ""

    def owns(self, folder: Path) -> bool:
        """Whether this visitor may stop, resume and delete the run."""
        owner = _owner(folder)
        if owner is None:
            return self.local
        return bool(self.id) and hmac.compare_digest(owner, _digest(self.id))

    def whose(self, folder: Path) -> str:
        """Whose run it is, in words, as this visitor sees it."""
        if _owner(folder) is None:
            return "Started from the command line"
        return "Yours" if self.owns(folder) else "Started by another visitor"

    def check(self, folder: Path, what: str) -> None:
        """Raises UserError unless the run is this visitor's."""
        if not self.owns(folder):
            how = "whoever runs this server can use the command line" if _owner(folder) is None else "they can"
            who = "was started from the command line" if _owner(folder) is None else "was started by another visitor"
            raise UserError(f"Run {folder.name} {who}, so you can watch it but not {what} it: {how}.")

    def claim(self, folder: Path) -> None:
        """Make the run this visitor's. Without an id it stays nobody's."""
        if self.id:
            (folder / _FILE).write_text(json.dumps({"owner": _digest(self.id)}), encoding="utf-8")


def new_token(name: str | None = None) -> str:
    """A token, "id.signature", for a visitor who has none; of everybody who signed in under `name`, the same."""
    text = f"{_SIGNED_IN}{name}" if name else secrets.token_urlsafe(24)
    return f"{text}.{_signature(text)}"


def hand_over(before: Visitor, after: Visitor) -> None:
    """Give one visitor's runs to another: who signs in keeps what they started before they did."""
    for run in list_runs():
        if before.id and _owner(run.folder) == _digest(before.id):
            after.claim(run.folder)


def visitor(token: str | None, local: bool, hub_token: str | None = None) -> Visitor:
    """The visitor that a browser's token means; `hub_token`: see there. A forged or missing token is nobody's."""
    text, _, signature = str(token or "").rpartition(".")
    signed = bool(text) and hmac.compare_digest(signature.encode(), _signature(text).encode())
    return Visitor(text if signed else "", local, None if local else hub_token)


def _owner(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / _FILE).read_text(encoding="utf-8"))["owner"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "unreadable"  # nobody's digest


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _signature(text: str) -> str:
    return hmac.new(_key(), text.encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    """This server's key, made when first needed; readable by its user alone."""
    path = home().cache / "page.key"
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
