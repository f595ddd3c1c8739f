"""What models wrote, as text that can be shown: formulas drawn, reasoning folded, all else inert. Pure functions.

A model may write anything, and so may whoever typed a question: no markup, no HTML and no link of theirs comes alive.
"""

from __future__ import annotations

import re
import string

from distill.data.families import IMPOSSIBLE
from distill.data.grading import extract
from distill.models.conversation import told
from distill.ui.html import words

# What gr.Markdown is to draw as formulas. `inert` writes every formula between these, so that a dollar is a dollar.
LATEX = [
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]

NO_SUM = "no problem"  # what a student concludes of a text in which it finds nothing to work out
_NO_SUM_SAID = re.compile(rf"\s*{NO_SUM}\.\s*#+\s*{IMPOSSIBLE}\W*", re.IGNORECASE)
_NO_SUM_WORDS = "it doesn’t recognise a sum in this"

_LONGEST = 2000  # characters of a formula; what is longer is shown as it was written
# Up to the next delimiter, which none may hold: then each character is looked at once, however many formulas open.
_BODY = rf"(?:[^\\$]|\\\\|\\(?![()\[\]])|\$(?!\$)){{1,{_LONGEST}}}?"
_FORMULA = re.compile(
    rf"\$\$(?P<dollars>{_BODY})\$\$"
    rf"|(?<!\\)\\\[(?P<brackets>{_BODY})\\\]"
    rf"|(?<!\\)\\\((?P<parentheses>{_BODY})\\\)"
    # Pandoc's rule: "$4 and $5" are prices.
    r"|(?<![\\$\w])\$(?P<dollar>(?![\s$])[^$\n]{1,300}?(?<![\s\\]))\$(?![\d$])",
    re.DOTALL,
)
_PROSE = re.compile(r"[A-Za-z]{2,} [A-Za-z]{2,}")
_TEXT_IN_FORMULA = re.compile(r"\\(?:text|mathrm|textbf|mbox|operatorname)\s*\{[^{}]*\}")
_DELIMITER = re.compile(r"\\[()\[\]]|\$\$")

# A character reference is text to Markdown and to HTML alike, wherever it stands.
_ENTITIES = {ord(sign): f"&#{ord(sign)};" for sign in string.punctuation}
_ENTITIES |= {code: None for code in [*range(32), 127] if chr(code) not in "\n\t"}
_EDGES = re.compile(r"^[ \t]+|(?<![ \t])[ \t]+$", re.MULTILINE)  # four blanks would make a code block, two a line break


def inert(text: str) -> str:
    """`text` as Markdown in which nothing but its formulas means anything.

    Formulas ($..$, $$..$$, \\(..\\), \\[..\\]) come out between the delimiters in `LATEX`, with < and > written as \\lt
    and \\gt; all other punctuation becomes character references.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    out, at = [], 0
    for match in _FORMULA.finditer(text):
        formula = _formula(match)
        if formula is not None:
            out += [_plain(text[at : match.start()]), formula]
            at = match.end()
    return "".join([*out, _plain(text[at:])])


def _formula(match: re.Match[str]) -> str | None:
    """The formula of a match, None where it is none after all."""
    kind, body = match.lastgroup, match[match.lastgroup].strip()
    if not body or (kind == "dollar" and _PROSE.search(_TEXT_IN_FORMULA.sub("", body))):
        return None
    body = re.sub(r"\\\\\s*\[[^\[\]]*\]", r"\\\\ ", body)  # "\\[2pt]", a line break, would look like a delimiter
    if _DELIMITER.search(body):
        return None
    body = body.replace("<", "\\lt ").replace(">", "\\gt ")
    body = re.sub(r"(?<!\\)%", r"\\%", body)  # the rest of the line would be a comment
    body = re.sub(r"\n\s*\n", "\n", body)
    return f"\\({body}\\)" if kind in ("dollar", "parentheses") else f"\\[{body}\\]"


def _plain(text: str) -> str:
    blanks = _EDGES.sub(lambda match: "\ue000" * len(match[0].expandtabs(4)), text)
    return blanks.translate(_ENTITIES).replace("\ue000", "&#32;")


def parted(text: str) -> tuple[str | None, str]:
    """(reasoning, answer): what stands between <think> and </think>, and what follows it.

    Reasoning is None where there is none; it may still go on, or its opening may have stood in the prompt.
    """
    thought, closed, answer = text.partition("</think>")
    before, opened, inside = thought.partition("<think>")
    if closed:
        return (inside if opened else before).strip(), (before if opened else "").strip() + answer.strip()
    return (inside.strip(), before.strip()) if opened else (None, text)


def answer_markdown(text: str, over: bool = True) -> str:
    """An answer for gr.Markdown with `LATEX`: its reasoning folded, then what it concludes."""
    thought, answer = parted(text)
    if thought is None:
        return inert(answer)
    count = len(thought.split())
    more = "" if over or answer else " so far"
    folded = f"<details>\n<summary>Reasoning, {count:,} {'word' if count == 1 else 'words'}{more}</summary>\n\n"
    return f"{folded}{inert(thought)}\n\n</details>\n\n{inert(answer)}".rstrip("\n")


def question_markdown(question: str, answer: str | None) -> str:
    """A question for gr.Markdown with `LATEX`, and its right answer where that is known."""
    question = told(question)
    if not answer:
        return inert(question)
    if answer == IMPOSSIBLE:
        known = "It can't be answered: facts are missing, or they contradict each other."
    else:
        known = f"Right answer: **{inert(answer)}**"
    return f"{inert(question)}\n\n{known}"


def found_in(text: str) -> str | None:
    """What an answer's text concludes, as `extract` has it, but NO_SUM for "no problem. #### impossible"."""
    return NO_SUM if _NO_SUM_SAID.fullmatch(parted(text)[1]) else extract(text)


def verdict(right: bool | None, found: str | None, answer: str | None) -> str:
    """Right or wrong, as HTML: in words, not by colour alone. `found` is what `found_in` finds in the answer."""
    if right is None or not answer:
        unknown = "<span class='quiet'>no right answer is known, so it isn't graded</span>"
        return f"{_NO_SUM_WORDS}; {unknown}" if found == NO_SUM else unknown
    impossible = answer == IMPOSSIBLE
    wanted = "it can’t be answered" if impossible else words(_short(answer))
    if right:
        return f"<b class='right'>right</b>: {_NO_SUM_WORDS if found == NO_SUM else wanted}"
    if found == NO_SUM:
        why = f"{_NO_SUM_WORDS}, and the answer is {wanted}"
    elif found is None:
        why = f"no answer in it, and {wanted if impossible else f'it is {wanted}'}"
    elif found == IMPOSSIBLE:
        why = f"it says there is no answer, and it is {wanted}"
    else:
        why = f"{words(_short(found))}, {'but' if impossible else 'not'} {wanted}"
    return f"<b class='wrong'>wrong</b>: {why}"


def concluded(found: str | None) -> str:
    """What an answer concludes, in a few words, as HTML; `found` as in `verdict`."""
    if found is None:
        return "<span class='quiet'>no answer</span>"
    if found == NO_SUM:
        return _NO_SUM_WORDS
    return "can’t be answered" if found == IMPOSSIBLE else words(_short(found))


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
