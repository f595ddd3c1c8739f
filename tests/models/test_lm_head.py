"""The head of a model and the states it reads: together they are the model's logits."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from distill.models.lm_head import head_of, read_states
from distill.zoo.cards import CARDS

SHAPE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 500}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2}
SHAPE |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def assert_whole(model):
    """Its head and states give its logits; the head, to look at."""
    ids = torch.arange(24).view(2, 12) + 5
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits.float()
        states_BLD, out = read_states(model, input_ids=ids, use_cache=False)
        found = head_of(model).logits(states_BLD)
    assert out.logits.shape[1] == 1
    tolerance = 1e-5 if states_BLD.dtype == torch.float32 else 2**-7  # the model rounds its logits to sixteen bits
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
    return head_of(model)


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_zoos_models(tiny, name, dtype):
    assert_whole(copy.deepcopy(tiny(name)[0]).to(dtype))


@pytest.mark.parametrize(
    ("architecture", "setting", "value", "scale"),
    [("cohere", "logit_scale", 0.0625, 0.0625), ("granite", "logits_scaling", 7.0, 1 / 7)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scaled_logits(architecture, setting, value, scale, dtype):
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **SHAPE, **{setting: value})
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    assert assert_whole(model).scale == pytest.approx(scale, rel=1e-5 if dtype == torch.float32 else 3e-4)


def test_the_head_reads_its_weights_once_for_all_texts(tiny):
    """Of texts that are not side by side torch would make a product of batches, each with the head's weights anew."""
    model, seen = copy.deepcopy(tiny("student-tiny")[0]), []
    model.get_output_embeddings().register_forward_hook(lambda _, args, out: seen.append(args[0]))
    read_states(model, input_ids=torch.arange(24).view(2, 12) + 5, use_cache=False)
    assert seen[0].shape[:2] == (2, 1) and seen[0].is_contiguous()
