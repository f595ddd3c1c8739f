"""Is a question unlike all that a student of generated problems has learnt? Rules on its text alone: no model is asked.

They look for what no family (data/families.py) has. A question may pass them all and still be of another kind.
"""

from __future__ import annotations

import re

from distill.data.telling import spelt

LARGEST, _LONGEST = 500, 120  # the largest number that a family draws; words, of which no generated problem has half

_ALGEBRA = re.compile(
    r"\^|[√∛π∑∫]|\bsqrt\b|\\[dt]?frac|\\sqrt|(?<![mt])[²³]"
    r"|(?:\d|\)|\b[xyz])\s*=|=\s*\(?-?\d"  # "both together = ?" is a telegram, "2 + 3 = ?" a formula
    r"|\b\d*[xyz]\s*[-+/]\s*\d|\d\s*[-+/]\s*\d*[xyz]\b|\b(?:solve for|find|value of) [xyz]\b"
)
_WORDS = {part for value in range(100) for part in spelt(value).split("-")} - {"one"}
_WORDS |= {"hundred", "thousand", "million", "billion", "dozen", "twice", "thrice", "fourty"}
_NUMBER = re.compile(
    rf"\d|[¼-¾⅐-⅞]|\b(?:{'|'.join(sorted(_WORDS))})s?\b|(?<!which )(?<!this )(?<!that )(?<!the )(?<!no )\bone\b"
)

# 9.20 is a time where times are spoken of, unless it is a price or a measure.
_TIMES = re.compile(r"\b(?:minutes?|mins?|hours?|clock|how long|what time|when|[ap]\.?m)\b")
_UNIT = (
    r"[$€£¥]|(?:k?g|kilos?|[ck]?m|l|miles?|met(?:re|er)s?|lit(?:re|er)s?|euros?|dollars?|pounds?|hours?|minutes?"
    r"|per|each|an? (?:hour|day|week|month|piece|kilo|bag|box|bottle))\b"
)
_TIME = re.compile(
    rf"(?<![$€£¥\d.,])(?<!cost )(?<!costs )(?<!paid )(?<!rs )(?:1?\d|2[0-3])\.[0-5]\d(?![\d%]|\.\d|\s?(?:{_UNIT}))"
)
_BROKEN = re.compile(  # decimals; parts
    r"(?<![\d.,:])\d+(?:\.\d+|,\d{1,2}(?! (?:and|or)\b))(?![.,]?\d)|(?<![\w.])\.\d+|[¼-¾⅐-⅞]|\b\w+ and a half\b"
    r"|\b(?:an?|one) (?:third|quarter|fifth|tenth) of\b|\b(?:two|three|four|\d)[ -](?:third|quarter|fifth|tenth)s of\b"
)
_FRACTION = re.compile(r"(?<![\d/.])(?!24/7)(\d{1,9}) ?/ ?(\d{1,9})(?![\d/.])")
_BELOW_ZERO = re.compile(r"(?:^|(?<=[a-z,] ))[-−]\d+")
_WHOLE = re.compile(r"\d+(?:[,\u00a0\u202f']\d{3}| 000)+|\d+")
_LARGE = re.compile(r"\b(?:thousand|million|billion)s?\b|\b(?:six|seven|eight|nine) hundred\b")
_ASKS = re.compile(
    r"\bhow (?:many|much|long|far|old|tall|heavy)\b|\bwhat(?:'s| is| are| was| were)\b(?! the (?:\w+ )?answer)"
)
_TWO_IN_ONE = re.compile(  # the total, and then this
    r"\b(?:av\w*|mean|each|per|apiece|more|fewer|less|diff\w*|by how|excess"
    r"|(?:old|young|tall|long|short|heavi|dear|cheap|larg|bigg|small|high|fast|farth|furth)er)\b"
)


def outside(question: str) -> str | None:
    """Why a question is unlike all that a student of generated problems has learnt, as a sentence; else None."""
    text = " ".join(question.replace("’", "'").lower().split())
    if (count := len(text.split())) > _LONGEST:
        return f"The question has {count:,} words, and those in its training had far fewer."
    if found := _ALGEBRA.search(text):
        return f"There are signs of algebra in the question ({found[0].strip()})."
    if not _NUMBER.search(text):
        return "There is no number in the question, in digits or in words, so it is no sum."
    if found := _BROKEN.search(_TIME.sub("", text) if _TIMES.search(text) else text) or _fraction(text):
        return f"There is a number in the question that isn't whole ({found[0]:.20})."
    if found := _BELOW_ZERO.search(text):
        return f"There is a number below zero in the question ({found[0]:.20})."
    large = [found for found in _WHOLE.finditer(text) if int(re.sub(r"\D", "", found[0])[:12]) > LARGEST]
    if found := large[0] if large else "how many thousand" not in text and _LARGE.search(text):
        return f"There is a number above {LARGEST} in the question ({found[0]:.20})."
    return "The question asks for several things at once." if _several(text) else None


def _fraction(text: str) -> re.Match[str] | None:
    """The first fraction in digits that makes no whole number: 3/4, and not 12/4."""
    return next((f for f in _FRACTION.finditer(text) if not int(f[2]) or int(f[1]) % int(f[2])), None)


def _several(text: str) -> bool:
    """Whether more is asked than one thing, or than two that belong together."""
    asked = [part for part, end in re.findall(r"([^.!?]+)([.!?]|$)", text) if end in ("?", "") and _ASKS.search(part)]
    asks = sum(len(_ASKS.findall(part)) for part in asked)
    return asks > 2 or (asks == 2 and not _TWO_IN_ONE.search(" ".join(asked)))
