"""How one model is spoken to: its own chat template, what it writes before a question, and what ends its answers.

Works for any fast Hugging Face tokenizer. A template is tried once with a question before it is used: it must hold that
question as it stands, and what it writes never depends on the day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from distill.config.errors import UserError
from distill.models.conversation import Turn, told, turns_of

THINK, THOUGHT = "<think>", "</think>"  # what opens and closes a model's thoughts

# Templates read these where they know them. Llama 3 writes today's date into the prompt, which would change every
# figure at midnight; Qwen 3 opens a thinking block, which worked solutions do not have.
_DAY = datetime(2024, 7, 26)
_VARIABLES = {"date_string": f"{_DAY:%d %b %Y}", "enable_thinking": False}
# Two questions with all that a template might change: capitals, blanks, lines, what HTML escapes, and length.
_HARD = "\u2402{}: Is 3 < 4 && 'a' > \"B\"?\tYES,  or\n\n  no? \u00c9t\u00e9 \U0001f600 {}\u2403"
_MARKS = tuple(_HARD.format(which, "lorem Ipsum " * 700) for which in ("First", "The other one"))
_FILLER = "\u2402answer\u2403"


@dataclass(frozen=True)
class Template:
    """How one model is spoken to. Its prompt for a question is `before + question + after` whenever `pure`.

    A question may be a conversation (conversation.py): then its turns are the template's, a system turn of its own
    in place of `system`.

    `chat` is False for a base model, which has no template: its prompt is the question and a line break. `trims`: the
    template strips blanks around the question.
    """

    tokenizer: PreTrainedTokenizerBase
    before: str
    after: str
    chat: bool = True
    pure: bool = True
    trims: bool = False
    turns: _Turns | None = None

    def place(self, question: str, answer: str = "") -> tuple[str, int, int]:
        """The prompt for `question`, and the characters [start, end) of it that are the question.

        Where `answer` opens a thought itself, the prompt does not: it would stand there twice.
        """
        prompt, start, end = self._place(question)
        if answer.lstrip().startswith(THINK):
            prompt = prompt.removesuffix(opened(self.after))
        return prompt, start, end

    def _place(self, question: str) -> tuple[str, int, int]:
        turns = turns_of(question)
        if len(turns) > 1:
            prompt = self._conversation(turns) if self.chat else f"{self.before}{told(question)}{self.after}"
            start = prompt.rfind(turns[-1].text)
            return prompt, start, start + len(turns[-1].text)
        words = question.strip() if self.trims else question
        if self.pure:
            return f"{self.before}{words}{self.after}", len(self.before), len(self.before) + len(words)
        prompt = self.turns.prompt(self.tokenizer, question)
        start = prompt.rfind(question.strip())
        if start < 0:
            raise UserError(_changed(self.tokenizer, "changes or leaves out", question))
        return prompt, start, start + len(question.strip())

    def _conversation(self, turns: Sequence[Turn]) -> str:
        """The prompt for the last turn, with all before it. Raises UserError where the template leaves one out."""
        own = turns[0].role == "system"
        system, rest = (turns[0].text, turns[1:]) if own else (self.turns.system, turns)
        said = [turn.text for turn in turns if turn.role != "assistant"]  # templates cut thoughts out of answers
        for in_user_turn in (True,) if self.turns.in_user_turn else (False, True):
            try:
                prompt = _apply(self.tokenizer, _told_in_turn(rest, system, in_user_turn, self.turns.parts), True)
            except UserError:
                if in_user_turn:
                    raise
                continue
            if all(text in prompt for text in said):
                return prompt
        raise UserError(
            f"The chat template of {_name(self.tokenizer)} leaves turns of a conversation out: use another."
        )

    def render(self, question: str, answer: str = "") -> str:
        """Prompt text up to and including what opens the `answer`; see `place`."""
        return self.place(question, answer)[0]


def opened(after: str) -> str:
    """What of a prompt's end opens a thought that the answer will close, "" where it opens none."""
    start = after.rfind(THINK)
    return after[start:] if start >= 0 and THOUGHT not in after[start:] else ""


@dataclass(frozen=True)
class _Turns:
    """The turns that a question is put in. `system` is the text of the system turn, None for none; `in_user_turn` says
    that the template has no such turn, so that the text opens the user's. `parts`: what a turn says is a list of parts,
    as templates of models that also see pictures may have it."""

    system: str | None = None
    in_user_turn: bool = False
    parts: bool = False

    def prompt(
        self, tokenizer: PreTrainedTokenizerBase, question: str, answer: str | None = None, opens: bool = True
    ) -> str:
        """The text up to what opens the answer (unless not `opens`), or all of it where there is an `answer`."""
        said = [Turn("user", question), *([] if answer is None else [Turn("assistant", answer)])]
        turns = _told_in_turn(said, self.system, self.in_user_turn, self.parts)
        return _apply(tokenizer, turns, opens and answer is None)


def _in_parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def template_of(tokenizer: PreTrainedTokenizerBase, system: str | None = None) -> Template:
    """The template of `tokenizer`, verified once to be a pure substitution (or marked as one that is not).

    With `system=None` the prompt has no system text: where the template would inject a default of its own ("You are
    Qwen ..."), an empty system turn keeps it out. Raises UserError if the template refuses a plain question, leaves it
    out of the prompt, or changes it.
    """
    if not tokenizer.is_fast:
        raise UserError(f"The tokenizer of {_name(tokenizer)} gives no offsets: use a model with a fast tokenizer.")
    if not tokenizer.chat_template:
        bos = tokenizer.bos_token or ""
        opens = bos if bos and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id] else ""
        return Template(tokenizer, opens + (f"{system}\n" if system else ""), "\n", chat=False)
    turns = _turns(tokenizer, system)
    first, other = (turns.prompt(tokenizer, mark) for mark in _MARKS)
    before, mark, after = first.partition(_MARKS[0])
    if not mark:
        raise UserError(_changed(tokenizer, "leaves out" if first == other else "changes"))
    padded = turns.prompt(tokenizer, f" {_MARKS[0]}\n")
    trims = padded == first
    pure = other == f"{before}{_MARKS[1]}{after}" and (trims or padded == f"{before} {_MARKS[0]}\n{after}")
    after += _opener(tokenizer, turns, after) if pure else ""
    return Template(tokenizer, before, after, pure=pure, trims=trims and pure, turns=turns)


def _changed(tokenizer: PreTrainedTokenizerBase, done: str, question: str = "") -> str:
    shown = f" ({question[:40]!r} for one)" if question else ""
    return (
        f"The chat template of {_name(tokenizer)} {done} the questions it is given{shown}, so the model would not read "
        "them as they stand: use another model, or mend its chat_template."
    )


def _opener(tokenizer: PreTrainedTokenizerBase, turns: _Turns, after: str) -> str:
    """What opens an answer in a whole conversation and is missing after a question, where the template does not heed
    add_generation_prompt; "" where nothing is: in many the end of the user's turn opens the answer."""
    if not turns.prompt(tokenizer, _MARKS[0], opens=False).endswith(f"{_MARKS[0]}{after}"):
        return ""  # it is heeded
    try:
        whole = turns.prompt(tokenizer, _MARKS[0], _FILLER)
    except UserError:
        return ""
    between = whole.partition(_MARKS[0])[2].partition(_FILLER)[0].rstrip(" ")
    return between.removeprefix(after) if between.startswith(after) and between.removeprefix(after).strip() else ""


def render(tokenizer: PreTrainedTokenizerBase, question: str, system: str | None = None) -> str:
    """Prompt text for one question. For many, call `template_of` once and its `render` for each."""
    return template_of(tokenizer, system).render(question)


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends this model's answers: what its template writes after one, else the tokenizer's end token.

    Gemma's `eos_token` is not what closes its turns, nor is that of a Qwen base model: trained on the wrong one, a
    student never stops. Raises UserError if there is neither.
    """
    if tokenizer.chat_template:
        special = special_ids(tokenizer)
        for token in tokenizer(_tail(tokenizer), add_special_tokens=False).input_ids:
            if token in special:
                return token
    if tokenizer.eos_token_id is None:
        raise UserError(f"The tokenizer of {_name(tokenizer)} has no end token: set its eos_token.")
    return tokenizer.eos_token_id


def has_end(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether there is an `end_token`."""
    try:
        return end_token(tokenizer) is not None
    except UserError:
        return False


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens that stand for no text. `<unk>` is not among them: it stands for text, if badly."""
    added = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return (added | set(tokenizer.all_special_ids)) - {tokenizer.unk_token_id}


def _tail(tokenizer: PreTrainedTokenizerBase) -> str:
    """What the template writes after an answer, "" where it writes no answers."""
    for parts in (False, True):
        try:
            whole = _Turns(parts=parts).prompt(tokenizer, _MARKS[0], _FILLER)
        except UserError:
            continue
        if _FILLER in whole:
            return whole.rpartition(_FILLER)[2]
    return ""


def _turns(tokenizer: PreTrainedTokenizerBase, system: str | None) -> _Turns:
    """The turns in which the template writes a question down: as text, else in parts."""
    refusal, found = None, []
    for parts in (False, True):
        try:
            turns = _with_system(tokenizer, system, parts)
            found.append((_MARKS[0] in turns.prompt(tokenizer, _MARKS[0]), turns))
        except UserError as error:
            refusal = refusal or error
    if not found:
        raise refusal
    return next((turns for holds, turns in found if holds), found[0][1])


def _with_system(tokenizer: PreTrainedTokenizerBase, system: str | None, parts: bool) -> _Turns:
    """Where the text of the system turn goes, if there is such a turn."""
    without, given = _Turns(parts=parts), _Turns(system or "", parts=parts)
    try:
        with_turn = given.prompt(tokenizer, _MARKS[0])
    except UserError:  # Gemma: "System role not supported"
        return replace(without, system=system or None, in_user_turn=True)
    if system:
        return replace(given, in_user_turn=system.strip() not in with_turn)
    # A template that injects a default of its own is longer without a system turn than with an empty one; and one that
    # takes the first turn for the system's leaves the question out.
    plain = without.prompt(tokenizer, _MARKS[0])
    return given if len(with_turn) < len(plain) or (_MARKS[0] in with_turn and _MARKS[0] not in plain) else without


def _told_in_turn(turns: Sequence[Turn], system: str | None, in_user_turn: bool, parts: bool) -> list[dict[str, Any]]:
    """The messages for turns of which the first is a user's."""
    first = f"{system}\n\n{turns[0].text}" if in_user_turn and system else turns[0].text
    said = [] if system is None or in_user_turn else [("system", system)]
    said += [("user", first), *((role, text) for role, text in turns[1:])]
    return [{"role": role, "content": _in_parts(text) if parts else text} for role, text in said]


def _apply(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], answer_follows: bool) -> str:
    try:
        own = tokenizer.get_chat_template()
        return tokenizer.apply_chat_template(
            messages,
            chat_template=_stopped_clock() + own if "strftime_now" in own else own,
            tokenize=False,
            add_generation_prompt=answer_follows,
            **_VARIABLES,
        )
    except (TemplateError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"The chat template of {_name(tokenizer)} refuses {_what(messages)} ({error}): use another model."
        ) from error


@cache
def _stopped_clock() -> str:
    """Jinja that makes strftime_now, which tells templates (SmolLM3's, say) what day it is, tell the same day always.

    A macro, for the library lets no function of ours into a template: every directive is put in by its letter.
    """
    letters = "aAbBcdHIjmMpSUwWxXyYZ"
    known = [(f"%-{letter}", f"{_DAY.strftime(f'%{letter}').lstrip('0') or '0'}") for letter in "dmHIMSjy"]
    known += [(f"%{letter}", _DAY.strftime(f"%{letter}")) for letter in letters]
    known += [("%F", f"{_DAY:%Y-%m-%d}"), ("%T", f"{_DAY:%H:%M:%S}"), ("%D", f"{_DAY:%m/%d/%y}"), ("%%", "%")]
    replaced = "".join(f".replace({old!r}, {new!r})" for old, new in known)
    return f"{{% macro strftime_now(format='%c') %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n"


def _what(messages: Sequence[dict[str, str]]) -> str:
    return "a conversation" if any(turn["role"] == "assistant" for turn in messages[:-1]) else "a plain question"


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__
