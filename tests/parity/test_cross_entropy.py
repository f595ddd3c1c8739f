"""Our task loss is the library's."""

import torch
from transformers.loss.loss_utils import ForCausalLMLoss

from distill.losses.head import Head
from distill.objectives.base import StudentOutputs
from distill.objectives.task import completion_cross_entropy


def test_cross_entropy_on_the_completion_is_transformers_own():
    torch.manual_seed(0)
    logits_BLV = torch.randn(3, 7, 11, dtype=torch.float64)
    labels_BL = torch.randint(0, 11, (3, 7))
    labels_BL[:, :3] = -100
    outputs = StudentOutputs(logits_BLV, Head(torch.eye(11, dtype=torch.float64)))
    for num_items in (None, 40):
        ours = completion_cross_entropy(outputs, labels_BL, num_items)
        theirs = ForCausalLMLoss(logits_BLV, labels_BL, vocab_size=11, num_items_in_batch=num_items)
        assert abs(ours.item() - theirs.item()) < 1e-6
