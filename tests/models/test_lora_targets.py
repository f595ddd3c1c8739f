"""The adapter is on the language model's linear layers and nowhere else, whatever the architecture."""

import copy

import pytest
import torch
from peft import LoraConfig, PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from distill.config.errors import ConfigError
from distill.config.run_config import LoraConfig as Settings
from distill.models.lora_targets import targets_of
from distill.models.student import adapted, compute_twice, load_adapter

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
STACKS = {"experts.gate_up_proj", "experts.down_proj"}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
# architecture -> (more of its config, the linear layers, the experts' stacks)
ARCHITECTURES = {
    "llama": ({}, LLAMA, set()),
    "mistral": ({}, LLAMA, set()),
    "qwen2": ({}, LLAMA, set()),
    "qwen3": ({}, LLAMA, set()),
    "gemma2": ({}, LLAMA, set()),
    "gemma3_text": ({}, LLAMA, set()),
    "gemma3": (
        {"vision_config": VISION | {"image_size": 28, "patch_size": 14}, "mm_tokens_per_image": 4},
        LLAMA,
        set(),
    ),
    "phi3": ({}, {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}, set()),
    "nemotron": ({}, LLAMA - {"gate_proj"}, set()),
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}, {"c_attn", "c_proj", "c_fc"}, set()),
    "gpt_neox": ({}, {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}, set()),
    "minicpm3": (
        {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}
        | {"num_key_value_heads": 4},
        {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
        set(),
    ),
    "qwen3_moe": (EXPERTS, ATTENTION, STACKS),
    "mixtral": (EXPERTS, ATTENTION, STACKS),
    "qwen2_moe": (EXPERTS | {"shared_expert_intermediate_size": 16}, LLAMA, STACKS),
}


def model_of(kind):
    torch.manual_seed(0)
    more, *_ = ARCHITECTURES[kind]
    sizes = {"text_config": SIZES} if kind == "gemma3" else SIZES
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(sizes | more))).float()


def adapt(model, targets="all-linear", **more):
    return adapted(model, Settings(r=2, targets=targets, **more), "tiny", seed=0)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_language_models_linear_layers_are_adapted_and_nothing_else(kind, tmp_path):
    model = model_of(kind)
    plain = copy.deepcopy(model)
    _, linear, stacks = ARCHITECTURES[kind]
    found = targets_of(model, "all-linear")
    assert {name.rsplit(".", 1)[-1] for name in found.modules} == linear
    assert {".".join(name.split(".")[-2:]) for name in found.parameters} == stacks
    student = adapt(model)
    trained = {name: p for name, p in student.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    for other in ("embed", "wte", "lm_head", "vision", "multi_modal", ".gate.", "router", "shared_expert_gate"):
        assert not any(other in name for name in trained), other
    assert sum(".layers.0." in name or ".h.0." in name for name in trained) == 2 * (
        sum(1 for name in (*found.modules, *found.parameters) if ".layers.0." in name or ".h.0." in name)
    )
    ids = torch.randint(3, 64, (2, 9), generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(trained.values(), lr=1e-2)
    student.train()
    if student.get_base_model().supports_gradient_checkpointing:
        compute_twice(student)
    losses = []
    for _ in range(6):
        loss = student(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        assert all(p.grad is not None for p in trained.values())
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02
    student.save_pretrained(tmp_path)
    student.eval()
    with torch.no_grad():
        after = student(input_ids=ids).logits
        again = PeftModel.from_pretrained(copy.deepcopy(plain), tmp_path)(input_ids=ids).logits
        assert torch.equal(after, again)
        resumed = adapted(copy.deepcopy(plain), Settings(r=2), "tiny", seed=1).eval()
        load_adapter(resumed, tmp_path)
        assert torch.equal(after, resumed(input_ids=ids).logits)
        with student.disable_adapter():
            assert torch.equal(student(input_ids=ids).logits, plain.eval()(input_ids=ids).logits)


def test_names_are_looked_for_in_the_language_model_only():
    model = model_of("gemma3")
    assert any("vision" in name and name.endswith("q_proj") for name, _ in model.named_modules())
    found = targets_of(model, ["q_proj", "mlp.down_proj"])
    assert len(found.modules) == 4 and all("language_model" in name for name in found.modules)
    assert targets_of(model_of("qwen3_moe"), ["gate_up_proj"]).parameters[0].endswith("experts.gate_up_proj")


def test_a_name_that_no_layer_has_is_refused_with_those_that_are():
    with pytest.raises(ConfigError) as refused:
        targets_of(model_of("phi3"), ["qkv_proj", "q_proj"], "my-phi")
    assert str(refused.value) == (
        "lora.targets: my-phi has no layer named 'q_proj': choose among o_proj, qkv_proj, gate_up_proj and down_proj, "
        "or leave it at 'all-linear'."
    )
    with pytest.raises(ConfigError, match=r"no layer named 'roj'"):  # the end of a name, but no part of it
        targets_of(model_of("llama"), ["roj"])


def test_experts_and_dropout_do_not_go_together():
    with pytest.raises(ConfigError, match=r"^lora\.dropout is 0\.1, but tiny is a mixture of experts.*targets\.$"):
        adapt(model_of("mixtral"), dropout=0.1)
    adapt(model_of("mixtral"), ["q_proj"], dropout=0.1)


def test_what_peft_can_not_adapt_is_said_in_a_sentence():
    mamba = AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **SIZES))
    with pytest.raises(ConfigError, match=r"^No adapter can be put on tiny \(.*\): choose other lora\.targets\.$"):
        adapt(mamba, ["out_proj"])
    assert not any("out_proj" in name for name in targets_of(mamba, "all-linear").modules)


def test_a_model_without_linear_layers_is_refused(monkeypatch):
    model = model_of("llama")
    monkeypatch.setattr(model, "get_decoder", lambda: model.model.embed_tokens)
    with pytest.raises(ConfigError, match=r"no linear layers where its text is read.*choose another student\.$"):
        targets_of(model, "all-linear")


def test_the_adapter_is_an_ordinary_one():
    config = adapt(model_of("qwen2")).peft_config["default"]
    assert isinstance(config, LoraConfig) and config.r == 2 and not config.target_parameters
