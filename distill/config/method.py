"""What every method of distillation is: settings and their words, what it needs of teachers, which pairs it can have.

A method is one file in objectives/ and one entry in `distill.objectives.METHODS`: a class of settings (here is its
base) and the loss that they ask for. Config, command line, page, pre-flight and estimates ask the class. Nothing here,
and nothing that is read when such a file is imported, may need torch: pages and commands start without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field

from distill.config.messages import listed
from distill.config.settings import Count, Name, Settings, Weight, among, setting

Temperature = Annotated[float, Field(gt=0, le=100)]
TopK = Annotated[int, Field(ge=1, le=4096)]
Names = Annotated[list[Name], Field(min_length=1)] | None


@dataclass(frozen=True)
class Rollout:
    """How the student answers problems itself while it trains: in what share of the steps, how freely, how long."""

    share: float
    temperature: float
    max_new_tokens: int


def weight_setting(default: float = 1.0) -> Any:
    """The setting that says how much a method counts beside the others."""
    return setting(default, "Weight of {short}", "How much this counts relative to the other methods.")


class Method(Settings):
    """One method's settings, and what everybody else must know of it.

    Words of the class: `title` and `help` of its switch on the page; `name`, what it is called in a few words ("the
    teachers' answers" without the article); `noun`, what it takes from teachers ("answers"); `short`, the same with its
    article; `takes`, in Insight: what the student learns of its teachers. `distance`: where it has a loss with each
    teacher, (title, meaning) of their curves.
    """

    kind: str
    weight: Weight = weight_setting()

    title: ClassVar[str]
    help: ClassVar[str]
    name: ClassVar[str]
    noun: ClassVar[str] = ""
    short: ClassVar[str]
    takes: ClassVar[str] = ""
    distance: ClassVar[tuple[str, str] | None] = None

    needs_teachers: ClassVar[bool] = True
    same_tokenizer: ClassVar[bool] = False  # compares two distributions over one vocabulary, token by token
    by_character: ClassVar[bool] = False  # compares pieces of text that end at the same character
    compares_texts: ClassVar[bool] = False  # wants the texts of a probe: states are compared, not tokens
    teaches_ends: ClassVar[bool] = False  # the student learns from it where an answer ends

    @classmethod
    def of_kind(cls) -> str:
        """Its `kind`, of the class."""
        return get_args(cls.model_fields["kind"].annotation)[0]

    @classmethod
    def called(cls) -> str:
        """ "teachers' probabilities (logits)"."""
        return f"{cls.name} ({cls.of_kind()})"

    # --- what it needs of teachers -----------------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        """Whether its teachers stay loaded while the student trains."""
        return False

    @property
    def lists(self) -> int:
        """How many of the likeliest tokens its teachers list at each place of a text."""
        return 0

    @property
    def layers_kept(self) -> int:
        """Of how many of a teacher's layers the hidden states are kept."""
        return 0

    @property
    def answers(self) -> Method | None:
        """How it wants the teachers to answer the training problems (a ResponseConfig); None: not at all."""
        return None

    @property
    def rollout(self) -> Rollout | None:
        """How the student answers problems itself while it trains; None: it doesn't."""
        return None

    def signals(self, teachers: int) -> frozenset[str]:
        """What it wants to know from each of so many teachers before training (`teachers.signals.Request.needs`)."""
        return frozenset()

    # --- what it can be combined with ---------------------------------------------------------------------------------

    def check(self, config: Any) -> None:
        """Raise `fault` where the rest of the run (a RunConfig) does not suit it."""

    def check_processes(self, processes: int, batch_size: int, config: Any) -> str | None:
        """Why it would not be the same on so many processes, each reading `batch_size` texts at once; None: it is."""
        return None

    def advice(self, same: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(code, sentence) of what should be known, `same` being those of its teachers with the student's tokenizer."""
        yield from ()

    # --- how it is carried out, and said --------------------------------------------------------------------------

    def build(self, models: Any) -> Any:
        """The objective, of `models` (objectives.base.Models)."""
        raise NotImplementedError(f"{type(self).__name__} has no loss: write its build().")

    def trained(self, student_width: int, teacher_widths: Mapping[str, int]) -> int:
        """How many numbers it trains beside the student's adapter."""
        return 0

    def describe(self) -> Iterable[str]:
        """How it is set, a few words each: "forward KL", "temperature 2"."""
        return ()


def _tau(label: str, *kinds: str, rare: bool = False) -> Any:
    text = "In bits per byte. Small: only the most confident teacher counts. Large: all count the same."
    return setting(0.1, label, text, when=among("kind", *kinds), rare=rare, gt=0, le=100)


def _epsilon(label: str, *kinds: str) -> Any:
    text = "Ensures that every teacher always counts a little."
    return setting(0.2, label, text, when=among("kind", *kinds), rare=True, ge=0, le=1)


class GateConfig(Settings):
    """How much each teacher counts for each problem (docs/methods.md). `every`: steps between meta's measurements."""

    bare = "kind"
    kind: Literal["uniform", "learned", "prior", "meta"] = setting(
        "prior",
        "Teacher weights (gate)",
        "For every problem the gate gives each teacher a weight.",
        {
            "uniform": "uniform: all teachers count the same",
            "prior": "prior: by how likely each teacher finds the text",
            "learned": "learned: whatever lowers the loss; tends to settle on one teacher",
            "meta": "meta: like prior, shifted towards teachers that helped with validation problems",
        },
    )
    tau: float = _tau("Sharpness of the gate (tau)", "prior", "meta")
    epsilon: float = _epsilon("Weight always spread evenly (epsilon)", "prior", "meta")
    balance: Annotated[float, Field(ge=0, le=100)] | None = setting(
        None,  # 0.5 for meta, 0 for learned, as on the card
        "Penalty for relying on few teachers",
        "Only for a trained gate. If blank: 0.5 for meta, 0 for learned.",
        when=among("kind", "learned", "meta"),
        rare=True,
    )
    every: Count = setting(
        50,
        "Measure benefit every N steps",
        "How often meta measures which teachers help.",
        when=among("kind", "meta"),
        rare=True,
    )


class SharesConfig(Settings):
    """How much each teacher counts for each problem, where no gate is trained: as GateConfig, without what learns."""

    bare = "kind"
    kind: Literal["uniform", "prior"] = setting(
        "prior",
        "Teacher weights for {noun} (gate)",
        "For every text each teacher gets a weight. With one teacher it makes no difference.",
        {
            "uniform": "uniform: all teachers count the same",
            "prior": "prior: by how likely each teacher finds the text",
        },
    )
    tau: float = _tau("Sharpness of the gate for {noun} (tau)", "prior", rare=True)
    epsilon: float = _epsilon("Weight always spread evenly for {noun} (epsilon)", "prior")


def gate_setting(default: Any, **more: Any) -> Any:
    """The setting that says how a method weighs its teachers."""
    text = "How much each teacher counts for each text. A bare kind stands for `{kind: KIND}`."
    return setting(default, "Gate", text, **more)


def teachers_setting(rare: bool = False) -> Any:
    """The setting that says which of the run's teachers a method listens to."""
    text = "If blank: all of the run's teachers."
    return setting(None, "Teachers used for {noun}", text, rare=rare, widget="teachers")


class Listening(Method):
    """What the methods share that listen to several teachers token by token."""

    teachers: Names = teachers_setting(rare=True)
    gate: SharesConfig = gate_setting(SharesConfig())

    def signals(self, teachers: int) -> frozenset[str]:
        """`said`, and how likely each teacher finds the texts, where that decides how much it counts."""
        return self.said() | ({"nll_per_byte"} if self.gate.kind == "prior" and teachers > 1 else set())

    def said(self) -> frozenset[str]:
        """What it wants to know from a teacher, whatever the gate."""
        return frozenset()


def describe(method: Method, teachers: Sequence[str]) -> str:
    """How a method is set, "forward KL, temperature 2, ..."; "" where nothing can be set but the weight.

    `teachers`: the run's. With several, who counts for what is said too; with fewer than all, which.
    """
    if not method.needs_teachers:
        return ", ".join(method.describe())
    heard, gate = method.teachers or teachers, getattr(method, "gate", None)
    share = [f"{gate.kind} gate"] if gate and len(heard) > 1 else []
    fewer = [f"of {listed(heard)}"] if len(heard) < len(teachers) else []
    return ", ".join([*method.describe(), *share, *fewer])


def described(method: Method, teachers: Sequence[str]) -> str:
    """A method with all that was set: name, weight and settings."""
    more = describe(method, teachers)
    return f"{method.called()}, weight {method.weight:g}{': ' if more else ''}{more}"
