"""The student's answers before and after, kept with the run: what the accuracies count and what people want to read.

A phase is written to answers.json whole or not at all. Until it is whole, the batches that are finished are kept beside
it, so that an evaluation that was interrupted goes on with the next batch.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.config.files import write_atomically
from distill.data.problems import Problem
from distill.evaluation.score import Score

if TYPE_CHECKING:  # whoever only reads what is kept needs no torch
    from distill.evaluation.answering import Answer
    from distill.models.generation import Completion

SPLITS = ("held_out", "new_phrasing")


class Answers:
    """answers.json: {phase: [{id, split, family, question, answer, text, finished, right}, ...]}."""

    keeps = True  # whether what is put is written down too: one of several processes does

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
        self._unfinished(phase).unlink(missing_ok=True)

    def keep(self, phase: str, problems: Sequence[Problem], written: Mapping[int, Completion]) -> None:
        """Keep what was `written` to the problems at these places, until the phase is whole."""
        lines = [
            {"place": place, "question": problems[place].question, **asdict(completion)}
            for place, completion in written.items()
        ]
        with self._unfinished(phase).open("a", encoding="utf-8") as stream:
            # The line break goes first: a line that a kill left half written is lost alone.
            stream.write("".join("\n" + json.dumps(line, ensure_ascii=False) for line in lines))

    def kept(self, phase: str, problems: Sequence[Problem]) -> dict[int, Completion]:
        """What was kept of an unfinished phase: {place: what was written to the problem there}."""
        from distill.models.generation import Completion

        try:
            lines = self._unfinished(phase).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return {}
        found = {}
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
                known = json.loads(line)
                if problems[known["place"]].question == known["question"]:
                    text, tokens, finished = known["text"], tuple(known["tokens"]), known["finished"]
                    found[known["place"]] = Completion(text, tokens, finished)
        return found

    def drop(self, phase: str) -> None:
        """Forget a phase: the weights it was answered with have changed."""
        self._unfinished(phase).unlink(missing_ok=True)
        if self.phases.pop(phase, None) is not None:
            self._write()

    def _unfinished(self, phase: str) -> Path:
        return self.path.with_name(f"answers-{phase}.jsonl")

    def _write(self) -> None:
        if self.keeps:
            write_atomically(self.path, json.dumps(self.phases, ensure_ascii=False))

    def scores(self, phase: str) -> dict[str, Score]:
        """A score for each split that has problems."""
        rows = {split: [a for a in self.phases[phase] if a["split"] == split] for split in SPLITS}
        return {
            split: Score.of((a["id"], a["family"], a["right"]) for a in answers)
            for split, answers in rows.items()
            if answers
        }

    def right_answers(self, phase: str) -> dict[str, str]:
        """{problem id: its right answer}."""
        return {answer["id"]: answer["answer"] for answer in self.phases[phase]}
