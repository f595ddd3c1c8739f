"""What a study has found so far: means, differences with intervals, verdicts, and the arm to take.

study.json holds what follows from the answers alone: the same answers give the same file, whatever was stopped or
killed meanwhile. README.md is the same for people; take.yaml is the config of the arm to take.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.config.files import write_atomically
from distill.config.run_config import to_yaml
from distill.evaluation.answers_file import Answers
from distill.runs.store import is_run
from distill.runs.views import view
from distill.studies import figures
from distill.studies.conduct import StudyFolder
from distill.studies.plan import Study, key_of
from distill.studies.statistics import LEVEL, Mean, flips, holm, mean

RESULTS, TABLE, TAKE = "study.json", "README.md", "take.yaml"
SPLITS = {"held_out": "held-out problems", "new_phrasing": "problems in new wordings"}
_PRIMARY = 0  # of a study's splits: the one that verdicts are about
Rights = dict[str, dict[str, dict[str, bool]]]  # cell -> split -> problem -> right after training


def write(study: StudyFolder) -> dict[str, Any]:
    """Write what is known now into the study's folder; study.json's content."""
    found = results(study)
    write_atomically(study.path / RESULTS, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    write_atomically(study.path / TABLE, markdown(study, found))
    for name, picture in pictures(found).items():
        write_atomically(study.path / f"{name}.svg", picture)
    if found["take"]:
        write_atomically(study.path / TAKE, to_yaml(_config_of(study, found["take"])))
    return found


def pictures(found: dict[str, Any]) -> dict[str, str]:
    """{name: SVG} of what there is to be seen."""
    over = {f"ladder_{split}": figures.ladder(found, split) for split in SPLITS} if found["ladder"] else {}
    drawn = {"differences": figures.forest(found) if found["differences"] else "", **over}
    return {name: picture for name, picture in drawn.items() if picture}


def results(study: StudyFolder) -> dict[str, Any]:
    """study.json: {study, digest, seeds, cells, means, differences, controls, verdicts, take}, JSON types only."""
    plan, asked = study.plan, study.plan.study
    rights, notes = _of_same_problems(_rights(study), asked)
    states = study.states
    differences = [
        one
        for value in asked.values
        for pair in asked.comparisons
        for split in asked.splits
        if (one := _difference(rights, asked, pair, value, split))
    ]
    judged = [one for one in differences if one["split"] == asked.splits[_PRIMARY]]
    for one, p in zip(judged, holm([one["p"] for one in judged]), strict=True):
        one["p_holm"] = p
        one["verdict"] = _verdict(one)
    controls = [
        one
        for value in asked.values
        for arm, others in asked.controls.items()
        for other in others
        if (one := _difference(rights, asked, (arm, other), value, asked.splits[_PRIMARY]))
    ]
    return {
        "study": asked.name,
        "digest": plan.digest,
        "notes": [*plan.notes, *notes],
        "seeds": asked.seeds,
        "ladder": asked.ladder.setting if asked.ladder else None,
        "cells": [
            {"arm": cell.arm, "value": cell.value, "seed": cell.seed, "state": states[cell.key]}
            | {split: _share(rights[cell.key].get(split)) for split in asked.splits if cell.key in rights}
            for cell in plan.cells
        ],
        "means": _means(rights, asked),
        "differences": differences,
        "controls": [one | {"verdict": _control(one)} for one in controls],
        "verdicts": [_sentence(one, asked) for one in judged] + [_control_sentence(one, asked) for one in controls],
        "take": _take(asked, judged, rights) if study.done and judged else None,
    }


def _rights(study: StudyFolder) -> Rights:
    found: Rights = {}
    for cell in study.plan.cells:
        folder = study.run_of(cell)
        if is_run(folder) and view(folder).state == "done":
            splits: dict[str, dict[str, bool]] = {}
            for answer in Answers.load(folder / "answers.json").phases.get("after", []):
                splits.setdefault(answer["split"], {})[answer["id"]] = answer["right"]
            found[cell.key] = splits
    return found


def _of_same_problems(rights: Rights, study: Study) -> tuple[Rights, list[str]]:
    """The answers to the problems that every run was judged by, and what is to be said where these aren't all."""
    notes, found = [], {key: dict(splits) for key, splits in rights.items()}
    for split in study.splits:
        asked = [splits[split] for splits in rights.values() if split in splits]
        common = set.intersection(*map(set, asked)) if asked else set()
        if any(len(one) > len(common) for one in asked):
            notes.append(
                f"The runs were judged by different {SPLITS[split]}: only the {len(common):,} that all answered count."
            )
        for splits in found.values():
            if len(common) < 2:  # of fewer nothing can be concluded
                splits.pop(split, None)
            elif split in splits:
                splits[split] = {problem: splits[split][problem] for problem in common}
    return found, notes


def _share(rights: dict[str, bool] | None) -> float | None:
    return sum(rights.values()) / len(rights) if rights else None


def _matrix(rights: Rights, study: Study, arm: str, value: Any, seeds: Sequence[int], split: str) -> np.ndarray:
    rows = [rights[key_of(arm, value, seed)][split] for seed in seeds]
    return np.array([[row[problem] for problem in sorted(row)] for row in rows], dtype=float)


def _seeds(rights: Rights, study: Study, arms: Sequence[str], value: Any, split: str) -> list[int]:
    """The seeds with which all of these arms are done."""
    return [s for s in study.seeds if all(split in rights.get(key_of(arm, value, s), {}) for arm in arms)]


def _means(rights: Rights, study: Study) -> list[dict[str, Any]]:
    found = []
    for value in study.values:
        for arm in study.arms:
            for split in study.splits:
                if seeds := _seeds(rights, study, [arm], value, split):
                    one = mean(_matrix(rights, study, arm, value, seeds, split))
                    found.append({"arm": arm, "value": value, "split": split} | _numbers(one))
    return found


def _difference(rights: Rights, study: Study, pair: tuple[str, str], value: Any, split: str) -> dict[str, Any] | None:
    """What separates the first arm from the second, None where no seed of both is done."""
    seeds = _seeds(rights, study, pair, value, split)
    if not seeds:
        return None
    one, other = (_matrix(rights, study, arm, value, seeds, split) for arm in pair)
    found = mean(one - other)
    within = [flips(*rows) for rows in zip(one.astype(bool), other.astype(bool), strict=True)]
    p = within[0]["mcnemar_p"] if len(seeds) == 1 else found.p
    said = {"arm": pair[0], "with": pair[1], "value": value, "split": split} | _numbers(found)
    return said | {"p": p, "smallest": found.smallest, "within_seeds": within}


def _numbers(one: Mean) -> dict[str, Any]:
    return {"estimate": one.estimate, "ci95": list(one.ci95), "seeds": one.seeds, "n": one.n}


# --- verdicts --------------------------------------------------------------------------------------------------------


def _verdict(one: dict[str, Any]) -> str:
    """ "better", "worse" or "no difference", of the comparisons named beforehand together (Holm)."""
    if one["p_holm"] >= LEVEL:
        return "no difference"
    return "better" if one["estimate"] > 0 else "worse"


def _control(one: dict[str, Any]) -> str:
    return "better" if one["p"] < LEVEL and one["estimate"] > 0 else "no better"


def _at(one: dict[str, Any], study: Study) -> str:
    return f" at {study.ladder.setting} = {one['value']}" if study.ladder else ""


def _how_sure(one: dict[str, Any]) -> str:
    low, high = (100 * bound for bound in one["ci95"])
    seeds = f"{one['seeds']} seed" + "s" * (one["seeds"] != 1)
    return f"95% interval {low:+.1f} to {high:+.1f}; {seeds}, {one['n']} problems"


def _sentence(one: dict[str, Any], study: Study) -> str:
    """One comparison in one sentence."""
    at = _at(one, study)
    if one["verdict"] == "no difference":
        largest = max(abs(bound) for bound in one["ci95"])
        return (
            f"{one['arm']} and {one['with']}{at}: no difference larger than {100 * largest:.1f} points was seen "
            f"({100 * one['estimate']:+.1f}; {_how_sure(one)})."
        )
    return (
        f"{one['arm']} is {one['verdict']} than {one['with']}{at}: {100 * one['estimate']:+.1f} points "
        f"({_how_sure(one)}; p = {_p(one['p_holm'])} after Holm)."
    )


def _control_sentence(one: dict[str, Any], study: Study) -> str:
    if _control(one) == "better":
        return f"{one['arm']} beats its control {one['with']}{_at(one, study)}: {100 * one['estimate']:+.1f} points."
    return (
        f"The control {one['with']} does as well as {one['arm']}{_at(one, study)} "
        f"({100 * one['estimate']:+.1f} points; {_how_sure(one)}): what {one['arm']} gains is not from what it adds."
    )


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def _take(study: Study, judged: list[dict[str, Any]], rights: Rights) -> dict[str, Any]:
    """The arm to take: of those that are better than what they were compared with the one with the highest mean, else
    the first arm; at the ladder's last value where there is one."""
    value = study.values[-1]
    better = {one["arm"] for one in judged if one["verdict"] == "better" and one["value"] == value}
    first = next(iter(study.arms))

    def accuracy(arm: str) -> float:
        split = study.splits[_PRIMARY]
        return float(_matrix(rights, study, arm, value, study.seeds, split).mean())

    arm = max(better | {first}, key=lambda name: (accuracy(name), name == first))
    return {"arm": arm, "value": value, "why": "better" if arm in better else "no arm was better than the first"}


def _config_of(study: StudyFolder, take: dict[str, Any]):
    return next(cell.config for cell in study.plan.cells if (cell.arm, cell.value) == (take["arm"], take["value"]))


# --- for people ------------------------------------------------------------------------------------------------------


def markdown(study: StudyFolder, found: dict[str, Any]) -> str:
    """The study as a page of Markdown: means, differences, verdicts, and what is missing."""
    asked = study.plan.study
    lines = [f"# {asked.title or asked.name}", ""]
    lines += [asked.description, ""] if asked.description else []
    lines += [f"**{note}**" for note in found["notes"]] + [""] * bool(found["notes"])
    lines += [*_means_table(found, asked), ""]
    lines += [f"- {verdict}" for verdict in found["verdicts"]]
    missing = [one for one in found["cells"] if one["state"] != "done"]
    if missing:
        named = [f"{one['arm']}{_at(one, asked)}, seed {one['seed']} ({one['state']})" for one in missing]
        more = f" and {len(named) - 8} more" if len(named) > 8 else ""
        lines += ["", f"{len(missing)} of {len(found['cells'])} runs are not done: {'; '.join(named[:8])}{more}."]
    lines += ["", last_line(found, study.path)]
    return "\n".join(lines) + "\n"


def last_line(found: dict[str, Any], folder: Path) -> str:
    """Which arm to take, and how."""
    take = found["take"]
    if take is None:
        return "Which arm to take is said when all runs are done."
    why = "" if take["why"] == "better" else f" ({take['why']})"
    return f"Take {take['arm']}{why}: python -m distill run {folder / TAKE}"


def _means_table(found: dict[str, Any], study: Study) -> list[str]:
    ladder = [study.ladder.setting] if study.ladder else []
    head = [*ladder, "arm", *(SPLITS[split] for split in study.splits), "seeds", "n"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for value in study.values:
        for arm in study.arms:
            of = [one for one in found["means"] if (one["arm"], one["value"]) == (arm, value)]
            by_split = {one["split"]: one for one in of}
            cells = [_percent(by_split.get(split)) for split in study.splits]
            counts = (
                [str(of[0]["seeds"]), " and ".join(dict.fromkeys(str(one["n"]) for one in of))] if of else ["0", ""]
            )
            lines.append("| " + " | ".join([*([str(value)] if ladder else []), arm, *cells, *counts]) + " |")
    return lines


def _percent(one: dict[str, Any] | None) -> str:
    if one is None:
        return "not done"
    low, high = (100 * min(1.0, max(0.0, bound)) for bound in one["ci95"])
    return f"{100 * one['estimate']:.1f}% ({low:.1f} to {high:.1f})"
