"""A stand-in for the Hugging Face Hub, on loopback: repositories of models and data sets that real clients may fetch.

It says what the Hub says, in the same headers: which commit, how large, and why not (gated, private, missing).
HF_ENDPOINT points huggingface_hub at `url`; it is read at import, so set it for a subprocess, or pass `endpoint=`.
What is written to the Hub is not known here: whoever needs that adds routes of its own.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote

import huggingface_hub
from loopback import Loopback, Request, Response

TOKEN = "hf_StandInTokenOfNobody"  # not one that the real Hub would know


@dataclass
class Repository:
    """One repository: `revisions` {"main": commit, ...}, `commits` {commit: folder}; `token` opens what is shut."""

    id: str
    gated: bool = False
    private: bool = False
    token: str = TOKEN
    revisions: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Path] = field(default_factory=dict)

    def at(self, revision: str) -> tuple[str, Path] | None:
        """(commit, folder) of a branch, a tag or a commit."""
        commit = self.revisions.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None


class HubStandIn(Loopback):
    """`with HubStandIn() as hub: hub.add_model("org/name", folder)`.

    `served` counts the bytes sent of each file, as {"org/name/config.json": n}. `tokens` are the tokens that it knows
    (any other is refused, as the Hub does), each with the name of who it belongs to.
    """

    def __init__(self):
        super().__init__()
        self.repositories: dict[tuple[str, str], Repository] = {}  # by kind and id
        self.served: Counter[str] = Counter()
        self.tokens: dict[str, str] = {TOKEN: "nobody"}
        self._counting = threading.Lock()
        name = r"([\w.-]+(?:/[\w.-]+)?)"
        self.on("GET", r"/api/whoami-v2", self._who)
        for kind, place in (("models", ""), ("datasets", "datasets/")):
            for what, answer in (("revision", self._info), ("tree", self._tree)):
                self.on("GET", rf"/api/({kind})/{name}/{what}/([^/]+)(/.*)?", answer)
            self.on("POST", rf"/api/({kind})/{name}/paths-info/([^/]+)", self._paths)
            self.on("GET", rf"/api/({kind})/{name}/auth-check", self._may)
            self.on("GET", rf"/api/({kind})/{name}", self._info)
            self.on(
                "GET",
                rf"/{place}{name}/resolve/([^/]+)/(.+)",
                lambda request, *found, kind=kind: self._file(request, kind, *found),
            )

    def add_model(self, repo_id: str, folder: Path, **how) -> str:
        """Serve the files in `folder` as a model; `how`: gated, private, token, revision. Returns the commit."""
        return self._add("models", repo_id, folder, **how)

    def add_dataset(self, repo_id: str, folder: Path, **how) -> str:
        """The same for a data set."""
        return self._add("datasets", repo_id, folder, **how)

    def _add(
        self,
        kind: str,
        repo_id: str,
        folder: Path,
        gated: bool = False,
        private: bool = False,
        token: str = TOKEN,
        revision: str = "main",
    ) -> str:
        repository = self.repositories.setdefault((kind, repo_id), Repository(repo_id, gated, private, token))
        digest = hashlib.sha1(repo_id.encode())
        for file in _files(folder):
            digest.update(f"{file}:{(folder / file).stat().st_size}:{_digest(folder / file)}".encode())
        commit = digest.hexdigest()
        repository.revisions[revision] = commit
        repository.commits[commit] = folder
        self.tokens.setdefault(token, "nobody")
        return commit

    def fetched(self, repo_id: str) -> int:
        """The bytes served of a repository's files."""
        return sum(n for file, n in self.served.items() if file.startswith(f"{repo_id}/"))

    # --- answers -----------------------------------------------------------------------------------------------------

    def _who(self, request: Request) -> Response:
        token = _token(request)
        if token not in self.tokens:
            return _refusal(401, "", "Invalid username or password.")
        return Response({"type": "user", "name": self.tokens[token], "fullname": self.tokens[token], "orgs": []})

    def _find(
        self, request: Request, kind: str, name: str, revision: str, whole: bool = False
    ) -> tuple[Repository, str, Path] | Response:
        """(repository, commit, folder), or why not. `whole`: its files, not only what is said of it, are wanted."""
        token = _token(request)
        if token is not None and token not in self.tokens:
            return _refusal(401, "", "Invalid credentials in Authorization header")
        repository = self.repositories.get((kind, name))
        if repository is None or (repository.private and token != repository.token):
            # Who is signed in learns that there is none; who isn't learns nothing.
            return _refusal(404 if token else 401, "RepoNotFound", "Repository not found")
        if repository.gated and whole and token != repository.token:
            text = f"Access to model {name} is restricted and you are not in the authorized list."
            return _refusal(403 if token else 401, "GatedRepo", text)
        found = repository.at(unquote(revision))
        return (repository, *found) if found else _refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def _may(self, request: Request, kind: str, name: str) -> Response:
        found = self._find(request, kind, name, "main", whole=True)
        return found if isinstance(found, Response) else Response("OK")

    def _info(self, request: Request, kind: str, name: str, revision: str = "main", _: str | None = None) -> Response:
        found = self._find(request, kind, name, revision)
        if isinstance(found, Response):
            return found
        repository, commit, folder = found
        blobs = bool(request.query.get("blobs"))
        siblings = [{"rfilename": file} | (_blob(folder / file) if blobs else {}) for file in _files(folder)]
        told = {"_id": commit[:24], "id": name, "author": name.split("/")[0], "sha": commit, "siblings": siblings}
        told |= {"private": repository.private, "gated": "manual" if repository.gated else False, "disabled": False}
        return Response(told | {"tags": [], "downloads": 0, "likes": 0, "lastModified": "2025-11-20T00:00:00.000Z"})

    def _tree(self, request: Request, kind: str, name: str, revision: str, under: str | None) -> Response:
        found = self._find(request, kind, name, revision)
        if isinstance(found, Response):
            return found
        top = unquote(under or "").strip("/")
        inside = {file: file[len(top) :].lstrip("/") for file in _files(found[2]) if file.startswith(top)}
        recursive = request.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        shown = [_entry(found[2], file) for file, rest in inside.items() if recursive or "/" not in rest]
        folders = {file[: len(file) - len(rest)] + rest.split("/")[0] for file, rest in inside.items() if "/" in rest}
        return Response(shown + [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders])

    def _paths(self, request: Request, kind: str, name: str, revision: str) -> Response:
        found = self._find(request, kind, name, revision)
        if isinstance(found, Response):
            return found
        form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        wanted = parse_qs(request.body.decode())["paths"] if form else request.json["paths"]
        return Response([_entry(found[2], file) for file in _files(found[2]) if file in wanted])

    def _file(self, request: Request, kind: str, name: str, revision: str, file: str) -> Response:
        found = self._find(request, kind, name, revision, whole=True)
        if isinstance(found, Response):
            return found
        _, commit, folder = found
        file = unquote(file)
        if file not in _files(folder):
            refusal = _refusal(404, "EntryNotFound", "Entry not found")
            refusal.headers["X-Repo-Commit"] = commit
            return refusal
        size = (folder / file).stat().st_size
        headers = {"ETag": f'"{_digest(folder / file)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        status, start, end = 200, 0, size
        if "range" in request.headers:
            first, last = request.headers["range"].removeprefix("bytes=").split("-")
            start = int(first) if first else max(0, size - int(last))
            end = min(size, int(last) + 1) if first and last else size
            if start >= size:
                return Response(b"", 416, {"Content-Range": f"bytes */{size}"})
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        if request.method == "HEAD":
            return Response(b"", status, headers | {"Content-Length": str(end - start)})
        with (folder / file).open("rb") as stream:
            stream.seek(start)
            content = stream.read(end - start)
        with self._counting:
            self.served[f"{name}/{file}"] += len(content)
        return Response(content, status, headers)


def _token(request: Request) -> str | None:
    said = request.headers.get("authorization")
    return said.removeprefix("Bearer ") if said else None


def _refusal(status: int, code: str, text: str) -> Response:
    headers = {"X-Error-Message": text} | ({"X-Error-Code": code} if code else {})
    return Response({"error": text}, status, headers)


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


_digests: dict[tuple, str] = {}


def _digest(file: Path) -> str:
    stat = file.stat()
    key = (file, stat.st_mtime_ns, stat.st_size)
    if key not in _digests:
        with file.open("rb") as stream:
            _digests[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _digests[key]


def _blob(file: Path) -> dict:
    return {"size": file.stat().st_size, "blobId": _digest(file)[:40]}


def _entry(folder: Path, file: str) -> dict:
    path = folder / file
    return {"type": "file", "path": file, "size": path.stat().st_size, "oid": _digest(path)[:40]}


def take_for_the_hub(hub: HubStandIn, monkeypatch, folder: Path) -> None:
    """From now on huggingface_hub takes `hub` for the Hub, with an empty cache in `folder` and nobody signed in."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.url)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # made once, for the Hub of that moment
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("distill.models.metadata._told", {})
    monkeypatch.setattr("distill.models.hub_lookup._refused", {})
    monkeypatch.setattr("distill.ui.auth._open", {})
