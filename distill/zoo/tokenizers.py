"""Tokenizers of four kinds for the tiny zoo, all with digits apart, each with its family's chat template.

Byte-level BPE (of several sizes), Unigram, WordPiece and single characters. All keep the text: decode(encode(x)) == x,
which alignment by offsets and grading rely on. Trained on generated problems of the `train` split.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

# A digit; a word with the space before it; anything else up to the next word. So " * " is one piece, and so is "7".
_PIECES = Regex(r"\d| ?\p{L}+|[^\p{L}\d]+?(?= ?\p{L})|[^\p{L}\d]+")


@dataclass(frozen=True)
class ChatFormat:
    """How a model family writes a conversation: what opens and closes a turn, and what its roles are called."""

    opening: str
    closing: str
    user: str = "user"
    assistant: str = "assistant"
    bos: str | None = None
    eos: str | None = None  # the end of the answer; `closing` without its line break unless given

    @property
    def end(self) -> str:
        return self.eos or self.closing.strip()

    def template(self) -> str:
        """The Jinja chat template; a system turn, where given, opens the user's turn."""
        user, assistant = self.opening.format(role=self.user), self.opening.format(role=self.assistant)
        return (
            f"{{{{ {self.bos!r} }}}}" * bool(self.bos)
            + "{% set ns = namespace(system='') %}{% for m in messages %}"
            + "{% if m['role'] == 'system' %}{% set ns.system = m['content'] + '\n' %}"
            + f"{{% elif m['role'] == 'user' %}}{{{{ {user!r} + ns.system + m['content'] + {self.closing!r} }}}}"
            + f"{{% else %}}{{{{ {assistant!r} + m['content'] + {self.closing!r} }}}}{{% endif %}}{{% endfor %}}"
            + f"{{% if add_generation_prompt %}}{{{{ {assistant!r} }}}}{{% endif %}}"
        )

    def specials(self) -> list[str]:
        """Every string of the format that is a token of its own."""
        turns = [self.opening.format(role=role) for role in (self.user, self.assistant)]
        marks = [mark.strip() for mark in (*turns, self.closing, self.end, self.bos or "") if mark.strip()]
        return list(dict.fromkeys(["<pad>", *marks]))


def train_tokenizer(kind: str, size: int, texts: Iterable[str], chat: ChatFormat) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `size` entries. `kind`: "bpe", "qwen-bpe", "unigram", "wordpiece" or "characters"."""
    tokenizer, trainer = _BUILDERS[kind](size, chat.specials())
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token=chat.end,
        bos_token=chat.bos,
        unk_token="<unk>" if not kind.endswith("bpe") else None,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.add_special_tokens(
        {"additional_special_tokens": [s for s in chat.specials() if s not in fast.all_special_tokens]}
    )
    fast.chat_template = chat.template()
    return fast


def _bpe(size: int, specials: list[str]) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(_PIECES, "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )


def _qwen_bpe(size: int, specials: list[str]) -> tuple[Tokenizer, trainers.Trainer]:
    # AutoTokenizer gives every qwen2 checkpoint Qwen's own pieces, whatever its tokenizer.json says: say those.
    tokenizer, trainer = _bpe(size, specials)
    qwen = Qwen2Tokenizer().backend_tokenizer
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = qwen.normalizer, qwen.pre_tokenizer, qwen.decoder
    return tokenizer, trainer


def _unigram(size: int, specials: list[str]) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"\d|▁?\p{L}+|[^\p{L}\d]+?(?=▁?\p{L})|[^\p{L}\d]+"), "isolated"
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=size, special_tokens=[*specials, "<unk>"], unk_token="<unk>", show_progress=False
    )


def _wordpiece(size: int, specials: list[str]) -> tuple[Tokenizer, trainers.Trainer]:
    # "@@" marks a continued word, for "##" is part of the answer format.
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>", continuing_subword_prefix="@@"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"\d|▁?\p{L}+|[^\p{L}\d]+?(?=▁?\p{L})|[^\p{L}\d]+"), "isolated"
    )
    pieces = [decoders.Replace("@@", ""), decoders.Replace("▁", " "), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(pieces)
    return tokenizer, trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=[*specials, "<unk>"], continuing_subword_prefix="@@", show_progress=False
    )


def _characters(size: int, specials: list[str]) -> tuple[Tokenizer, trainers.Trainer]:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer, trainers.WordLevelTrainer(
        vocab_size=size, special_tokens=[*specials, "<unk>"], show_progress=False
    )


_BUILDERS = {
    "bpe": _bpe,
    "qwen-bpe": _qwen_bpe,
    "unigram": _unigram,
    "wordpiece": _wordpiece,
    "characters": _characters,
}
