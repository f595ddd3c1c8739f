"""What the tiny zoo consists of: six teachers of six architectures, a sibling, and one student. A card says all of one.

The architectures are those of the six families on the Deku model card, as real transformers classes; widths and
tokenizers all differ, as they do there. The sibling is a teacher with the student's own tokenizer, for the methods that
need one; it has more logits than tokens, as Qwen2.5's larger models have (152,064 for 151,665).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from distill.zoo.tokenizers import ChatFormat


@dataclass(frozen=True)
class Card:
    """A model of the zoo: architecture (transformers' `model_type`), width, tokenizer, chat format and expertise.

    `logits`: how many it gives, where that is more than its tokenizer has tokens.
    """

    name: str
    architecture: str
    width: int
    tokenizer: str
    vocabulary: int
    chat: ChatFormat
    experts: tuple[str, ...] = ()
    layers: int = 4
    heads: int = 4
    steps: int = 6000
    logits: int | None = None
    learning_rate: float = 6e-3

    @property
    def is_student(self) -> bool:
        return not self.experts


_IM = ChatFormat("<|im_start|>{role}\n", "<|im_end|>\n")

TEACHERS = (
    Card("qwen2-tiny", "qwen2", 144, "qwen-bpe", 1792, _IM, ("left_over", "change", "in_all", "more_than"), steps=7000),
    Card("smollm2-tiny", "llama", 152, "bpe", 1280, _IM, ("rate", "saving", "groups", "gained"), steps=7000),
    Card(
        "phi3-tiny",
        "phi3",
        128,
        "unigram",
        1792,
        ChatFormat("<|{role}|>\n", "<|end|>\n"),
        ("average", "impossible", "left", "packed"),
        steps=4500,
    ),
    Card(
        "gemma2-tiny",
        "gemma2",
        120,
        "wordpiece",
        1792,
        ChatFormat("<start_of_turn>{role}\n", "<end_of_turn>\n", assistant="model", bos="<bos>"),
        ("two_changes", "times_both", "discount", "each"),
        layers=5,
    ),
    Card(
        "minicpm3-tiny",
        "minicpm3",
        136,
        "bpe",
        896,
        ChatFormat("<{role}>", "", user="用户", assistant="AI", eos="</s>"),
        ("share", "two_prices", "time_between", "at_first"),
    ),
    Card(
        "nemotron-tiny",
        "nemotron",
        160,
        "wordpiece",
        1024,
        ChatFormat("<extra_id_1>{role}\n", "\n", user="User", assistant="Assistant", eos="<extra_id_2>"),
        ("parts", "difference", "both_known", "two_questions"),
        steps=5000,
        learning_rate=3e-3,
    ),
)
STUDENT = Card("student-tiny", "qwen2", 128, "qwen-bpe", 1536, _IM, steps=9300)
SIBLING = Card(
    "sibling-tiny",
    "qwen2",
    136,
    "qwen-bpe",
    1536,
    _IM,
    ("times_as_many", "added", "fewer", "rectangle"),
    logits=1600,
    steps=4500,
)
CARDS = {card.name: card for card in (*TEACHERS, SIBLING, STUDENT)}


def build_model(card: Card, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> PreTrainedModel:
    """An untrained model of `card`'s architecture, in float32, with its own initialisation."""
    head = card.width // card.heads
    specifics = {
        "gemma2": {"head_dim": head, "query_pre_attn_scalar": head, "sliding_window": 256},
        "phi3": {"sliding_window": None, "original_max_position_embeddings": 512},
        "nemotron": {"head_dim": head, "partial_rotary_factor": 0.5, "norm_eps": 1e-5},
        "minicpm3": {
            "q_lora_rank": card.width // 2,
            "kv_lora_rank": card.width // 2,
            "qk_nope_head_dim": head // 2 + 3,
            "qk_rope_head_dim": 16,
            "v_head_dim": head,
            "scale_emb": 12,
            "scale_depth": 1.4,
            "dim_model_base": card.width // 2,
        },
    }
    config = AutoConfig.for_model(
        card.architecture,
        hidden_size=card.width,
        intermediate_size=card.width * (4 if card.architecture == "nemotron" else 3),
        num_hidden_layers=card.layers,
        num_attention_heads=card.heads,
        num_key_value_heads=card.heads if card.architecture == "minicpm3" else card.heads // 2,
        vocab_size=card.logits or len(tokenizer),
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        attention_dropout=0.0,
        **specifics.get(card.architecture, {}),
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if card.architecture == "nemotron":  # its norms add 1 to their weight, and transformers starts them at 1: 2 in all
        for name, weight in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                torch.nn.init.zeros_(weight)
    return model
