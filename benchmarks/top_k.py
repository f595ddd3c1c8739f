"""Stored top-k logits beside live ones: `python benchmarks/top_k.py [STUDENT TEACHER]`.

What a stored teacher costs on disk, and how far its loss and its gradient are from those of the whole distribution, for
several k and temperatures on one batch: for the student as it comes, and after training with live logits. With two
folders (of one tokenizer) other models than the zoo's are measured. "dense": what all logits would take in 16 bits.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from benchmarks.common import prepared, report

KS, TEMPERATURES, ROWS, STEPS = (1, 4, 16, 64, 256), (1.0, 2.0), 64, 30
QUIET = ("probe.every=1000000", "probe.samples=0", "probe.problems=0", "budget.save_every=1000000")


def made(source: str, temperature: float, top_k: int = 64):
    """(pipeline, training set, bytes that the bank took) in a home of its own."""
    os.environ["DISTILL_HOME"] = tempfile.mkdtemp(prefix="benchmark-")
    models = [f"student={sys.argv[1]}", f"teachers=[{sys.argv[2]}]"] if len(sys.argv) > 2 else []
    dials = [f"objectives.logits.{name}={value}" for name, value in (("source", source), ("temperature", temperature))]
    few = ("data.train=512", "data.held_out=8", "data.new_phrasing=0", f"budget.steps={STEPS}", "budget.batch_size=32")
    pipeline, train, probe = prepared("tiny-logits", *models, *dials, f"objectives.logits.top_k={top_k}", *few, *QUIET)
    kept = sum(file.stat().st_size for file in Path(os.environ["DISTILL_HOME"]).rglob("topk_*.safetensors"))
    return pipeline, train, probe, kept


def reading(pipeline, train) -> tuple[float, torch.Tensor]:
    """(loss, its gradient in the adapter's weights) on the same rows, with dropout off."""
    distiller = pipeline.distiller.eval()
    parameters = [p for p in distiller.student.parameters() if p.requires_grad]
    loss = distiller(**train.collate(range(ROWS)))["loss"]
    return loss.item(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])


def compared(found: tuple[float, torch.Tensor], exact: tuple[float, torch.Tensor]) -> dict[str, float]:
    """How far a stored teacher's reading is from the live one's."""
    (loss, gradient), (true, whole) = found, exact
    return {
        "loss_error": round((loss - true) / true, 5),
        "gradient_cosine": round(torch.cosine_similarity(gradient, whole, dim=0).item(), 5),
        "gradient_length": round((gradient.norm() / whole.norm()).item(), 4),
    }


def main() -> None:
    found: dict[str, dict] = {}
    for temperature in TEMPERATURES:
        live, train, probe, _ = made("live", temperature)
        tokens = sum(example.labelled for example in train.examples)
        first = reading(live, train)
        live.train(train, probe)
        last, state = reading(live, train), live.distiller.student.state_dict()
        for k in KS:
            stored, texts, _, kept = made("stored", temperature, k)
            before = compared(reading(stored, texts), first)
            stored.distiller.student.load_state_dict(state)
            found[f"T {temperature:g}, k {k}"] = {
                "bytes_per_token": round(kept / tokens, 1),
                "before": before,
                "after_training": compared(reading(stored, texts), last),
            }
    vocabulary = live.distiller.objectives["logits"].vocabulary
    report(
        "top_k",
        vocabulary=vocabulary,
        tokens=tokens,
        dense_bytes_per_token=2 * vocabulary,
        batch_rows=ROWS,
        trained_steps=STEPS,
        found=found,
    )


if __name__ == "__main__":
    main()
