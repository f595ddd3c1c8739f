"""A model in a GGUF file is used as any other: the same logits and tokens, and what is known of it from its header."""

import contextlib
import random
import shutil
import struct
import time

import pytest
import torch
from gguf_cases import write_gguf

from distill.config.errors import ConfigError, UserError
from distill.config.run_config import ModelRef, RunConfig
from distill.models.gguf_files import read_gguf, read_start
from distill.models.loading import fingerprint, load_model, load_tokenizer
from distill.models.metadata import describe_model
from distill.models.references import absolute, check_models, model_path
from distill.ui.actions import check_public_model


@pytest.fixture(scope="module")
def file(tiny, tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", *tiny("qwen2-tiny"))


def test_weights_and_tokens_are_those_of_the_model(file, tiny):
    model, tokenizer = tiny("qwen2-tiny")
    loaded, read = load_model(model_path(str(file))), load_tokenizer(model_path(str(file)))
    text = "Tom has 12 apples <|im_end|>\n and   pays 3.50.\n"
    assert read(text).input_ids == tokenizer(text).input_ids
    assert (read.eos_token, read.chat_template) == (tokenizer.eos_token, tokenizer.chat_template)
    ids = torch.tensor([tokenizer(text).input_ids])
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert load_model(file, torch.bfloat16).dtype == torch.bfloat16


def test_a_reference_says_the_file_in_two_ways(file, monkeypatch):
    assert model_path(ModelRef(model=str(file))) == file
    assert model_path(ModelRef(model=str(file.parent), gguf="tiny.gguf")) == file
    assert model_path("org/name-GGUF/q4.gguf") == "org/name-GGUF/q4.gguf"
    assert model_path(ModelRef(model="org/name-GGUF", gguf="deep/q4.gguf")) == "org/name-GGUF/deep/q4.gguf"
    monkeypatch.chdir(file.parent)
    config = absolute(RunConfig(student="tiny.gguf", objectives=["task"]))
    assert config.student.model == str(file) and config.student.name == "tiny.gguf"
    for bad in ("../x.gguf", "/x.gguf", "a/../x.gguf", "x.bin"):
        with pytest.raises(ValueError):
            ModelRef(model="org/name", gguf=bad)


def test_what_is_known_comes_from_the_header(file, tiny):
    model, tokenizer = tiny("qwen2-tiny")
    facts = describe_model(str(file))
    assert facts.parameters == model.num_parameters() and facts.fetched and facts.known
    assert (facts.width, facts.layers, facts.vocabulary) == (128, 4, len(tokenizer))
    assert (facts.tokenizer, facts.architecture) == ("bpe", "qwen2 (GGUF)")


def test_a_fingerprint_is_of_the_bytes(file, tmp_path):
    copy = shutil.copy(file, tmp_path / "other.gguf")
    assert fingerprint(tmp_path / "other.gguf") == fingerprint(file)
    with open(copy, "r+b") as stream:
        stream.seek(-4, 2)
        stream.write(b"1234")
    assert fingerprint(tmp_path / "other.gguf") != fingerprint(file)


def refused(path):
    with pytest.raises(ConfigError) as error:
        check_models(RunConfig(student=str(path), objectives=["task"]))
    with pytest.raises(UserError):
        load_model(path)
    return str(error.value)


def test_a_damaged_file_is_refused_before_it_is_loaded(file, tmp_path):
    short, other = tmp_path / "short.gguf", tmp_path / "other.gguf"
    short.write_bytes(file.read_bytes()[:-5000])
    other.write_bytes(b"GGUF" + b"\1" * 500)
    assert "cut short" in refused(short) and str(short) in refused(short)
    assert "no GGUF file" in refused(other)
    short.write_bytes(file.read_bytes()[:3000])
    assert "cut short" in refused(short)
    with pytest.raises(ConfigError, match=r"There is no file .*none\.gguf"):
        model_path(str(tmp_path / "none.gguf"))


def test_no_damage_to_a_header_is_more_than_one_sentence(file):
    whole, draw = file.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole[:20_000])
        for _ in range(draw.randint(1, 8)):
            damaged[draw.randrange(draw.choice((40, 900, 20_000)))] = draw.randrange(256)
        with contextlib.suppress(ConfigError):
            read_start(bytes(damaged), len(whole), "a file")
    assert read_start(whole[:20_000], len(whole), "a file") == read_gguf(file)


@pytest.mark.parametrize(
    "said", [struct.pack("<If", 6, 4.5), struct.pack("<IQ", 8, 4) + b"four", struct.pack("<II", 4, 0)]
)
def test_a_shape_that_is_no_number_is_refused(file, said):
    whole = file.read_bytes()
    for name in (b"qwen2.embedding_length", b"qwen2.block_count", b"general.alignment"):
        at = whole.find(name) + len(name)
        changed = whole[:at] + said + whole[at + 8 :]  # the kind and the number were four bytes each
        if at < len(name):  # one that is seldom given: put before the others, as another entry
            count = struct.pack("<Q", struct.unpack_from("<Q", whole, 16)[0] + 1)
            changed = whole[:16] + count + struct.pack("<Q", len(name)) + name + said + whole[24:]
        with pytest.raises(ConfigError, match="no GGUF file, or it is damaged"):
            read_start(changed, len(changed), "a file")


def test_a_header_made_up_to_take_hours_is_refused_at_once():
    factors = 300_000
    tensor = struct.pack("<Q", 1) + b"w" + struct.pack("<I", factors) + b"\xff" * 8 * factors + struct.pack("<IQ", 0, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor
    began = time.process_time()
    with pytest.raises(ConfigError, match="no GGUF file"):
        read_start(header, len(header), "a file")
    assert time.process_time() - began < 2


def test_an_architecture_that_is_not_known_is_named(file, tiny, tmp_path):
    strange = write_gguf(tmp_path / "strange.gguf", *tiny("qwen2-tiny"), architecture="strange")
    assert "strange" in refused(strange) and "architecture" in refused(strange)


def test_a_gguf_file_is_not_quantised_again(file):
    with pytest.raises(ConfigError, match=r"remove lora\.quantize"):
        load_model(file, quantization_config=object())
    config = RunConfig(student=str(file), lora={"quantize": "4bit"}, objectives=["task"])
    with pytest.raises(ConfigError, match=r"'tiny\.gguf' can't be used: it is a GGUF file.*remove lora\.quantize"):
        check_models(config)


def test_a_public_server_takes_such_a_file_from_the_hub_alone(file):
    check_public_model("org/name-GGUF/q4.gguf")
    for model in (str(file), "/etc/none.gguf", "none.gguf", "a/../../x.gguf"):
        with pytest.raises(ConfigError, match="reads no folders"):
            check_public_model(model)
