"""One run, start to report: problems, "before", the teachers' signals, training, "after".

Each stage leaves what it found in the run's folder, so that a run that was stopped or killed goes on where it was:
answers batch by batch, signals in the bank, steps in checkpoints/, seconds in seconds.json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

from distill.config.errors import Stopped, UserError
from distill.config.messages import listed
from distill.config.run_config import RunConfig
from distill.data.problems import Problem
from distill.data.sources import problems_for
from distill.data.tables import Row
from distill.evaluation.answering import answer_problems
from distill.evaluation.answers_file import Answers
from distill.evaluation.ceiling import ask_teachers as ask_ceiling
from distill.evaluation.during import during, evaluated
from distill.models import distributed
from distill.models.generation import Sitting, end_also_at
from distill.models.hardware import Machine, visible_gpus
from distill.models.sharding import spread as spread_weights
from distill.models.student import cautions, load_adapter, load_student, save_adapter
from distill.runs import events
from distill.runs.events import EventWriter, Status, Warning, latest_by_step, read
from distill.runs.inputs import check_rows
from distill.runs.preflight import check_pairs
from distill.teachers.ask import Asking
from distill.training.callbacks import EpochKeeper, MemoryKeeper, Reporter
from distill.training.dataset import TrainingSet
from distill.training.prepare import Preparation
from distill.training.probe import Probe, Reading
from distill.training.progress import Clock, RunReporter
from distill.training.trackers import Trackers
from distill.training.trainer import (
    DistillTrainer,
    NotANumberError,
    checkpoints,
    processes_of,
    set_aside,
    training_arguments,
)


class Pipeline:
    """Carries out `config` in `folder`. `should_stop()` is asked at every safe point; then `Stopped` is raised."""

    def __init__(
        self, folder: Path, config: RunConfig, hardware: Machine, writer: EventWriter, should_stop: Callable[[], bool]
    ):
        self.folder = folder
        self.config = config
        self.hardware = hardware
        self.writer = writer
        self.should_stop = should_stop
        self.checkpoints = folder / "checkpoints"
        self.answers = Answers.load(folder / "answers.json")
        self.answers.keeps = distributed.is_main()
        self.clock = Clock(folder)
        self.reporter = RunReporter(writer, read(folder / "events.jsonl")[0])
        self.keeps_model_on_failure = False
        self.callbacks = []  # more of transformers' TrainerCallbacks, for whoever watches closer
        self.steps = config.budget.steps  # in all; where epochs are asked for, known once the texts are
        self.student = self.tokenizer = self.preparation = self.distiller = self.trainer = None

    # --- stages ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """All stages that are not done yet."""
        self.reporter.say("preparing")
        with self.clock.timed("prepare"):
            self.load()
        self.evaluate("before")
        with self.clock.timed("signals"):
            train, probe = self.ask_teachers()
        with self.clock.timed("evaluate"):
            ask_ceiling(self.preparation.asking, self.problems["held_out"], self.folder)
        with self.clock.timed("prepare"):
            self.build(train, probe)
        self.reporter.say("training")
        with self.clock.timed("train"):
            self.train(train, probe)
        self.reporter.say("evaluating")
        self.evaluate("after")

    def load(self) -> None:
        """Draw the problems and load the student."""
        self.reporter.stage("load", "loading the student", 0, 1)
        self.pairs = check_pairs(self.config, self.reporter.warn)
        tables: list[tuple[str, Sequence[Row]]] = []
        self.problems = problems_for(self.config, self.reporter.warn, on_rows=lambda *table: tables.append(table))
        for table, rows in tables:  # of which the problems could be drawn: others may be corrected
            check_rows(self.folder, self.config.data, table, rows, distributed.is_main(), self.reporter.warn)
        config = self.config
        sharded, hardware = distributed.is_sharded(), self.hardware
        self.student, self.tokenizer = load_student(
            config.student,
            config.lora,
            replace(hardware, device="cpu") if sharded else hardware,
            config.seed,
            config.budget.gradient_checkpointing,
        )
        if sharded:
            spread_weights(self.student, hardware.device, config.student.name)
        if (gpus := visible_gpus(hardware)) > 1 and distributed.size() == 1:
            self.reporter.warn(
                "gpus_unused",
                f"{gpus} GPUs are visible, but only one is used: accelerate launch -m distill.training.worker "
                f"{self.folder} trains on all.",
            )
        for code, text in cautions(self.student, config.lora, self.hardware):
            self.reporter.warn(code, text)
        end_also_at(self.student, self.tokenizer, [p.teacher_end for p in self.pairs.values() if p.same_tokenizer])
        self.reporter.stage("load", "the student is loaded", 1, 1)

    def evaluate(self, phase: str) -> None:
        """Have the student answer the held-out problems, unless it has in this phase."""
        if not self.answers.has(phase):
            asked = self.problems["held_out"] + self.problems["new_phrasing"]
            text = f"the student is answering problems, {phase} training"
            with self.clock.timed("evaluate"), self._weights(phase):
                answers = self._answer(asked, self.reporter.progress(f"evaluate-{phase}", text), phase)
            self.answers.put(phase, answers)
        for split, score in self.answers.scores(phase).items():
            self.writer.write(evaluated(phase, split, 0 if phase == "before" else self.steps, score))

    def ask_teachers(self) -> tuple[TrainingSet, TrainingSet]:
        """Ask the teachers, one after another: about the training and probe texts, and before that for answers."""
        # Of several processes one asks the teachers, and so it is the one that may be asked to stop meanwhile.
        stop = self.should_stop if distributed.is_main() else (lambda: False)
        asking = Asking(self.config, self.hardware, self.reporter.progress, self.reporter.warn, stop)
        self.preparation = Preparation(asking, self.student, self.tokenizer, self.problems, self.families, self.pairs)
        return self.preparation.gather()

    def build(self, train: TrainingSet, probe: TrainingSet) -> None:
        """Make the objectives, and join them with the student."""
        self.distiller = self.preparation.join(train, probe)

    def train(self, train: TrainingSet, probe_texts: TrainingSet) -> None:
        """Train from the last checkpoint, or from the start. Raises `Stopped` when stopped, with all saved."""
        config = self.config
        train = self._whole_windows(train)
        self.steps = config.budget.total(len(train))
        geometry = self.distiller.coupled.get("geometry")
        looks = geometry or (self.preparation.observer(probe_texts) if probe_texts.signals else None)
        said, _ = read(self.folder / "events.jsonl")
        distributed.by_main(self._skip_damaged)
        last = self._last_checkpoint()
        reached = _step_of(last) if last else 0
        earlier = _readings(said, reached) if last else []
        probe = looks and Probe(probe_texts, looks, self.families, trained=geometry is not None, readings=earlier)
        warned = {e.code for e in said if isinstance(e, Warning)}
        callback = Reporter(
            self.writer, self.should_stop, probe, config.probe.every, self._ask_during, warned, bool(config.report_to)
        )
        trainer = self.trainer = DistillTrainer(
            self.distiller,
            before_step=self.preparation.before_step(self.distiller),
            args=training_arguments(config.budget, self.checkpoints, self.hardware, config.seed, steps=self.steps),
            train_dataset=train,
            data_collator=train.collate,
            callbacks=[
                # They open before the first number comes.
                Trackers(config.report_to, self.folder, reached, self.reporter.warn),
                callback,
                *self._epoch_keeper(),
                MemoryKeeper(),
                *self.callbacks,
            ],
        )
        callback.trainer = trainer
        if last is not None:
            self.writer.write(Status(state="training", resumed_from=reached))
            if (saved := processes_of(last)) != distributed.size():
                self.reporter.warn(
                    "processes_changed",
                    f"The number of processes was {saved} up to step {reached} and is {distributed.size()} now: what "
                    "is drawn at random from here on, such as dropout, is drawn anew.",
                )
        if reached >= self.steps:
            trainer.restore(last)
            return
        self.answers.drop("after")
        try:
            trainer.train(resume_from_checkpoint=str(last) if last else None)
        except NotANumberError as error:
            raise UserError(self._not_a_number(error)) from error
        if trainer.state.global_step < self.steps:
            raise Stopped

    def _whole_windows(self, train: TrainingSet) -> TrainingSet:
        """As many texts as whole steps use: a shorter last step would be a geometry batch of another size."""
        window = self.config.budget.batch_size * self.config.budget.accumulation
        whole = len(train) // window * window
        if not whole:
            raise UserError(
                f"There are {len(train)} training texts, fewer than one step of {self.config.budget.batch_size} x "
                f"{self.config.budget.accumulation}: raise data.train or lower budget.batch_size."
            )
        if whole < len(train):
            of = f"{len(train) - whole} of {len(train)} training texts are unused"
            self.reporter.warn("texts_unused", f"{of}: a step takes {window}.")
        return replace(train, examples=train.examples[:whole])

    def _epoch_keeper(self) -> list[EpochKeeper]:
        """What keeps the adapter at the end of each epoch, where they are asked for."""
        epochs = self.config.budget.epochs
        if epochs is None:
            return []

        def keep(folder: Path) -> None:
            save_adapter(self.student, self.tokenizer, self.config.student, folder)

        return [EpochKeeper(self.folder / "epochs", self.steps // epochs, keep)]

    def _skip_damaged(self) -> None:
        """Go on from the newest checkpoint that is whole, and say so where that isn't the newest."""
        damaged = set_aside(self.checkpoints)
        if damaged:
            last = self._last_checkpoint()
            then = f"training goes on from {last.name}" if last else "training begins anew"
            whose = f"{listed(damaged)} {'is' if len(damaged) == 1 else 'are'} damaged"
            self.reporter.warn("checkpoint_damaged", f"{whose} and set aside: {then}.")

    def _last_checkpoint(self) -> Path | None:
        return next(reversed(checkpoints(self.checkpoints)), None)

    # --- while it goes on --------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> dict[str, float]:
        """How long each part has taken (s), and "total"; see `Clock`."""
        return self.clock.seconds

    @property
    def families(self) -> list[str]:
        return sorted({problem.family for problems in self.problems.values() for problem in problems})

    def _answer(self, problems: list[Problem], on_progress: Callable | None = None, phase: str | None = None) -> list:
        """The student's answers; of a `phase`, those of earlier sittings are not written again."""
        evaluation = self.config.evaluation
        sitting = Sitting(
            on_progress,
            self.should_stop if on_progress else None,  # what is asked during a step never breaks it off
            self.answers.kept(phase, problems) if phase else {},
            partial(self.answers.keep, phase, problems) if phase else None,
        )
        limits = evaluation.max_new_tokens, evaluation.batch_size
        return answer_problems(self.student, self.tokenizer, problems, *limits, sitting)

    def _ask_during(self, step: int) -> list[events.Event]:
        """Have the student answer the samples and the validation problems that are counted."""
        questions = during(self.config.data, self.config.probe, self.problems["validation"])
        return questions.events(step, self._answer(questions.problems))

    @contextmanager
    def _weights(self, phase: str) -> Iterator[None]:
        """ "Before" is this very model with its adapter off."""
        if phase == "before":
            with self.student.disable_adapter():
                yield
        else:
            yield

    def _not_a_number(self, error: NotANumberError) -> str:
        good = self._last_checkpoint()
        kept = "no checkpoint had been saved yet"
        if good is not None:
            load_adapter(self.student, good)
            self.keeps_model_on_failure = True
            kept = f"the last good checkpoint, {good.name}, is kept and its adapter is in adapter/"
        rate = self.config.budget.learning_rate
        return f"{error}; {kept}: lower budget.learning_rate (now {rate:g}) and resume, or start again."


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])


def _readings(said: list[events.Event], reached: int) -> list[Reading]:
    """What the probe read in earlier sittings, up to the step that this one goes on from."""
    names = [field.name for field in fields(Reading)]
    probes = [probe for probe in latest_by_step(said, events.Probe) if probe.step <= reached]
    return [Reading(**{name: getattr(probe, name) for name in names}) for probe in probes]
