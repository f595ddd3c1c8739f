"""A transformers.Trainer for a `Distiller`: batching, accumulation, mixed precision, resume and callbacks are the
library's.

What is added: coupled objectives see the whole optimiser step, over all processes; gates and heads are saved and
resumed with the adapter; checkpoints appear whole or not at all; a loss that is not a number stops the run before it
can spoil the weights. What is reported of a step is of the whole step, on every process.
"""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from distill.config.errors import UserError
from distill.config.files import sha256_of
from distill.config.run_config import BudgetConfig
from distill.models import distributed
from distill.models.hardware import Machine
from distill.models.student import load_adapter
from distill.objectives.base import Batch
from distill.runs.views import WEIGHTS
from distill.training.distiller import Distiller, carry_gradients, set_rng_state
from distill.training.trackers import PROJECT

STATE_FILE = "distiller.safetensors"
DIGESTS = "digests.json"  # of a checkpoint's other files
# (the step's micro-batches, steps done) -> metrics of the step, if any
BeforeStep = Callable[[list[Batch], int], dict[str, float] | None]


class DistillTrainer(Trainer):
    """Trains `distiller`; `before_step` is called with the micro-batches of each optimiser step."""

    def __init__(self, distiller: Distiller, *, before_step: BeforeStep | None = None, **kwargs):
        super().__init__(model=distiller, **kwargs)
        if distributed.rank():  # the library gives all processes one seed: their dropout would be the same
            torch.manual_seed(self.args.seed + distributed.rank())
        # Of a student that is spread over the processes (sharding.py) transformers and accelerate wrap nothing.
        self.is_distributed_loading_by_transformers = distributed.is_sharded()
        self.remove_callback(PrinterCallback)  # the run's events say it better
        self.before_step = before_step
        self.model_accepts_loss_kwargs = True  # so that tokens are counted over the whole step
        self._loss_shifts_labels = True
        self.loss_is_scaled_for_ga = True  # every term is a mean over the whole step already
        self.step_terms: dict[str, float] = {}
        self.step_metrics: dict[str, float] = {}
        self._metric_parts: dict[str, int] = {}
        self.step_tokens = 0
        self.grad_norm: float | None = None
        self._rng_of: str | None = None  # the checkpoint whose random state is still to be taken up
        self._finite = True  # whether this step's losses are numbers, on this process

    def _move_model_to_device(self, model, device) -> None:
        if not distributed.is_sharded():  # weights that processes share don't let themselves be moved
            super()._move_model_to_device(model, device)

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        batches = [self._prepare_inputs(batch) for batch in batches]
        if self._rng_of is not None:  # Trainer takes it up after this, which is too late for what is computed here
            self._load_rng_state(self._rng_of)
        self.step_terms, self.step_metrics, self._metric_parts, self._finite = {}, {}, {}, True
        if self.before_step is not None:
            self.step_metrics |= self.before_step(batches, self.state.global_step) or {}
        self._count_own(batches, device)
        self.step_tokens = sum(self._tokens(batch) for batch in batches)
        if len(batches) > 1:
            self.model.train()
            # As in the second pass, where accelerate has wrapped the model's forward.
            with self.compute_loss_context_manager(), self.accelerator.autocast():
                terms, metrics = carry_gradients(self.model, batches)
            self._note({name: value / distributed.size() for name, value in terms.items()}, metrics)
        for batch in batches:
            batch["share"] = self._shares(len(batches))
        return batches, num_items

    def _shares(self, parts: int) -> dict[str, float]:
        """What objectives whose loss is no sum over tokens count for in each of a step's `parts` on each process."""
        processes = distributed.size()
        once = dict.fromkeys(self.model.coupled, 1.0 / processes)  # computed over all parts, on each process
        return once | dict.fromkeys(self.model.averaging, 1.0 / (parts * processes))

    def _count_own(self, batches: list[Batch], device) -> None:
        """Texts by the student have other tokens than those counted before they were written."""
        own = [batch["own"] for batch in batches if "own" in batch]
        if own:
            num_items = self._get_num_items_in_batch(own, device)
            for batch in own:
                batch["num_items"] = num_items

    def _tokens(self, batch: Batch) -> int:
        """Tokens the student reads of a micro-batch."""
        read = {id(texts): texts for o in self.model.objectives.values() for texts in (o.texts_of(batch),)}
        return sum(int(texts["attention_mask"].sum()) for texts in read.values())

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch: Tensor | int | None = None):
        rng = inputs.pop("rng", None)
        if rng is not None:
            set_rng_state(rng)
        result = model(**inputs, num_items=num_items_in_batch)
        self._note(result["terms"], result["metrics"])
        # Every term is this process's share of the whole step's; gradients are averaged over the processes.
        loss = result["loss"] * distributed.size()
        self._finite = self._finite and math.isfinite(loss.item())
        if not self._finite and distributed.size() == 1:  # else once all know, or the others would wait for this one
            raise NotANumberError(self.state.global_step + 1)
        return (loss, result) if return_outputs else loss

    def _note(self, terms: dict[str, Tensor], metrics: dict[str, float]) -> None:
        # A task term is its micro-batch's share of the step's mean, so shares add up; a coupled term comes once.
        for name, value in terms.items():
            self.step_terms[name] = self.step_terms.get(name, 0.0) + float(value)
        for name, value in metrics.items():  # the mean over the micro-batches that have it
            parts = self._metric_parts[name] = self._metric_parts.get(name, 0) + 1
            self.step_metrics[name] = self.step_metrics.get(name, 0.0) * (parts - 1) / parts + value / parts

    def _whole_step(self) -> bool:
        """Make what was noted that of all processes together; whether all losses are numbers."""
        own = (self.step_terms, self.step_metrics, self._metric_parts, self.step_tokens, self._finite)
        said = distributed.everyones(own)
        if len(said) == 1:
            return self._finite
        self.step_terms = {}
        shares: dict[str, list[tuple[float, int]]] = {}
        for terms, metrics, parts, _, _ in said:
            for name, value in terms.items():
                self.step_terms[name] = self.step_terms.get(name, 0.0) + value
            for name, value in metrics.items():
                shares.setdefault(name, []).append((value, parts.get(name, 1)))
        self.step_metrics = {
            name: sum(value * n for value, n in found) / sum(n for _, n in found) for name, found in shares.items()
        }
        self.step_tokens = sum(tokens for *_, tokens, _ in said)
        return all(finite for *_, finite in said)

    def _clip_grad_norm(self, model):
        if not self._whole_step():
            raise NotANumberError(self.state.global_step + 1)
        if self.is_distributed_loading_by_transformers:
            distributed.average_gradients([p for p in self.model.parameters() if p.requires_grad])
        # What only measures or only trains a gate is clipped apart: it must not slow the student down.
        apart = [p for o in self.model.objectives.values() for p in o.auxiliary_parameters()]
        inside = set(map(id, apart))
        rest = [p for p in model.parameters() if id(p) not in inside]
        norms = [self.accelerator.clip_grad_norm_(group, self.args.max_grad_norm) for group in (rest, apart) if group]
        if not all(math.isfinite(float(norm)) for norm in norms if norm is not None):
            raise NotANumberError(self.state.global_step + 1)
        self.grad_norm = float(norms[0])
        return norms[0]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """As saved, but with the rate and decay asked for now: a resume may edit the budget."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        rate = self.args.learning_rate
        self.lr_scheduler.base_lrs = [rate] * len(self.lr_scheduler.base_lrs)
        lrs = [rate * shape(self.lr_scheduler.last_epoch) for shape in self.lr_scheduler.lr_lambdas]
        self.lr_scheduler._last_lr = lrs
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            group["initial_lr"], group["lr"] = rate, lr
            group["weight_decay"] = self.args.weight_decay if group["weight_decay"] else 0.0
        self.state.save_steps = self.args.save_steps

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def _sync_replicated_trainable_parameters(self, model) -> None:
        """What is trained is whole on every process and begins alike; its gradients are averaged once a step."""

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.student.save_pretrained(folder)
        save_file(self.model.training_state(), folder / STATE_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        self.restore(Path(resume_from_checkpoint))
        self._rng_of = resume_from_checkpoint

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        self._rng_of = None

    def restore(self, checkpoint: Path) -> None:
        """Adapter, gate, heads and banks as they were saved in `checkpoint`."""
        load_adapter(self.model.student, checkpoint)
        self.model.load_training_state(load_file(checkpoint / STATE_FILE))

    def _get_output_dir(self, trial) -> str:
        return str(Path(self.args.output_dir) / "unfinished")

    def _save_checkpoint(self, model, trial) -> None:
        # Written aside and renamed, so that a kill at any moment leaves whole checkpoints only.
        unfinished = Path(self._get_output_dir(trial))
        distributed.by_main(lambda: shutil.rmtree(unfinished, ignore_errors=True))
        super()._save_checkpoint(model, trial)  # each process writes the state of its own random numbers
        distributed.wait()
        distributed.by_main(lambda: self._put_in_place(unfinished))

    def _put_in_place(self, unfinished: Path) -> None:
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        final = Path(self.args.output_dir) / name
        digests = {file.name: sha256_of(file) for file in sorted((unfinished / name).iterdir()) if file.is_file()}
        (unfinished / name / DIGESTS).write_text(json.dumps(digests, indent=1), encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        (unfinished / name).rename(final)
        shutil.rmtree(unfinished, ignore_errors=True)
        for old in checkpoints(Path(self.args.output_dir))[:-2]:
            shutil.rmtree(old, ignore_errors=True)


class NotANumberError(UserError):
    """The loss or its gradient at `step` is not a number; no update was made with it."""

    def __init__(self, step: int):
        super().__init__(f"The loss was not a number at step {step}")
        self.step = step


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in `folder`, oldest first."""
    found = folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    return sorted(found, key=lambda path: int(path.name.rsplit("-", 1)[1]))


def is_whole(checkpoint: Path) -> bool:
    """Whether all its files are as they were saved; of an older one, which has no digests, whether they can be read."""
    try:
        digests = json.loads((checkpoint / DIGESTS).read_text(encoding="utf-8"))
        return all(sha256_of(checkpoint / name) == digest for name, digest in digests.items())
    except FileNotFoundError as error:
        return Path(error.filename).name == DIGESTS and _is_readable(checkpoint)
    except (OSError, ValueError, AttributeError):
        return False


def _is_readable(checkpoint: Path) -> bool:
    files = {file.name: file for file in checkpoint.iterdir()}
    needed = [WEIGHTS, STATE_FILE, TRAINER_STATE_NAME]
    if any(name not in files for name in needed) or not any(name.startswith("optimizer") for name in files):
        return False
    try:
        for name, file in files.items():
            if name.endswith(".safetensors"):
                load_file(file)
            elif name.endswith(".json"):
                json.loads(file.read_text(encoding="utf-8"))
            elif name.endswith((".pt", ".pth")):  # torch writes zip files, whose parts have checksums
                with zipfile.ZipFile(file) as parts:
                    if parts.testzip():
                        return False
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile):
        return False
    return True


def set_aside(folder: Path) -> list[str]:
    """Rename the newest checkpoints in `folder` up to the first that is whole, so that nothing goes on from them; their
    names."""
    damaged = []
    for checkpoint in reversed(checkpoints(folder)):
        if is_whole(checkpoint):
            break
        aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.rename(aside)
        damaged.append(checkpoint.name)
    return damaged


def processes_of(checkpoint: Path) -> int:
    """How many processes saved it."""
    return max(1, len(list(checkpoint.glob("rng_state_*.pth"))))


def training_arguments(
    budget: BudgetConfig, folder: Path, hardware: Machine, seed: int, *, steps: int | None = None
) -> TrainingArguments:
    """Our budget in the library's words; `steps`: in all, where it gives epochs."""
    steps = budget.steps if steps is None else steps
    batch_size, accumulation = distributed.shares(budget.batch_size, budget.accumulation)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        learning_rate=budget.learning_rate,
        lr_scheduler_type={"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}[budget.schedule],
        warmup_steps=round(budget.warmup * steps),
        weight_decay=budget.weight_decay,
        max_grad_norm=budget.max_grad_norm or math.inf,  # 0: no clipping, but the norm is still looked at
        save_strategy="steps",
        save_steps=budget.save_every,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=[],  # see trackers.py
        run_name=folder.parent.name,
        project=PROJECT,
        remove_unused_columns=False,
        dataloader_drop_last=True,  # a short last batch would be a geometry batch of another size
        dataloader_pin_memory=hardware.device == "cuda",
        bf16=hardware.dtype == "bfloat16",
        use_cpu=hardware.device == "cpu",
        seed=seed,
        data_seed=seed,
        disable_tqdm=True,
        eval_strategy="no",
    )
    # One process trains on one GPU: of several, torch's DataParallel would split batches behind the objectives' backs.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
