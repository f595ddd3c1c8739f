"""The benefit of a teacher is what a small step towards it does for the task."""

import pytest
import torch
from window_cases import N, distiller, training_texts

from distill.objectives.task import completion_cross_entropy
from distill.training.benefit import measure_benefit


def test_benefit_predicts_what_a_step_towards_each_teacher_does_to_the_task(tiny):
    texts = training_texts(tiny)
    module = distiller(tiny, gate="meta").eval()
    geometry = module.objectives["geometry"]
    validation, batch = texts.collate(range(6)), texts.collate(range(6, N))
    benefit = measure_benefit(module, geometry, validation, batch)

    def task():
        with torch.no_grad():
            return completion_cross_entropy(module.read(validation), validation["labels"]).item()

    parameters = [p for p in module.student.parameters() if p.requires_grad]
    for number, teacher in enumerate(geometry.teachers):
        z = geometry.represent(module.read(batch), batch)
        gradient = torch.autograd.grad(
            geometry.per_teacher(z, batch["signals"])[teacher], parameters, allow_unused=True
        )
        moved = [(p, g) for p, g in zip(parameters, gradient, strict=True) if g is not None]

        def task_after(step, moved=moved):
            for p, g in moved:
                p.data -= step * g
            loss = task()
            for p, g in moved:
                p.data += step * g
            return loss

        slope = (task_after(-1e-4) - task_after(1e-4)) / 2e-4  # central: what curvature does cancels
        assert benefit[number].item() == pytest.approx(slope, rel=1e-2, abs=1e-7)
    assert all(p.grad is None for p in parameters)
