"""ULD is TRL's; and where TRL's hybrid of it (GOLD) falls below 0, ours is a divergence."""

from types import SimpleNamespace

import pytest
import torch

from distill.losses.cross_tokenizer import shared_kl, uld

ULDLoss = pytest.importorskip("trl.experimental.gold.gold_trainer").ULDLoss
V_S, V_T, LENGTH, START = 7, 11, 6, 2
PLAIN = {
    "uld_crossentropy_weight": 0.0,
    "uld_distillation_weight": 1.0,
    "uld_student_temperature": 1.0,
    "uld_teacher_temperature": 1.0,
    "uld_skip_student_eos": False,
    "uld_skip_teacher_eos": False,
    "use_extended_uld": False,
    "uld_token_merge_strategy": "bayesian",  # the one that shifts: position l predicts token l + 1
}


def inputs(z_S, z_T):
    """As GOLD's trainer hands them over: the first `START` tokens are the prompt."""
    ids = torch.zeros(z_S.shape[:2], dtype=torch.long)
    labels = ids.masked_fill(torch.arange(z_S.shape[1]) < START, -100)
    return z_S, z_T, labels, labels, ids, ids


@pytest.mark.parametrize(("v_S", "v_T"), [(V_S, V_T), (V_T, V_S), (V_S, V_S)])
def test_uld_is_theirs(v_S, v_T):
    draw = torch.Generator().manual_seed(0)
    z_S, z_T = (3 * torch.randn(2, LENGTH, size, generator=draw) for size in (v_S, v_T))
    z_S.requires_grad_()
    theirs = ULDLoss(SimpleNamespace(**PLAIN))(*inputs(z_S, z_T))
    (expected,) = torch.autograd.grad(theirs, z_S)
    predicting = slice(START - 1, LENGTH - 1)
    ours = uld(z_S[:, predicting].softmax(-1), z_T[:, predicting].softmax(-1)).mean()
    (gradient,) = torch.autograd.grad(ours, z_S)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, expected)


def test_their_hybrid_falls_below_0_where_ours_is_a_divergence():
    # Four tokens are shared; the student puts on them what the teacher puts on tokens of its own.
    shared = 4
    p_S = torch.tensor([0.24, 0.24, 0.24, 0.24, 0.02, 0.01, 0.01])
    p_T = torch.tensor([0.1, 0.1, 0.1, 0.1, *[0.6 / 7] * 7])
    vocabularies = [
        {f"{side * (token >= shared)}{token}": token for token in range(size)}
        for side, size in (("s", V_S), ("t", V_T))
    ]
    tokenizers = [SimpleNamespace(get_vocab=lambda vocabulary=vocabulary: vocabulary) for vocabulary in vocabularies]
    hybrid = {"uld_use_hybrid_loss": True, "uld_hybrid_matched_weight": 1.0, "uld_hybrid_unmatched_weight": 0.0}
    loss = ULDLoss(SimpleNamespace(**PLAIN, **hybrid, beta=0.0), *tokenizers)
    theirs = loss(*inputs(*(p.log().expand(1, LENGTH, len(p)) for p in (p_S, p_T))))
    assert theirs.item() == pytest.approx(0.4 * torch.tensor(0.1 / 0.24).log().item(), abs=1e-4) and theirs < -0.3

    shared_T = torch.tensor([*range(shared), *[-1] * (V_T - shared)])
    ours = shared_kl(p_S.log()[None], p_T.log()[None], torch.arange(V_T)[None], shared_T).item()
    rest = 0.6 * torch.tensor(0.6 / 0.04).log().item()
    assert ours == pytest.approx(theirs.item() + rest, abs=1e-4) and ours > 1  # all that theirs leaves out
