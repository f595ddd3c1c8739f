"""What the Hub says of a model before it is fetched: its size, its shape, what there is to fetch, and why it can't be.

Only its list of files, config.json and the headers of its weights are asked for: some hundred kilobytes. The token is
the environment's (HF_TOKEN, or the one that was logged in with) unless one is given; it is in no message and no key.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

from distill.config.errors import ConfigError, UserError
from distill.models import hub_errors
from distill.models.hub_errors import TOKENS
from distill.models.metadata import ModelFacts, describe_model, of_config, remember
from distill.models.references import ADAPTER, PICKLES, adapter_beside, model_path, refuse_gguf

if TYPE_CHECKING:
    from distill.config.run_config import ModelRef

PATIENCE = 5.0  # seconds for an answer
_AGAIN = 30.0  # seconds for which a refusal is believed: a licence may have been accepted since
_AT_ONCE = 8  # weight files whose headers are read at a time
_LARGEST_JSON = 100_000_000  # bytes of a config.json or an index: what is larger is none
_INDEX = "model.safetensors.index.json"
_SMALL = ("*.json", "*.txt", "*.model", "*.jinja")  # what is fetched beside the weights, roughly
_NO_SUCH_TOKEN = f"the Hub refuses your token{{hint}}, so set HF_TOKEN to one that is valid ({TOKENS}), or unset it."

_refused: dict[tuple, tuple[float, type[UserError], str]] = {}
_asking = threading.Lock()


def look_up(ref: ModelRef | str, token: str | None = None) -> ModelFacts:
    """The facts of a model, from its files where they are here, else from the Hub; asked once in a process.

    Raises ConfigError, one sentence, where there is no such model or version, where it is not open to this token, or
    holds nothing that this program can load; UserError where the Hub can't be reached.
    """
    known = describe_model(ref)
    path, revision = model_path(ref), None if isinstance(ref, str) else ref.revision
    if not isinstance(path, str) or known.fetched or known.download is not None:
        return known
    key = (path, revision, hashlib.sha256((token or "").encode()).digest())
    with _asking:
        when, kind, text = _refused.get(key, (0.0, UserError, ""))
    if text and time.monotonic() - when < _AGAIN:
        raise kind(text)  # a new one: each time that one is raised, what led there is kept in it
    try:
        remember(path, revision, _Repository.of(path, revision, token).facts())
    except UserError as error:
        with _asking:
            now = time.monotonic()
            for old in [one for one, (when, *_) in _refused.items() if now - when > _AGAIN]:
                del _refused[old]
            _refused[key] = (now, type(error), str(error))
        raise
    return describe_model(ref)


def weight_files(ref: ModelRef | str, token: str | None = None) -> list[str]:
    """The names of the files that hold a Hub model's weights, by its index. Raises as `look_up`."""
    path, revision = model_path(ref), None if isinstance(ref, str) else ref.revision
    return _Repository.of(str(path), revision, token)._weights()


@dataclass(frozen=True)
class _Repository:
    """A model's repository on the Hub at one commit: `files` {name: bytes}."""

    id: str
    commit: str
    files: dict[str, int]
    token: str | None

    @classmethod
    def of(cls, name: str, revision: str | None, token: str | None) -> _Repository:
        from huggingface_hub import HfApi

        with _said_plainly(name, revision, token):
            info = HfApi(token=token).model_info(name, revision=revision, files_metadata=True, timeout=PATIENCE)
            return cls(name, info.sha, {file.rfilename: file.size or 0 for file in info.siblings}, token)

    def facts(self) -> ModelFacts:
        safe = any(name.endswith(".safetensors") for name in self.files)
        refuse_gguf(f"{self.id} on the Hub", holds=not safe and any(name.endswith(".gguf") for name in self.files))
        if "config.json" not in self.files:
            raise ConfigError(self._without_config())
        if ADAPTER in self.files:
            raise adapter_beside(f"{self.id} on the Hub")
        config = self._json("config.json")
        _check_architecture(self.id, config)
        weights = self._weights()
        small = {name for name in self.files if any(fnmatch(name, kind) for kind in _SMALL)}
        try:
            found = of_config(self.id, config, self._shapes(weights))
        except (TypeError, AttributeError) as error:
            raise ConfigError(f"The config.json of {self.id} on the Hub is damaged: choose another model.") from error
        return replace(found, download=self._missing({*weights, *small}))

    def _without_config(self) -> str:
        if ADAPTER in self.files:
            return f"{self.id} on the Hub is an adapter, not a model: give the model that it was trained on."
        return f"{self.id} on the Hub holds no config.json, so it is no model of transformers: choose another."

    def _weights(self) -> list[str]:
        """The names of the weight files."""
        if _INDEX in self.files:
            try:
                found = sorted(set(self._json(_INDEX)["weight_map"].values()))
            except (KeyError, TypeError, AttributeError) as error:
                raise ConfigError(f"{_INDEX} of {self.id} on the Hub is damaged: choose another model.") from error
        else:
            found = ["model.safetensors"]
        lacking = [name for name in found if name not in self.files]
        if not lacking:
            return found
        pickles = sorted(name for name in self.files if any(fnmatch(name, kind) for kind in PICKLES))
        if pickles:
            raise ConfigError(
                f"{self.id} has its weights only as pickles ({pickles[0]}), which can run code when they are read: "
                "choose a model with safetensors weights."
            )
        raise ConfigError(f"{self.id} on the Hub holds no {lacking[0]}, so it has no whole weights: choose another.")

    def _shapes(self, weights: list[str]) -> dict[str, list[int]]:
        """{tensor: its shape}, of these weight files."""
        from huggingface_hub import HfApi

        api = HfApi(token=self.token)

        def read(name: str) -> dict[str, list[int]]:
            how = {"revision": self.commit, "timeout": PATIENCE}
            header = api.parse_safetensors_file_metadata(self.id, name, **how)
            return {tensor: info.shape for tensor, info in header.tensors.items()}

        with _said_plainly(self.id, None, self.token), ThreadPoolExecutor(_AT_ONCE) as pool:
            return {tensor: shape for part in pool.map(read, weights) for tensor, shape in part.items()}

    def _missing(self, wanted: set[str]) -> int:
        """Bytes of these files that aren't in the cache yet."""
        from huggingface_hub import try_to_load_from_cache

        def is_here(name: str) -> bool:
            return isinstance(try_to_load_from_cache(self.id, name, revision=self.commit), str)

        return sum(size for name, size in self.files.items() if name in wanted and not is_here(name))

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads(self._get(name)) if self.files.get(name, 0) <= _LARGEST_JSON else None
            if not isinstance(found, dict):
                raise ValueError
            return found
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{name} of {self.id} on the Hub is damaged: choose another model.") from error

    def _get(self, name: str) -> bytes:
        """A file, not kept."""
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

        with _said_plainly(self.id, None, self.token):
            url = hf_hub_url(self.id, name, revision=self.commit)
            answer = get_session().get(url, headers=build_hf_headers(token=self.token), timeout=PATIENCE)
            hf_raise_for_status(answer)
            return answer.content


def _check_architecture(model: str, config: dict[str, Any]) -> None:
    """Raises ConfigError where transformers would refuse the model once its gigabytes are here."""
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES  # a second, and no torch

    kind = config.get("model_type")
    if isinstance(kind, str) and kind not in CONFIG_MAPPING_NAMES:
        raise ConfigError(
            f"{model} is of the architecture {kind!r}, which the installed transformers lacks"
            + (", and code from a model's folder is never run here" if config.get("auto_map") else "")
            + ": choose another model."
        )


@contextmanager
def _said_plainly(model: str, revision: str | None, token: str | None) -> Iterator[None]:
    """What goes wrong in asking the Hub is said in one sentence, with what to do."""
    import httpx2  # what huggingface_hub asks with
    from huggingface_hub import constants, errors

    signed_in = token or hub_errors.own_token()
    try:
        yield
    except errors.GatedRepoError as error:
        then = "with the account of your token" if signed_in else "and set HF_TOKEN to a token of yours"
        page = f"{constants.ENDPOINT}/{model}"
        raise ConfigError(
            f"{model} on the Hub requires its licence to be accepted: do so at {page} {then}, then try again."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ConfigError(
            f"{model} on the Hub has no version {revision!r}: give a branch, tag or commit that it has, or none."
        ) from error
    except errors.RepositoryNotFoundError as error:
        then = "and that your token may read it" if signed_in else "or set HF_TOKEN to a token that may read it"
        raise ConfigError(f"There is no model {model} on the Hub, or it is private: check its name, {then}.") from error
    except errors.HFValidationError as error:
        raise ConfigError(f"{model!r} is no id that a model of the Hub could have: check its name.") from error
    except (errors.NotASafetensorsRepoError, errors.SafetensorsParsingError) as error:
        raise ConfigError(f"The weights of {model} on the Hub are no safetensors files: choose another.") from error
    except (httpx2.HTTPError, OSError) as error:  # the Hub's own are among them
        what = f"{model} isn't on this machine and can't be looked up"
        said = hub_errors.why(error, what, {401: _NO_SUCH_TOKEN}, instead="choose a model that is here")
        refused = isinstance(error, errors.HfHubHTTPError) and error.response.status_code == 401
        raise (ConfigError if refused else UserError)(said) from error
