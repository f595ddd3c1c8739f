"""`python -m distill`: reads the command line and calls the command. It imports neither torch nor transformers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from distill import cli, submitting
from distill.config.errors import UserError
from distill.config.secrets import guard_output
from distill.hub import doctor

# Commands that do the work in this process: their errors say themselves which exit status they are.
_WORKING = ("evaluate", "push", "zoo")


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
        epilog="Exit status: 0 done, 1 failed, 2 what was asked for is wrong, 130 stopped.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    command = _add(commands, "run", cli.run, "train what a preset or a YAML file asks for")
    command.add_argument("source", metavar="PRESET|FILE", help="a preset (see show) or a YAML file")
    _add_set(command, "change a setting, such as budget.steps=60")
    command.add_argument("--create", action="store_true", help="only make its folder, for accelerate launch (README)")
    _add_json(command)
    command = _add(commands, "resume", cli.resume, "go on with a stopped, crashed or failed run")
    _add_run(command)
    _add_set(command, "change the budget, such as budget.steps=200")
    _add_json(command)
    _add_run(_add(commands, "stop", cli.stop, "ask a run to save and leave"))
    _add(commands, "list", cli.list_runs, "all runs, the newest first")
    command = _add(commands, "show", cli.show, "what a run did, or what a preset asks for")
    command.add_argument("what", metavar="RUN|PRESET")
    _add_json(command)
    command = _add(commands, "evaluate", cli.evaluate, "judge a run's student again")
    _add_run(command)
    command.add_argument("--problems", type=_count, default=240, metavar="N", help="held-out problems (default 240)")
    command.add_argument("--adapter", default="adapter", metavar="NAME", help="of a run with epochs: epochs/1, ...")
    _add_set(command, "judge on other problems, such as data.source=reasoning_gym; data.* and evaluation.* only")
    _add_json(command)
    command = _add(commands, "push", cli.push, "keep a finished run in a repository of the Hub, private unless told")
    _add_run(command)
    command.add_argument("--to", required=True, metavar="NAME/REPO", help="the repository; it is made if need be")
    command.add_argument("--public", action="store_true", help="everybody may read it")
    command = _add(commands, "submit", submitting.submit, "do a run as a Job of Hugging Face, on a machine of theirs")
    command.add_argument("source", metavar="PRESET|FILE|RUN", help="as for run; or an earlier run, to do it again")
    command.add_argument("--flavor", metavar="NAME", help="the machine, such as a10g-small (without: which will do)")
    command.add_argument("--timeout", default="4h", metavar="TIME", help="the longest it may take (default 4h)")
    _add_set(command, "change a setting, such as budget.steps=60")
    command = _add(commands, "follow", submitting.follow, "watch a Job that was submitted")
    _add_run(command)
    _add_json(command)
    commands.add_parser("zoo", help="make the tiny teachers and the tiny student from nothing", add_help=False)
    _add(commands, "doctor", doctor.doctor, "what this machine is, and what will run on it")
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


if __name__ == "__main__":
    guard_output()
    sys.exit(main())
