"""What a training step of a real model costs: `python benchmarks/real_step.py`.

SmolLM2-135M with LoRA on GSM8K's solutions, cross-entropy alone: seconds a step and peak memory of ours over those of
TRL's SFTTrainer doing the same: the same texts, labels, batches, order, adapter and optimiser; the losses of all steps
are compared, so that it is the same (goals: time <= 1.05, memory <= 1.0). All is in float32: in bfloat16 TRL rounds the
logits, and we do not. And ours with geometry and ALM from two real teachers, whose signals are in the bank, over ours
without (goal: <= 1.25); and, on a CPU with AMX, ours in bfloat16 over ours in float32. Steps are timed in turns in one
process, one step of each a round; memory is the peak of a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from transformers import TrainerCallback

from benchmarks.common import in_turns, prepared, report
from benchmarks.real_models import GEMMA, QWEN, SMOLLM2, parser, require
from distill.models.hardware import has_amx

BATCH, ROUNDS, WARM_UP = 4, 11, 2  # of eight, all sides together need more than 24 GB
STEPS = ROUNDS + WARM_UP
MODES = ("ours", "trl", "teachers", *(["bfloat16"] if has_amx() else []))


class Turns(TrainerCallback):
    """Makes a trainer wait before each step, so that several can take turns; `step()` lets it do one."""

    def __init__(self, train) -> None:
        self.losses: list[float] = []
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(train,), daemon=True)

    def _run(self, train) -> None:
        try:
            train()
        except BaseException as error:  # whoever waits for a step must hear of it
            self._error = error
            self._done.release()

    def on_step_begin(self, args, state, control, **kwargs):
        self._go.acquire()

    def on_step_end(self, args, state, control, **kwargs):
        self._done.release()

    def step(self) -> None:
        if not self._thread.ident:
            self._thread.start()
        self._go.release()
        self._done.acquire()
        if self._error:
            raise self._error

    def finish(self) -> None:
        """Wait until the trainer has put its things away: a process that ends before it aborts."""
        self._thread.join()


def main() -> None:
    asked = parser(__doc__)
    asked.add_argument("--memory", choices=MODES, help="print the peak memory of one side, and leave")
    options = asked.parse_args()
    require(*(options.models / name for name in (SMOLLM2, GEMMA, QWEN)), options.gsm8k)
    if options.memory:
        print(json.dumps(_peak(options.memory, options)))
        return
    with tempfile.TemporaryDirectory() as home:
        os.environ["DISTILL_HOME"] = home
        turns = {mode: _turns(mode, options) for mode in MODES}
        seconds = in_turns({mode: one.step for mode, one in turns.items()}, ROUNDS, WARM_UP)
        for one in turns.values():
            one.finish()
        apart = max(abs(a - b) for a, b in zip(turns["ours"].losses, turns["trl"].losses, strict=True))
        if apart > 1e-3:
            sys.exit(f"ours and TRL's do not do the same: their losses are up to {apart:.2g} apart")
        peaks = {mode: _peak_of_child(mode, home, options) for mode in MODES}
    report(
        "real_step",
        time_ratio=round(seconds["ours"] / seconds["trl"], 3),
        time_goal=1.05,
        memory_ratio=round(peaks["ours"]["peak_mb"] / peaks["trl"]["peak_mb"], 3),
        memory_goal=1.0,
        teachers_ratio=round(seconds["teachers"] / seconds["ours"], 3),
        teachers_goal=1.25,
        **({"bfloat16_ratio": round(seconds["bfloat16"] / seconds["ours"], 3)} if "bfloat16" in seconds else {}),
        seconds_per_step={mode: round(value, 3) for mode, value in seconds.items()},
        memory_mb=peaks,
        losses_apart=float(f"{apart:.1e}"),
        texts_a_step=BATCH,
        rounds=ROUNDS,
    )


def _turns(mode: str, options) -> Turns:
    torch.set_num_threads(os.cpu_count() or 1)
    pipeline, train, probe = _ours(options, mode == "teachers", "bfloat16" if mode == "bfloat16" else "float32")
    if mode == "trl":
        trainer = _trl(pipeline, train)
        turns = Turns(trainer.train)
        trainer.add_callback(turns)
        _note_losses(trainer, turns)
        return turns
    turns = Turns(lambda: pipeline.train(train, probe))
    pipeline.callbacks += [turns, _OurLosses(pipeline, turns)]
    return turns


def _ours(options, with_teachers: bool, dtype: str):
    """A run that is ready to train; without teachers, it asks none."""
    objectives = [{"kind": "task"}]
    teachers = [str(options.models / name) for name in (QWEN, GEMMA)] if with_teachers else []
    if with_teachers:
        objectives += [{"kind": "geometry"}, {"kind": "cross_tokenizer"}]
    data = {"source": "file", "path": str(options.gsm8k), "train": STEPS * BATCH, "held_out": 4}
    settings = {
        "student": str(options.models / SMOLLM2),
        "teachers": teachers,
        "objectives": objectives,
        "data": {**data, "validation": 0, "columns": {"solution": "answer"}},
        "lora": {"r": 16, "alpha": 32},
        "budget": {"steps": STEPS, "batch_size": BATCH, "learning_rate": 5e-4, "max_length": 512, "save_every": 10_000}
        | {"teacher_batch_size": 8},
        "probe": {"texts": 4, "every": 10_000, "samples": 0, "problems": 0},
    }
    file = Path(tempfile.mkdtemp(prefix="benchmark-")) / "real.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML too
    return prepared(str(file), dtype=dtype)


def _trl(pipeline, train):
    """SFTTrainer on the same student, tokens and labels, in the same order."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from distill.training.trainer import training_arguments

    rows = [{"input_ids": e.input_ids, "labels": e.labels} for e in train.examples]
    ours = training_arguments(pipeline.config.budget, pipeline.checkpoints, pipeline.hardware, pipeline.config.seed)
    same = ("max_steps", "per_device_train_batch_size", "learning_rate", "lr_scheduler_type", "warmup_steps", "seed")
    same += ("max_grad_norm", "weight_decay", "data_seed", "use_cpu", "output_dir", "gradient_accumulation_steps")
    args = SFTConfig(
        **{name: getattr(ours, name) for name in same},
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    return SFTTrainer(
        model=pipeline.student, args=args, train_dataset=Dataset.from_list(rows), processing_class=pipeline.tokenizer
    )


class _OurLosses(TrainerCallback):
    def __init__(self, pipeline, turns: Turns):
        self.pipeline, self.turns = pipeline, turns

    def on_step_end(self, args, state, control, **kwargs):
        self.turns.losses.append(self.pipeline.trainer.step_terms["task"])


def _note_losses(trainer, turns: Turns) -> None:
    compute = trainer.compute_loss

    def noted(*args, **kwargs):
        result = compute(*args, **kwargs)
        turns.losses.append(float(result[0] if isinstance(result, tuple) else result))
        return result

    trainer.compute_loss = noted


def _peak(mode: str, options) -> dict[str, int]:
    """MiB: the peak of this process, and what it held before the first step."""
    from distill.models.hardware import memory_mb, peak_rss_mb

    turns = _turns(mode, options)
    loaded = memory_mb()
    for _ in range(STEPS):
        turns.step()
    turns.finish()
    return {"peak_mb": round(peak_rss_mb()), "loaded_mb": round(loaded)}


def _peak_of_child(mode: str, home: str, options) -> dict[str, int]:
    command = [sys.executable, __file__, "--memory", mode, "--models", str(options.models)]
    command += ["--gsm8k", str(options.gsm8k)]
    done = subprocess.run(command, env={**os.environ, "DISTILL_HOME": home}, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
