"""Losses and similarities: pure functions on tensors. Nothing here knows a model, a tokenizer, a config or a file."""

IGNORED = -100  # the label of a token on which no loss is wanted, as everywhere in torch and transformers
