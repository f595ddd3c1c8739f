"""`python -m distill`: reads the command line and does what it asks. It imports torch only in commands that need it.

Each command gives the exit status: 0 done, 1 failed, 2 asked wrongly, 130 stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from distill.config import paths, run_config
from distill.config.errors import Stopped, UserError
from distill.config.messages import instead, nearest
from distill.config.secrets import guard_output
from distill.hub import host, jobs
from distill.hub.host import Feature, version
from distill.models import references
from distill.models.hardware import Machine, cores_text
from distill.runs import estimate as estimates
from distill.runs import format, index, preset_cards, store
from distill.runs.events import to_json
from distill.runs.preflight import check_room, refuse_foreseen
from distill.runs.process import live_process
from distill.runs.views import RunView

GRACE = 60.0  # seconds a worker has to save after Ctrl-C before it gets SIGTERM
_NOBODY_READS = 141  # the exit status of a program that SIGPIPE ends
_TICK = 0.3  # seconds between two looks at a Job
# Commands that do the work in this process: their errors say themselves which exit status they are.
_WORKING = ("evaluate", "merge", "push", "zoo")
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors", "pydantic", "gradio", "huggingface-hub")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 failed, 2 asked wrongly, 130 stopped."""
    argv = list(sys.argv[1:] if argv is None else argv)
    command = argv[0] if argv else ""
    try:
        if command == "zoo":  # it has options of its own
            from distill.zoo.make import main as make_zoo

            return make_zoo(argv[1:])
        args = _parser().parse_args(spread(argv))
        return args.do(args)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code if command in _WORKING else 2
    except KeyboardInterrupt:
        return 130


def spread(argv: Sequence[str]) -> list[str]:
    """`--set a=1 b=2` as `--set a=1 --set b=2`, so that a preset may come after `--set a=1` too."""
    spread: list[str] = []
    for token in argv:
        if "=" in token and not token.startswith("-") and spread[-2:-1] == ["--set"]:
            spread.append("--set")
        spread.append(token)
    return spread


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m distill",
        description="Many teachers, one small student.",
        epilog="Exit status: 0 done, 1 failed, 2 wrong arguments or settings, 130 stopped.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    command = _add(commands, "run", run, "train what a preset or a YAML file asks for")
    command.add_argument("source", metavar="PRESET|FILE", help="a preset (see show) or a YAML file")
    _add_set(command, "change a setting, such as budget.steps=60")
    command.add_argument(
        "--create", action="store_true", help="only make its folder, for accelerate launch (docs/usage.md)"
    )
    _add_json(command)
    command = _add(commands, "resume", resume, "continue a stopped, crashed or failed run")
    _add_run(command)
    _add_set(command, "change the budget, such as budget.steps=200")
    _add_json(command)
    _add_run(_add(commands, "stop", stop, "ask a run to save and stop"))
    command = _add(commands, "study", study, "compare arms over several seeds: which is better, and how sure is that")
    command.add_argument("source", metavar="NAME|FILE|ID", help="one that ships, a YAML file, or one that was begun")
    command.add_argument("--dry", action="store_true", help="only say what it costs: runs, time and disk")
    _add_json(command)
    _add(commands, "list", list_runs, "all runs, the newest first")
    command = _add(commands, "show", show, "what a run did, or what a preset asks for")
    command.add_argument("what", metavar="RUN|PRESET")
    _add_json(command)
    command = _add(commands, "evaluate", evaluate, "evaluate a run's student again")
    _add_run(command)
    command.add_argument("--problems", type=_count, default=240, metavar="N", help="held-out problems (default 240)")
    command.add_argument("--adapter", default="adapter", metavar="NAME", help="one of its epochs, such as epochs/1")
    _add_set(command, "evaluate on other problems, such as data.source=reasoning_gym; data.* and evaluation.* only")
    _add_json(command)
    command = _add(commands, "push", push, "upload a finished run to a repository on the Hub, private by default")
    _add_run(command)
    command.add_argument("--to", required=True, metavar="NAME/REPO", help="the repository; created if missing")
    command.add_argument("--public", action="store_true", help="make it public")
    command = _add(commands, "merge", merge, "make a whole model of an adapter and the model it was trained on")
    command.add_argument("source", metavar="RUN|FOLDER", help="a run, or a folder with an adapter of PEFT")
    command.add_argument("--to", required=True, metavar="FOLDER", help="where the model is put; made if missing")
    command = _add(commands, "submit", submit, "do a run as a Hugging Face Job, on one of their machines")
    command.add_argument("source", metavar="PRESET|FILE|RUN", help="as for run, or an earlier run to repeat")
    command.add_argument("--flavor", metavar="NAME", help="the machine, such as a10g-small (without it: suggestions)")
    command.add_argument("--timeout", default="4h", metavar="TIME", help="the longest it may take (default 4h)")
    _add_set(command, "change a setting, such as budget.steps=60")
    command = _add(commands, "follow", follow, "watch a Job that was submitted")
    _add_run(command)
    _add_json(command)
    commands.add_parser("zoo", help="make the tiny teachers and the tiny student from scratch", add_help=False)
    _add(commands, "doctor", doctor, "what this machine is, and what will run on it")
    return parser


def _add(commands: argparse._SubParsersAction, name: str, do: object, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("--runs", metavar="DIR", help="where runs are kept (default: DISTILL_HOME/runs, else ./runs)")
    command.set_defaults(do=do)
    return command


def _add_run(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", metavar="RUN", help="a run's id, the start of it, or its folder")


def _add_set(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--set", action="append", default=[], dest="overrides", metavar="A.B=VALUE", help=text)


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the result as JSON, on one line, last")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few: it must be at least 1")
    return number


# --- runs ------------------------------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> int:
    """Train what a preset or file asks for, in the foreground."""
    asked = run_config.load(args.source, args.overrides)
    references.check_models(asked)
    refuse_foreseen(asked)
    if args.create:
        print(store.create(asked, args.runs))
        return 0
    check_room(asked, Machine.here(args.runs))
    with _interrupts() as interrupts:
        folder = store.create(asked, args.runs)
        print(f"run {folder.name}: {asked.name}, in {folder}", file=sys.stderr)
        worker = store.start(folder)
        return _watch(worker, folder, format.Progress(sys.stderr), interrupts, args.json)


def resume(args: argparse.Namespace) -> int:
    """Go on with a stopped, crashed or failed run, in the foreground."""
    folder = index.find(args.run, args.runs)
    seen = store.view(folder)
    if seen.config:
        references.check_models(seen.config)
    progress = format.Progress(sys.stderr)
    progress.skip(seen)
    with _interrupts() as interrupts:
        worker = store.resume(folder, args.overrides)
        print(f"run {folder.name}: going on after step {seen.step}, in {folder}", file=sys.stderr)
        return _watch(worker, folder, progress, interrupts, args.json)


def stop(args: argparse.Namespace) -> int:
    """Ask a run to save and leave, and wait until it has."""
    folder = index.find(args.run, args.runs)
    store.stop(folder, grace=GRACE, wait=True)
    seen = store.view(folder)
    print(f"Run {seen.id} is {seen.state} at step {seen.step} of {seen.steps}.")
    return 0


def study(args: argparse.Namespace) -> int:
    """Carry out a study, or go on with one, in the foreground."""
    from distill.studies import conduct, cost, results
    from distill.studies import plan as plans

    begun = conduct.find_study(args.source, args.runs)
    asked = begun.plan if begun else plans.load(args.source)
    for one in (cell.config for cell in asked.cells):
        references.check_models(one)
    costs = cost.cost_of(asked, args.runs, begun)
    print(*cost.lines(asked, costs), sep="\n", file=sys.stdout if args.dry else sys.stderr)
    if args.dry:
        return 0
    begun = begun or conduct.begin(asked, args.runs)
    print(f"study {begun.id}, in {begun.path}", file=sys.stderr)
    (begun.path / conduct.STOP).unlink(missing_ok=True)  # of an earlier sitting
    with _interrupts() as interrupts:
        progress = _StudyProgress(len(asked.cells), lambda: results.write(begun))
        try:
            conduct.conduct(begun, lambda: interrupts.count > 0, progress)
        except Stopped:
            results.write(begun)
            print(f"The study is stopped: python -m distill study {begun.id} continues it.", file=sys.stderr)
            return 130
        except UserError:
            results.write(begun)
            raise
        finally:
            progress.clear()
    found = results.write(begun)
    print(to_json(found) if args.json else results.markdown(begun, found), end="\n" if args.json else "")
    return 0 if begun.done else 1


class _StudyProgress:
    """What a study does, run by run, on standard error; `next_one()` is called as each begins."""

    def __init__(self, total: int, next_one: Callable[[], object]):
        self.total, self.next_one = total, next_one
        self.run: str | None = None
        self.line = format.Progress(sys.stderr)

    def __call__(self, done: int, cell: object, seen: RunView) -> None:
        if seen.id != self.run:
            self.run = seen.id
            self.next_one()
            self.clear()
            self.line = format.Progress(sys.stderr)
            self.line.skip(seen)
            self.line.say(f"{done + 1} of {self.total}: {seen.name} (run {seen.id})")
        self.line.update(seen)

    def clear(self) -> None:
        self.line.clear()


def list_runs(args: argparse.Namespace) -> int:
    """All runs, the newest first."""
    found = index.list_runs(args.runs)
    print(format.runs_table(found) if found else "There are no runs yet: python -m distill run tiny makes one.")
    return 0


def show(args: argparse.Namespace) -> int:
    """A preset's settings, or what a run did."""
    presets = paths.preset_names()
    if args.what in presets:
        return _show_preset(args)
    try:
        seen = store.view(index.find(args.what, args.runs))
    except run_config.ConfigError as error:
        if nearest(args.what, presets):
            raise run_config.ConfigError(
                f"There is no run or preset {args.what!r}: {instead(args.what, presets)}"
            ) from error
        raise
    if args.json:
        about = {name: getattr(seen, name) for name in ("id", "name", "state", "reason", "step", "steps", "report")}
        print(to_json(about | {"folder": str(seen.folder)}))
        return 0
    print(f"run {seen.id}: {seen.name}, {seen.state} at step {seen.step} of {seen.steps}, in {seen.folder}")
    if seen.reason:
        print(seen.reason)
    if seen.report:
        print(format.summary(seen.report))
        print(format.families(seen.report))
    if seen.resumable:
        print(f"python -m distill {'follow' if seen.elsewhere else 'resume'} {seen.id} continues it.")
    return 0


def _show_preset(args: argparse.Namespace) -> int:
    """A preset's settings, then what it costs on this machine and whether this machine can."""
    asked = run_config.load(args.what)
    found = estimates.estimate(asked, Machine.here(args.runs))
    job = jobs.smallest(asked) if found.obstacle else None
    if args.json:
        needs = {"seconds": found.seconds, "memory_gb": found.memory_gb, "gpu_gb": found.gpu_gb}
        said = {"preset": args.what, "config": asked.model_dump(mode="json"), **needs, "disk_mb": found.disk_mb}
        said |= {"here": bool(found.seconds) and not found.obstacle, "obstacle": found.obstacle, "notes": found.notes}
        print(to_json(said | {"flavor": job[0].name if job else None}))
        return 0
    print(run_config.to_yaml(asked), end="")
    print(*(f"# {line}" for line in estimates.lines(found)), sep="\n")
    if job:
        print(f"# python -m distill submit {args.what} --flavor {job[0].name} does it on a machine of Hugging Face")
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Judge a run's student again, on as many held-out problems as asked for, its own or others."""
    from distill.evaluation.reevaluate import evaluate_run

    result = evaluate_run(index.find(args.run, args.runs), args.problems, args.json, args.adapter, args.overrides)
    print(to_json(result) if args.json else format.summary(result))
    return 0


def push(args: argparse.Namespace) -> int:
    """Keep a finished run in a repository of the Hub."""
    from distill.hub.push import push as push_run

    print(push_run(index.find(args.run, args.runs), args.to, private=not args.public))
    return 0


def merge(args: argparse.Namespace) -> int:
    """Put an adapter into its model, so that both can be given as one: as a student, say, or as a teacher."""
    from distill.models.merging import merge as merge_into

    folder = Path(args.source).expanduser()
    if not folder.is_dir() or references.is_run_folder(folder):
        from distill.evaluation.reevaluate import adapter_of

        folder = adapter_of(index.find(args.source, args.runs))
    print(merge_into(folder, Path(args.to).expanduser()))
    return 0


class _Interrupts:
    """How often Ctrl-C or SIGTERM came. It only counts: locks and files are no business of a signal handler."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *_: object) -> None:
        self.count += 1


@contextlib.contextmanager
def _interrupts() -> Iterator[_Interrupts]:
    counter = _Interrupts()
    before = {number: signal.signal(number, counter) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield counter
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(
    worker: subprocess.Popen[bytes], folder: Path, progress: format.Progress, interrupts: _Interrupts, as_json: bool
) -> int:
    """Show the run until its worker has left, pass interrupts on, and say how it ended."""
    heeded = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(timeout=0.2)
        progress.update(store.view(folder))
        if worker.returncode is not None:
            break
        if interrupts.count > heeded:
            heeded += 1
            progress.say(_interrupt(worker, folder, heeded))
    progress.clear()
    return _ending(store.view(folder), worker.returncode, bool(interrupts.count), as_json)


def _interrupt(worker: subprocess.Popen[bytes], folder: Path, times: int) -> str:
    """Ask once, insist the second time, end it the third; what was done, for the user."""
    process = live_process(folder)
    if process is None:
        return "The worker is stopping."
    if times == 1:
        with contextlib.suppress(UserError):  # it may leave this very moment
            store.stop(folder, grace=GRACE)
        return "Stopping: the run is being saved (Ctrl-C again to stop sooner)."
    if times == 2:
        process.terminate()
        return "Stopping sooner (Ctrl-C again ends it at once; the last checkpoint is kept)."
    worker.kill()
    return "Ended."


def _ending(seen: RunView, returncode: int, interrupted: bool, as_json: bool) -> int:
    log = seen.folder / "stdout.log"
    if seen.state == "done":
        if as_json:
            print(to_json(seen.report or {}))
        else:
            print(format.summary(seen.report or {}))
            print(f"The student's adapter and the report are in {seen.folder}.")
        return 0
    if seen.state == "stopped" or (interrupted and seen.state == "crashed"):
        where = f"at step {seen.step} of {seen.steps}"
        print(f"Run {seen.id} is stopped {where}: python -m distill resume {seen.id} continues it.", file=sys.stderr)
        return 130
    reason = (seen.reason or "it gave no reason").rstrip(".")
    print(f"Run {seen.id} {seen.state}: {reason}. Its full output is in {log}.", file=sys.stderr)
    return 2 if returncode == 2 else 1


# --- Jobs of Hugging Face --------------------------------------------------------------------------------------------


def submit(args: argparse.Namespace) -> int:
    """Start a Job that does the run of a preset, a file or an earlier run; it is followed in the background."""
    asked = _asked(args)
    if not args.flavor:
        raise run_config.ConfigError(_which(asked, args))
    folder = jobs.submit(asked, args.flavor, args.timeout, args.runs)
    store.start(folder)
    made = jobs.ticket(folder)
    print(f"run {folder.name}: {asked.name}, a Job on {made.flavor} for at most {format.duration(made.seconds)}")
    print(f"Its page at Hugging Face is {made.url}; what it produces is kept in {made.repository}, which is private.")
    print(
        f"The page and `list` show it like any run; python -m distill follow {folder.name} watches it, "
        f"stop {folder.name} ends it."
    )
    return 0


def follow(args: argparse.Namespace) -> int:
    """Watch a Job until it is over. Ctrl-C leaves it alone."""
    folder = index.find(args.run, args.runs)
    if jobs.ticket(folder) is None:
        raise UserError(f"Run {folder.name} is no Job of Hugging Face: python -m distill show {folder.name} shows it.")
    with contextlib.suppress(UserError):  # followed already, or over
        store.follow(folder)
    progress = format.Progress(sys.stderr)
    while not (seen := store.view(folder)).final:
        progress.update(seen)
        time.sleep(_TICK)
    progress.update(seen)
    progress.clear()
    return _terminal_word(seen, args.json)


def _terminal_word(seen: RunView, as_json: bool) -> int:
    """Print how it ended; the exit status."""
    if seen.state == "done":
        print(to_json(seen.report or {}) if as_json else format.summary(seen.report or {}))
        return 0
    reason = (seen.reason or "it gave no reason").rstrip(".")
    goes_on = f" python -m distill follow {seen.id} follows it again." if seen.state == "crashed" else ""
    print(f"Run {seen.id} {seen.state}: {reason}.{goes_on}", file=sys.stderr)
    return 130 if seen.state == "stopped" else 1


def _asked(args: argparse.Namespace) -> run_config.RunConfig:
    """What a preset, a file or a run asks for."""
    try:
        return run_config.load(args.source, args.overrides)
    except run_config.ConfigError as unknown:
        try:
            folder = index.find(args.source, args.runs)
        except run_config.ConfigError:
            raise unknown from None
        return run_config.load(folder / "config.yaml", args.overrides)


def _which(asked: run_config.RunConfig, args: argparse.Namespace) -> str:
    """What to say where no flavour is given: Jobs cost money, so none is chosen for anybody."""
    found = jobs.smallest(asked)
    names = ", ".join(one.name for one in jobs.FLAVORS)
    if found is None:
        reason = (
            estimates.estimate(asked, jobs.FLAVORS[-1].machine, ()).obstacle
            or "its size isn't known until it is fetched"
        )
        return f"Choose a machine with --flavor: {names}. None is known to work ({reason})."
    flavor, cost = found
    on = f"{flavor.gpu} with {flavor.machine.gpu_gb:.0f} GB" if flavor.gpu else f"{flavor.machine.cores} cores"
    return (
        f"Choose a machine: --flavor {flavor.name} is the cheapest that works ({on}, "
        f"{estimates.text(cost.seconds)}); others are {names}."
    )


# --- this machine ----------------------------------------------------------------------------------------------------


def doctor(args: argparse.Namespace) -> int:
    """What this machine is, and what will run on it."""
    parent = Path(args.runs or paths.home().runs)
    here = Machine.here(parent)
    versions = {name: version(name) for name in _PACKAGES}
    zoo = _zoo()
    problems = [f"{name} is not installed" for name, found in versions.items() if not found]
    problems += ["the zoo is not complete (python -m distill zoo makes it)"] if zoo != "complete" else []
    problems += [f"a run needs {store.NEEDED_MB} MB of disk"] if here.disk_mb < store.NEEDED_MB else []
    problems += _gpu_trouble(here)
    rows = [
        ["host", f"{host.kind(here)}; {_sizes(here)}; trains in {here.dtype}"],
        ["system", f"{platform.platform()}, Python {platform.python_version()}"],
        ["packages", ", ".join(f"{name} {found or 'missing'}" for name, found in versions.items())],
        ["zoo", zoo],
        ["runs", f"{parent}, {here.disk_mb / 1024:.1f} GB free"],
        ["cache", str(paths.home().cache)],
    ]
    found = [*host.features(here), host.network()]
    print(format.table(rows))
    for title, wanted in (("On", True), ("Off", False)):
        print(f"\n{title}:", _listed([one for one in found if one.on is wanted]), sep="\n")
    print("\nPresets here:")
    print(format.table([[f"preset {card.name}", preset_cards.offer(card)] for card in preset_cards.cards(here)], "  "))
    print(f"\n{_prospect(here.device, problems)}")
    return 1 if problems else 0


def _listed(features: list[Feature]) -> str:
    return format.table([[one.name, one.why] for one in features], "  ") if features else "  nothing"


def _sizes(here: Machine) -> str:
    return f"{cores_text(here.cores)}, {here.memory_gb:.1f} GB of memory"


def _zoo() -> str:
    """ "complete", or what is wrong with it."""
    try:
        for name in paths.preset_models():
            references.check_folder(Path(references.model_path(name)))
    except UserError as error:
        return str(error)
    return "complete"


def _gpu_trouble(here: Machine) -> list[str]:
    """A GPU that torch can't use, as with a driver that is too old. torch takes seconds to import, so only then."""
    if here.device != "cuda":
        return []
    try:
        import torch

        usable = torch.cuda.is_available()
    except (ImportError, OSError) as error:
        return [f"torch can't be imported ({error})"]
    return [] if usable else ["nvidia-smi sees a GPU that torch can't use: its driver may be too old for this torch"]


def _prospect(device: str, problems: list[str]) -> str:
    if problems:
        return f"Not ready: {'; '.join(problems)}."
    if device in ("cpu", "mps"):
        return "The tiny presets run here in minutes; students of half a billion parameters and more need a CUDA GPU."
    return "Everything runs here, as far as memory allows; python -m distill run tiny is the first thing to try."


def _begin() -> int:
    """The program: as `main`, and quiet where whoever read its output has left, as `head` does."""
    guard_output()
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):  # what is still to be written goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return _NOBODY_READS


if __name__ == "__main__":
    sys.exit(_begin())
