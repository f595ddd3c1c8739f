"""Which texts a run learns from: the data's own solutions, its teachers' answers to the problems, or both.

The teachers answer one after another, each in memory only while it answers; what they say is kept for the next run. An
answer that is longer than the student may read is left out whole: half an answer teaches none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from distill.config.errors import UserError
from distill.config.paths import home
from distill.config.requirements import asks_for_answers, fills_in, wants_answers, wants_solutions
from distill.config.run_config import RunConfig, teachers_of
from distill.config.settings import MADE_HERE
from distill.data.encoding import encode_many
from distill.data.problems import Problem
from distill.data.response_selection import Chosen, choose, deal, spread
from distill.models.distributed import main_first
from distill.models.references import model_path
from distill.objectives.response import ResponseConfig
from distill.objectives.task import ANSWER, SOLUTION
from distill.teachers.ask import Asking
from distill.teachers.response_cache import ResponseBank, ResponseRequest
from distill.training.dataset import Texts

Counts = dict[str, Any]  # {teacher: {"asked", "finished", "empty", "right", "kept", "too_long"}}


def learning_texts(
    asking: Asking,
    problems: Sequence[Problem],
    families: Mapping[str, int],
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[Texts, Counts]:
    """The training texts, and how many answers of each teacher were asked for, finished, right, too long and kept.

    `tokenizer` is the student's. Raises UserError where no answer is left to learn from, though some are wanted.
    """
    config, response = asking.config, wants_answers(asking.config)
    about = [problem for problem in problems if problem.solution] if wants_solutions(config) else []
    solutions = [problem.solution for problem in about]
    origins, counts = [SOLUTION] * len(about), {}
    if response is not None:
        filling_in = fills_in(config)  # then the answers stand where solutions would, and are learnt as those are
        solved = {problem.question for problem in problems if problem.solution} if filling_in else set()
        problems = [problem for problem in problems if not problem.solution] if filling_in else problems
        problems = problems if config.data.source in MADE_HERE else _asked_once(problems, solved)
    if response is not None and problems:
        chosen = _without_long(asking, _answers(asking, response, problems), problems, tokenizer)
        asking.progress("signals", chosen.summary())(1, 1)
        _warn_of_unfinished(asking, response, chosen)
        if not chosen.rows:
            raise UserError(_nothing_left(config, response, chosen))
        counts = {teacher: asdict(of_one) for teacher, of_one in chosen.counts.items()}
        about += [problems[row.problem] for row in chosen.rows]
        solutions += [row.text for row in chosen.rows]
        origins += [SOLUTION if filling_in else ANSWER] * len(chosen.rows)
    pairs = [(problem.question, solution) for problem, solution in zip(about, solutions, strict=True)]
    numbers = [families[problem.family] for problem in about]
    return Texts("train", pairs, numbers, origins if response is not None else None), counts


def _asked_once(problems: Sequence[Problem], solved: Collection[str] = ()) -> list[Problem]:
    """The problems whose question none before them asks, nor is `solved`: a table has several solutions of some."""
    found = {}
    for problem in problems:
        found.setdefault(problem.question, problem)
    return [problem for question, problem in found.items() if question not in solved]


def _answers(asking: Asking, response: ResponseConfig, problems: Sequence[Problem]) -> Chosen:
    teachers = teachers_of(response, asking.config)
    everything = [list(range(len(problems)))] * len(teachers)
    shares = deal(problems, len(teachers)) if response.problems == "share" else everything
    bank = ResponseBank(home().cache / "responses", on_warning=asking.warn)
    request = ResponseRequest(
        samples=response.samples,
        temperature=response.temperature,
        top_p=response.top_p,
        max_new_tokens=response.max_new_tokens,
        seed=asking.config.seed,
        prefill=response.prefill,
    )
    answers = {}
    for teacher, indices in zip(teachers, shares, strict=True):
        questions = [problems[index].question for index in indices]
        how = asking.how(teacher, "is answering problems")
        with main_first():  # one process asks, the others read what it was told
            said = bank.ask(teacher.name, model_path(teacher), questions, request, **how)
        answers[teacher.name] = spread(len(problems), indices, said)
    return choose(answers, problems, response.keep)


def _without_long(
    asking: Asking, chosen: Chosen, problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase
) -> Chosen:
    """Without the answers that budget.max_length would cut; they are counted, and no longer among the kept."""
    limit = asking.config.budget.max_length
    texts = [(problems[row.problem].question, row.text) for row in chosen.rows]
    fits = set(encode_many(tokenizer, texts, limit, drop_long=True).kept)
    if len(fits) == len(texts):
        return chosen
    for number, row in enumerate(chosen.rows):
        if number not in fits:
            chosen.counts[row.teacher].kept -= 1
            chosen.counts[row.teacher].too_long += 1
    asking.warn(
        "answers_too_long",
        f"{len(texts) - len(fits):,} of {len(texts):,} answers of teachers that were to be learnt from are longer than "
        f"budget.max_length ({limit} tokens) and are left out, since half an answer teaches none: raise it.",
    )
    rows = [row for number, row in enumerate(chosen.rows) if number in fits]
    return replace(chosen, rows=rows, without=chosen.problems - len({row.problem for row in rows}))


def _nothing_left(config: RunConfig, response: ResponseConfig, chosen: Chosen) -> str:
    """Why no answer is left, and what to do."""
    counts = list(chosen.counts.values())
    start = f"None of the teachers' {sum(one.asked for one in counts):,} answers is left to learn from: "
    if any(one.too_long for one in counts):
        return start + f"raise budget.max_length (now {config.budget.max_length} tokens)."
    if not any(one.finished for one in counts):
        return (
            start + f"none came to an end, so raise {_asked_by(config)}.max_new_tokens (now {response.max_new_tokens})."
        )
    if chosen.unjudged == chosen.problems and response.keep in ("right", "shortest"):
        return start + "the problems have no known answer to judge by, so set objectives.response.keep to 'majority'."
    if response.keep in ("right", "shortest"):
        return start + "none is right, so set objectives.response.keep to 'all', or choose teachers that can do these."
    return start + "they say nothing that concludes, so choose other teachers."


def _warn_of_unfinished(asking: Asking, response: ResponseConfig, chosen: Chosen) -> None:
    asked = sum(counts.asked for counts in chosen.counts.values())
    lost = asked - sum(counts.finished for counts in chosen.counts.values())
    if lost:
        asking.warn(
            "answers_unfinished",
            f"{lost:,} of {asked:,} answers of teachers had not ended after {response.max_new_tokens} tokens and are "
            f"left out: raise {_asked_by(asking.config)}.max_new_tokens.",
        )


def _asked_by(config: RunConfig) -> str:
    """The group of settings that says how long answers may be."""
    if fills_in(config):
        return "evaluation"
    return f"objectives.{asks_for_answers(config).kind}"
