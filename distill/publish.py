"""The model card of a run: README.md with the numbers of its report, how to use the adapter, its config and licence."""

from __future__ import annotations

from typing import Any

from distill.config import RunConfig, to_yaml

_CARD = """---
library_name: peft
base_model: {base}
license: apache-2.0
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

model = AutoPeftModelForCausalLM.from_pretrained("adapter")
tokenizer = AutoTokenizer.from_pretrained("adapter")
```

"Before" is the same model with the adapter off: `with model.disable_adapter(): ...`

## By family of problems

| family | n | before | after |
|---|---|---|---|
{families}
{geometry}{warnings}
## How it was made

{hardware}; {versions}. Seconds: {seconds}. Peak memory: {memory:,} MB.

```yaml
{config}```

## Licence

Apache-2.0 for the adapter; the base model keeps its own licence.
"""


def model_card(report: dict[str, Any], config: RunConfig) -> str:
    """README.md of a run: every number is the report's."""
    teachers = ", ".join(report["teachers"]) or "worked solutions alone"
    return _CARD.format(
        base=config.student.model,
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
        warnings=_warnings(report),
        hardware=report["hardware"],
        versions=", ".join(f"{package} {number}" for package, number in report["versions"].items()),
        seconds=", ".join(f"{name} {value:.0f}" for name, value in report["seconds"].items()),
        memory=report["peak_rss_mb"],
        config=to_yaml(config),
    )


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
    return f"{flips['fixed']} answers fixed, {flips['broken']} broken (exact McNemar p = {p:.2g})."


def _geometry(report: dict[str, Any]) -> str:
    if not report["cka"]:
        return ""
    line = next(iter(report["cka"].values()))
    rows = [
        f"| {teacher} | {part['before']:.3f} | {part['after']:.3f} | {report['gate'].get(teacher, float('nan')):.2f} |"
        for teacher, part in report["cka"].items()
    ]
    return (
        "\n## Whom the student agrees with on which problems are alike\n\n"
        f"Head-free debiased CKA on {line['n']} held-out texts; chance stays below {line['null95']:.3f} "
        "95 times in 100.\n\n"
        "| teacher | before | after | mean gate weight |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _warnings(report: dict[str, Any]) -> str:
    if not report["warnings"]:
        return ""
    return "\n## Warnings\n\n" + "\n".join(f"- {warning['text']}" for warning in report["warnings"]) + "\n"
