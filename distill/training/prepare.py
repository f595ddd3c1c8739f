"""What lies between the problems and the first step: the teachers' answers and signals, objectives, the distiller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distill.config.errors import OnProgress
from distill.config.requirements import answers_itself, heard
from distill.config.run_config import ModelRef, RunConfig, teachers_of
from distill.data.encoding import cut
from distill.data.problems import Problem
from distill.losses.cka import layer_cka
from distill.models import distributed
from distill.models.generation import end_tokens
from distill.models.hardware import Machine
from distill.models.lm_head import check_vocabulary
from distill.models.loading import load_model, load_tokenizer
from distill.models.metadata import describe_model
from distill.models.pooling import layer_at
from distill.models.references import model_path
from distill.models.tokenizer_compat import Pair
from distill.objectives.base import Batch, Models, Objective, build_objectives
from distill.objectives.geometry import INITIAL_STUDENT, GeometryConfig, GeometryObjective
from distill.objectives.layer_maps import layer_pairs, stored_layers
from distill.teachers.ask import Asking, Said, Warn, ask, say_unheard
from distill.teachers.live import LiveTeacher
from distill.teachers.token_map import Bridge, bridge
from distill.training.benefit import measure_benefit
from distill.training.dataset import Texts, TrainingSet, training_set
from distill.training.distiller import Distiller
from distill.training.on_policy import OnPolicy
from distill.training.probe import pooled_states
from distill.training.texts import Counts, learning_texts

Progress = Callable[[str, str], OnProgress]  # (stage, what is done) -> what is told how far it is
Maps = dict[str, tuple[tuple[int, int], ...]]  # teacher -> (student block, teacher block)


@dataclass
class Preparation:
    """Of a run whose problems are drawn and whose student is loaded. `gather`, then `join`.

    `pairs`: what the pre-flight found of each teacher's tokenizer beside the student's. `responses` are counts of the
    teachers' answers, empty where none are learnt from.
    """

    asking: Asking
    student: PeftModel
    tokenizer: PreTrainedTokenizerBase
    problems: Mapping[str, Sequence[Problem]]
    families: Sequence[str]
    pairs: Mapping[str, Pair]
    responses: Counts = field(default_factory=dict)
    maps: dict = field(default_factory=dict)

    def gather(self) -> tuple[TrainingSet, TrainingSet]:
        """(training set, probe set): the teachers are asked, one after another, and kept by nobody."""
        config, asking = self.asking.config, self.asking
        say_unheard(config, asking.warn)
        numbers = {family: number for number, family in enumerate(self.families)}
        texts, self.responses = learning_texts(asking, self.problems["train"], numbers, self.tokenizer)
        looked = [cut(p.question, p.solution, config.probe.characters) for p in self.problems["probe"]]
        of_looked = Texts("probe", looked, [numbers[p.family] for p in self.problems["probe"]])
        layers = self._shape.num_hidden_layers
        outlooks = outlook(config, layers)
        if not compares_layers(config):  # each teacher is loaded once, for everything
            self.maps = layer_maps(config, layers)
            of_probe, of_train = ask(asking, looked, texts.pairs, *outlooks, blocks_of(self.maps))
            return self.read(texts, of_train, readers_of(config)), self.read(of_looked, of_probe)
        of_probe, _ = ask(asking, looked, [], *outlooks, {})
        probe = self.read(of_looked, of_probe)

        def states() -> Tensor:
            return self._initial_states(Distiller(self.student, []), self.observer(probe), probe, every_layer=True)

        self.maps = layer_maps(config, layers, of_probe["pooled_layers"], states)
        _, of_train = ask(asking, [], texts.pairs, *outlooks, blocks_of(self.maps))
        return self.read(texts, of_train, readers_of(config)), probe

    def read(self, texts: Texts, said: Said, readers: Mapping[str, Any] | None = None) -> TrainingSet:
        """The texts as the student reads them, with what the teachers `said` of them."""
        listing = [one for one in self.asking.config.objectives if one.same_tokenizer and one.lists]
        same = {teacher.name for one in listing for teacher in teachers_of(one, self.asking.config)}
        limit = self.asking.config.budget.max_length
        found = training_set(texts, said, self.tokenizer, limit, self.asking.warn, readers, same)
        whose = f"The student {self.asking.config.student.name!r}'s"
        check_vocabulary(max((max(one.input_ids) for one in found.examples), default=0), self.student, whose)
        return found

    def join(self, train: TrainingSet, probe: TrainingSet) -> Distiller:
        """Load the teachers that stay, make the objectives, and join them with the student."""
        config, hardware = self.asking.config, self.asking.hardware
        live = load_live(config, hardware, self.asking.progress, self.asking.warn)
        objectives = build(config, _widths(probe), self.student, self.pairs, self.maps, live, self.tokenizer)
        geometry = config.geometry
        banks = {"geometry": geometry.bank_size} if geometry and geometry.window == "bank" else {}
        distiller = Distiller(self.student, objectives, banks)
        # Weights that processes share are in their place, and don't let themselves be moved.
        (distiller.objectives if distributed.is_sharded() else distiller).to(hardware.device)
        objective = distiller.coupled.get("geometry")
        if objective is not None and objective.wants_initial_student:
            for texts in (train, probe):
                texts.signals["pooled"][INITIAL_STUDENT] = self._initial_states(distiller, objective, texts)
        return distiller

    def observer(self, probe: TrainingSet) -> GeometryObjective:
        """What looks at the geometry of a run that trains on none, at all its teachers."""
        usual = GeometryConfig()
        return GeometryObjective(
            teacher_widths=_widths(probe),
            student_width=self._shape.hidden_size,
            student_layers=self._shape.num_hidden_layers,
            mode="kernel",
            gate={"kind": "uniform"},
            pooling=usual.pooling,
            layer=usual.layer,
        )

    def before_step(self, distiller: Distiller) -> Callable[[list[Batch], int], dict[str, float]]:
        """What is done with a step's batches before it: they are answered (on-policy), benefits are measured (meta)."""
        measure, own = self._benefit(distiller), self._on_policy(distiller)

        def prepare(batches: list[Batch], step: int) -> dict[str, float]:
            if measure is not None:
                measure(batches, step)
            return own.answer(self.student, batches, step) if own is not None else {}

        return prepare

    @property
    def _shape(self):
        return self.student.config.get_text_config()

    def _initial_states(
        self, distiller: Distiller, geometry: GeometryObjective, texts: TrainingSet, every_layer: bool = False
    ) -> Tensor:
        """The pooled states of the student as it came."""
        with self.student.disable_adapter():
            return pooled_states(distiller, geometry, texts, self.asking.config.budget.batch_size, every_layer).cpu()

    def _on_policy(self, distiller: Distiller) -> OnPolicy | None:
        config = self.asking.config
        method = answers_itself(config)
        if method is None:
            return None
        own, ends = method.rollout, end_tokens(self.student, self.tokenizer)
        tokens = distiller.objectives[method.kind].vocabulary
        return OnPolicy(self.tokenizer, ends, own.share, own.temperature, own.max_new_tokens, config.seed, tokens)

    def _benefit(self, distiller: Distiller) -> Callable[[list[Batch], int], None] | None:
        config, geometry = self.asking.config, distiller.coupled.get("geometry")
        if geometry is None or config.geometry.gate.kind != "meta":
            return None
        texts = [(problem.question, problem.solution) for problem in self.problems["validation"]]
        validation = self.read(Texts("validation", texts, [0] * len(texts)), {})
        size, device = min(len(validation), config.budget.batch_size), self.asking.hardware.device
        batch = {k: v.to(device) for k, v in validation.collate(range(size)).items() if k != "signals"}

        def measure(batches: list[Batch], step: int) -> None:
            if step % config.geometry.gate.every == 0:
                r_T = measure_benefit(distiller, geometry, batch, batches[0], config.budget.batch_size)
                geometry.gate.set_benefit(r_T)

        return measure


def _widths(texts: TrainingSet) -> dict[str, int]:
    """{teacher: width of its hidden states}."""
    return {teacher: values.shape[1] for teacher, values in texts.signals.get("pooled", {}).items()}


# --- how models are looked at, and which stay loaded -----------------------------------------------------------------


def outlook(config: RunConfig, student_layers: int) -> tuple[float, str]:
    """(fraction of the depth, pooling) at which models are compared: the geometry's, or where there is none its usual.

    The student's own layer, as a fraction of its depth, says how deep to look in a teacher.
    """
    geometry = config.geometry or GeometryConfig()
    return layer_at(geometry.layer, student_layers) / student_layers, geometry.pooling


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


def load_live(config: RunConfig, hardware: Machine, progress: Progress, warn: Warn) -> dict[str, LiveTeacher]:
    """The teachers that stay loaded, on the student's device; `warn` is told of one that doesn't fit there."""
    teachers, dtype, found = _live(config), getattr(torch, hardware.dtype), {}
    for number, teacher in enumerate(teachers, 1):
        tell = progress("signals", f"loading {teacher.name}, which stays in memory ({number} of {len(teachers)})")
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
    if objective is None or not objective.bridged:
        return {}
    return {teacher.name: bridge(tokenizer, _tokenizer(teacher)) for teacher in teachers_of(objective, config)}


def _live(config: RunConfig) -> list[ModelRef]:
    """The teachers that stay loaded while the student trains, in the order of the config."""
    names = {teacher.name for o in config.objectives if o.live for teacher in teachers_of(o, config)}
    return [teacher for teacher in heard(config) if teacher.name in names]


def _tokenizer(ref: ModelRef) -> PreTrainedTokenizerBase:
    return load_tokenizer(model_path(ref), ref.revision, ref.name)
