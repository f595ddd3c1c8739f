"""Is this answer right? What an answer's text concludes, compared with the answer that is right.

"#### 62" is taken where there is one; else what the text calls its final answer or puts in a box; else its last number,
or the statement that the problem has no answer. Numbers are read and compared here (quantities.py): any script, units,
currencies, 75% as 75 or 0.75. An answer to two questions ("28 and 4") is two numbers; one of several numbers is not the
answer. Other mathematics is compared by `math_verify`, in a process of its own (mathematics.py): what that can't decide
within a second counts as not equal. No answer, however odd, makes grading raise or hang.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from distill.data.families import IMPOSSIBLE
from distill.data.mathematics import same_mathematics
from distill.data.quantities import FOUND, Quantity, plain, quantity, same

_LONGEST = 200  # characters of an extracted answer that are compared
_STATEMENT = 1000  # characters that are looked at for it
_TAIL = 20_000  # characters at the end of a text that are searched: a conclusion stands at the end
_STATEMENTS = 20  # at the end of it, that are looked at

_MARKED = re.compile(r"####[ \t]*([^\n]*)")
_HEADING = re.compile(
    r"\W*(?:step|part|final|solution|answer|conclusion|explanation|check|verification|result)\b", re.IGNORECASE
)
_FINAL = re.compile(
    r"(?:\banswer(?:\s*(?:is|are)\b[ \t]*:?|[ \t]*:)"
    r"|\b(?:antwort|respuesta|resposta|r\u00e9ponse|risposta|\u043e\u0442\u0432\u0435\u0442)"
    r"[ \t]*(?::|-|\b(?:ist|es|\u00e9|est|\u00e8)\b)"
    r"|(?:\u7b54\u6848|\u7b54\u3048|\uc815\ub2f5)(?:\u662f|\u4e3a|\u70ba|\u306f|\uc740)?[ \t]*:?|\u7b54[ \t]*:"
    r"|(?:\u0909\u0924\u094d\u0924\u0930|\u0627\u0644\u062c\u0648\u0627\u0628"
    r"|\u0627\u0644\u0625\u062c\u0627\u0628\u0629)[ \t]*:)"
    r"[*_ \t]*",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\(?:f?boxed|framebox)\s*\{")
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")  # GSM8K's marks: <<48/2=24>>
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_AFTERTHOUGHT = re.compile(  # "62 apples, because ...", "62 apples (72 - 10)", "62. So ..."
    r",\s(?!(?:and|or)\b)(?=[A-Za-z]{2})|(?<=[a-z]{4})\s(?=\()|\s(?:because|since|as|so)\b"
    r"|(?<=\w)(?<!\bRs)(?<!\bFr)(?<!\bkr)(?<!\bca)(?<!approx)[.!?;]\s"
)
# "12 (not 13)", "12 (a dozen)", "62 (72 - 10)"; but not "12 (or 13)" and no formula, such as 2 (x + 1).
_ASIDE = re.compile(
    r"(?<=[\w%.])\s\((?![^()]*\bor\b)(?:[^()\\]*[^\W\d_]{2}[^()\\]*|[\s\d.,=]*[-+*/=\u00d7][-+*/=\u00d7\s\d.,]*)\)"
)
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}|\*\*+|__+|`|<\|[^|]*\|>"
)
_SPACING = re.compile(r"\\[()\[\],;!: ]|\\quad\b|\\(?=[$%#&])|(?<!\\)\$(?!\s?[-+]?\s?\d)|(?<=\d)\$")
_FOR_EACH = re.compile(r",\s?and\s|,\s?or\s|,\s|;\s?|\sand\s|\sor\s|\s?&\s?")

# What says in words that a problem has no answer. "I don't think I made a mistake" does not.
_NO_ANSWER = re.compile(
    r"""(?:\bnot|n['\u2019]t|\bcannot|\bcan\s?not)\s(?:\w+\s){0,2}?
      (?:solvable|determined?|solved?|answer(?:ed)?|known?|found|find|comput(?:ed?|able)|calculated?)\b
    | (?:\bnot|n['\u2019]t|\binsufficient)\s(?:\w+\s){0,2}?(?:information|facts|data|details)\b
    | \b(?:information|facts?|data|price|number)\s(?:is|are)\smissing\b | \bmissing\s(?:information|facts?|data)\b
    | \b(?:is|are)\s(?:inconsistent|contradictory|unsolvable|undetermined|flawed)\b
    | \b(?:inconsistent|contradictory|conflicting)\s(?:information|facts|data|statements|conditions)\b
    | \b(?:this|that|which|it)\scontradicts\b | \bcontradicts?\s(?:the|each|itself|one)\b | \ba\scontradiction\b
    | \b(?:mistake|error|problem|flaw)\s(?:in|with)\s(?:the|this)\s(?:problem|question|statement|numbers|facts)\b
    # The bare words end many a babble: they must be said of something, or be the sentence.
    | (?:^|[:;,("*]\s?|\b(?:has|have|had|there['\u2019]s|(?:is|are|be|gives|yields)))\s?
      (?:\b(?:therefore|thus|hence|that|it\shas|there\sis)\s){0,4}no\s(?:\w+\s)?(?:solution|answer)s?\b
    | \bno\s(?:\w+\s)?(?:solution|answer)s?\s(?:exists?|is|are|can|to|for)\b
    | (?:^|[:;,("*]\s?|(?<!\bthe\s)(?<!\bof\s)(?<!\ba\s)(?<!\band\s)(?<!\bis\s)
        \b(?:is|are|was|be|seems|appears|looks|remains)
        \s(?:\w+ly\s|just\s|also\s|thus\s|therefore\s|hence\s|then\s|an\s|simply\s|to\sbe\s){0,4}
        |['\u2019]s\s(?:\w+ly\s|just\s|also\s){0,4}|\b(?:thus|therefore|hence)\s)
      (?:impossible|unsolvable|(?:not|n['\u2019]t)\s(?:\w+\s)?possible)\b
    | (?:n['\u2019]t|\bnot)\s(?:be\s|\w+ly\s)?possible\b | \bimpossible\s(?:to|for|because|since|as)\b
    | \b(?:makes?|find|call|declare)\s(?:\w+\s){1,3}impossible\b""",
    re.IGNORECASE | re.VERBOSE,
)
_NOT_IMPOSSIBLE = re.compile(r"\b(?:not|n['\u2019]t)\simpossible\b", re.IGNORECASE)
_SO = re.compile(r"\b(?:so|therefore|thus|hence)\b", re.IGNORECASE)
_STUTTER = re.compile(r"\b(\w{1,20}(?:\s\w{1,20})?)\b(?:\W{1,3}\1\b){2}", re.IGNORECASE)
_BARE = re.compile(r"\W*(?:impossible|no\s(?:solution|answer)s?)\W*", re.IGNORECASE)


@dataclass(frozen=True)
class Grade:
    """`extracted`: what the text concludes ("impossible" for every way to say so), None if nothing can be made out."""

    right: bool
    extracted: str | None


def grade(answer_text: object, gold: object) -> Grade:
    """Grade the text of an answer against the right one (`gold`: "62", "1/2", "impossible", LaTeX). Never raises."""
    extracted = extract(answer_text)
    wanted = plain(_text(gold)[:_STATEMENT]).strip()
    if extracted is None or not wanted:
        return Grade(False, extracted)
    return Grade(_equal(_conclusion(wanted), extracted), extracted)


def extract(answer_text: object) -> str | None:
    """What a text concludes, None if nothing can be made out; of one that thinks, what follows its thoughts.

    Digits and punctuation of every script come out as ASCII has them.
    """
    text = _text(answer_text).rpartition("</think>")[2]
    if "<think>" in text:
        return None  # still thinking: whatever it weighs, it has answered nothing
    text = _CALCULATOR.sub("", plain(text[-_TAIL:]))
    marked = _MARKED.findall(text)
    if answers := [mark for mark in marked if not _is_heading(mark)]:
        return _conclusion(answers[-1].lstrip("# \t")) or None
    if marked and not marked[-1].strip():
        return None  # cut off where the answer should stand: an earlier number is not it
    return _stated(text) or _last_said(text)


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""


def _is_heading(mark: str) -> bool:
    """Whether "#### ..." is a heading of Markdown: "#### Step 1: add", "#### We add:"."""
    end = len(mark)
    while end and not mark[end - 1].isalnum():
        end -= 1
    return not end or ":" in mark[end:] or bool(_HEADING.match(mark[:_STATEMENT]))


def _stated(text: str) -> str | None:
    """What the text calls its answer, or boxes: the last that says something."""
    stated = sorted([*_FINAL.finditer(text), *_BOXED.finditer(text)], key=lambda match: match.start())
    stated = stated[-_STATEMENTS:]
    for at in range(len(stated) - 1, -1, -1):
        if stated[at].re is _BOXED:
            conclusion = _conclusion(_boxes(text, stated[: at + 1]))
        else:
            conclusion = _conclusion(text[stated[at].end() :][:_STATEMENT].partition("\n")[0])
        # "The answer is that it has none" is a conclusion; "the answer is in the garden" is not.
        if conclusion == IMPOSSIBLE or re.search(r"\d|\\", conclusion) or quantity(conclusion):
            return conclusion
    return None


def _boxes(text: str, stated: Sequence[re.Match[str]]) -> str:
    """What the last box holds, with the boxes joined to it: \\boxed{28} and \\boxed{4}."""
    said = _braced(text, stated[-1].end())
    for before, after in reversed(list(pairwise(stated))):
        end = before.end() + len(_braced(text, before.end())) + 1
        between = text[end : after.start()] if before.re is _BOXED else ""
        joined = len(between) < 20 and re.fullmatch(r"[\s$]*(,?\s?(?:and|or)|,|&|;)[\s$]*", between)
        if not joined:
            break
        said = f"{_braced(text, before.end())} {joined[1]} {said}".replace(" ,", ",")
    return said


def _braced(text: str, start: int) -> str:
    """What stands between the brace that opened before `start` and the one that closes it."""
    depth = 1
    text = text[start : start + _STATEMENT]
    for brace in re.finditer(r"[{}]", text):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[: brace.start()]
    return text


def _last_said(text: str) -> str | None:
    """The last number of the last sentence that has one, or the statement that there is no answer."""
    sentences = [sentence for sentence in _SENTENCE_END.split(text) if sentence.strip()]
    for at in range(len(sentences) - 1, -1, -1):
        sentence = " ".join(sentences[at].split())
        numbers = [match[0] for match in FOUND.finditer(sentence)]
        if _says_none(sentence) and not (_BARE.fullmatch(sentence) and _is_babble(sentences[:at])):
            return IMPOSSIBLE
        if numbers:
            return _conclusion(numbers[-1])
    return _in_words(sentences)


def _is_babble(sentences: Sequence[str]) -> bool:
    """Whether a bare "impossible" after these sentences only ends them: they stutter, or break off."""
    before = " ".join(sentences[-3:])[-_LONGEST:].rstrip()
    return bool(before) and (before[-1] not in ".!?:*)" or bool(_STUTTER.search(before)))


def _in_words(sentences: Sequence[str]) -> str | None:
    """The number in words of a text without digits, "She has eighteen left"; a bare "none" may mean anything."""
    for said in map(_conclusion, reversed(sentences[-_STATEMENTS:])):
        if (number := quantity(said)) and (number.value or "zero" in said.lower()):
            return said
    return None


def _says_none(sentence: str) -> bool:
    """Whether a sentence says that the problem has no answer; "..., so it is 12" says that it has."""
    if not _NO_ANSWER.search(_NOT_IMPOSSIBLE.sub(" ", sentence)) or _STUTTER.search(sentence):
        return False
    last = _SO.split(sentence)[-1]
    return bool(_NO_ANSWER.search(last)) or not FOUND.search(last)


def _conclusion(statement: str) -> str:
    """A stated answer without its wrapping (box, dollars, emphasis) and without its afterthoughts."""
    statement = " ".join(statement[:_STATEMENT].split())
    if _says_none(_TEXT.sub(r" \1 ", statement).strip(" ")):
        return IMPOSSIBLE
    if box := _BOXED.search(statement):
        statement = _braced(statement, box.end())
    statement = _SPACING.sub(" ", _TEXT.sub(r" \1 ", statement))
    statement = _ASIDE.sub("", " ".join(statement.split()))
    statement = _AFTERTHOUGHT.split(statement)[0].strip()[:_LONGEST]
    return statement if statement.endswith("...") else statement.rstrip(".,;: ")  # 0.333... goes on


# --- comparing -------------------------------------------------------------------------------------------------------


class _UndecidedError(Exception):
    """Nothing could be compared just now, which is no verdict to keep."""


def _equal(gold: str, extracted: str) -> bool:
    try:
        return _compared(gold, extracted)
    except _UndecidedError:
        return False


@lru_cache(maxsize=16384)
def _compared(gold: str, extracted: str) -> bool:
    if _bare(gold) == _bare(extracted):
        return True
    if IMPOSSIBLE in (gold, extracted):
        return False
    wanted, said = _quantities(gold), _quantities(extracted)
    if wanted and said:
        return _same_all(gold, wanted, extracted, said)
    formulas = [_formula(text, numbers) for text, numbers in ((gold, wanted), (extracted, said))]
    if not all(formulas):
        return False
    same = same_mathematics(*formulas)
    if same is None:
        raise _UndecidedError
    return same


def _bare(text: str) -> str:
    """What is compared as text: no case, no closing mark, no brackets around it; "12 13" and "1213" stay apart."""
    text = re.sub(r"(?<!\d)\s|\s(?!\d)|(?<=[^\W\d])!+$", "", text.casefold()).rstrip(".,;:")  # 5! is 120
    inner = text[1:-1]
    return inner if re.fullmatch(r"[(\"'\[][^()\"'\[\],]*[)\"'\]]", text) else text


def _quantities(statement: str) -> list[Quantity] | None:
    """The numbers of a statement that holds numbers alone, one or several; None for all else."""
    if one := quantity(statement):
        return [one]
    inner = statement[1:-1] if re.fullmatch(r"\([^()]*\)", statement) else statement
    parts = [part for part in _FOR_EACH.split(inner if inner is statement else inner.replace(",", ", ")) if part]
    found = [quantity(part) for part in parts]
    if len(parts) < 2 or not all(found):
        return None
    if all(re.search(r"\d.*=", part) for part in parts) or all(same(one, found[0]) for one in found):
        return found[-1:]  # "3 * 24 = 72, 72 - 10 = 62" works one number out; "0.6 or 60%" is one
    return found


def _same_all(gold: str, wanted: list[Quantity], extracted: str, said: list[Quantity]) -> bool:
    """Two answers stand in their order, unless the right ones are a list without one: "2, -2"."""
    if len(wanted) != len(said) or (len(wanted) > 1 and _offers(gold) != _offers(extracted)):
        return False
    if len(wanted) > 1 and not re.search(r"\band\b|&|^\(", gold):
        wanted, said = sorted(wanted), sorted(said)
    return all(map(same, wanted, said))


def _offers(text: str) -> bool:
    return bool(re.search(r"\bor\b", text))


_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[a-z]*\}|\\[a-zA-Z]+")
_FUNCTIONS = re.compile(r"\b(?:sqrt|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln|exp|pi|and|or)(?![a-z])")


def _formula(text: str, numbers: Sequence[Quantity] | None) -> str | None:
    """A statement as math_verify may read it: a number without its unit, or all formula; None for what is no formula.

    No words, no two numbers beside each other, no clock: math_verify would find a part that it can read.
    """
    if numbers and len(numbers) == 1:
        return str(numbers[0].value)
    letters = _FUNCTIONS.sub("#", _COMMAND.sub("#", text))
    odd = re.search(r"[^\W\d_]{2}|[^\W\d_a-zA-Z\u0370-\u03ff]|\d\s+\d|\d:\d|\?", letters)
    return None if odd else text
