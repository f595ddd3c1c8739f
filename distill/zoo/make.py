"""`python -m distill zoo`: make the six teachers, the sibling and the student from nothing, measure them, and write the
tables.

Each model is made by a process of its own on one thread (two threads gain little at this size), `--jobs` side by
side, in the cache; interrupted, it goes on where it was. Finished models are copied to assets/zoo, then all are
measured on problems that training never saw; zoo.json and the tables of docs/zoo.md are written from that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from distill.config.errors import ConfigError, UserError
from distill.config.messages import instead
from distill.config.paths import ROOT, SOURCES, ZOO, home
from distill.zoo.cards import CARDS, Card

PAGE = ROOT / "docs" / "zoo.md"
TABLE = "<!-- zoo:begin -->", "<!-- zoo:end -->"  # what is between these is written


def main(arguments: list[str]) -> int:
    """Make the models named (all, by default); those that are there already are left alone unless `--again`."""
    parser = argparse.ArgumentParser(prog="python -m distill zoo", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="MODEL", help=f"one or more of {', '.join(CARDS)}")
    parser.add_argument("--jobs", type=int, default=2, help="how many to make side by side (default: 2)")
    parser.add_argument("--device", default="cpu", help="where to train: cpu (default) or cuda")
    parser.add_argument("--again", action="store_true", help="make them again even if they are there")
    parser.add_argument("--one", metavar="FOLDER", help=argparse.SUPPRESS)  # a child process: make one in this folder
    args = parser.parse_args(arguments)
    for name in args.names:
        if name not in CARDS:
            raise ConfigError(f"There is no zoo model {name!r}: {instead(name, CARDS)}")
    names = args.names or list(CARDS)
    if args.device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"There is no device {args.device!r} here: leave --device out to make the zoo on the CPU.")
    if args.one:
        return _make_one(CARDS[names[0]], Path(args.one), args.device)
    work = home().cache / "zoo"
    wanted = [name for name in names if args.again or not (ZOO / name / "model.safetensors").exists()]
    _say_how_long(wanted, max(1, args.jobs))
    _make_all(wanted, work, max(1, args.jobs), args.device)
    for name in wanted:
        _install(work / name, ZOO / name)
    _measure(names)
    return 0


def _say_how_long(names: list[str], jobs: int) -> None:
    """What the models took when they were last made, and so will take if this machine is as quick as that one was."""
    path = ZOO / "zoo.json"
    took = (
        {entry["name"]: entry["seconds"] for entry in json.loads(path.read_text(encoding="utf-8"))}
        if path.exists()
        else {}
    )
    if names and all(name in took for name in names):
        minutes = sum(took[name] for name in names) / 60
        print(f"{len(names)} models took {minutes:.0f} min of a core when they were last made;", end=" ")
        print(
            f"{jobs} at a time, expect about {max(minutes / jobs, max(took[n] for n in names) / 60):.0f} min.",
            flush=True,
        )


def _make_one(card: Card, folder: Path, device: str) -> int:
    from distill.zoo.train import make_model

    marks: list[tuple[float, int]] = []  # (when, at which step), the first from which the pace is known

    def report(step: int, steps: int, loss: float) -> None:
        marks.append((time.monotonic(), step))
        done = step - marks[0][1]
        left = (marks[-1][0] - marks[0][0]) / done * (steps - step) / 60 if done else None
        estimate = "" if left is None else f", about {left:.0f} min left"
        print(f"{card.name}: step {step} of {steps}, loss {loss:.3f}{estimate}", flush=True)

    made = make_model(card, folder, report, device=device)
    (folder / "made.json").write_text(json.dumps(made))
    return 0


def _make_all(names: list[str], work: Path, jobs: int, device: str) -> None:
    waiting, running = list(names), []
    try:
        _tend(waiting, running, work, jobs, device)
    finally:  # one failed or somebody pressed Ctrl-C: what the others have is kept, and they go
        for _, process in running:
            process.terminate()


def _tend(waiting: list[str], running: list[tuple[str, subprocess.Popen]], work: Path, jobs: int, device: str) -> None:
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.pop(0)
            if _is_made(CARDS[name], work / name):
                continue
            command = [sys.executable, "-m", "distill", "zoo", name, "--one", str(work / name), "--device", device]
            running.append((name, subprocess.Popen(command, cwd=SOURCES)))
        for name, process in list(running):
            if process.poll() is not None:
                running.remove((name, process))
                if process.returncode:
                    raise UserError(f"Making {name} failed (exit {process.returncode}): its messages are above.")
        time.sleep(0.2)


def _is_made(card: Card, folder: Path) -> bool:
    """Whether an earlier call finished this very model, and was interrupted before it could put it in its place."""
    from distill.zoo.train import fingerprint

    path = folder / "made.json"
    return path.exists() and json.loads(path.read_text(encoding="utf-8")).get("made_of") == fingerprint(card)


def _install(made: Path, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for file in made.iterdir():
        if file.suffix in (".json", ".safetensors", ".jinja"):
            shutil.copyfile(file, part / file.name)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    shutil.rmtree(made)


def _measure(names: list[str]) -> None:
    """Measure these models and write zoo.json and the tables of docs/zoo.md."""
    path = ZOO / "zoo.json"
    table = {entry["name"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))} if path.exists() else {}
    for name in names:
        print(f"{name}: sitting the exams", flush=True)
        table[name] = _entry(CARDS[name])
    entries = [table[name] for name in CARDS if name in table]
    path.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _write_page(entries)


def _entry(card: Card) -> dict[str, Any]:
    from distill.evaluation.answering import answer_problems, score
    from distill.evaluation.exams import exams
    from distill.models.loading import load_model, load_tokenizer

    folder = ZOO / card.name
    made = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    results = {name: score(answer_problems(model, tokenizer, problems, 64)) for name, problems in exams().items()}
    return {
        "name": card.name,
        "role": "student" if card.is_student else "teacher",
        "architecture": type(model).__name__,
        "parameters": made["parameters"],
        "width": card.width,
        "layers": card.layers,
        "tokenizer": card.tokenizer,
        "vocabulary": len(tokenizer),
        "experts": list(card.experts),
        **{name: result.to_dict() for name, result in results.items()},
        "by_family": {family: round(s.accuracy, 3) for family, s in results["held_out"].by_family().items()},
        "seconds": made["seconds"],
    }


def _write_page(entries: list[dict[str, Any]]) -> None:
    if not PAGE.exists():
        return
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(TABLE[0])
    _, _, after = rest.partition(TABLE[1])
    PAGE.write_text(f"{before}{TABLE[0]}\n{markdown(entries)}\n{TABLE[1]}{after}", encoding="utf-8")


_COLUMNS = {
    "held_out": "new facts",
    "new_phrasing": "new wordings",
    "new_names": "new names",
    "impossible": "impossible",
    "visitors": "visitors'",
    "mawps_asdiv": "MAWPS, ASDiv",
    "svamp": "SVAMP",
}


def markdown(entries: list[dict[str, Any]]) -> str:
    """The zoo as Markdown tables: what each model is, and what share it gets right."""
    rows = [
        "| model | architecture | parameters | width | tokenizer | expert in | made in |",
        "|---|---|---:|---:|---|---|---:|",
    ]
    for entry in entries:
        rows.append(
            f"| {entry['name']} | {entry['architecture']} | {entry['parameters']:,} | {entry['width']} "
            f"| {entry['tokenizer']} ({entry['vocabulary']}) | {', '.join(entry['experts']) or 'nothing yet'} "
            f"| {entry['seconds'] / 60:.0f} min |"
        )
    measured = [name for name in _COLUMNS if all(name in entry for entry in entries)]
    heads = " | ".join(f"{_COLUMNS[name]} (n = {entries[0][name]['n']:,})" for name in measured)
    rows += ["", f"| right | {heads} |", f"|---|{'---:|' * len(measured)}"]
    for entry in entries:
        rows.append(f"| {entry['name']} | {' | '.join(format(entry[name]['accuracy'], '.1%') for name in measured)} |")
    names = [entry["name"] for entry in entries]
    rows += ["", f"| right of new facts, by family | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for family in entries[0]["by_family"]:
        shares = " | ".join(f"{entry['by_family'][family]:.0%}" for entry in entries)
        rows.append(f"| {family} | {shares} |")
    return "\n".join(rows)
