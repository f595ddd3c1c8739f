"""Losses and similarities: pure functions on tensors. No model, tokenizer, config or file is needed."""

IGNORED = -100  # the label of a token on which no loss is wanted, as everywhere in torch and transformers
SMALLEST_BATCH = 4  # U-centring removes n row means and the diagonal: below 4 texts nothing is left to compare
