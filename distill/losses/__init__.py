"""Losses and similarities: pure functions on tensors. Nothing here knows a model, a tokenizer, a config or a file."""
