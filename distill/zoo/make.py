"""`python -m distill zoo`: make the six teachers and the student from nothing, measure them, and write the tables.

Each model is made by a process of its own on one thread (two threads gain little at this size), `--jobs` side by
side, in the cache; interrupted, it goes on where it was. Finished models are copied to assets/zoo, then all are
measured on held-out problems, and zoo.json and the tables of docs/zoo.md are written from what was measured.
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

from distill.config.errors import ConfigError, UserError
from distill.config.messages import instead
from distill.config.paths import ROOT, ZOO, home
from distill.data.problems import generate
from distill.zoo.cards import CARDS, Card

PROBLEMS = 2400  # held-out problems each model is measured on, 200 a family
PAGE = ROOT / "docs" / "zoo.md"
TABLE = "<!-- zoo:begin -->", "<!-- zoo:end -->"  # what is between these is written


def main(arguments: list[str]) -> int:
    """Make the models named (all, by default); those that are there already are left alone unless `--again`."""
    parser = argparse.ArgumentParser(prog="python -m distill zoo", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="MODEL", help=f"one or more of {', '.join(CARDS)}")
    parser.add_argument("--jobs", type=int, default=2, help="how many to make side by side (default: 2)")
    parser.add_argument("--again", action="store_true", help="make them again even if they are there")
    parser.add_argument("--one", metavar="FOLDER", help=argparse.SUPPRESS)  # a child process: make one in this folder
    args = parser.parse_args(arguments)
    for name in args.names:
        if name not in CARDS:
            raise ConfigError(f"There is no zoo model {name!r}: {instead(name, CARDS)}")
    names = args.names or list(CARDS)
    if args.one:
        return _make_one(CARDS[names[0]], Path(args.one))
    work = home().cache / "zoo"
    wanted = [name for name in names if args.again or not (ZOO / name / "model.safetensors").exists()]
    _make_all(wanted, work, max(1, args.jobs))
    for name in wanted:
        _install(work / name, ZOO / name)
    _measure(names)
    return 0


def _make_one(card: Card, folder: Path) -> int:
    from distill.zoo.train import make_model

    began = time.monotonic()

    def report(step: int, steps: int, loss: float) -> None:
        left = (time.monotonic() - began) / max(step, 1) * (steps - step)
        print(f"{card.name}: step {step} of {steps}, loss {loss:.3f}, about {left / 60:.0f} min left", flush=True)

    made = make_model(card, folder, report)
    (folder / "made.json").write_text(json.dumps(made))
    return 0


def _make_all(names: list[str], work: Path, jobs: int) -> None:
    waiting, running = list(names), []
    try:
        _tend(waiting, running, work, jobs)
    finally:  # one failed or somebody pressed Ctrl-C: what the others have is kept, and they go
        for _, process in running:
            process.terminate()


def _tend(waiting: list[str], running: list[tuple[str, subprocess.Popen]], work: Path, jobs: int) -> None:
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.pop(0)
            if (work / name / "made.json").exists():
                continue
            command = [sys.executable, "-m", "distill", "zoo", name, "--one", str(work / name)]
            running.append((name, subprocess.Popen(command, cwd=ROOT)))
        for name, process in list(running):
            if process.poll() is not None:
                running.remove((name, process))
                if process.returncode:
                    raise UserError(f"Making {name} failed (exit {process.returncode}): its messages are above.")
        time.sleep(0.2)


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
    table = {entry["name"]: entry for entry in json.loads(path.read_text())} if path.exists() else {}
    for name in names:
        print(f"{name}: answering {PROBLEMS} held-out problems", flush=True)
        table[name] = _entry(CARDS[name])
    entries = [table[name] for name in CARDS if name in table]
    path.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    _write_page(entries)


def _entry(card: Card) -> dict[str, Any]:
    from distill.evaluation.answering import answer_problems, score
    from distill.models.loading import load_model, load_tokenizer

    folder = ZOO / card.name
    made = json.loads((folder / "made.json").read_text())
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    result = score(answer_problems(model, tokenizer, generate("held_out", PROBLEMS), max_new_tokens=96))
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
        "held_out": result.to_dict(),
        "by_family": {family: round(part.accuracy, 3) for family, part in result.by_family().items()},
        "seconds": made["seconds"],
    }


def _write_page(entries: list[dict[str, Any]]) -> None:
    if not PAGE.exists():
        return
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(TABLE[0])
    _, _, after = rest.partition(TABLE[1])
    PAGE.write_text(f"{before}{TABLE[0]}\n{markdown(entries)}\n{TABLE[1]}{after}", encoding="utf-8")


def markdown(entries: list[dict[str, Any]]) -> str:
    """The zoo as a Markdown table."""
    rows = [
        f"| model | architecture | parameters | width | tokenizer | right of {PROBLEMS:,} | expert in | made in |",
        "|---|---|---:|---:|---|---:|---|---:|",
    ]
    for entry in entries:
        experts = (
            ", ".join(f"{family} {entry['by_family'][family]:.0%}" for family in entry["experts"]) or "nothing yet"
        )
        rows.append(
            f"| {entry['name']} | {entry['architecture']} | {entry['parameters']:,} | {entry['width']} "
            f"| {entry['tokenizer']} ({entry['vocabulary']}) | {entry['held_out']['accuracy']:.1%} "
            f"| {experts} | {entry['seconds'] / 60:.0f} min |"
        )
    names = [entry["name"] for entry in entries]
    rows += ["", f"| right, by family | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for family in entries[0]["by_family"]:
        shares = " | ".join(f"{entry['by_family'][family]:.0%}" for entry in entries)
        rows.append(f"| {family} | {shares} |")
    return "\n".join(rows)
