"""How far are a student's states from a teacher's, chunk by chunk of the same texts?

A chunk is a run of tokens of either model that ends at the same character; its vector is the mean of its tokens'
states, each scaled to RMS 1. The scaling is the point: a handful of states are thousands of times larger than all
others (Sun et al. 2402.17762), and a plain squared error would fit those and nothing else (docs/methods.md, "5.
Features"). Where one channel towers over the others in *every* chunk, `token_mse` still sees mostly that channel;
`centred_cosine` and the similarities subtract what all chunks share and do not.

    token_mse, centred_cosine    one number a chunk, so that sums over chunks add up however a batch is split; the
                                 student's vectors must have been brought to the teacher's width
    cka_distance, nbs_distance   one number for all chunks together, any two widths

Shape suffixes: m tokens, c chunks, D the student's width, E the teacher's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.losses import SMALLEST_BATCH
from distill.losses.cka import TINY, cka, nbs
from distill.losses.precision import full_precision

LARGEST_BLOCK = 1024  # chunks compared with one another at once: kernels take memory with the square of it
ROUNDING = (
    1e-6  # a vector of RMS 1 whose departure from its text's mean has a smaller RMS than this departs by rounding
)


@full_precision
def rms_normalised(x_mD: Tensor) -> Tensor:
    """Every row scaled to RMS 1; rows of zeros stay."""
    return F.rms_norm(x_mD, x_mD.shape[-1:], eps=TINY)


@full_precision
def group_means(x_mD: Tensor, group_m: Tensor, groups: int) -> Tensor:
    """[groups, D]: the mean of the rows of each group; `group_m` (int64) says which a row is in. Empty ones are 0."""
    sums = x_mD.new_zeros(groups, x_mD.shape[1]).index_add(0, group_m, x_mD)
    return sums / group_m.bincount(minlength=groups).clamp_min(1).unsqueeze(1)


@full_precision
def token_mse(projected_cE: Tensor, y_cE: Tensor) -> Tensor:
    """[c]: the mean over E of (W h_S - RMSNorm(h_T))^2. It has no unit: 1 is what a projection of 0 pays.

    `y_cE` is scaled to RMS 1 here, so no chunk counts for more than another and dividing by the teacher's mean square
    would divide by 1.
    """
    return (projected_cE - rms_normalised(y_cE)).square().mean(1)


@full_precision
def centred_cosine(projected_cE: Tensor, y_cE: Tensor, text_c: Tensor) -> Tensor:
    """[c]: 1 - cos between the two vectors of a chunk, each less its mean over the chunks of the same text; in [0, 2].

    Centring over a text, not over the batch: what a chunk pays does not depend on which texts stand beside it. States
    of language models share a large constant part; without centring all cosines are near 1 and a constant student does
    well. `text_c` (int64) says which text a chunk is of. A text with one chunk has nothing beside the mean: 0, no
    gradient. Of `y_cE` only the direction counts: it is scaled to RMS 1 here.
    """
    texts = int(text_c.max()) + 1 if len(text_c) else 0
    x_cE, y_cE = (z_cE - group_means(z_cE, text_c, texts)[text_c] for z_cE in (projected_cE, rms_normalised(y_cE)))
    x_norm_c, y_norm_c = torch.linalg.vector_norm(x_cE, dim=1), torch.linalg.vector_norm(y_cE, dim=1)
    norms_c = x_norm_c * y_norm_c
    cosine_c = torch.where(norms_c > TINY, (x_cE * y_cE).sum(1) / norms_c.clamp_min(TINY), 0.0)
    return torch.where(y_norm_c > ROUNDING * y_cE.shape[1] ** 0.5, 1 - cosine_c, 0.0)


def cka_distance(x_cD: Tensor, y_cE: Tensor) -> Tensor:
    """1 - debiased CKA over the chunks (docs/methods.md, "1. CKA"), a scalar; 0 with a graph below 4 chunks."""
    return _distance(cka, x_cD, y_cE)


def nbs_distance(x_cD: Tensor, y_cE: Tensor) -> Tensor:
    """1 - normalised Bures similarity over the chunks (docs/methods.md, "1. CKA"), a scalar; 0 with a graph below 4.

    Biased: with fewer chunks than the models are wide even independent states score well. It needs large batches.
    """
    return _distance(nbs, x_cD, y_cE)


@full_precision
def _distance(similarity: Callable[[Tensor, Tensor], Tensor], x_cD: Tensor, y_cE: Tensor) -> Tensor:
    """1 - similarity, averaged over blocks of at most `LARGEST_BLOCK` chunks, each spread over the whole batch."""
    if len(x_cD) < SMALLEST_BATCH:
        return x_cD[:0].sum()
    x_cD, y_cE = rms_normalised(x_cD), rms_normalised(y_cE)
    blocks = -(-len(x_cD) // LARGEST_BLOCK)
    return 1 - torch.stack([similarity(x_cD[at::blocks], y_cE[at::blocks]) for at in range(blocks)]).mean()
