"""The stand-in for the Hub, written to: repositories made, files uploaded (plain and large), commits.

What was written is served again by hub_stand_in.py, so that a real client can fetch it. `visibility` is what was asked
for; `large` counts the files that came the way of large ones.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from hub_stand_in import TOKEN, HubStandIn, _files, _refusal, _token
from loopback import Request, Response

READ_ONLY = "hf_StandInTokenThatOnlyReads"
OWNER = "ada"


class HubWrites(HubStandIn):
    """`folder`: where what is written is kept. TOKEN may write as "ada", READ_ONLY may only read."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.tokens |= {TOKEN: OWNER, READ_ONLY: OWNER}
        self.visibility: dict[str, str] = {}
        self.commits: list[dict] = []  # {"repo", "summary", "files"}, in order
        self.large: dict[str, bytes] = {}  # by digest
        name = r"([\w.-]+/[\w.-]+)"
        self.on("POST", r"/api/repos/create", self._create)
        self.on("POST", r"/api/validate-yaml", lambda request: Response({"errors": [], "warnings": []}))
        self.on("POST", rf"/api/models/{name}/preupload/([^/]+)", self._preupload)
        self.on("POST", rf"/{name}\.git/info/lfs/objects/batch", self._batch)
        self.on("PUT", r"/large/([0-9a-f]{64})", self._put)
        self.on("POST", rf"/api/models/{name}/commit/([^/]+)", self._commit)

    def _refused(self, request: Request, namespace: str) -> Response | None:
        token = _token(request)
        if token not in self.tokens:
            return _refusal(401, "", "Invalid username or password.")
        if token == READ_ONLY or namespace != self.tokens[token]:
            return _refusal(403, "", f"You don't have the rights to create a model under the namespace {namespace!r}")
        return None

    def _create(self, request: Request) -> Response:
        asked = request.json
        namespace = asked.get("organization") or self.tokens.get(_token(request) or "", "")
        repo = f"{namespace}/{asked['name']}"
        refused = self._refused(request, namespace)
        if refused:
            return refused
        if ("models", repo) in self.repositories:
            return _refusal(409, "", "You already created this model repo")
        self.visibility[repo] = asked.get("visibility", "public")
        place = self.folder / repo
        place.mkdir(parents=True)
        self.add_model(repo, place, private=self.visibility[repo] == "private")
        return Response({"url": f"{self.url}/{repo}"})

    def _preupload(self, request: Request, repo: str, _: str) -> Response:
        refused = self._refused(request, repo.split("/")[0])
        if refused:
            return refused
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in request.json["files"]
        ]
        return Response({"files": files})

    def _batch(self, request: Request, _: str) -> Response:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.url}/large/{one['oid']}", "header": {}}}}
            for one in request.json["objects"]
        ]
        return Response({"transfer": "basic", "objects": objects})

    def _put(self, request: Request, digest: str) -> Response:
        self.large[digest] = request.body
        return Response()

    def _commit(self, request: Request, repo: str, _: str) -> Response:
        refused = self._refused(request, repo.split("/")[0])
        if refused:
            return refused
        lines = [json.loads(line) for line in request.body.splitlines()]
        place = self.repositories["models", repo].at("main")[1]
        for line in lines:
            value = line["value"]
            if "path" in value:
                (place / value["path"]).parent.mkdir(parents=True, exist_ok=True)
            if line["key"] == "file":
                (place / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                (place / value["path"]).write_bytes(self.large[value["oid"]])
        commit = self.add_model(repo, place)
        summary = next(line["value"]["summary"] for line in lines if line["key"] == "header")
        self.commits.append({"repo": repo, "summary": summary, "files": _files(place)})
        return Response({"commitUrl": f"{self.url}/{repo}/commit/{commit}", "commitOid": commit})
