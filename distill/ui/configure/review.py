"""What Configure says of a draft: the line that follows every change, and the review before Start.

Pure: HTML from a checked draft and its estimate. What is wrong is checks.py's, what it costs estimate.py's.
"""

from __future__ import annotations

from collections.abc import Sequence

from distill.config.messages import listed
from distill.config.method import describe
from distill.config.run_config import BudgetConfig, RunConfig
from distill.data.families import FAMILIES
from distill.runs.estimate import Estimate, describe_model, lines, text
from distill.ui.configure.binding import Draft
from distill.ui.configure.fields import STEPS
from distill.ui.configure.teachers import size, tokenizer
from distill.ui.configure.validation import Checked, step_of
from distill.ui.html import words

_DOWNLOAD = "the data set is read when the run begins, so what is wrong with it shows up then"


def verdict(checked: Checked, found: Estimate | None) -> str:
    """Whether everything is filled in, what it costs here, and a button to go on; else what to put right, and where."""
    if checked.config is None:
        items = "".join(f"<li>{_go(step_of(key))} {words(text)}</li>" for key, text in checked.faults.items())
        many = len(checked.faults)
        head = f"{many} {'thing' if many == 1 else 'things'} to fix before this can start:"
        return f'<div role="status" class="verdict"><p class="wrong">{head}</p><ul>{items}</ul></div>'
    name = f"<b>{words(checked.config.name)}</b>"
    if found and found.obstacle:
        said = f"{name} is filled in, but cannot run on this machine: it {words(found.obstacle)}."
        return f'<div role="status" class="verdict"><p class="wrong">{said}</p></div>'
    cost = f"{words(text(found.seconds))} here" if found else ""
    said = f"{name} · every step is filled in · {cost}"
    return f'<div role="status" class="verdict"><p>{said} {_go("review", "Review and start")}</p></div>'


def review(draft: Draft, checked: Checked, found: Estimate | None, notes: Sequence[str] = (), refusal: str = "") -> str:
    """What will be done and what it costs, as two short lists; `refusal`: why the file can't be used."""
    if checked.config is None or found is None:
        return (
            '<p class="quiet">Time, memory, disk and the command line appear here once everything above is fixed.</p>'
        )
    time, memory, disk = lines(found)[0].split("; ")
    costs = [
        ("Time", time.removeprefix("time: ")),
        ("Memory", memory.removesuffix(" of memory")),
        ("Disk", disk.removesuffix(" of disk")),
    ]
    said = [*found.notes, *notes]
    if checked.config.data.source == "hub":
        said.append(_DOWNLOAD)
    wrong = refusal or (f"This run cannot start on this machine: it {found.obstacle}." if found.obstacle else "")
    obstacle = f'<p class="wrong" role="status">{words(wrong)}</p>' if wrong else ""
    more = " ".join(f"{words((note[0].upper() + note[1:]).rstrip('.'))}." for note in said)
    about = f'<p class="notes">{more}</p>' if more else ""
    return (
        f'<dl class="costs">{"".join(_pair(*pair) for pair in costs)}</dl>{obstacle}{about}'
        f'<dl class="asked">{"".join(_pair(*pair) for pair in _asked(checked.config, draft))}</dl>'
    )


def student_facts(model: str) -> str:
    """What is known of the student. Raises ConfigError where the reference means nothing."""
    facts = describe_model(model)
    pairs = [
        ("Architecture", facts.architecture or ""),
        ("Size", size(facts.parameters)),
        ("Width", f"{facts.width:,}" if facts.width else ""),
        ("Layers", f"{facts.layers:,}" if facts.layers else ""),
        ("Tokenizer", tokenizer(facts)),
        ("Where", "on this machine" if facts.fetched else "on the Hub: fetched when the run begins"),
    ]
    caution = f'<p class="quiet">It {words(facts.caution)}.</p>' if facts.caution else ""
    return f'<dl class="model">{"".join(_pair(*pair) for pair in pairs if pair[1])}</dl>{caution}'


def _asked(config: RunConfig, draft: Draft) -> list[tuple[str, str]]:
    """The run in a few lines, by step."""
    names = [teacher.name for teacher in config.teachers]
    aims = []
    for item in config.objectives:
        how = describe(item, names)
        aims.append(f"{item.short} × {item.weight:g}{f' ({how})' if how else ''}")
    budget = config.budget
    return [
        ("Student", config.student.model),
        ("Teachers", ", ".join(teacher.name for teacher in config.teachers) or "none"),
        ("Problems", _problems(config, draft)),
        ("Method", " + ".join(aims)),
        (
            "Budget",
            f"{_how_long(budget)} of {budget.batch_size * budget.accumulation:,} problems, learning rate "
            f"{budget.learning_rate:g}, adapter of rank {config.lora.r}",
        ),
    ]


def _how_long(budget: BudgetConfig) -> str:
    if budget.epochs is None:
        return f"{budget.steps:,} steps"
    return f"{budget.epochs:,} {'epoch' if budget.epochs == 1 else 'epochs'} in steps"


def _problems(config: RunConfig, draft: Draft) -> str:
    data = config.data
    solved = f" ({data.solved:,} with a solution)" if data.solved < data.train else ""
    counts = f"{data.train:,} for training{solved}, {data.held_out:,} held out"
    if data.source == "file":
        return f"{draft.file or 'your file'}: {counts}"
    if data.source == "hub":
        return f"{data.dataset}: {counts}"
    if data.source == "reasoning_gym":
        return f"Reasoning Gym ({listed(data.families)}): {counts}"
    kinds = len(data.families) or len(FAMILIES)
    return f"{counts}, {data.new_phrasing:,} in new wordings, of {kinds} {'kind' if kinds == 1 else 'kinds'}"


def _pair(name: str, value: str) -> str:
    return f"<div><dt>{name}</dt><dd>{words(value)}</dd></div>"


def _go(step: str, label: str = "") -> str:
    number = list(STEPS).index(step) + 1
    label = label or f"{number} {STEPS[step][0]}"
    return f'<button type="button" class="go-to" data-event="go" data-step="{step}">{label}</button>'
