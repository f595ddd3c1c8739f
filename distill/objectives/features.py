"""Features: inside, at chosen depths, the student should look like its teachers while reading the same solution.

Both read the solution with their own tokenizers; what is compared are chunks, the shortest runs of tokens of the two
that end at the same character. `mse` and `cosine` compare vectors, for which a trainable linear map takes the student's
to the teacher's width; `cka` and `nbs` compare which chunks are alike, and need none.

To know: a projector is trained with the student, so part of the fall of an mse or cosine loss is the projector's and
no change of the student at all (the defect of heads in docs/methods.md, "2. The gated mixture"): a falling curve is no
proof. cka and nbs have no such part.

Formulas: losses/features.py; how blocks are paired: layer_maps.py. Shape suffixes: B rows, M labelled tokens of the
longest row, m labelled tokens in all, k those in a chunk, c chunks, D student width, E a teacher's width, T teachers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from distill.config.method import Listening
from distill.config.settings import setting
from distill.losses import IGNORED, SMALLEST_BATCH
from distill.losses.precision import full_precision
from distill.objectives.base import Batch, Models, Objective, ObjectiveOutput, StudentOutputs, items_of, seeded

if TYPE_CHECKING:
    from torch import Tensor, nn

    from distill.config.run_config import RunConfig
    from distill.objectives.chunks import Chunks

BY_CHUNK = ("mse", "cosine")  # losses that are sums over chunks; the others compare chunks with one another
BY_TEXT = ("cka", "nbs")


class FeaturesConfig(Listening):
    """Hidden states at `count` pairs of layers, each compared on aligned chunks of the solutions."""

    kind: Literal["features"] = "features"
    loss: Literal["mse", "cosine", "cka", "nbs"] = setting(
        "mse",
        "How hidden states are compared",
        "With mse and cosine a trained map does part of the work, so that a falling loss proves little.",
        {
            "mse": "mse: by distance, through a trained map to the teacher's width",
            "cosine": "cosine: by direction, through such a map",
            "cka": "cka: by which pieces of text each finds similar, with nothing in between",
            "nbs": "nbs: like cka, but more sensitive to what varies little",
        },
    )
    layers: Literal["uniform", "last", "random", "cka_argmax"] = setting(
        "uniform",
        "Which layers are paired",
        "It matters little; random is the control that the others must beat.",
        {
            "uniform": "uniform: evenly spaced, each with the teacher's at the same depth",
            "last": "last: the last ones of both",
            "random": "random: drawn once",
            "cka_argmax": "cka_argmax: evenly spaced, each with the teacher's most similar one at first",
        },
    )
    count: int = setting(2, "Pairs of layers", "More take more disk, and more time.", ge=1, le=64)

    title: ClassVar[str] = "The teachers' hidden states"
    help: ClassVar[str] = (
        "While it reads the solution the student should have in mind, layer by layer, what the teachers have (hidden "
        "states, features). Any teachers will do."
    )
    name: ClassVar[str] = "teachers' hidden states"
    noun: ClassVar[str] = "hidden states"
    short: ClassVar[str] = "the hidden states"
    takes: ClassVar[str] = "it learns to match their hidden states, layer by layer"
    distance: ClassVar[tuple[str, str]] = (
        "hidden states",
        "how far the student's hidden states are from a teacher's",
    )
    by_character: ClassVar[bool] = True
    compares_texts: ClassVar[bool] = True
    teaches_ends: ClassVar[bool] = True

    @property
    def layers_kept(self) -> int:
        return self.count

    def said(self) -> frozenset[str]:
        return frozenset({"tokens", "hidden"})

    def check_processes(self, processes: int, batch_size: int, config: RunConfig) -> str | None:
        if self.loss in BY_CHUNK or batch_size == config.budget.batch_size:
            return None
        return (
            f"objectives.features.loss is {self.loss!r}, which compares the texts of a micro-batch, and {processes} "
            f"processes would cut it up: make budget.accumulation a multiple of {processes}."
        )

    def trained(self, student_width: int, teacher_widths: Mapping[str, int]) -> int:
        maps = self.count * sum(teacher_widths.values()) if self.loss in BY_CHUNK else 0
        return maps * student_width

    def build(self, models: Models) -> FeaturesObjective:
        names = models.names(self)
        return FeaturesObjective(
            teacher_widths={name: models.teacher_widths[name] for name in names},
            student_width=models.student_width,
            maps={name: models.maps[name] for name in names},
            loss=self.loss,
            gate=self.gate.model_dump(),
            weight=self.weight,
            seed=models.seed,
        )

    def describe(self) -> Iterable[str]:
        yield self.loss
        yield f"{self.count} {'pair' if self.count == 1 else 'pairs'} of layers ({self.layers})"


class FeaturesObjective(Objective):
    """The mean, over pairs of blocks, of the distance between the student's chunk vectors and each teacher's.

    teacher_widths: {teacher: E}, in the order of the gate. maps: {teacher: [(student block, index into the blocks that
    its chunk_hidden holds), ...]}. loss: mse, cosine, cka or nbs. gate: keyword arguments of `Shares`.

    mse and cosine: sum over chunks of share(row) * loss(chunk) / labelled tokens of the whole step (`num_items`), which
    adds up however a step is split. cka and nbs compare the chunks of one micro-batch with one another (`averages`):
    mean share of its rows * distance, which whoever accumulates weighs by 1 / micro-batches. With fewer than 4 chunks
    of a teacher they are 0.

    The buffer `skipped` counts how often a teacher had too few chunks in training (no chunk, for mse and cosine).

    Metrics: of several teachers "features/<teacher>", its own loss (the mean over chunks) in this micro-batch, whatever
    its share; absent where there was nothing to compare. For cka and nbs "features_skipped", the count.
    """

    kind = "features"
    reads_hidden = True

    def __init__(
        self,
        *,
        teacher_widths: Mapping[str, int],
        student_width: int,
        maps: Mapping[str, Sequence[tuple[int, int]]],
        loss: str = "mse",
        gate: Mapping[str, Any] | None = None,
        weight: float = 1.0,
        seed: int = 0,
    ):
        import torch
        from torch import nn

        from distill.objectives.gate import Shares

        if loss not in (*BY_CHUNK, *BY_TEXT):
            raise ValueError(f"a features loss is one of {', '.join((*BY_CHUNK, *BY_TEXT))}, not {loss!r}")
        shares = Shares(tuple(teacher_widths), gate)
        super().__init__(weight, frozenset({"chunk_of", "chunk_hidden"}) | shares.needs)
        self.shares = shares
        self.loss = loss
        self.averages = loss in BY_TEXT
        self.maps = {teacher: tuple(maps[teacher]) for teacher in teacher_widths}
        with seeded(seed):  # lists, since the names of teachers may contain dots
            self.projectors = nn.ModuleList(
                nn.ModuleList(nn.Linear(student_width, width, bias=False) for _ in self.maps[teacher])
                for teacher, width in (teacher_widths.items() if loss in BY_CHUNK else ())
            )
        self.register_buffer("skipped", torch.zeros((), dtype=torch.long))

    def forward(self, outputs: StudentOutputs, batch: Batch) -> ObjectiveOutput:
        import torch

        from distill.losses.features import rms_normalised
        from distill.objectives.chunks import Chunks

        labelled_BL = batch["labels"][:, 1:] != IGNORED
        count_B = labelled_BL.sum(1)
        signals, device = batch["signals"], labelled_BL.device
        g_BT = self.shares.of(signals, len(count_B), device)
        # The state at position l has read token l, so a token's own state stands where its label does.
        blocks = {block for pairs in self.maps.values() for block, _ in pairs}
        tokens = {block: rms_normalised(outputs.hidden[block][:, 1:][labelled_BL]) for block in blocks}
        items = items_of(batch, int(count_B.sum()))

        terms, metrics = [], {}
        for t, (teacher, pairs) in enumerate(self.maps.items()):
            chunks = Chunks.of(signals["chunk_of"][teacher].to(device), count_B)
            y_cLE = chunks.chosen(signals["chunk_hidden"][teacher].to(device))
            distances = [
                self._distance(chunks.means(tokens[block]), y_cLE[:, at], chunks.row_c, self._projector(t, pair))
                for pair, (block, at) in enumerate(pairs)
            ]
            loss = torch.stack(distances).mean(0)  # over the pairs
            g_B = g_BT[:, t].to(loss)
            terms.append((g_B[chunks.row_c] * loss).sum() / items if self._by_chunk else g_B.mean() * loss)
            if self._enough(chunks) and len(self.maps) > 1:
                metrics[f"features/{teacher}"] = loss.mean().item()
        if not self._by_chunk:
            metrics["features_skipped"] = float(self.skipped)
        return ObjectiveOutput({"features": torch.stack(terms).sum()}, metrics)

    @property
    def _by_chunk(self) -> bool:
        return self.loss in BY_CHUNK

    def _enough(self, chunks: Chunks) -> bool:
        """Whether there is something to compare; counts in training where there are too few to compare."""
        enough = len(chunks.row_c) >= (1 if self._by_chunk else SMALLEST_BATCH)
        self.skipped += self.training and not enough
        return enough

    def _projector(self, teacher: int, pair: int) -> nn.Module | None:
        return self.projectors[teacher][pair] if self._by_chunk else None

    @full_precision
    def _distance(self, x_cD: Tensor, y_cE: Tensor, row_c: Tensor, projector: nn.Module | None) -> Tensor:
        """[c], or a scalar for the losses that compare chunks with one another."""
        from distill.losses.features import centred_cosine, cka_distance, nbs_distance, rms_normalised, token_mse

        if projector is None:
            return (cka_distance if self.loss == "cka" else nbs_distance)(x_cD, y_cE)
        projected_cE = projector(rms_normalised(x_cD))
        return token_mse(projected_cE, y_cE) if self.loss == "mse" else centred_cosine(projected_cE, y_cE, row_c)
