"""A model's answers to problems, and whether they are right. How answers are written is in generation.py.

This module knows nothing of runs, adapters or teachers: whoever calls it decides which weights answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill.data.grading import Grade, grade
from distill.data.problems import Problem
from distill.evaluation.score import Score
from distill.models.chat_template import template_of
from distill.models.generation import ALONE, Completion, Sitting, generate_batch


@dataclass(frozen=True)
class Answer:
    """A problem, what the model wrote about it, and whether that is right."""

    problem: Problem
    completion: Completion
    grade: Grade


def answer_problems(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    max_new_tokens: int = 64,
    batch_size: int = 256,
    sitting: Sitting = ALONE,
) -> list[Answer]:
    """The model's graded answers to `problems`, each asked in the model's own chat template.

    The places of a sitting are those of problems: what an earlier one wrote is kept.
    """
    template = template_of(tokenizer)
    prompts = [template.render(problem.question) for problem in problems]
    completions = generate_batch(model, tokenizer, prompts, max_new_tokens, batch_size, sitting=sitting)
    return [Answer(p, c, grade(c.text, p.answer)) for p, c in zip(problems, completions, strict=True)]


def score(answers: Sequence[Answer]) -> Score:
    """The answers as a Score."""
    return Score.of((answer.problem.id, answer.problem.family, answer.grade.right) for answer in answers)
