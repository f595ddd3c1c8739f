"""How one model is spoken to: its own chat template, what it writes before a question, and what ends its answers.

Works for any fast Hugging Face tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from distill.config.errors import UserError
from distill.models.conversation import Turn, told, turns_of

THINK, THOUGHT = "<think>", "</think>"  # what opens and closes a model's thoughts

# Templates read these where they know them. Llama 3 writes today's date into the prompt, which would change every
# figure at midnight; Qwen 3 opens a thinking block, which worked solutions do not have.
_VARIABLES = {"date_string": "26 Jul 2024", "enable_thinking": False}
_MARKS = "\u2402first\u2403", "\u2402the other one\u2403"
_FILLER = "\u2402answer\u2403"


@dataclass(frozen=True)
class Template:
    """How one model is spoken to. Its prompt for a question is `before + question + after` whenever `pure`.

    A question may be a conversation (conversation.py): then its turns are the template's, a system turn of its own
    in place of `system`.

    `chat` is False for a base model, which has no template: its prompt is the question and a line break. `trims`: the
    template strips blanks around the question. `system` is the text of the system turn, None for none; `in_user_turn`
    says that the template has no system turn, so that the text opens the user's.
    """

    tokenizer: PreTrainedTokenizerBase
    before: str
    after: str
    chat: bool = True
    pure: bool = True
    trims: bool = False
    system: str | None = None
    in_user_turn: bool = False

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
        prompt = _apply(self.tokenizer, _messages(question, self.system, self.in_user_turn))
        start = prompt.rfind(question.strip())
        return (prompt, start, start + len(question.strip())) if start >= 0 else (prompt, 0, len(prompt))

    def _conversation(self, turns: Sequence[Turn]) -> str:
        """The prompt for the last turn, with all before it. Raises UserError where the template leaves one out."""
        own = turns[0].role == "system"
        system, rest = (turns[0].text, turns[1:]) if own else (self.system, turns)
        said = [turn.text for turn in turns if turn.role != "assistant"]  # templates cut thoughts out of answers
        for in_user_turn in (True,) if self.in_user_turn else (False, True):
            try:
                prompt = _apply(self.tokenizer, _told_in_turn(rest, system, in_user_turn))
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


def template_of(tokenizer: PreTrainedTokenizerBase, system: str | None = None) -> Template:
    """The template of `tokenizer`, verified once to be a pure substitution (or marked as one that is not).

    With `system=None` the prompt has no system text: where the template would inject a default of its own ("You are
    Qwen ..."), an empty system turn keeps it out. Raises UserError if the template refuses a plain question.
    """
    if not tokenizer.is_fast:
        raise UserError(f"The tokenizer of {_name(tokenizer)} gives no offsets: use a model with a fast tokenizer.")
    if not tokenizer.chat_template:
        bos = tokenizer.bos_token or ""
        opens = bos if bos and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id] else ""
        return Template(tokenizer, opens + (f"{system}\n" if system else ""), "\n", chat=False, system=system)
    system, in_user_turn = _system_turn(tokenizer, system)
    first, other = (_apply(tokenizer, _messages(mark, system, in_user_turn)) for mark in _MARKS)
    before, _, after = first.partition(_MARKS[0])
    template = Template(tokenizer, before, after, system=system, in_user_turn=in_user_turn)
    padded = _apply(tokenizer, _messages(f" {_MARKS[0]}\n", system, in_user_turn))
    trims = padded == first
    pure = other == f"{before}{_MARKS[1]}{after}" and (trims or padded == f"{before} {_MARKS[0]}\n{after}")
    return replace(template, pure=pure, trims=trims and pure)


def render(tokenizer: PreTrainedTokenizerBase, question: str, system: str | None = None) -> str:
    """Prompt text for one question. For many, call `template_of` once and its `render` for each."""
    return template_of(tokenizer, system).render(question)


def end_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends this model's answers: what its template writes after one, else the tokenizer's end token.

    Gemma's `eos_token` is not what closes its turns, nor is that of a Qwen base model: trained on the wrong one, a
    student never stops. Raises UserError if there is neither.
    """
    if tokenizer.chat_template:
        conversation = [{"role": "user", "content": _MARKS[0]}, {"role": "assistant", "content": _FILLER}]
        try:
            tail = _apply(tokenizer, conversation, answer_follows=False).rpartition(_FILLER)[2]
        except UserError:
            tail = ""
        special = special_ids(tokenizer)
        for token in tokenizer(tail, add_special_tokens=False).input_ids:
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


def _system_turn(tokenizer: PreTrainedTokenizerBase, system: str | None) -> tuple[str | None, bool]:
    """(text of the system turn or None for no such turn, whether it has to open the user's turn instead)."""
    wanted = system or ""
    try:
        with_turn = _apply(tokenizer, _messages(_MARKS[0], wanted))
    except UserError:  # Gemma: "System role not supported"
        return system or None, True
    if system:
        return system, system.strip() not in with_turn
    # A template that injects a default of its own is longer without a system turn than with an empty one.
    return ("" if len(with_turn) < len(_apply(tokenizer, _messages(_MARKS[0], None))) else None), False


def _told_in_turn(turns: Sequence[Turn], system: str | None, in_user_turn: bool) -> list[dict[str, str]]:
    """`_messages` for turns of which the first is a user's."""
    opening = _messages(turns[0].text, system, in_user_turn)
    return [*opening, *({"role": role, "content": text} for role, text in turns[1:])]


def _messages(question: str, system: str | None, in_user_turn: bool = False) -> list[dict[str, str]]:
    if in_user_turn and system:
        return [{"role": "user", "content": f"{system}\n\n{question}"}]
    turns = [] if system is None or in_user_turn else [{"role": "system", "content": system}]
    return [*turns, {"role": "user", "content": question}]


def _apply(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], answer_follows: bool = True) -> str:
    try:
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=answer_follows, **_VARIABLES
        )
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"The chat template of {_name(tokenizer)} refuses {_what(messages)} ({error}): use another model."
        ) from error


def _what(messages: Sequence[dict[str, str]]) -> str:
    return "a conversation" if any(turn["role"] == "assistant" for turn in messages[:-1]) else "a plain question"


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__
