"""Runs as Jobs of Hugging Face, for those whose machine is too small: which machine, and how a run gets there.

`submit` puts this package, the config and the user's file into one private repository of theirs ("distill-jobs"),
starts a Job that does the run there (job_boot.py, job_worker.py), and leaves a *mirror* here: a run folder like any
other with a job.json, which job_follower.py fills with what the Job says. The Job gets the token as a secret; it is
written nowhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import warnings
import zipfile
from dataclasses import asdict, dataclass, fields
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config import paths
from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.run_config import ConfigError, RunConfig
from distill.data.reasoning_gym import PACKAGE as REASONING_GYM
from distill.models import hub_errors, references
from distill.models.hardware import Machine
from distill.models.hub_errors import TOKENS
from distill.models.references import absolute
from distill.runs import store
from distill.runs.estimate import Estimate, estimate
from distill.runs.preflight import check_memory, look_up_all, refuse_foreseen
from distill.runs.views import forget

if TYPE_CHECKING:
    from huggingface_hub import HfApi

REPOSITORY = "distill-jobs"  # the private repository of whoever submits; a folder a run
RESULTS = "made"  # the folder in a run's folder there for what the run made
TICKET = store.JOB  # the file in a mirror that says which Job it is
_BRIEF = 1800.0  # seconds
_BOOT = "import os; exec(os.environ['DISTILL_BOOT'])"
_ASSETS = ("assets/presets/*", "assets/problems/**/*", "assets/zoo/**/*", "assets/*.yaml")
_PACKAGE = "distill-many-teachers"  # what pip calls it
_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_CREDITS = "https://huggingface.co/settings/billing"
_REFUSALS = {
    401: "the Hub does not recognize that token{hint}; it may have run out, so log in again (hf auth login).",
    402: f"Jobs are paid for by the minute and the account has no credit{{hint}}; {_CREDITS} has more.",
    403: f"the token may not{{hint}}; it must be one that may write and start Jobs: {TOKENS}.",
}


@dataclass(frozen=True)
class Flavor:
    """A machine that Jobs run on. `gpu`: in words, "" for none."""

    name: str
    gpu: str
    machine: Machine


def _flavor(name: str, cores: int, memory: float, gpu: str = "", gpu_gb: float | None = None) -> Flavor:
    # A T4 (compute capability 7.5) has no bfloat16.
    dtype = "bfloat16" if gpu and "T4" not in gpu else "float32"
    return Flavor(name, gpu, Machine(cores, memory, "cuda" if gpu else "cpu", gpu_gb, dtype=dtype))


# Cheapest first, those with one GPU at most, as the Hub lists them in 2026 (`hf jobs hardware` prints today's, with
# prices). Cards keep a little of their memory for themselves: what is usable is less than they are sold as.
FLAVORS = (
    _flavor("cpu-basic", 2, 16),
    _flavor("cpu-upgrade", 8, 32),
    _flavor("t4-small", 4, 15, "T4", 15),
    _flavor("t4-medium", 8, 30, "T4", 15),
    _flavor("l4x1", 8, 30, "L4", 22),
    _flavor("a10g-small", 4, 15, "A10G", 22),
    _flavor("a10g-large", 12, 46, "A10G", 22),
    _flavor("l40sx1", 8, 62, "L40S", 45),
    _flavor("a100-large", 12, 142, "A100", 79),
    _flavor("h200", 23, 256, "H200", 140),
)


def smallest(config: RunConfig) -> tuple[Flavor, Estimate] | None:
    """The cheapest flavour that can do the run, and what it costs there; None where none can or nobody knows.

    One without a GPU is taken for runs of minutes only.
    """
    for flavor in FLAVORS:
        found = estimate(config, flavor.machine, ())
        if found.seconds and not found.obstacle and (flavor.gpu or found.seconds[1] < _BRIEF):
            return flavor, found
    return None


@dataclass(frozen=True)
class Ticket:
    """Which Job a mirror is of. `seconds`: how long the Job may take; `url`: its page at Hugging Face."""

    job: str
    namespace: str
    flavor: str
    url: str
    repository: str
    seconds: int


def ticket(folder: Path) -> Ticket | None:
    """The Job that the run at `folder` mirrors; None for a run of this machine."""
    try:
        said = json.loads((folder / TICKET).read_text(encoding="utf-8"))
        return Ticket(**{field.name: said[field.name] for field in fields(Ticket)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def submit(config: RunConfig, flavor: str, timeout: str = "4h", runs_dir: str | os.PathLike[str] | None = None) -> Path:
    """Start a Job that does the run; the mirror's folder, queued and not followed yet.

    Raises UserError or ConfigError, one sentence, where the config needs what only this machine has, the flavour or
    the time is unknown, there is no token or it may not, or the Hub can't be reached; then nothing is left behind here.
    """
    config = absolute(config)
    references.check_models(config)
    refuse_local(config)
    refuse_foreseen(config)
    seconds = duration(timeout)
    api = signed_in()
    try:
        price = _price(api, flavor)
        namespace = api.whoami()["name"]
        # The Job would be paid for before it said that a model is not available or too large.
        facts = look_up_all(config, api.token)
        for machine in (one.machine for one in FLAVORS if one.name == flavor):
            check_memory(config, facts, machine, flavor)
        folder = store.create(config, runs_dir)
        try:
            repository = _put(api, f"{namespace}/{REPOSITORY}", folder.name, config)
            job = _start(api, namespace, repository, folder.name, flavor, seconds, config)
            made = Ticket(job.id, namespace, flavor, job.url, repository[0], seconds)
            _keep(api, folder, made, price)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            forget(folder.resolve())
            raise
    except UserError:
        raise
    except Exception as error:  # of several libraries: of the Hub, of HTTP, of what carries large files
        raise UserError(why(error, "The Job could not be started")) from error
    return folder


def duration(text: str) -> int:
    """ "90m" as 5400 seconds; s, m, h and d. Raises ConfigError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    seconds = int(float(found[1]) * _TIMES[found[2] or "s"]) if found else 0
    if not 60 <= seconds <= 7 * 86_400:
        raise ConfigError(f"--timeout is {text!r}: give a minute to a week, such as 90m, 4h or 1d.")
    return seconds


def refuse_local(config: RunConfig) -> None:
    """Raises ConfigError for what is on this machine only; a file of problems is sent along, so that may."""
    if config.report_to:
        raise ConfigError(
            f"report_to names {config.report_to[0]!r}, but a Job has neither that package nor your account there: add "
            "--set report_to=[] (the page and follow show what the Job reports)."
        )
    for ref in (config.student, *config.teachers):
        if not paths.zoo_folder(ref.model) and Path(ref.model).expanduser().exists():
            raise ConfigError(
                f"{ref.model} is a folder of this machine, which a Job can't see: upload it to the Hub (hf upload "
                "NAME/REPOSITORY FOLDER) and give that name."
            )
    if config.data.dataset and Path(config.data.dataset).exists():
        raise ConfigError(
            f"{config.data.dataset} is a folder of this machine, which a Job can't see: give a data set of the Hub, or "
            "one file of problems."
        )


def _price(api: HfApi, flavor: str) -> str:
    """What an hour costs, in words. Raises ConfigError for a flavour that there isn't, with those that there are."""
    known = {one.name: one for one in api.list_jobs_hardware()}
    if flavor not in known:
        raise ConfigError(f"There is no flavour {flavor!r}: take one of {', '.join(known)}.")
    dollars = known[flavor].unit_cost_usd * {"second": 3600, "minute": 60}.get(known[flavor].unit_label, 1)
    return f"${dollars:.2f} an hour"


# --- what goes there ------------------------------------------------------------------------------------------------


def _put(api: HfApi, repository: str, run: str, config: RunConfig) -> tuple[str, str]:
    """Put code, config and the user's file into the repository; (its id, the code's name in it)."""
    from huggingface_hub import CommitOperationAdd

    api.create_repo(repository, private=True, exist_ok=True)
    if not api.model_info(repository).private:
        raise UserError(f"{repository} already exists and is public: make it private, then submit again.")
    archive = packed()
    code = f"code-{hashlib.sha256(archive).hexdigest()[:16]}.zip"
    added = [] if api.file_exists(repository, code) else [CommitOperationAdd(code, archive)]
    if config.data.path:
        given = f"given/{Path(config.data.path).name}"
        added.append(CommitOperationAdd(f"{run}/{given}", Path(config.data.path)))
        config = config.model_copy(update={"data": config.data.model_copy(update={"path": given})})
    added.append(CommitOperationAdd(f"{run}/config.yaml", configs.to_yaml(config).encode()))
    api.create_commit(repository, added, commit_message=f"Submit run {run}")
    return repository, code


def packed() -> bytes:
    """This package and its assets as a zip, the same bytes for the same files."""
    content = io.BytesIO()
    found = {path.relative_to(paths.SOURCES): path for path in paths.SOURCES.glob("distill/**/*.py")}
    found |= {path.relative_to(paths.ROOT): path for pattern in _ASSETS for path in paths.ROOT.glob(pattern)}
    with zipfile.ZipFile(content, "w") as archive:
        files = {name.as_posix(): path.read_bytes() for name, path in found.items() if path.is_file()}
        for name, data in sorted((files | {"requirements.txt": _requirements()}).items()):
            # As of 1980, whenever the file was changed; not deflated, as most of it is weights.
            archive.writestr(zipfile.ZipInfo(name), data)
    return content.getvalue()


def _requirements() -> bytes:
    """The packages that this one needs: those of its file, or those it was installed with."""
    file = paths.ROOT / "requirements.txt"
    return file.read_bytes() if file.is_file() else "\n".join(requires(_PACKAGE) or []).encode()


def _start(
    api: HfApi, namespace: str, put: tuple[str, str], run: str, flavor: str, seconds: int, config: RunConfig
) -> Any:
    repository, code = put
    warnings.filterwarnings("ignore", message=".*run_uv_job.*experimental")
    return api.run_uv_job(
        "python",
        script_args=["-c", _BOOT],
        dependencies=["huggingface_hub>=1.0"],
        env={
            "DISTILL_BOOT": Path(__file__).with_name("job_boot.py").read_text(encoding="utf-8"),
            "DISTILL_REPO": repository,
            "DISTILL_CODE": code,
            "DISTILL_RUN": run,
            "DISTILL_SECONDS": str(seconds),
            "DISTILL_WITH": REASONING_GYM if config.data.source == "reasoning_gym" else "",
            "PYTHONUNBUFFERED": "1",
        },
        secrets={"HF_TOKEN": api.token},
        flavor=flavor,
        timeout=seconds,
        name=f"distill-{run}",
        namespace=namespace,
    )


def _keep(api: HfApi, folder: Path, made: Ticket, price: str) -> None:
    """Write the ticket. Where that fails the Job is cancelled, as nobody here would know of it; raises UserError."""
    try:
        (folder / TICKET).write_text(json.dumps(asdict(made) | {"price": price}, indent=2) + "\n", encoding="utf-8")
    except BaseException as error:
        then = "so it was cancelled: make room for it, then submit again"
        try:
            api.cancel_job(job_id=made.job, namespace=made.namespace)
        except Exception as refusal:
            then = f"nor could it be cancelled ({type(refusal).__name__}), so cancel it at {made.url}"
        if not isinstance(error, Exception):  # an interruption
            raise
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UserError(f"The Job was started, but {folder / TICKET} can't be written ({reason}), {then}.") from error


# --- who asks, and what is said where it fails ----------------------------------------------------------------------


def signed_in() -> HfApi:
    """The Hub, asked with this machine's token. Raises UserError where there is none."""
    from huggingface_hub import HfApi

    token = hub_errors.own_token()
    if not token:
        raise UserError(
            f"Jobs need a token of Hugging Face: make one that may write and start Jobs at {TOKENS}, then hf auth "
            "login, or set HF_TOKEN."
        )
    return HfApi(token=token)


def why(error: BaseException, what: str) -> str:
    """One sentence on why the Hub refused; `what` could not be done, in words."""
    return hub_errors.why(error, what, _REFUSALS)
