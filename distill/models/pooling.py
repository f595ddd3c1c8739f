"""From hidden states to one vector a text: at which block, over which tokens, and averaged how.

Shape suffixes: B batch, L tokens or layers, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses.precision import full_precision


def layer_at(fraction: float, layers: int) -> int:
    """The block, 1 to `layers`, whose output lies at this fraction of the depth: an index into hidden_states."""
    return max(1, round(fraction * layers))


@full_precision
def pool(hidden_BLD: Tensor, content_mask_BL: Tensor, kind: str = "rms") -> Tensor:
    """One vector a text, [B, D]: the mean of its hidden states over the tokens in the mask.

    "rms" scales every token to RMS 1 first, so that no token outweighs another; "mean" is the model card's plain mean,
    which one attention sink can dominate. Tokens outside the mask have no influence, even if not finite, and exactly
    zero gradient. A text with an empty mask gives zeros.
    """
    mask_BL1 = content_mask_BL.bool().unsqueeze(-1)
    hidden_BLD = hidden_BLD.masked_fill(~mask_BL1, 0)
    if kind == "rms":
        hidden_BLD = F.rms_norm(hidden_BLD, hidden_BLD.shape[-1:], eps=1e-6)
    elif kind != "mean":
        raise ValueError(f"pooling is 'rms' or 'mean', not {kind!r}")
    return hidden_BLD.sum(1) / mask_BL1.sum(1).clamp_min(1)


def stack_layers(layers: Sequence[Tensor]) -> Tensor:
    """[B, L, D] from L pooled layers [B, D_l]; D is the widest.

    A narrower one (OPT-350m projects its last states down) gets columns of zeros, which CKA does not see.
    """
    width = max(x_BD.shape[1] for x_BD in layers)
    return torch.stack([F.pad(x_BD, (0, width - x_BD.shape[1])) for x_BD in layers], dim=1)
