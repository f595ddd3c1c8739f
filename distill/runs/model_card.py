"""The model card of a run: README.md with the numbers of its report, how to use the adapter, its config and licence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.config.messages import listed
from distill.config.method import described
from distill.config.paths import zoo_folder
from distill.config.run_config import RunConfig, to_yaml
from distill.models.references import is_repository

_CARD = """---
library_name: peft
{base}license: apache-2.0
tags:
- distillation
- lora
---

# {student}, taught by {taught_by}

A LoRA adapter trained by *distill* (run `{run}`, preset `{preset}`, seed {seed}): {steps} steps, {tokens:,} tokens.

| | before | after |
|---|---|---|
{rows}

{changes} Accuracies are greedy answers to problems that were not trained on; in brackets the 95% interval (Wilson).

## Use

```python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained("{place}")
tokenizer = AutoTokenizer.from_pretrained("{place}")
```
{needs}{epochs}
"Before" is the same model with the adapter off: `with model.disable_adapter(): ...`

## By family of problems

| family | n | before | after |
|---|---|---|---|
{families}
{geometry}
## What it was trained on

{methods}
{responses}{warnings}
## How it was made

{hardware}; {versions}. Seconds: {seconds}. Peak memory: {memory:,} MB.

```yaml
{config}```

## Licence

Apache-2.0 for the adapter; the base model keeps its own licence.
"""


_NEEDS = """
The base model is not on the Hub: give the folder that holds it,
`PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("path/to/{base}"), "{place}")`{where}.
"""
_BESIDE = """
The base model, `{base}`, comes with distill. The zip that the page offers has it beside the adapter: run this in the
folder that holds both.
"""


def model_card(report: dict[str, Any], config: RunConfig, repo: str | None = None) -> str:
    """README.md of a run: every number is the report's. `repo`: the Hub repository that holds it; None: a folder."""
    base = config.student.model
    at_hub = is_repository(base) and not Path(base).is_dir()
    teachers = ", ".join(report["teachers"]) or "worked solutions alone"
    return _CARD.format(
        base=f"base_model: {base}\n" if at_hub or repo is None else "",
        place=repo or "adapter",
        needs=_needs(base, repo) if not at_hub else "",
        epochs=_epochs(report),
        student=report["student"],
        taught_by=teachers,
        run=report["run"],
        preset=report["preset"],
        seed=report["seed"],
        steps=report["steps"],
        tokens=report["tokens"],
        rows="\n".join(_rows(report)),
        changes=_changes(report),
        families="\n".join(
            f"| {family} | {part['n']} | {part['before']:.0%} | {part['after']:.0%} |"
            for family, part in report["by_family"].items()
        ),
        geometry=_geometry(report),
        methods="\n".join(f"- {described(one, [t.name for t in config.teachers])}" for one in config.objectives),
        responses=_responses(report),
        warnings=_warnings(report),
        hardware=report["hardware"],
        versions=", ".join(f"{package} {number}" for package, number in report["versions"].items()),
        seconds=", ".join(f"{name} {value:.0f}" for name, value in report["seconds"].items()),
        memory=report["peak_rss_mb"],
        config=to_yaml(config),
    )


def _needs(base: str, repo: str | None) -> str:
    """How to get a base model that nobody can fetch."""
    if repo is None:
        return _BESIDE.format(base=base) if zoo_folder(base) else ""
    where = " (it comes with distill, in assets/zoo)" if zoo_folder(base) else ""
    return _NEEDS.format(base=base, place=repo, where=where)


def _epochs(report: dict[str, Any]) -> str:
    """Where the adapter is as it was after each epoch, where that was kept."""
    kept = [name for name in report.get("digests", {}) if name.startswith("epochs/")]
    if not kept:
        return ""
    return f"\nAs it was after each epoch, the adapter is in {listed([f'`{name}`' for name in kept])}.\n"


def _share(score: dict[str, Any]) -> str:
    low, high = score["ci95"]
    return f"{score['accuracy']:.1%} ({low:.0%} to {high:.0%})"


def _rows(report: dict[str, Any]) -> list[str]:
    rows = [
        f"| held-out problems, n = {report['before']['n']} | {_share(report['before'])} | {_share(report['after'])} |"
    ]
    new = report["new_phrasing"]
    if new:
        rows.append(f"| new wordings, n = {new['before']['n']} | {_share(new['before'])} | {_share(new['after'])} |")
    return rows


def _changes(report: dict[str, Any]) -> str:
    flips, p = report["flips"], report["mcnemar_p"]
    changed = f"{flips['fixed']} answers fixed, {flips['broken']} broken (exact McNemar p = {p:.2g})."
    return changed + _ceiling(report.get("ceiling"))


def _ceiling(most: dict[str, Any] | None) -> str:
    """What the teachers know of the same problems, where they were asked."""
    if not most:
        return ""
    best, gap = most["teachers"][most["best"]], most["gap_closed"]
    vote = f" their vote {_share(most['vote'])}," if len(most["teachers"]) > 1 else ""
    closed = f" Gap closed: {gap['share']:.0%} ({gap['ci95'][0]:.0%} to {gap['ci95'][1]:.0%})." if gap else ""
    return (
        f"\n\nThe teachers on {most['n']} of the same problems: mean {most['mean']:.1%},{vote} the best, "
        f"{most['best']}, {_share(best)}.{closed}"
    )


def _geometry(report: dict[str, Any]) -> str:
    if not report["cka"]:
        return ""
    line, gate = next(iter(report["cka"].values())), report["gate"]  # without geometry there is no gate
    head = ["teacher", "before", "after", *(["mean gate weight"] if gate else [])]
    rows = [head, ["---"] * len(head)]
    for teacher, part in report["cka"].items():
        shares = [_number(gate.get(teacher), 2)] if gate else []
        rows.append([teacher, _number(part["before"]), _number(part["after"]), *shares])
    return (
        "\n## Agreement with each teacher on which problems are similar\n\n"
        f"Head-free debiased CKA on {line['n']} held-out texts; chance level {_number(line['null95'])} "
        f"(unrelated models stay below it 95 times in 100).\n\n{_table(rows)}\n"
    )


def _responses(report: dict[str, Any]) -> str:
    """What became of the teachers' answers, where the student learnt from some."""
    counts = report.get("responses") or {}
    if not counts:
        return ""
    keys = ("asked", "finished", "right", "kept")
    rows = [["teacher", *keys], ["---"] * (len(keys) + 1)]
    for teacher, part in counts.items():
        rows.append([teacher, *["–" if part.get(key) is None else f"{part[key]:,}" for key in keys]])
    asked, kept = (sum(part.get(key) or 0 for part in counts.values()) for key in ("asked", "kept"))
    return (
        f"\nOf the teachers' {asked:,} answers to the training problems {kept:,} were kept to learn from; *finished* "
        f"are those with an end, *right* those with the right result.\n\n{_table(rows)}\n"
    )


def _table(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _number(value: float | None, places: int = 3) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def _warnings(report: dict[str, Any]) -> str:
    if not report["warnings"]:
        return ""
    return "\n## Warnings\n\n" + "\n".join(f"- {warning['text']}" for warning in report["warnings"]) + "\n"
