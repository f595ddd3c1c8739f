"""Tiny real models, untrained, one of each card of the zoo: made once a session."""

import os
import tempfile
from functools import cache

import pytest
import torch

from distill.zoo.cards import CARDS, build_model
from distill.zoo.train import make_tokenizer

torch.set_num_threads(1)
# Runs and the bank of this session only: nothing is read from the user's cache, nothing is left in it.
_HOME = tempfile.TemporaryDirectory(prefix="distill-tests-")
os.environ["DISTILL_HOME"] = _HOME.name


@cache
def _tokenizer(name):
    return make_tokenizer(CARDS[name], texts=300)


@cache
def _model(name):
    return build_model(CARDS[name], _tokenizer(name)).eval()


@pytest.fixture(scope="session")
def tiny():
    """`tiny(name)` -> (untrained model of that card in eval mode, its tokenizer). Shared: leave both as they were."""
    return lambda name: (_model(name), _tokenizer(name))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """`tiny_folder(name)` -> a folder from which `from_pretrained` loads them. Shared: copy it before changing it."""

    @cache
    def folder(name):
        path = tmp_path_factory.mktemp(name)
        _model(name).save_pretrained(path)
        _tokenizer(name).save_pretrained(path)
        return path

    return folder
