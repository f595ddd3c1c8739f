"""Numbers as people write them: in any script, with currencies, units, separators, fractions, and in English words.

`plain` writes a text's digits and punctuation as ASCII has them; `FOUND` finds numbers in such a text; `quantity` reads
a statement that holds one number ("US$1,024.50 per day", "2 1/2 cups", "x = 18", "eighteen") exactly. A statement that
holds several ("17 or 18"), or a number that something else is done to ("less than 18", "4 sqrt(2)", "3x"), is none.

Every pattern here is linear in the text; callers cut what is long.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


class Quantity(NamedTuple):
    """A number. `decimals`: the digits after its point, None for a fraction.

    `unit`: what it is a number of, where that is a number: 75% is 75 and 75 * 1/100, 3 dozen is 3 * 12 and, where
    dozens are asked for, 3. `goes_on`: "0.333..." stands for more digits than are written.
    """

    value: Fraction
    decimals: int | None = 0
    unit: Fraction = Fraction(1)
    goes_on: bool = False


_PERCENT, _DOZEN = Fraction(1, 100), Fraction(12)


# --- any script ------------------------------------------------------------------------------------------------------

_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e]")
_SUPERSCRIPT = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
_AS_ASCII = str.maketrans(
    {
        **dict.fromkeys("\u2212\u2010\u2011\u2013\ufe63\uff0d", "-"),
        **dict.fromkeys("\u202f\u2007\u2009\u2008", "\u00a0"),  # spaces that group digits
        **dict.fromkeys("\u2044\u2215\uff0f", "/"),
        **{"\u066b": ".", "\uff0e": ".", "\u066c": ",", "\u066a": "%", "\uff05": "%", "\uff0b": "+", "\uff1d": "="},
        **{"\uff08": "(", "\uff09": ")", "\uff1a": ": ", "\uff0c": ", ", "\u3001": ", ", "\u060c": ", "},
        **{"\uff1b": "; ", "\u061b": "; ", "\u3002": ". ", "\u0964": ". ", "\uff1f": "? ", "\u061f": "? "},
        **{"\uff01": "! ", "\uffe5": "\u00a5", "\uff04": "$", "\uff0a": "*", "\uff5e": "~", "\u2248": "~"},
    }
)


def plain(text: str) -> str:
    """`text` with the digits, fractions and punctuation of every script as ASCII has them; its words stay."""
    if text.isascii():
        return text
    text = _VULGAR.sub(lambda match: " " + unicodedata.normalize("NFKC", match[0]), text)
    text = _SUPERSCRIPT.sub(lambda match: f"^{unicodedata.normalize('NFKC', match[0])}", text)
    # A comma between digits separates them, or what is listed would read as thousands.
    text = re.sub("(?<=\\d)\uff0c(?=\\d{3})", ",", text).translate(_AS_ASCII)
    return _OTHER_DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), text)


# --- in running text -------------------------------------------------------------------------------------------------

_DIGITS = (
    r"(?:\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?"  # 1,234.5
    r"|\d{1,3}(?:[\u00a0'\u2019]\d{3})+(?!\d)(?:[.,]\d+)?"  # 1'234,5
    r"|\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}(?![\d.])"  # 1.234,5
    r"|\d{1,2}(?:,\d\d)+,\d{3}(?![\d,])"  # 12,34,567, in India
    r"|\d+,\d+(?![\d,])"  # 2,5
    r"|\d+(?:\.\d+)?|\.\d+)"
)
_CURRENCY = "[$\u00a2-\u00a5\u058f\u060b\u09f2\u09f3\u0e3f\u20a0-\u20c0]"
_MONEY = (
    rf"(?:(?:\b(?:US|A|AU|C|CA|R|NZ|HK|NT|S|MX))?{_CURRENCY}\s?"
    r"|\b(?:USD|EUR|GBP|INR|JPY|CNY|RMB|CHF|Rs\.?|Fr\.?|[Kk]r\.?)\s?|\bR(?=\d))?"
)
_FRACTION = r"\\[dt]?frac\s*(?:\{[^{}]*\}\s*\{[^{}]*\}|\d\s?\d)"
_SCALES = {
    "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
    "lakh": 10**5, "crore": 10**7, "mn": 10**6, "bn": 10**9, "k": 1000,
    "\u5341": 10, "\u767e": 100, "\u5343": 1000, "\u4e07": 10**4, "\u842c": 10**4, "\u4ebf": 10**8, "\u5104": 10**8,
    "millones": 10**6, "millionen": 10**6, "millions": 10**6, "\u0442\u044b\u0441\u044f\u0447": 1000,
    "\u0442\u044b\u0441": 1000, "\u043c\u043b\u043d": 10**6, "\u043c\u0438\u043b\u043b\u0438\u043e\u043d": 10**6,
}  # fmt: skip
_SCALE = (
    r"(?:\s?(?:hundred|thousand|million|billion|trillion|dozen|lakh|crore)s?\b|k\b(?![-/])|\s?(?:mn|bn)\b"
    r"|\s?(?:millones|millionen)\b|\s?[\u5341\u767e\u5343\u4e07\u842c\u4ebf\u5104]"
    r"|\s?(?:\u0442\u044b\u0441\u044f\u0447|\u0442\u044b\u0441\b\.?|\u043c\u043b\u043d|\u043c\u0438\u043b\u043b\u0438\u043e\u043d)"
    r"[\u0430-\u044f]{0,2})"
)
_POWER_OF_TEN = (
    r"(?:[eE][-+]?\d{1,3}(?![\d.])"
    r"|\s?(?:\u00d7|x|\*|\\times|\\cdot|\u00b7)\s?10\s?(?:\^|\*\*)\s?(?:\{\s?)?[-+]?\d{1,3}(?!\d)(?:\s?\})?)"
)
# A digit right after a letter is seen ("答案是33个"), but not that of a name or a unit: x1, B12, cm2.
_ALONE = r"(?<![\d.,/^_\\])(?<!\b[A-Za-z])(?<!\b[A-Za-z]{2})"
_ONE = (
    rf"(?:(?<![A-Za-z\d)\]}}%$])[-+])?{_MONEY}[-+]?(?:\d+\s?{_FRACTION}|{_FRACTION}"
    rf"|(?:\d+\s)?\d+\s?/\s?\d+(?![\d.,]*\d)|{_DIGITS}(?:\s?/\s?{_DIGITS}|{_POWER_OF_TEN})?)"
    rf"(?i:{_SCALE})?%?"
)
# "1331 and 1728", "17-18", "3:30" are found whole: neither number is the answer. But in "30 + 160 or 190" the last is.
_JOINED = r"(?:\s(?:and|or|to)\s|\s?,\s(?:and\s|or\s)?|-|:(?=\d{1,2}(?!\d))|\s?&\s?)"
FOUND = re.compile(rf"{_ALONE}(?:(?<![-+*/\u00d7]\s){_ONE}(?:{_JOINED}(?![-+]?\.){_ONE})+|{_ONE})")

# --- a statement of one number ---------------------------------------------------------------------------------------

_GROUPED = r"\d{1,3}(?:[ ]\d{3})+(?!\d)(?:[.,]\d+)?"  # in running text these may be two numbers
_NUMERAL = rf"(?:{_GROUPED}|{_DIGITS}\.?)"
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{\s*([-+]?)\s*([\d.,]+)\s*\}\s*\{\s*([\d.,]+)\s*\}|()(\d)\s?(\d))")
_STATEMENT = re.compile(
    rf"""(?P<before>[^\d\\^*/+<>|=]*?)
    (?P<sign>(?:[-+]|\bminus\s|\bnegative\s)\s?)?
    (?P<money>{_MONEY})(?P<inner>[-+]\s?)?
    (?:(?:(?P<whole>\d+)(?:\s|\sand\s))?(?P<top>{_NUMERAL})\s?/\s?(?P<bottom>{_NUMERAL})
      |(?P<number>{_NUMERAL})(?P<power>{_POWER_OF_TEN})?)
    (?P<scale>{_SCALE})?
    (?P<goes_on>\.\.+|\u2026)?
    (?P<half>\sand\sa\shalf\b)?
    (?P<percent>\s?(?:%|percent\b|per\scent\b|pct\b))?
    (?P<after>.*)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
# What is said of a number so that it is not the answer, or no longer itself.
_BUT = re.compile(
    r"\b(?:not|no|never|without|except|than|least|most|over|under|above|below|up\sto|between|nearly|almost|half|twice"
    r"|double|triple|thrice|quarter|third|square|cube|root|sqrt|factorial|log|ln|sin|cos|tan|mod|either|neither|or|and"
    r"|times|plus|minus|divided|multiplied)\b|n['\u2019]t\b|[\u2260\u2264\u2265\u00b1\u221a\u221e\u00d7\u00f7]",
    re.IGNORECASE,
)
_NO_UNIT = re.compile(
    r"\s*(?:or|and|impossible|squared|cubed|factorial|choose|plus|minus|divided|multiplied|to\sthe|x|\u00d7|\u00f7)\b"
    r"|.*(?:[\\^*+<>|=\u2260\u2264\u2265\u00b1\u221a\u00d7\u00f7!]|\b(?:or|but)\b)"
    r"|\s-\s?[a-z]\b|-?\(\s?[a-z]\s?\)|/[a-z](?![a-z])",
    re.IGNORECASE | re.DOTALL,
)
_LETTERS_OF_UNITS = frozenset("mgshltdcpwvjkaf")
_ALGEBRA = re.compile(r"[a-zA-Z]|[xyz]{2,}|[abc]{2,3}|mn|pq|rs", re.IGNORECASE)
_EXPONENT = re.compile(r"(?<=[a-z])(?:\s?\^\s?)?(?:[23]|\{\s?[23]\s?\})(?!\d)", re.IGNORECASE)  # of cm^2
_WRAPPED = {"(": ")", "[": "]", '"': '"', "'": "'", "\u201c": "\u201d", "\u00ab": "\u00bb", "\u2018": "\u2019"}
_LISTS = re.compile(r"[,;]\s|\b(?:and|or)\b")
_SIDES = re.compile(r"=|~|\\approx\b|\\Rightarrow\b|\u2192|\u21d2")


@lru_cache(maxsize=16384)
def quantity(statement: str) -> Quantity | None:
    """The one number that a statement gives, None if it gives none or several. `statement`: as `plain` returns it."""
    statement = _unwrapped(" ".join(statement.split()))
    sides = [side for side in (side.strip() for side in _SIDES.split(statement)) if side]
    if any(_LISTS.search(side) for side in sides[:-1]):
        return None  # "x = 3, y = 4"
    if len(sides) > 1:  # "72 - 10 = 62", "18 = x"
        return _read(sides[-1]) or (
            None if re.search(r"\d", sides[-1]) and _read(sides[0]) is None else _read(sides[0])
        )
    return _read(sides[0]) if sides else None


def same(a: Quantity, b: Quantity) -> bool:
    """Whether two numbers are the same. 75% is 75 and 0.75; 0.3333 is 1/3, and 0.33 is not.

    A decimal of four digits stands for a fraction that has no end; of two decimals, the shorter for the longer one if
    it has six digits after the point.
    """
    if a.unit == b.unit:
        return _close(a, b)
    return any(_close(one, other) for one in _readings(a) for other in _readings(b))


def _readings(number: Quantity) -> list[Quantity]:
    """The number, and what it comes to in its unit."""
    more = 2 if number.unit == _PERCENT else 0
    decimals = None if number.decimals is None else number.decimals + more
    return [number, number._replace(value=number.value * number.unit, decimals=decimals)]


def _close(a: Quantity, b: Quantity) -> bool:
    return a.value == b.value or _stands_for(a, b) or _stands_for(b, a)


def _stands_for(short: Quantity, long: Quantity) -> bool:
    """Whether `short`, a decimal, is what `long` is when written with as many digits."""
    if not short.decimals:
        return False
    ends = long.decimals is not None
    scaled, written = long.value * 10**short.decimals, short.value * 10**short.decimals
    if short.goes_on:
        return short.decimals > 1 and int(scaled) == written
    if len(str(abs(int(written)))) < 4 or (ends and not 6 <= short.decimals < long.decimals):
        return False
    return written == round(scaled) or (not ends and written == int(scaled))


def _unwrapped(text: str) -> str:
    """Without the brackets or quotation marks around all of it, and without what ends a sentence."""
    while len(text) > 1 and (end := _WRAPPED.get(text[0])) == text[-1] and "," not in text:
        inner = text[1:-1].strip()
        if {text[0], end} & set(inner) and not (inner[0] == text[0] and inner[-1] == end):
            return text  # (1)(2)
        text = inner
    return text


def _read(text: str) -> Quantity | None:
    text = _unwrapped(text)
    if not re.search(r"\d", text):
        return _in_words(text)
    text = _LATEX_FRACTION.sub(lambda m: f" {m[1] or ''}{m[2] or m[5]}/{m[3] or m[6]}", text).strip()
    text = " ".join(re.sub(r"\^\s?\{?\s?\\circ\s?\}?|\u00b0|\\degree\b", " degrees", text.replace("{,}", ",")).split())
    found = _STATEMENT.fullmatch(text[:_LONGEST])
    if not found or len(text) > _LONGEST or not _is_said_before(found["before"]) or not _is_unit(found["after"]):
        return None
    value, decimals = _value(found)
    if value is None:
        return None
    if found["sign"]:
        words = re.search(r"[^\W\d_]{2,}\s?$", found["before"])
        dash = found["sign"].endswith(" ") and found["sign"][0] in "-+"
        if found["before"].strip() and dash and not words:
            return None  # "x - 18"
        if not (dash and words):  # "the total - 18" is a dash
            value = -value if found["sign"].lower().startswith(("-", "minus", "neg")) else value
    if (found["inner"] or "").startswith("-"):
        value = -value
    dozens = (found["scale"] or "").strip().lower().startswith("dozen")
    unit = _PERCENT if found["percent"] else _DOZEN if dozens else Fraction(1)
    return Quantity(value, decimals, unit, bool(found["goes_on"]))


_LONGEST = 200  # characters of a statement that are read


def _value(found: re.Match[str]) -> tuple[Fraction | None, int | None]:
    """(the number without its sign, the digits after its point)"""
    if found["top"]:
        top, bottom = _decimal(found["top"]), _decimal(found["bottom"])
        if not bottom:
            return None, None
        value, decimals = Fraction(top) / Fraction(bottom) + int(found["whole"] or 0), None
        if value.denominator == 1 or not _has_no_end(value):
            decimals = 0 if value.denominator == 1 else 99
    else:
        written = _decimal(found["number"])
        value, decimals = Fraction(written), max(0, -written.as_tuple().exponent)
    if found["power"]:
        power = int(re.search(r"[-+]?\d+$", found["power"].rstrip("} "))[0])
        value, decimals = value * Fraction(10) ** power, max(0, decimals - power)
    if found["scale"]:
        word = found["scale"].strip().lower()
        value *= next((times for name, times in _SCALES.items() if word.startswith(name)), 1)  # dozens are a unit
    return value + (Fraction(1, 2) if found["half"] else 0), decimals


def _has_no_end(value: Fraction) -> bool:
    rest = value.denominator
    for factor in (2, 5):
        while rest % factor == 0:
            rest //= factor
    return rest != 1


def _decimal(digits: str) -> Decimal:
    """A numeral with its separators. The later of two kinds is its point; three digits after a comma are thousands."""
    digits = re.sub(r"[ \u00a0'\u2019]", "", digits).rstrip(".,")
    point = "."
    if "," in digits and digits.rfind(",") > digits.rfind(".") >= 0:
        point = ","
    elif digits.count(".") > 1:
        point = ""
    elif "." not in digits and not re.fullmatch(r"[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d\d)+,\d{3}", digits):
        point = ","
    whole, _, rest = digits.rpartition(point) if point and point in digits else (digits, "", "")
    whole = re.sub(r"[.,]", "", whole)
    return Decimal(f"{whole or 0}.{rest}" if rest else whole or "0")


def _is_said_before(words: str) -> bool:
    """Whether what stands before a number only introduces it: "about", "She has", "x:"."""
    if _BUT.search(words) or re.search(r"[(\[{]", words):
        return False
    letters = re.findall(r"(?<![^\W_])[a-zA-Z](?![^\W_])", re.sub(r"\b[a-zA-Z]\s?:", "", words))
    return all(letter in "aAI" for letter in letters)


def _is_unit(words: str) -> bool:
    """Whether what stands after a number leaves it what it is: a unit, what is counted, a closing mark."""
    if words.startswith("!"):
        return False  # a factorial
    words = words.rstrip(".,;:!?'\"\u201d) ")
    if not words:
        return True
    words = _EXPONENT.sub("", words)
    if re.search(r"\d", words) or _NO_UNIT.match(words):
        return False
    bare = words.strip(" -'\"()")
    if len(bare) == 1 and bare.isascii() and bare.isalpha():
        return bare.lower() in _LETTERS_OF_UNITS
    return not _ALGEBRA.fullmatch(bare)


# --- in words --------------------------------------------------------------------------------------------------------

_WORDS = {word: value for value, word in enumerate(ONES)} | {word: 20 + 10 * i for i, word in enumerate(TENS)}
_BIG = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12}
_PARTS = {"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4}
_PARTS |= {"fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10}
_SPELT = re.compile(
    r"(?:\b(?:minus|negative)\s)?(?:\ba\s)?\b(?:{words})\b(?:(?:[\s-]|\s(?:and\sa|and)\s)(?:{words})\b)*".format(
        words="|".join([*_WORDS, *_BIG, *_PARTS])
    ),
    re.IGNORECASE,
)


def _in_words(text: str) -> Quantity | None:
    """The number of a statement without digits: "eighteen apples", "two and a half", "minus five", "three quarters"."""
    if re.fullmatch(r"(?:none|nothing)(?: (?:of|at|are|is|left)\b[\w\s]*)?\W*", text, re.IGNORECASE):
        return Quantity(Fraction(0))
    runs = list(_SPELT.finditer(text[:_LONGEST]))
    if len(runs) != 1 or len(text) > _LONGEST:
        return None
    run = runs[0]
    before, after = text[: run.start()], text[run.end() :]
    value = _spelt(run[0].lower())
    if value is None or not _is_said_before(before) or (before.strip() and value == 1):
        return None  # "this one" counts nothing
    percent = re.match(r"\s?(?:%|percent\b|per\scent\b)", after)
    after = after[percent.end() :] if percent else after
    if not _is_unit(after) or (value.denominator == 1 and re.match(r"\s+of\b", after)):
        return None
    return Quantity(value, 0 if value.denominator == 1 else 99, _PERCENT if percent else Fraction(1))


def _spelt(run: str) -> Fraction | None:
    words = [word for word in re.split(r"[\s-]+", run) if word not in ("a", "and")]
    negative = words[0] in ("minus", "negative")
    total, group, last = Fraction(0), None, None
    for word in words[negative:]:
        if word in _WORDS:
            value = _WORDS[word]
            fits = group is None or last == "big" or (last == "tens" and 0 < value < 10)
            if not fits:
                return None  # "two three"
            group = (group or 0) + value
            last = "tens" if value >= 20 else "ones"
        elif word in _BIG:
            group = (1 if group is None else group) * _BIG[word]
            if _BIG[word] >= 1000:
                total, group = total + group, 0
            last = "big"
        else:
            return _with_part(total, group, word, run, negative)
    value = total + (group or 0)
    return -value if negative else value


def _with_part(total: Fraction, group: Fraction | None, word: str, run: str, negative: bool) -> Fraction | None:
    """A number in words that ends in "half", "quarters" ...: "half", "a third", "three quarters", "two and a half"."""
    if not run.endswith(word):
        return None
    if group is None and not total:
        if word not in ("half",) and not run.startswith("a "):
            return None  # "third" counts places
        value = Fraction(1, _PARTS[word])
    elif f"and a {word}" in run:
        value = total + group + Fraction(1, _PARTS[word])
    elif " and " in run:
        return None
    else:
        value = (total + group) / Fraction(_PARTS[word])
    return -value if negative else value
