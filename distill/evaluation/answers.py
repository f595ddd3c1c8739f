"""The student's answers before and after, kept with the run: what the accuracies count and what people want to read.

Written whole or not at all, so that an evaluation that was interrupted is done again and one that was finished is not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill.evaluation.generate import Answer
from distill.evaluation.score import Score

SPLITS = ("held_out", "new_phrasing")


class Answers:
    """answers.json: {phase: [{id, split, family, question, answer, text, finished, right}, ...]}."""

    def __init__(self, path: Path, phases: dict[str, list[dict[str, Any]]]):
        self.path = path
        self.phases = phases

    @classmethod
    def load(cls, path: Path) -> Answers:
        """What is kept at `path`; nothing there, or nothing readable, means no phase has been answered."""
        try:
            return cls(path, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return cls(path, {})

    def has(self, phase: str) -> bool:
        return phase in self.phases

    def put(self, phase: str, answers: Sequence[Answer]) -> None:
        """Keep the answers of a phase."""
        self.phases[phase] = [
            {
                "id": answer.problem.id,
                "split": answer.problem.split,
                "family": answer.problem.family,
                "question": answer.problem.question,
                "answer": answer.problem.answer,
                "text": answer.completion.text,
                "finished": answer.completion.finished,
                "right": answer.grade.right,
            }
            for answer in answers
        ]
        self._write()

    def drop(self, phase: str) -> None:
        """Forget a phase: the weights it was answered with have changed."""
        if self.phases.pop(phase, None) is not None:
            self._write()

    def _write(self) -> None:
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.phases, ensure_ascii=False), encoding="utf-8")
        os.replace(part, self.path)

    def scores(self, phase: str) -> dict[str, Score]:
        """A score for each split that has problems."""
        rows = {split: [a for a in self.phases[phase] if a["split"] == split] for split in SPLITS}
        return {
            split: Score.of((a["id"], a["family"], a["right"]) for a in answers)
            for split, answers in rows.items()
            if answers
        }
