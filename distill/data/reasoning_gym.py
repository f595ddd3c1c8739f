"""Problems of reasoning-gym, whose data sets are made while one waits: without end, offline, and the same for a seed.

Which split a problem belongs to follows from its question, as with files. Only data sets whose answers grading.py can
judge are taken: those of one number or a short expression. reasoning-gym is optional, and imported only when problems
are drawn, which takes a second.
"""

from __future__ import annotations

import hashlib
import importlib.util
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from typing import Any

from distill.config.errors import ConfigError, UserError
from distill.config.messages import instead, listed
from distill.data.grading import extract, grade
from distill.data.problems import Problem
from distill.data.splits import SHARES, key_of, split_of_key

PACKAGE = "reasoning-gym>=0.1.25"  # as pip takes it
MISSING = "data.source is 'reasoning_gym', but reasoning-gym is not installed here: pip install reasoning-gym."
BLOCK = 256  # problems that are made at a time, of one seed
_DRY = 8  # blocks without a new question of a split, after which a data set is taken to have no more
_LOOKED_AT = 48  # problems by which a data set is judged
_TRIAL_SEED = 20  # of those
_LONGEST = 64  # characters of an answer


def is_installed() -> bool:
    """Whether reasoning-gym is there; it is not imported."""
    return importlib.util.find_spec("reasoning_gym") is not None


def gym_problems(
    families: Sequence[str], counts: Mapping[str, int], seed: int, warn: Callable[[str, str], None]
) -> dict[str, list[Problem]]:
    """{split: `counts[split]` problems}, the data sets `families` taking turns; there is no new_phrasing here.

    The first n of a split are the same whatever its count, and no question comes twice. The worked solution is
    reasoning-gym's, where it writes one; else the answer alone, of which `warn(code, text)` is told, as of data sets
    with too few different problems. Raises ConfigError for a data set there is not or whose answers can't be judged,
    UserError where reasoning-gym is missing or a split is left without problems.
    """
    for family in families:
        check_family(family)
    streams = [_Stream(family, seed) for family in families]
    found: dict[str, list[Problem]] = {}
    for split, n in counts.items():
        found[split] = _turns(streams, split, n) if split in SHARES else []
        if split in SHARES and len(found[split]) < n:
            _too_few(split, len(found[split]), n, families, warn)
    mute = [stream.family for stream in streams if not stream.worked]
    if mute and counts.get("train"):
        text = f"{listed(mute)} of reasoning-gym {'has' if len(mute) == 1 else 'have'} no worked solutions"
        warn("no_worked_solutions", f"{text}: the student is shown the answers alone ('#### 62').")
    return found


@lru_cache(maxsize=256)
def check_family(name: str) -> None:
    """Raises ConfigError unless `name` is a data set of reasoning-gym whose answers can be judged; else returns."""
    known = _factory().DATASETS
    if name not in known:
        raise ConfigError(f"data.families names {name!r}, which is no data set of reasoning-gym: {_others(name)}")
    try:
        entries = _made(name, _TRIAL_SEED, _LOOKED_AT)
    except Exception as error:  # some need settings of their own
        said = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise ConfigError(
            f"data.families names {name!r}, which reasoning-gym can't make by itself ({said}): take another, such as "
            "'gsm_symbolic'."
        ) from error
    answers = list(dict.fromkeys(str(entry["answer"]).strip() for entry in entries))
    odd = next((answer for answer in answers if not _is_plain(answer)), None)
    if odd is None:
        odd = next((answer for other, answer in pairwise(answers) if grade(f"#### {other}", answer).right), None)
    if odd is not None:
        raise ConfigError(
            f"data.families names {name!r}, whose answers can't be judged here, such as {odd[:40]!r}, for they are no "
            "single number: take another, such as 'gsm_symbolic'."
        )


@lru_cache(maxsize=64)
def mean_characters(families: tuple[str, ...]) -> float:
    """Characters of a question and its solution, the mean over a sample of each data set. Raises as `gym_problems`."""
    lengths = []
    for family in families:
        check_family(family)
        made = [_problem(family, entry, "", "")[0] for entry in _made(family, _TRIAL_SEED, BLOCK)]
        lengths += [len(problem.question) + len(problem.solution) for problem in made]
    return sum(lengths) / len(lengths)


def _others(name: str) -> str:
    """What to take in place of `name`: the nearest, or those that are like GSM8K and plain sums."""
    said = instead(name, _factory().DATASETS)
    return said if said.startswith("did you") else "such as 'gsm_symbolic', 'basic_arithmetic' or 'leg_counting'."


def _is_plain(answer: str) -> bool:
    """Whether an answer is found and judged whole, with the mark that stands before answers and without."""
    bare, marked = extract(answer), extract(f"#### {answer}")
    return bare is not None and bare == marked and len(answer) <= _LONGEST and grade(answer, answer).right


class _Stream:
    """The problems of one data set by split, made as far as they are asked for; no question comes twice."""

    def __init__(self, family: str, seed: int):
        self.family = family
        self.seed = seed
        self.worked = True  # whether all so far had a worked solution
        self._blocks = 0
        self._by_split: dict[str, list[Problem]] = {split: [] for split in SHARES}
        self._keys: set[str] = set()

    def of(self, split: str) -> Iterator[Problem]:
        """The problems of a split, until no new ones come."""
        there, given = self._by_split[split], 0
        while True:
            while given < len(there):  # it may grow while another split is drawn from
                given += 1
                yield there[given - 1]
            for _ in range(_DRY):
                self._make()
                if len(there) > given:
                    break
            else:
                return

    def _make(self) -> None:
        digest = hashlib.sha256(f"{self.seed}:{self.family}:{self._blocks}".encode()).digest()
        for index, entry in enumerate(_made(self.family, int.from_bytes(digest[:4], "big") >> 1, BLOCK)):
            key = key_of(entry["question"])
            if key in self._keys:
                continue
            self._keys.add(key)
            split = split_of_key(key)
            problem, worked = _problem(self.family, entry, f"{self.family}:{self._blocks}:{index}", split)
            self.worked &= worked
            self._by_split[split].append(problem)
        self._blocks += 1


def _turns(streams: Sequence[_Stream], split: str, n: int) -> list[Problem]:
    """The first `n` problems of a split when the streams take turns; fewer where all of them end."""
    going = [stream.of(split) for stream in streams]
    seen: set[str] = set()
    found: list[Problem] = []
    while going and len(found) < n:
        for stream in list(going):
            problem = next(stream, None)
            if problem is None:
                going.remove(stream)
            elif (key := key_of(problem.question)) not in seen:  # another data set may ask the same
                seen.add(key)
                found.append(problem)
    return found[:n]


def _problem(family: str, entry: dict[str, Any], id: str, split: str) -> tuple[Problem, bool]:
    """(the problem, whether its solution is worked)"""
    answer = str(entry["answer"]).strip()
    solution = str(entry["metadata"].get("answer_cot") or "").strip()
    worked = bool(solution)
    if not worked or "####" not in solution:
        solution = f"{solution}\n#### {answer}".strip()
    return Problem(id, family, entry["question"].strip(), solution, answer, split), worked


def _too_few(split: str, there: int, wanted: int, families: Sequence[str], warn: Callable[[str, str], None]) -> None:
    what = f"{listed(list(families))} of reasoning-gym {'has' if len(families) == 1 else 'have'}"
    words = f"{what} only {there:,} different problems of the split {split}"
    if split == "held_out" or not there:
        raise UserError(f"{words}, but {wanted:,} are asked for: ask for fewer, or take more data sets.")
    warn(f"few_rows:{split}", f"{words}, fewer than the {wanted:,} asked for: all of them are used.")


def _made(family: str, seed: int, n: int) -> list[dict[str, Any]]:
    """`n` entries of a data set. Whatever is drawn there leaves the random numbers of everyone else as they were."""
    with _undisturbed():
        found = _factory().create_dataset(family, seed=seed, size=n)
        return [found[index] for index in range(n)]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A few data sets seed the shared generators, and some libraries warn of themselves when they are imported."""
    import numpy as np

    states = random.getstate(), np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _factory() -> Any:
    """The module of reasoning-gym that makes data sets."""
    try:
        with _undisturbed():
            import reasoning_gym.factory as factory
    except ImportError as error:
        raise UserError(MISSING) from error
    return factory
