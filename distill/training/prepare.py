"""What lies between the problems and the first step: the teachers' answers and signals, the objectives, the distiller.

This module knows nothing of steps, of events or of files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distill.config.objectives import reads_listed
from distill.config.run_config import teachers_of
from distill.data.encoding import cut
from distill.data.problems import Problem
from distill.models import distributed
from distill.models.generation import end_tokens
from distill.models.tokenizer_compat import Pair
from distill.objectives.base import Batch
from distill.objectives.geometry import INITIAL_STUDENT, GeometryObjective
from distill.teachers.ask import Asking, Said, ask, say_unheard
from distill.training.assemble import (
    blocks_of,
    build,
    compares_layers,
    layer_maps,
    load_live,
    observer,
    outlook,
    readers_of,
)
from distill.training.benefit import measure_benefit
from distill.training.dataset import Texts, TrainingSet, training_set
from distill.training.distiller import Distiller
from distill.training.on_policy import OnPolicy
from distill.training.probe import pooled_states
from distill.training.texts import Counts, learning_texts


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
        listing = [one for one in self.asking.config.objectives if one.kind == "logits" and reads_listed(one)]
        same = {teacher.name for one in listing for teacher in teachers_of(one, self.asking.config)}
        limit = self.asking.config.budget.max_length
        return training_set(texts, said, self.tokenizer, limit, self.asking.warn, readers, same)

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
        """What looks at the geometry of a run that trains on none."""
        shape = self._shape
        return observer(self.asking.config, _widths(probe), shape.hidden_size, shape.num_hidden_layers)

    def before_step(self, distiller: Distiller) -> Callable[[list[Batch], int], dict[str, float]]:
        """What is done with a step's batches before it: they are answered (gkd), benefits are measured (meta)."""
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
        gkd = config.objective("gkd")
        if gkd is None:
            return None
        ends = end_tokens(self.student, self.tokenizer)
        tokens = distiller.objectives["gkd"].vocabulary
        return OnPolicy(self.tokenizer, ends, gkd.lmbda, gkd.temperature, gkd.max_new_tokens, config.seed, tokens)

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
