"""From what the teachers said to the objectives: what has to be known of the models, and which stay loaded.

This module knows nothing of the loop, of events or of files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distill.config.errors import OnProgress
from distill.config.objectives import GeometryConfig
from distill.config.requirements import heard, is_live
from distill.config.run_config import ModelRef, RunConfig, teachers_of
from distill.losses.cka import layer_cka
from distill.models.hardware import Hardware
from distill.models.loading import load_model, load_tokenizer
from distill.models.metadata import describe_model
from distill.models.pooling import layer_at
from distill.models.references import model_path
from distill.models.tokenizer_compat import Pair
from distill.objectives.base import Objective
from distill.objectives.build import Models, build_objectives
from distill.objectives.geometry import GeometryObjective
from distill.objectives.layer_maps import layer_pairs, stored_layers
from distill.teachers.live import LiveTeacher
from distill.teachers.token_map import Bridge, bridge

Warn = Callable[[str, str], None]  # (code, sentence)
Progress = Callable[[str, str], OnProgress]  # (stage, what is done) -> what is told how far it is
Maps = dict[str, tuple[tuple[int, int], ...]]  # teacher -> (student block, teacher block)


def outlook(config: RunConfig, student_layers: int) -> tuple[float, str]:
    """(fraction of the depth, pooling) at which models are compared: the geometry's, or where there is none its usual.

    The student's own layer, as a fraction of its depth, says how deep to look in a teacher.
    """
    geometry = config.geometry or GeometryConfig()
    return layer_at(geometry.layer, student_layers) / student_layers, geometry.pooling


def observer(config: RunConfig, widths: Mapping[str, int], student_width: int, student_layers: int) -> Objective:
    """A geometry objective that is no part of the training and only looks, at all teachers."""
    usual = GeometryConfig()
    return GeometryObjective(
        teacher_widths=widths,
        student_width=student_width,
        student_layers=student_layers,
        mode="kernel",
        gate={"kind": "uniform"},
        pooling=usual.pooling,
        layer=usual.layer,
    )


def depths(config: RunConfig) -> dict[str, int | None]:
    """How many blocks each teacher of `features` has, None where its files don't say yet; empty without features."""
    features = config.objective("features")
    return {t.name: describe_model(t).layers for t in teachers_of(features, config)} if features else {}


def compares_layers(config: RunConfig) -> bool:
    """Whether the models' layers are compared before it is said which of them `features` pairs."""
    features = config.objective("features")
    return features is not None and (features.layers == "cka_argmax" or None in depths(config).values())


def layer_maps(
    config: RunConfig,
    student_layers: int,
    said: Mapping[str, Tensor] | None = None,
    states: Callable[[], Tensor] | None = None,
) -> Maps:
    """{teacher: pairs of blocks} for `features`.

    Where `compares_layers`: `said` {teacher: pooled_layers [n, 1 + layers, E]} of the probe texts, and `states()`, the
    student's own, [n, 1 + layers, D], which only cka_argmax asks for.
    """
    features = config.objective("features")
    if features is None:
        return {}
    states_nLD = states() if features.layers == "cka_argmax" else None
    known = {name: said[name].shape[1] - 1 for name in said} if said else depths(config)
    maps = {}
    for teacher in teachers_of(features, config):
        table = None if states_nLD is None else layer_cka(states_nLD, said[teacher.name])[1:, 1:].tolist()
        maps[teacher.name] = layer_pairs(
            features.layers, features.count, student_layers, known[teacher.name], config.seed, table
        )
    return maps


def blocks_of(maps: Maps) -> dict[str, tuple[int, ...]]:
    """The teachers' blocks that such maps read."""
    return {teacher: stored_layers(pairs)[0] for teacher, pairs in maps.items()}


def load_live(config: RunConfig, hardware: Hardware, progress: Progress, warn: Warn) -> dict[str, LiveTeacher]:
    """The teachers that stay loaded, on the student's device; `warn` is told of one that doesn't fit there."""
    teachers, dtype, found = _live(config), getattr(torch, hardware.dtype), {}
    for number, teacher in enumerate(teachers, 1):
        tell = progress("signals", f"loading {teacher.name}, who stays ({number} of {len(teachers)})")
        model = load_model(model_path(teacher), dtype, hardware.device, teacher.revision, teacher.name, warn)
        found[teacher.name] = LiveTeacher(teacher.name, model)
        tell(1, 1)
    return found


def readers_of(config: RunConfig) -> dict[str, PreTrainedTokenizerBase]:
    """The tokenizers of the teachers that stay loaded."""
    return {teacher.name: _tokenizer(teacher) for teacher in _live(config)}


def build(
    config: RunConfig,
    widths: Mapping[str, int],
    student,
    pairs: Mapping[str, Pair],
    maps: Maps,
    live: Mapping[str, LiveTeacher],
    tokenizer: PreTrainedTokenizerBase,
) -> list[Objective]:
    """The objectives of the config; `widths` {teacher: width of its hidden states}, where models are compared."""
    student_config = student.config.get_text_config()
    rows = min([student.get_output_embeddings().weight.shape[0], *(one.head.vocabulary for one in live.values())])
    models = Models(
        student_width=student_config.hidden_size,
        student_layers=student_config.num_hidden_layers,
        teachers=[teacher.name for teacher in heard(config)],
        teacher_widths=widths,
        seed=config.seed,
        tokens=min(rows, 1 + max(tokenizer.get_vocab().values())),
        vocabulary={name: min(pair.vocabulary, rows) for name, pair in pairs.items() if pair.same_tokenizer},
        live=live,
        maps={teacher: stored_layers(found)[1] for teacher, found in maps.items()},
        projections=_projections(config, tokenizer),
    )
    return build_objectives(config.objectives, models)


def _projections(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, Bridge]:
    """What the student's tokens are in the vocabulary of each teacher, where cross_tokenizer asks."""
    objective = config.objective("cross_tokenizer")
    if objective is None or (objective.loss != "xtoken" and not objective.shared):
        return {}
    return {teacher.name: bridge(tokenizer, _tokenizer(teacher)) for teacher in teachers_of(objective, config)}


def _live(config: RunConfig) -> list[ModelRef]:
    """The teachers that stay loaded while the student trains, in the order of the config."""
    names = {teacher.name for o in config.objectives if is_live(o) for teacher in teachers_of(o, config)}
    return [teacher for teacher in heard(config) if teacher.name in names]


def _tokenizer(ref: ModelRef) -> PreTrainedTokenizerBase:
    return load_tokenizer(model_path(ref), ref.revision, ref.name)
