"""Whether a student's and a teacher's tokenizer are one and the same, and in what else the two models differ.

Equal width is not the same tokenizer, and unequal width not another: Qwen2.5 has 151,936 or 152,064 logits for the
same 151,665 tokens. What counts is what they do: every id both have must stand for the same token, and every probe
string must become the same ids. No weights are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from distill.models.chat_template import end_token, render
from distill.models.metadata import RESERVED

# All are in Unicode's composed form (NFC), in which nearly all text is: Qwen's tokenizers compose what is not, and one
# that gives text back once it is composed changes nothing that matters.
PROBES = (
    "Ann has 3 boxes of 24 pens. She gives 10 pens away. How many pens are left?",
    "3 * 24 = 72. 72 - 10 = 62. #### 62",
    "1234567890 3.14159 -1,000,000 007 2024-01-31 1e-5 99% 3/4 $12.50",
    "Internationalisation, state-of-the-art; don't we'll I'M THEY'RE",
    "camelCase snake_case SCREAMING_CASE iPhone15 x86_64",
    'def f(x: int = 0) -> list[str]:\n    return [f"{i!r}" for i in range(x)]  # why?\n',
    "for (int i = 0; i < n; ++i) { a[i] += b->c; }\t// done\r\n",
    '<div class="a">&amp;</div> https://example.org/a?b=c&d=%20#e',
    r"$\frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$, \(\sum_{i=1}^{n} x_i\) and \boxed{42}",
    "x² + y³ ≤ ½ · π ≈ 1.57, ∀ε>0 ∃δ: |x−a| < δ ⇒ ∞",
    "安有三盒铅笔,每盒二十四支。",
    "アンは鉛筆を３箱持っています。",
    "앤은 연필 세 상자를 가지고 있다.",
    "Привет, мир! Γειά σου Κόσμε. שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก",
    "naïve café Übergröße Łódź İstanbul ﬁne ① Ⅳ ℝ",
    "😀 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 ❤️",
    "𝒜𝔅ℂ 𐍈 𠜎 𝟘𝟙𝟚",
    "\u00a0\u2003\u200b\ufeff\u202e\u00ad",
    " one leading space",
    "    four leading spaces",
    "trailing spaces   ",
    "two  three   four    many                spaces",
    "\n",
    "a\nb\n\nc\n\n\nd\r\n\r\ne\rf",
    "\ttab\t\ttabs \t mixed",
    "\x00\x07\x1b\x7f",
    "<think>\nHm.\n</think>\n\nYes.",
    "<s> </s> <unk> <pad> [INST] [/INST] <<SYS>> ### User: <|endoftext|> <|im_start|> <|im_end|>",
    "aaaaaaaaaaaaaaaaaaaa !!!!!!!! -------- ________ ........",
)
# Short ones too: a tokenizer that knows few characters can be asked with what it knows.
_WORDS = ("Ann", "the THE The", "a 1 b 2 c 3", "two  spaces", "a\n\nb")
_QUESTIONS = ("How many pens are left?", "  Two lines,\nand blanks around.  ")
_MOST_EXTRA = 64  # tokens that only one of two has, and that are tried


@dataclass(frozen=True)
class Pair:
    """What matters of a student and a teacher. Tuples are (student, teacher).

    `difference`: None, or in a few words the first thing that is tokenised differently. `vocabulary`: how many logits
    mean the same for both, the first so many of each; 0 for different tokenizers. `padded`: how many logits stand for
    no token. `student_end`, `teacher_end`: what ends an answer. `same_template`: both are asked in the same words.
    `pad_is_end`: one of them pads with what ends its answers or texts. `round_trip`: None, or in a few words what one
    of them makes of a text that it should give back. `has_template`: False for a base model.
    """

    same_tokenizer: bool
    difference: str | None
    vocabulary: int
    padded: tuple[int, int]
    same_end: bool
    student_end: str
    teacher_end: str
    same_template: bool
    pad_is_end: bool
    round_trip: str | None
    has_template: tuple[bool, bool]


@dataclass(frozen=True)
class Reader:
    """One model as a reader of text; `logits` is how many it has, None where that isn't known."""

    tokenizer: PreTrainedTokenizerBase
    logits: int | None = None

    @cached_property
    def tokens(self) -> list[str | None]:
        """The token of each id, None for an id that is none."""
        vocabulary = self.tokenizer.get_vocab()
        tokens: list[str | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
        for token, index in vocabulary.items():
            tokens[index] = token
        return tokens

    @cached_property
    def added(self) -> set[int]:
        """The ids that were added to what was learned: the special ones, mostly."""
        return set(self.tokenizer.added_tokens_decoder)

    @cached_property
    def end(self) -> str:
        """What ends an answer. Raises UserError where nothing does."""
        return self.tokens[end_token(self.tokenizer)] or ""

    @cached_property
    def prompts(self) -> list[str]:
        """Two questions as this model is asked them."""
        return [render(self.tokenizer, question) for question in _QUESTIONS]

    @cached_property
    def has_template(self) -> bool:
        """Whether it is a chat model."""
        return bool(self.tokenizer.chat_template)

    @cached_property
    def pad_is_end(self) -> bool:
        """Whether padding and an end are one token, as in SmolLM2."""
        pad = self.tokenizer.pad_token_id
        return pad is not None and pad in (self.tokenizer.eos_token_id, end_token(self.tokenizer))

    @cached_property
    def changed(self) -> str | None:
        """A text that the tokenizer does not give back, in a few words: it folds case, accents, spaces or the like.

        What it has no token for, and says so (`<unk>`), is not counted: the rest of the text stays what it was. Each
        text is read between others, as a solution is, for at the very start many tokenizers put a space of their own.
        """
        known = False
        for probe in (*_WORDS, *PROBES):
            text = f"= {probe} ="
            ids = self.ids([text])[0]
            if self.tokenizer.unk_token_id is not None and self.tokenizer.unk_token_id in ids:
                continue
            known = True
            again = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            if again.strip() != text:
                at = next((i for i, (a, b) in enumerate(zip(again, text, strict=False)) if a != b), len(again))
                start = max(0, at - 8)
                return f"turns {text[start : at + 8]!r} into {again[start : at + 8]!r}"
        return None if known else f"doesn't even know {_WORDS[0]!r}"

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text, with nothing put around them."""
        return self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []


def pair(student: Reader, teacher: Reader) -> Pair:
    """What matters of the two; a reader that is compared with several is looked at once.

    Raises UserError for a tokenizer without end token, or whose template refuses a plain question.
    """
    both = (student, teacher)
    difference = _difference(student, teacher)
    sizes = [len(reader.tokens) for reader in both] + [reader.logits for reader in both if reader.logits is not None]
    changed = [(who, reader.changed) for who, reader in zip(("student", "teacher"), both, strict=True)]
    return Pair(
        same_tokenizer=difference is None,
        difference=difference,
        vocabulary=0 if difference else min(sizes),
        padded=tuple(max(0, (reader.logits or 0) - len(reader.tokens)) for reader in both),
        same_end=student.end == teacher.end,
        student_end=student.end,
        teacher_end=teacher.end,
        same_template=student.prompts == teacher.prompts,
        pad_is_end=student.pad_is_end or teacher.pad_is_end,
        round_trip=next((f"the {who}'s tokenizer {what}" for who, what in changed if what), None),
        has_template=(student.has_template, teacher.has_template),
    )


def _difference(student: Reader, teacher: Reader) -> str | None:
    """The first thing tokenised differently, None if there is none."""
    n = min(len(student.tokens), len(teacher.tokens))
    if student.tokens[:n] != teacher.tokens[:n]:
        for index in range(n):
            ours, theirs = student.tokens[index], teacher.tokens[index]
            if ours != theirs and not _reserved(index, student, teacher):
                # A probe says it better than an id, and there nearly always is one.
                return _told_apart(student, teacher, list(PROBES)) or (
                    f"token {index} is {ours!r} for the student and {theirs!r} for the teacher"
                )
    shared = {str(student.tokens[i]) for i in (student.added | teacher.added) if i < n and not _reserved(i, student)}
    only = {str(reader.tokens[i]) for reader in (student, teacher) for i in reader.added if i >= n}
    special = [f"a {token}\n b" for token in sorted(shared)]
    texts = [text for text in (*PROBES, *special) if not any(token in text for token in only)]
    return _told_apart(student, teacher, [*texts, *_learned(student, n), *_learned(teacher, n)])


def _reserved(index: int, *readers: Reader) -> bool:
    """Whether one of them only keeps this id free for later: it never occurs."""
    return any(index in r.added and RESERVED.search(r.tokens[index] or "") is not None for r in readers)


def _learned(reader: Reader, start: int) -> list[str]:
    """The text of some tokens from `start` on that were learned, not added: whoever lacks them reads it differently."""
    found = [index for index in range(start, len(reader.tokens)) if reader.tokens[index] and index not in reader.added]
    chosen = found[:: max(1, len(found) // _MOST_EXTRA)]
    return [reader.tokenizer.decode([index], clean_up_tokenization_spaces=False) for index in chosen]


def _told_apart(student: Reader, teacher: Reader, texts: list[str]) -> str | None:
    """The first of `texts` that becomes other ids, in a few words."""
    for text, ours, theirs in zip(texts, student.ids(texts), teacher.ids(texts), strict=True):
        if ours != theirs:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
            at = min(len(ours), len(theirs)) if at is None else at
            shown = text if len(text) <= 30 else f"{text[:29]}…"
            said = f"{_token(student, ours, at)} for the student and {_token(teacher, theirs, at)} for the teacher"
            return f"in {shown!r} token {at + 1} is {said}"
    return None


def _token(reader: Reader, ids: list[int], at: int) -> str:
    if at >= len(ids):
        return "missing"
    return f"{reader.tokenizer.decode([ids[at]], clean_up_tokenization_spaces=False)!r} (id {ids[at]})"
