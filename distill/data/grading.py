"""Is this answer right? What an answer's text concludes, compared with the answer that is right.

"#### 62" is taken where there is one; else what the text calls its final answer or puts in a box; else its last number,
or the statement that the problem has no answer. An answer to two questions ("28 and 4") is two numbers. Mathematics is
compared by `math_verify` (1/2 is 0.5 is \\frac{1}{2}).
No answer, however odd, makes grading raise or hang.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import lru_cache

from distill.data.families import IMPOSSIBLE

_LONGEST = 200  # characters of an extracted answer that are compared
_TAIL = 20_000  # characters at the end of a text that are searched: a conclusion stands at the end
_STATEMENTS = 20  # at the end of it, that are looked at

_MARKED = re.compile(r"####[ \t]*([^\n]*)")
_HEADING = re.compile(
    r"\W*$|.*:\W*$|\W*(?:step|part|final|solution|answer|conclusion|explanation|check|verification|result)\b",
    re.IGNORECASE,
)
_FINAL = re.compile(r"\banswer(?=(?:\s*(?:is|are)\b[ \t]*:?|[ \t]*:)[*_ \t]*(\S[^\n]*))", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{")
_DIGITS = r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
_NUMBER = re.compile(
    rf"\\[dt]?frac\s*\{{[^{{}}]*\}}\s*\{{[^{{}}]*\}}|(?<![\w.,/])[-+\u2212]?[$\u20ac\u00a3]?{_DIGITS}(?:\s?/\s?{_DIGITS})?%?"
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_AFTERTHOUGHT = re.compile(  # "62 apples, because ...", "62 apples (72 - 10)", "62. So ..."
    r",\s+(?=[A-Za-z]{2})|(?<=[a-z]{4})\s+(?=\()|\s+(?:because|since|as|so)\b|(?<=\w)[.!?;]\s"
)
# A whole number, with a currency, a percent sign or a unit in words: what nearly every answer is.
_PLAIN = re.compile(
    r"[$\u20ac\u00a3]?([-+]?)[$\u20ac\u00a3]?(\d{1,3}(?:,\d{3})+|\d+)(?:\.0*)?\s*%?"
    r"(?:\s+(?!hundred|thousand|million|billion|dozen)[^\W\d][^\d\\^=*/+<>]*)?"
)

_PAIR = re.compile(r"\d+ and \d+")

# What says in words that a problem has no answer. "I don't think I made a mistake" does not.
_NO_ANSWER = re.compile(
    r"""(?<!not\s)\bimpossible\b
    | \bno\s+(?:\w+\s+)?(?:solution|answer)\b
    | (?:\bnot|n['\u2019]t|\bcannot|\bcan\s?not)\s+(?:\w+\s+){0,2}?
      (?:possible|solvable|determined?|solved?|answer(?:ed)?|known?|found|find|comput(?:ed?|able)|calculated?)\b
    | (?:\bnot|n['\u2019]t|\binsufficient)\s+(?:\w+\s+){0,2}?(?:information|facts|data|details)\b
    | \b(?:information|facts?|data|price|number)\s+(?:is|are)\s+missing\b | \bmissing\s+(?:information|facts?|data)\b
    | \b(?:is|are)\s+(?:inconsistent|contradictory|unsolvable|undetermined|flawed)\b
    | \b(?:inconsistent|contradictory|conflicting)\s+(?:information|facts|data|statements|conditions)\b
    | \bcontradict(?:s|ions?)?\b
    | \b(?:mistake|error|problem|flaw)\s+(?:in|with)\s+(?:the|this)\s+(?:problem|question|statement|numbers|facts)\b""",
    re.IGNORECASE | re.VERBOSE,
)

# sympy evaluates what it reads, and nothing may interrupt it in a thread: 9^9^9 would never end. And math_verify reads
# "1 million" as 1.
_UNREADABLE = re.compile(
    r"!|\de[-+]?\d{3,}|\b(?:hundred|thousand|million|billion|dozen)|\\(?:[dt]?binom|choose|sum|prod|i{0,2}int|oint|lim|Gamma|zeta)|(?:\^|\*\*)\s*[({]*\s*[-+]?\s*\d{3,}|(?:\^|\*\*)[^=,;]*(?:\^|\*\*)|\d{40,}",
    re.DOTALL,
)

# Powers are expanded, roots and functions simplified: with many of them, or of many letters, that takes minutes.
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?")
_POWER = re.compile(r"\^|\*\*")
_EXPONENT = re.compile(  # a digit, a fraction of two, in braces or bare
    r"\s*(?:[-+]?\s*\d(?![\d.])|\{\s*[-+]?\s*(?:\d(?:\s*[./]\s*\d)?|\\[dt]?frac\s*\{?\d\}?\s*\{?\d\}?)\s*\}"
    r"|\(\s*[-+]?\s*\d(?:\s*[./]\s*\d)?\s*\))"
)
_OF_A_NUMBER = re.compile(r"(?<!\d)\d{1,6}\s*(?:\^|\*\*)\s*(?:\d{2}(?!\d)|\{\s*-?\d{2}\s*\}|\(\s*-?\d{2}\s*\))")
_HARMLESS = re.compile(
    r"\\(?:[dt]?frac|cdot|times|div|left|right|pi|pm|text|mathrm|boxed|leq?|geq?|neq?|infty|cup|quad)(?![a-z])"
)
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_MOST_NAMES = 3
_LOW = 3  # higher powers are of one name alone
_DEEP = re.compile(r"(?:[{(\[][^{}()\[\]]*){8}")  # eight brackets open before one closes: the parser takes minutes
_MOST_FUNCTIONS = 3
_MOST_GROUPS = 12  # brackets that open


@dataclass(frozen=True)
class Grade:
    """`extracted`: what the text concludes ("impossible" for every way to say so), None if nothing can be made out."""

    right: bool
    extracted: str | None


def grade(answer_text: object, gold: object) -> Grade:
    """Grade the text of an answer against the right one (`gold`: "62", "1/2", "impossible", LaTeX). Never raises."""
    extracted = extract(answer_text)
    wanted = _text(gold).strip()
    if extracted is None or not wanted:
        return Grade(False, extracted)
    return Grade(_equal(_conclusion(wanted), extracted), extracted)


def extract(answer_text: object) -> str | None:
    """What a text concludes, None if nothing can be made out; of one that thinks, what follows its thoughts."""
    text = _text(answer_text).rpartition("</think>")[2]
    if "<think>" in text:
        return None  # still thinking: whatever it weighs, it has answered nothing
    text = text[-_TAIL:]
    marked = _MARKED.findall(text)
    if answers := [mark for mark in marked if not _HEADING.match(mark)]:
        return _conclusion(answers[-1]) or None
    if marked and not marked[-1].strip():
        return None  # cut off where the answer should stand: an earlier number is not it
    stated = sorted([*_FINAL.finditer(text), *_BOXED.finditer(text)], key=lambda match: match.start())
    for match in reversed(stated[-_STATEMENTS:]):
        conclusion = _conclusion(match[1] if match.re is _FINAL else _braced(text, match.end()))
        # "The answer is that it has none" is a conclusion; "the answer is in the garden" is not.
        if conclusion == IMPOSSIBLE or re.search(r"\d|\\", conclusion):
            return conclusion
    for sentence in reversed(_SENTENCE_END.split(text)):
        if _NO_ANSWER.search(sentence):
            return IMPOSSIBLE
        if numbers := _NUMBER.findall(sentence):
            return _conclusion(numbers[-1])
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""


def _conclusion(statement: str) -> str:
    """A stated answer without its wrapping (box, dollars, emphasis) and without its afterthoughts."""
    statement = statement[: 5 * _LONGEST]
    if _NO_ANSWER.search(statement):
        return IMPOSSIBLE
    if box := _BOXED.search(statement):
        statement = _braced(statement, box.end())
    statement = re.sub(r"\\(?:text|mathrm)\s*\{([^{}]*)\}|\*\*+|`|<\|[^|]*\|>", r" \1 ", statement)
    statement = re.sub(r"\\[()\[\],;!]|\\(?=[$%])|(?<!\\)\$(?!\s*[-+]?\s*\d)|(?<=\d)\$", " ", statement)
    statement = statement.replace("\u2212", "-").strip()
    return " ".join(_AFTERTHOUGHT.split(statement)[0].split()).rstrip(".,;: ")[:_LONGEST]


def _braced(text: str, start: int) -> str:
    """What stands between the brace that opened before `start` and the one that closes it."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return text[start:]


@lru_cache(maxsize=16384)
def _equal(gold: str, extracted: str) -> bool:
    if _squeezed(gold) == _squeezed(extracted):
        return True
    if IMPOSSIBLE in (gold, extracted):
        return False
    if _PAIR.fullmatch(gold):  # two questions in one: both numbers, in their order
        return _NUMBER.findall(gold) == _NUMBER.findall(extracted.replace("$", ""))
    whole = [_PLAIN.fullmatch(text) for text in (gold, extracted)]
    if all(whole):  # what nearly every answer is: decided without sympy
        return len({int(match[1] + match[2].replace(",", "")) for match in whole}) == 1
    return _same_mathematics(gold, extracted)


def _squeezed(text: str) -> str:
    return "".join(text.split()).lower()


def _same_mathematics(gold: str, extracted: str) -> bool:
    """Whether math_verify finds the two equal. Its time limits are off: they are signals, which threads can't have."""
    if any(_UNREADABLE.search(text) for text in (gold, extracted)) or _costly(gold, extracted):
        return False
    import math_verify  # half a second, and only for what is not a whole number

    for module in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(module).setLevel(logging.ERROR)  # each warns that the time limit is off
    try:
        parsed = [math_verify.parse(_delimited(text), parsing_timeout=None) for text in (gold, extracted)]
        return bool(math_verify.verify(*parsed, timeout_seconds=None))
    except Exception:  # whatever sympy makes of a garbled answer, it is not the right one
        return False


def _costly(*texts: str) -> bool:
    """Whether sympy may take more than a moment to compare such statements, judged by what they are made of."""
    names: set[str] = set()  # what a power of a sum has terms of: letters, roots, functions
    expanded, highest = False, 0
    for text in texts:
        bare = _DEGREES.sub("", text)
        powers = _OF_A_NUMBER.sub("", bare)
        exponents = [_EXPONENT.match(powers, found.end()) for found in _POWER.finditer(powers)]
        if len(text) > _LONGEST or not all(exponents) or _DEEP.search(text):
            return True
        highest = max([highest, *(int(digit) for found in exponents for digit in re.findall(r"\d", found[0]))])
        functions = _COMMAND.findall(_HARMLESS.sub(" ", bare))
        groups = bare.count("(") + bare.count("[")
        if len(functions) > _MOST_FUNCTIONS or groups > _MOST_GROUPS:
            return True
        letters = _COMMAND.sub(" ", bare)
        if not re.search(r"\$|\\(?:boxed|\(|\[)", text):  # else "62 apples" is read as a number and its unit
            letters = re.sub(r"[^\W\d_]{2,}", " ", letters)
        names |= {letter for letter in letters if letter.isalpha()} | {f"{name}{i}" for i, name in enumerate(functions)}
        expanded |= groups > 1 or bool(_POWER.search(bare))
    return expanded and len(names) > (_MOST_NAMES if highest <= _LOW else 1)


def _delimited(text: str) -> str:
    """math_verify reads LaTeX and symbols between dollars, numbers and arithmetic bare."""
    bare = re.fullmatch(r"[$\u20ac\u00a3]?\s*[-+(]*\s*[$\u20ac\u00a3]?\s*[\d.][\d\s.,+\-*/()%]*", text)
    return text if bare or "$" in text or re.search(r"[^\W\d_]{2}", re.sub(r"\\[a-zA-Z]+", "", text)) else f"${text}$"
