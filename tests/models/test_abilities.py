"""What a model can do is known from its files: those that see what they predict, or have tokens that their weights
lack, are refused before anything is loaded."""

import json
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from distill.config.errors import ConfigError, UserError
from distill.config.run_config import parse
from distill.models import references
from distill.models.generation import follow, generate_batch
from distill.models.loading import load_model, load_tokenizer
from distill.models.metadata import describe_model
from distill.models.student import adapted
from distill.runs.preflight import check_pairs

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "pad_token_id": 0}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4}
BART = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4}
BART |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
XLNET = {"d_model": 32, "n_layer": 1, "n_head": 4, "d_inner": 48}  # which knows no limit of length
# {what it is called: (its class, more of its config, of what it is refused)}
BLIND = "what it is to predict included"
HEADLESS = "has no head that says which token comes next"
NO_STUDENTS = {
    "bert": ("BertForMaskedLM", {}, BLIND),
    "bert as it was first saved": ("BertForPreTraining", {}, BLIND),
    "bert with a head but no mask": ("BertLMHeadModel", {"is_decoder": False}, BLIND),
    "roberta": ("RobertaForMaskedLM", {}, BLIND),
    "roberta called causal": ("RobertaForCausalLM", {}, BLIND),
    "roberta made causal": ("RobertaForCausalLM", {"is_decoder": True}, "counts positions as transformers' generate()"),
    "xlm-roberta": ("XLMRobertaForMaskedLM", {}, BLIND),
    "electra": ("ElectraForMaskedLM", {"embedding_size": 32}, BLIND),
    "electra's discriminator": ("ElectraForPreTraining", {"embedding_size": 32}, BLIND),
    "camembert": ("CamembertForMaskedLM", {}, BLIND),
    "xlnet": ("XLNetLMHeadModel", XLNET, BLIND),
    "gemma that looks both ways": ("Gemma3ForCausalLM", {"use_bidirectional_attention": True}, BLIND),
    "llama that looks both ways": ("LlamaForCausalLM", {"is_causal": False}, BLIND),
    "a classifier": ("LlamaForSequenceClassification", {}, HEADLESS),
    "a reward model with tied embeddings": ("Qwen2ForSequenceClassification", {"tie_word_embeddings": True}, HEADLESS),
    "a tagger": ("Qwen2ForTokenClassification", {}, HEADLESS),
    "an extractor": ("LlamaForQuestionAnswering", {}, HEADLESS),
    "an embedding model": ("Qwen3Model", {"tie_word_embeddings": True}, HEADLESS),
    "bert without a head": ("BertModel", {}, HEADLESS),
    "modernbert": ("ModernBertForMaskedLM", {}, "does not load as a model that continues texts"),
    "distilbert": (
        "DistilBertForMaskedLM",
        {"dim": 32, "n_layers": 1, "n_heads": 4, "hidden_dim": 48},
        "does not load",
    ),
    "t5": ("T5ForConditionalGeneration", T5, "is an encoder-decoder"),
    "bart": ("BartForConditionalGeneration", BART, "is an encoder-decoder"),
    "a model of pictures and text": (
        "Qwen2VLForConditionalGeneration",
        {
            "text_config": SIZES | {"vocab_size": 1536},
            "vision_config": {"depth": 1, "embed_dim": 32, "hidden_size": 32},
        },
        "does not load as a model that continues texts",
    ),
}
STUDENTS = {
    "llama": ("LlamaForCausalLM", {}),
    "llama whose config says of its decoder what llama does not read": ("LlamaForCausalLM", {"is_decoder": False}),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 32, "n_layer": 1, "n_head": 4}),
    "pythia": ("GPTNeoXForCausalLM", {}),
    "tied": ("Qwen2ForCausalLM", {"tie_word_embeddings": True}),
    "padded": ("Qwen2ForCausalLM", {"vocab_size": 1600}),
    "gemma": ("Gemma3ForCausalLM", {}),
    "gemma that sees pictures": (
        "Gemma3ForConditionalGeneration",
        {"text_config": SIZES | {"vocab_size": 1536}, "mm_tokens_per_image": 4}
        | {"vision_config": VISION | {"image_size": 28, "patch_size": 14}},
    ),
    "bert made causal": ("BertLMHeadModel", {"is_decoder": True}),
    "mamba": ("MambaForCausalLM", {"state_size": 4, "time_step_rank": 2}),
    "mamba 2": ("Mamba2ForCausalLM", {"state_size": 4, "num_heads": 8, "n_groups": 2, "chunk_size": 8, "expand": 2}),
}


@pytest.fixture(scope="module")
def saved(tiny_folder, tmp_path_factory):
    """`saved(class, more of its config)` -> a folder with such a tiny model, untrained, and a tokenizer."""

    def save(called, more):
        kind = getattr(transformers, called)
        sizes = {"num_attention_heads": 4, "pad_token_id": 0} if called == "XLNetLMHeadModel" else SIZES
        config = kind.config_class(**sizes | {"vocab_size": 1536} | more)
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("saved") / "model"
        kind(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_folder("student-tiny")).save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="module")
def folders(saved):
    return cache(lambda name: saved(*NO_STUDENTS[name][:2]) if name in NO_STUDENTS else saved(*STUDENTS[name]))


def asked(student="student-tiny", teachers=(), objectives=("task",)):
    return parse({"student": str(student), "teachers": list(map(str, teachers)), "objectives": list(objectives)})


def refused(config):
    with pytest.raises(ConfigError) as caught:
        references.check_models(config)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 500
    return text


@pytest.mark.parametrize("name", NO_STUDENTS)
def test_what_cannot_continue_a_text_is_no_student_and_no_teacher_of_answers(folders, name):
    folder, reason = folders(name), NO_STUDENTS[name][2]
    text = refused(asked(folder))
    assert text.startswith("The student 'model' can't be used: ") and reason in text and "choose a causal" in text
    for objective in ("response", "logits", "gkd", "cross_tokenizer", {"kind": "geometry", "gate": {"kind": "prior"}}):
        text = refused(asked(teachers=[folder], objectives=[objective]))
        assert text.startswith("The teacher 'model' can't be used: ") and reason in text
    facts = describe_model(str(folder))
    assert reason in f"{facts.refusal} {facts.only_read}"


def test_what_only_reads_may_teach_by_its_hidden_states(folders):
    for name in ("bert", "roberta", "xlnet"):
        for objective in ("features", {"kind": "geometry", "gate": {"kind": "uniform"}}):
            config = asked(teachers=[folders(name)], objectives=["task", objective])
            references.check_models(config)
            answering = config.evaluation.model_copy(update={"teachers": 8})
            assert BLIND in refused(config.model_copy(update={"evaluation": answering}))
    for name in ("t5", "modernbert"):  # which can't be loaded at all
        refused(asked(teachers=[folders(name)], objectives=["task", "features"]))


@pytest.mark.parametrize("name", STUDENTS)
def test_what_continues_texts_may_be_a_student(folders, name):
    folder = folders(name)
    references.check_models(asked(folder, [folder], ["logits"]))
    check_pairs(asked(folder), lambda *_: None)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    assert torch.allclose(logits[0, :3], logits[1, :3], atol=1e-5)  # none sees what is to come
    student = adapted(model, asked(folder).lora, name, seed=0)
    written = generate_batch(student, tokenizer, ["3 + 4 = ?"], 4)[0]
    assert [*follow(student, tokenizer, "3 + 4 = ?", 4)][-1] == written


# --- tokens that the weights lack -------------------------------------------------------------------------------------


@pytest.fixture
def copied(tiny_folder, tmp_path):
    return Path(shutil.copytree(tiny_folder("student-tiny"), tmp_path / "model"))


def shrink(folder, rows, config=True):
    """Fewer rows of embeddings; with `config`, it says so."""
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: w[:rows].clone() if "embed" in name or "lm_head" in name else w for name, w in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    if config:
        said = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(said | {"vocab_size": rows}))


def retokenise(folder, change):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    change(tokenizer)
    tokenizer.save_pretrained(folder)


def too_few_rows(folder):
    shrink(folder, 1528)
    return "number 1,528) and weights for 1,528 tokens"


def a_config_of_another(folder):
    shrink(folder, 1528, config=False)
    return "a config.json of 1,536 tokens and weights of 1,528"


def a_word_added(folder):
    retokenise(folder, lambda tokenizer: tokenizer.add_tokens(["<tool>"]))
    return "'<tool>' (number 1,536)"


def a_special_token_added(folder):
    retokenise(folder, lambda tokenizer: tokenizer.add_special_tokens({"pad_token": "<my pad>"}))
    return "'<my pad>' (number 1,536)"


def an_added_token_far_beyond(folder):
    file = folder / "tokenizer.json"
    said = json.loads(file.read_text())
    said["added_tokens"].append(said["added_tokens"][-1] | {"id": 99_999, "content": "<far>"})
    file.write_text(json.dumps(said))
    return "'<far>' (number 99,999)"


def the_tokenizer_of_another(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, folder / f"{name}.old")
    file = folder / "tokenizer.json"
    said = json.loads(file.read_text())
    said["model"]["vocab"] |= {f"word{i}": 1536 + i for i in range(4)}
    file.write_text(json.dumps(said))
    return "'word0' (number 1,536)"


BEYOND = [too_few_rows, a_config_of_another, a_word_added, a_special_token_added, an_added_token_far_beyond]


@pytest.mark.parametrize("damage", [*BEYOND, the_tokenizer_of_another])
def test_a_token_beyond_the_embeddings_is_refused_of_students_and_teachers(copied, damage):
    reason = damage(copied)
    assert reason in refused(asked(copied))
    assert reason in refused(asked(teachers=[copied], objectives=["task", "features"]))
    if damage is not a_config_of_another:  # as a model on the Hub, whose files are seen once its tokenizer is fetched
        for config in (asked(copied), asked(teachers=[copied], objectives=["response"])):
            with pytest.raises(ConfigError, match=r"^The (student|teacher) 'model' can't be used: .* weights for"):
                check_pairs(config, lambda *_: None)


def test_a_vocabulary_that_is_padded_is_fine(copied):
    file = copied / "config.json"
    weights = load_file(copied / "model.safetensors")
    padded = {
        name: torch.cat([w, w[:64]]) if "embed" in name or "lm_head" in name else w for name, w in weights.items()
    }
    save_file(padded, copied / "model.safetensors", metadata={"format": "pt"})
    file.write_text(json.dumps(json.loads(file.read_text()) | {"vocab_size": 1600}))
    references.check_models(asked(copied))
    check_pairs(asked(copied), lambda *_: None)


def test_a_token_that_stands_for_pictures_may_be_lacking_unless_it_is_read(copied):
    """Gemma 3 1B is like this: its tokenizer is that of its larger siblings, which see."""
    retokenise(copied, lambda tokenizer: tokenizer.add_tokens(["<picture>"], special_tokens=True))
    file = copied / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_token": "<picture>"}))
    references.check_models(asked(copied))
    check_pairs(asked(copied), lambda *_: None)
    model, tokenizer = load_model(copied), load_tokenizer(copied)
    assert len(generate_batch(model, tokenizer, ["What is 3 + 4?"], 2)) == 1
    with pytest.raises(UserError, match="Its tokenizer knows token 1536 and its weights 1536"):
        generate_batch(model, tokenizer, ["What is <picture>?"], 2)


def test_a_model_without_its_head_is_refused(copied):
    weights = load_file(copied / "model.safetensors")
    weights.pop("lm_head.weight", None)
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(said | {"tie_word_embeddings": False}))
    assert HEADLESS in refused(asked(copied))
    (copied / "config.json").write_text(json.dumps(said | {"tie_word_embeddings": True}))
    references.check_models(asked(copied))


def without_an_end(tokenizer):
    tokenizer.chat_template = tokenizer.eos_token = None


def of_parts_that_nobody_has(tokenizer):
    tokenizer.chat_template = "{% for m in messages %}{% for part in m['parts'] %}{{ part }}{% endfor %}{% endfor %}"


def shouting(tokenizer):
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_an_end, "has no end token"),
        (of_parts_that_nobody_has, "leaves out the questions"),
        (shouting, "changes the questions"),
    ],
)
def test_a_student_that_cannot_be_asked_is_refused_before_its_weights_are_loaded(copied, change, reason):
    tokenizer = AutoTokenizer.from_pretrained(copied)
    for left in (*copied.glob("tokenizer*"), *copied.glob("*.jinja")):
        left.unlink()
    change(tokenizer)
    tokenizer.save_pretrained(copied)
    with pytest.raises(UserError, match=reason):
        check_pairs(asked(copied), lambda *_: None)
