"""The problems of a run, wherever they come from: generated, of reasoning-gym, from a file, or from a Hub data set.

Which split a row belongs to follows from its question alone (splits.py). How a file is read is in tables.py, what
reasoning-gym makes in reasoning_gym.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distill.config.errors import UserError
from distill.config.messages import instead
from distill.config.requirements import heard
from distill.config.run_config import ConfigError, DataConfig, RunConfig
from distill.data.grading import extract, grade
from distill.data.hub_tables import load_table
from distill.data.layouts import Warn, layout_of
from distill.data.problems import Problem, generate
from distill.data.reasoning_gym import gym_problems
from distill.data.records import MAX_DECODED_OF_HUB, bounded
from distill.data.repeated import by_question, kept, say_repeated
from distill.data.splits import SHARES, order_of, split_of_key, split_of_question
from distill.data.tables import (
    MAX_ROWS,
    Row,
    columns_of,
    guess_columns,
    read_rows,
    rows_of,
)
from distill.models.references import is_repository

__all__ = ["Row", "columns_of", "guess_columns", "problems_for", "read_rows", "split_of_question", "split_problems"]

OnRows = Callable[[str, Sequence[Row]], None]  # what the table is called, all its rows

PROBE_SEED = 1  # generated probe texts are of the validation split, drawn with another seed
ONE_FAMILY = "all"  # the family of rows that say none

_WORDS = {
    "train": "for training",
    "held_out": "held out, with an answer to grade by",
    "probe": "for the diagnostics",
    "validation": "for validation, with an answer to grade by",
}
_GRADED = ("held_out", "validation")
_NEEDED = {"train": 1, "probe": 4, "validation": 1}  # problems without which a split that is asked for is of no use
_LOOKED_AT = 50  # held-out solutions that are compared with their answers
_FAMILIES = 64  # more families than that make no table that can be read
_MARKS = re.compile(r"<<[\s\d.,+\-*/()%$x:]*=[\s\d.,+\-*/()%$]*>>")  # GSM8K's calls of a calculator: <<48/2=24>>


def problems_for(
    config: RunConfig, warn: Warn, counts: Mapping[str, int] | None = None, on_rows: OnRows | None = None
) -> dict[str, list[Problem]]:
    """The problems of each split: train, validation, probe, held_out and new_phrasing, or as `counts` asks.

    Of training problems beyond `data.labelled` the question alone is told. `warn(code, text)` is told what is left out
    or falls short, `on_rows(table, rows)` of all rows of a file or data set. Raises UserError or ConfigError, one
    sentence, where the problems are not available.
    """
    found = _drawn(config, warn, counts, on_rows)
    if "train" in found:
        train, solved = found["train"], config.data.solved
        found["train"] = train[:solved] + [replace(problem, solution="", answer="") for problem in train[solved:]]
    return found


def _drawn(
    config: RunConfig, warn: Warn, counts: Mapping[str, int] | None, on_rows: OnRows | None
) -> dict[str, list[Problem]]:
    data = config.data
    if data.source == "reasoning_gym":
        return gym_problems(data.families, _row_counts(config) if counts is None else counts, data.seed, warn)
    if data.source != "problems":
        compares = any(objective.compares_texts for objective in config.objectives)
        optional = () if compares else ("probe",)
        return split_problems(data, _row_counts(config) if counts is None else counts, warn, optional, on_rows)
    if counts is None:
        counts = {
            "train": data.train,
            "validation": data.validation,
            "probe": config.probe.texts,
            "held_out": data.held_out,
            "new_phrasing": data.new_phrasing,
        }
    return {split: _generated(split, n, data) for split, n in counts.items()}


def split_problems(
    data: DataConfig,
    counts: Mapping[str, int],
    warn: Warn = lambda code, text: None,
    optional: Sequence[str] = (),
    on_rows: OnRows | None = None,
) -> dict:
    """{split: problems} from the rows of a file or data set, `counts[split]` of each where there are as many.

    An `optional` split of which there are too few to be of use is left empty. Raises UserError where there are too few
    to judge a student by (held_out); fewer to train on are used with a warning. The first n problems of a split are the
    same whatever its count. Of a question's several solutions all are trained on that `data.keep` keeps; another split
    has its first row. `on_rows(table, rows)` is told of all rows. There is no new_phrasing here.
    """
    table, rows = _rows(data, warn)
    if on_rows is not None:
        on_rows(table, rows)
    marked = sum(bool(_MARKS.search(row.solution)) for row in rows)
    if marked:
        warn(
            "calculator_marks",
            f"{marked:,} of {len(rows):,} solutions of {table} hold marks for a calculator, such as <<48/2=24>>: the "
            "marks are left out of what the student learns.",
        )
    questions = by_question(rows)
    say_repeated(questions, rows, table, data.keep, warn)
    by_split: dict[str, list[Problem]] = {split: [] for split in SHARES}
    for key in sorted(questions, key=lambda key: order_of(data.seed, key)):
        split = split_of_key(key)
        same = questions[key] if split == "train" else questions[key][:1]
        by_split[split] += [_problem(row, split) for row in same]
    by_split["train"] = kept(by_split["train"], data.keep, table, warn)
    for split in _GRADED:
        by_split[split] = _gradable(by_split[split], split, table, warn if counts.get(split) else None)
    if data.columns.answer:
        _check_solutions(by_split["held_out"][:_LOOKED_AT], table, warn)
    for split, problems in by_split.items():
        if split in optional and len(problems) < _NEEDED[split]:
            by_split[split] = []
        else:
            _enough(split, len(problems), counts.get(split, 0), table, _all(questions, split), warn)
    return {split: by_split.get(split, [])[:n] for split, n in counts.items()}


def _generated(split: str, n: int, data: DataConfig) -> list[Problem]:
    families = data.families or None
    if split == "probe":
        return generate("validation", n, data.seed + PROBE_SEED, families)
    return generate(split, n, data.seed, families)


def _row_counts(config: RunConfig) -> dict[str, int]:
    """What a run asks of a table. Probe texts are where student and teachers are compared: without teachers, none."""
    return {
        "train": config.data.train,
        "validation": config.data.validation,
        "probe": config.probe.texts if heard(config) else 0,
        "held_out": config.data.held_out,
        "new_phrasing": 0,
    }


def _enough(split: str, there: int, wanted: int, table: str, of: str, warn: Warn) -> None:
    if there >= wanted:
        return
    share = f"{there:,} of the {of} of {table} are {_WORDS[split]} ({SHARES[split]} in 20 are drawn)"
    if split == "held_out":
        fewer = f"ask for {there:,} or fewer (data.held_out), or " if there else ""
        raise UserError(f"Only {share}, but {wanted:,} are asked for: {fewer}give more rows.")
    if there < _NEEDED[split]:
        raise UserError(f"Only {share}, but at least {_NEEDED[split]} are needed: give more rows.")
    warn(f"few_rows:{split}", f"Only {share}, fewer than the {wanted:,} asked for: all of them are used.")


def _all(questions: Mapping[str, Sequence[Row]], split: str) -> str:
    """What the problems of a split are a part of."""
    solutions = sum(map(len, questions.values()))
    return (
        f"{solutions:,} solutions"
        if split == "train" and solutions > len(questions)
        else f"{len(questions):,} questions"
    )


def _gradable(problems: list[Problem], split: str, table: str, warn: Warn | None) -> list[Problem]:
    """The problems whose answer is known: no other can be judged by."""
    known = [problem for problem in problems if problem.answer]
    if warn and len(known) < len(problems):
        left = len(problems) - len(known)
        warn(
            f"no_answer:{split}",
            f"{left:,} {split.replace('_', '-')} rows of {table} conclude with no answer to grade by: left out.",
        )
    return known


def _check_solutions(problems: list[Problem], table: str, warn: Warn) -> None:
    """A student that learns from solutions which don't end in the answer can never be found right."""
    wrong = sum(not grade(problem.solution, problem.answer).right for problem in problems)
    if wrong > len(problems) / 2:
        warn(
            "solutions_disagree",
            f"{wrong} of {len(problems)} solutions of {table} that were checked don't conclude with their answer, so "
            "a student that learns them will be graded wrong: let them end in '#### ' and the answer.",
        )


def _problem(row: Row, split: str) -> Problem:
    solution = _MARKS.sub("", row.solution)
    answer = row.answer if row.answer is not None else extract(solution) or ""
    place = f"row:{row.line}:{row.part}" if row.part else f"row:{row.line}"
    return Problem(place, row.family or ONE_FAMILY, row.question, solution, answer, split)


# --- where the rows are ----------------------------------------------------------------------------------------------


def digest_of(rows: Sequence[Row]) -> str:
    """Tells rows from others, or from the same on other lines: a run's answers are known by these."""
    digest = hashlib.sha256()
    for row in rows:
        told = [row.line, row.part, row.question, row.solution, row.answer, row.family]
        digest.update(json.dumps(told).encode())
    return digest.hexdigest()


def rows_for(data: DataConfig) -> tuple[str, list[Row]]:
    """(what to call the table, its rows) of a file or data set, as a run reads them. Raises as `problems_for`."""
    return _rows(data, lambda code, text: None)


def _rows(data: DataConfig, warn: Warn) -> tuple[str, list[Row]]:
    """(what to call the table, its rows of the families asked for)."""
    if data.source == "file":
        table, rows = Path(data.path).name, read_rows(data.path, data.columns, warn=warn)
    else:
        table, rows = data.dataset, _hub_rows(data, warn)
    families = list(dict.fromkeys(row.family for row in rows))
    for family in data.families:
        if family not in families:
            raise ConfigError(
                f"{table} has no family {family!r}, which data.families names: {instead(family, families)}"
            )
    if data.families:
        rows = [row for row in rows if row.family in data.families]
    elif len(families) > _FAMILIES:
        raise ConfigError(
            f"The column {data.columns.family!r} of {table} holds {len(families):,} different families, more than "
            f"{_FAMILIES}: name another in data.columns.family, or none."
        )
    return table, rows


def _hub_rows(data: DataConfig, warn: Warn) -> list[Row]:
    """The rows of a data set of the Hub, or of a folder of data files. Nothing in it is run."""
    folder = Path(os.path.expanduser(data.dataset))
    # Without this, a name such as "text" would mean every text file of the working folder.
    if not folder.is_dir() and not is_repository(data.dataset):
        raise ConfigError(
            f"data.dataset was not found: {data.dataset!r}. Enter owner/name of a data set on the Hub, or a folder."
        )
    if not folder.is_dir():
        return _table_rows(lambda: load_table(data.dataset, data.subset, data.split), data, warn)
    # The library keeps what it once read of a folder, and goes on reading that when the folder's files have changed.
    with TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        place = str(folder.resolve())
        return _table_rows(lambda: load_table(place, data.subset, data.split, cache_dir=cache), data, warn)


def _table_rows(load: Callable[[], Any], data: DataConfig, warn: Warn) -> list[Row]:
    try:
        found = load()
        names = found.column_names
    except Exception as error:  # whatever the library stumbles over, the user can only look at these settings
        if isinstance(error.__cause__ or error, UserError | MemoryError):  # the library wraps what we raise within it
            raise (error.__cause__ or error) from None
        raise UserError(_reason(error, data)) from error
    layout = layout_of(names, data.columns, data.dataset, warn)
    if len(found) > MAX_ROWS:
        raise UserError(
            f"{data.dataset} has {len(found):,} rows, more than {MAX_ROWS:,}: take some of them, such as "
            f"data.split={data.split}[:{MAX_ROWS}]."
        )
    columns = sorted(layout.read)
    records = enumerate(_read(found.select_columns(columns), data), 1)
    records = bounded(records, data.dataset, "row", columns, MAX_DECODED_OF_HUB)
    return rows_of(records, layout, data.dataset, "row", warn=warn)


def _read(table: Iterable[dict], data: DataConfig) -> Iterable[dict]:
    try:
        yield from table
    except Exception as error:
        raise UserError(_reason(error, data)) from error


def _reason(error: Exception, data: DataConfig) -> str:
    """Why a data set can't be loaded, and which setting to look at."""
    subset = f" ({data.subset})" if data.subset else ""
    kind = type(error).__name__
    text = " ".join(str(error.__cause__ if kind == "DatasetGenerationError" and error.__cause__ else error).split())
    start = f"The data set {data.dataset}{subset} can't be loaded: "
    if kind == "DatasetNotFoundError":
        return (
            start + "there is none of that name, or it is private or gated (data.dataset; log in with hf auth login)."
        )
    if isinstance(error, ConnectionError) or kind in ("OfflineModeIsEnabled", "LocalEntryNotFoundError"):
        return start + "the Hub can't be reached, so check the network or use a file (data.source=file)."
    if "Config name is missing" in text or "BuilderConfig" in text:
        options = re.findall(r"'([^']+)'", text.partition("[")[2].partition("]")[0])
        return start + f"data.subset must be one of its configurations ({', '.join(options[:20])})."
    if text.startswith("Unknown split") or kind == "ExpectedMoreSplitsError":
        return start + f"it has no split {data.split!r} (data.split)."
    return start + f"{(text or kind)[:300].rstrip('.')}."


def about(data: DataConfig) -> dict[str, Any]:
    """What a report says of the problems: `called` in words, and the settings that name them."""
    names = ("source", "path", "dataset", "subset", "split", "families", "seed")
    told = {name: getattr(data, name) for name in names if getattr(data, name) not in (None, [])}
    if data.source == "file":
        told["path"] = Path(data.path).name  # where it lay is nobody's business
    parts = ", ".join(filter(None, [data.subset, data.split, *data.families]))
    called = {"problems": "generated problems", "reasoning_gym": "reasoning-gym", "file": told.get("path")}
    return {"called": f"{called.get(data.source) or data.dataset}{f' ({parts})' if parts else ''}", **told}
