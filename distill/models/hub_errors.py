"""Who asks the Hub, and why it refused, in one sentence: what looking up a model, pushing a run and Jobs share."""

from __future__ import annotations

from collections.abc import Mapping

from distill.config.secrets import redacted

TOKENS = "https://huggingface.co/settings/tokens"


def own_token() -> str | None:
    """The token of this machine, None where there is none or it is switched off, as on a public server."""
    from huggingface_hub import constants, get_token

    return None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()


def acting_for(token: str | None) -> dict[str, str]:
    """What the environment of a child process says, so that it asks the Hub with `token` alone; {} for none."""
    return {} if token is None else {"HF_TOKEN": token, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0"}


def why(error: BaseException, what: str, sentences: Mapping[int, str], instead: str = "") -> str:
    """One sentence on why the Hub refused; `what` could not be done, in words.

    `sentences`: what a status means, to follow a colon, with {hint} where the words of the Hub belong. `instead`: what
    may be done where the Hub doesn't answer, such as "choose a model that is here".
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    chain = _chain(error)
    refusal = next((one for one in chain if isinstance(one, HfHubHTTPError)), None)
    otherwise = f", or {instead}" if instead else ""
    if refusal is not None:
        said, status = _first_line(refusal.server_message or ""), refusal.response.status_code
        then = f"try again in a minute{otherwise}" if unreachable(refusal) else instead
        sentence = sentences.get(status, f"the Hub answered with {status}{{hint}}{f', so {then}' if then else ''}.")
        return f"{what}: {sentence.replace('{hint}', f' ({said})' if said else '')}"
    if any(isinstance(one, OfflineModeIsEnabled) for one in chain):
        return f"{what}: HF_HUB_OFFLINE keeps this machine off the network, so unset it{otherwise}."
    if any(map(unreachable, chain)):
        where = f"{constants.ENDPOINT} ({type(chain[-1]).__name__})"
        return f"{what}: the Hub can't be reached at {where}, so check the network, then try again{otherwise}."
    return f"{what} ({type(error).__name__}: {_first_line(str(error))})."


def shut_out(error: BaseException) -> bool:
    """Whether an error came of a repository that is gated or private, or that isn't there."""
    from huggingface_hub.errors import RepositoryNotFoundError

    return any(isinstance(one, RepositoryNotFoundError) for one in _chain(error))


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what led to it."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    return chain


def unreachable(error: BaseException) -> bool:
    """Whether an error is of the network or of a server in trouble, so that trying again may help."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return type(error).__module__.startswith("http") or isinstance(error, OSError)


def _first_line(text: str) -> str:
    return redacted(text.strip().split("\n")[0][:200]).rstrip(".")
