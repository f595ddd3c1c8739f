"""Before anything is loaded: can these methods be had with these teachers, and is there room for the models at all?

`check_pairs` reads tokenizers alone and is for the worker; `foreseen` reads nothing but digests of files, has a process
of its own try data sets of reasoning-gym, and is for whoever fills in settings. They refuse in the same words.
`check_room` refuses only what cannot be: a run whose weights fit may still need more, which estimate.py says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill.config.errors import ConfigError, UserError
from distill.config.messages import listed
from distill.config.method import Method
from distill.config.requirements import continues, demand, heard
from distill.config.run_config import ModelRef, RunConfig, teachers_of
from distill.config.settings import missing_trackers
from distill.data.reader import gym_characters
from distill.models.abilities import cannot_continue, say_beyond
from distill.models.distributed import processes_here
from distill.models.hardware import Machine, free_disk_mb
from distill.models.hub_lookup import look_up
from distill.models.metadata import ModelFacts, describe_model, same_tokenizer
from distill.models.references import lower, model_path
from distill.runs import memory_model
from distill.runs.memory_model import GIB
from distill.runs.time_model import weight_bytes

if TYPE_CHECKING:  # transformers: a page that asks what is foreseen must not wait for it
    from distill.models.tokenizer_compat import Pair, Reader

_AT_ONCE = 8  # models that are looked up at a time


# --- can these methods be had with these teachers? -------------------------------------------------------------------


def check_pairs(config: RunConfig, warn: Callable[[str, str], None]) -> dict[str, Pair]:
    """{teacher: what matters of it beside the student}, for every teacher that some method listens to.

    Tokenizers are loaded (the student's whoever teaches it), one teacher's at a time, and config.json is read; weights
    are not. `warn(code, sentence)` is told of what works and should be known. Raises ConfigError, one sentence: where a
    method does not work, naming it, the teachers, why, and what would work; where a tokenizer makes tokens that the
    weights lack. Raises UserError where a tokenizer can't be loaded, knows no end, or has a template that holds no
    question.
    """
    from distill.models.tokenizer_compat import pair

    student = _reader(config.student, "student")
    _ = student.end, student.prompts  # raise what never ends, or can't be asked
    wanted = {teacher.name for objective in config.objectives for teacher in teachers_of(objective, config)}
    if not wanted:
        return {}
    pairs, seen = {}, {}
    for teacher in config.teachers:
        if teacher.name in wanted:
            reader = _reader(teacher, "teacher")
            pairs[teacher.name], seen[teacher.name] = pair(student, reader), _Seen.of(reader)
    for objective in config.objectives:
        _refuse(objective, {teacher.name: pairs[teacher.name] for teacher in teachers_of(objective, config)})
    for code, sentence in _warnings(config, pairs, _Seen.of(student), seen):
        warn(code, sentence)
    return pairs


def foreseen(config: RunConfig) -> list[str]:
    """What `check_pairs` will refuse as far as files tell, in sentences that begin with the method's setting; and data
    sets that reasoning-gym lacks or that can't be judged.

    Raises ConfigError where a reference means no model.
    """
    found = [missing_trackers(config.report_to)] if missing_trackers(config.report_to) else []
    for objective in config.objectives:
        if objective.same_tokenizer:
            same = {t.name: same_tokenizer(config.student, t) for t in teachers_of(objective, config)}
            if False in same.values():
                found.append(_other_tokenizer(objective.kind, same))
    if config.data.source == "reasoning_gym":
        try:
            list(map(gym_characters, config.data.families))
        except UserError as error:  # the first will do: a ConfigError, or that it is not installed
            found.append(str(error))
    return found


def refuse_foreseen(config: RunConfig) -> None:
    """Raise ConfigError with the first thing `foreseen`, so that no run is made that could not begin."""
    for sentence in foreseen(config):
        raise ConfigError(sentence)


@dataclass(frozen=True)
class _Seen:
    """What is kept of a model when its tokenizer is let go; `width`: the larger of its logits and its tokens."""

    has_template: bool
    pad_is_end: bool
    width: int

    @classmethod
    def of(cls, reader: Reader) -> _Seen:
        return cls(reader.has_template, reader.pad_is_end, max(reader.logits or 0, len(reader.tokens)))


def _reader(ref: ModelRef, role: str) -> Reader:
    """Raises ConfigError where the tokenizer makes tokens that the weights lack."""
    from distill.models.loading import load_tokenizer
    from distill.models.tokenizer_compat import Reader

    tokenizer = load_tokenizer(model_path(ref), ref.revision, ref.name)
    reader = Reader(tokenizer, describe_model(ref).vocabulary)
    ids = {index: token for index, token in enumerate(reader.tokens) if token is not None}
    if reader.logits is not None and (beyond := say_beyond(ids, reader.logits, tokenizer.special_tokens_map)):
        raise ConfigError(f"The {role} {ref.name!r} can't be used: {ref.model} {beyond}")
    return reader


# --- what is refused -------------------------------------------------------------------------------------------------


def _refuse(objective: Method, pairs: dict[str, Pair]) -> None:
    """Raises ConfigError where `objective` does not work with one of its teachers."""
    kind, others = objective.kind, {name: pair for name, pair in pairs.items() if not pair.same_tokenizer}
    if objective.same_tokenizer and others:
        first = next(iter(others.values()))
        lined_up = not any(pair.round_trip for pair in others.values())
        same = {name: pair.same_tokenizer for name, pair in pairs.items()}
        raise ConfigError(_other_tokenizer(kind, same, first.difference, lined_up))
    changed = next((name for name, pair in others.items() if pair.round_trip), None)
    if objective.by_character and changed is not None:
        raise ConfigError(
            f"objectives.{kind} lines up tokens by the characters they stand for, which can't be done with the teacher "
            f"{changed!r}, for {others[changed].round_trip}: use objectives.response or objectives.geometry."
        )


def _other_tokenizer(kind: str, same: dict[str, bool | None], why: str | None = None, lined_up: bool = True) -> str:
    """Why `kind` does not work. `same`: {teacher: whether it has the student's tokenizer}; `why` of the first that has
    not; `lined_up`: across tokenizers it could be done."""
    others, own = ([name for name, is_same in same.items() if is_same is wanted] for wanted in (False, True))
    use = "objectives.cross_tokenizer or objectives.response" if lined_up else "objectives.response"
    if own:
        use += f", or name only teachers with the student's tokenizer in objectives.{kind}.teachers ({_names(own)})"
    lack = "has another tokenizer" if len(others) == 1 else "have other tokenizers"
    reason = f" ({why})" if why else ""
    return (
        f"objectives.{kind} compares token by token, but {_names(others)} {lack} than the student{reason}: use {use}."
    )


# --- what should be known --------------------------------------------------------------------------------------------


def _warnings(
    config: RunConfig, pairs: dict[str, Pair], student: _Seen, seen: dict[str, _Seen]
) -> Iterator[tuple[str, str]]:
    """(code, sentence) of each, the teachers it is about together in one."""

    def listens(*which: str) -> list[str]:
        """The teachers of the methods of which one of these holds."""
        methods = [one for one in config.objectives if any(getattr(one, flag) for flag in which)]
        found = {t.name for one in methods for t in teachers_of(one, config)}
        return [name for name in pairs if name in found]

    by_token = listens("same_tokenizer")
    everyone = {"The student": student, **{repr(name): model for name, model in seen.items()}}
    bare = [who for who, model in everyone.items() if not model.has_template]
    if bare:
        yield "no_template", f"{listed(bare)} {_have(bare)} no chat template: questions are asked with a line break."
    unlike = [name for name in listens("same_tokenizer", "by_character") if all(pairs[name].has_template)]
    unlike = [name for name in unlike if not pairs[name].same_template]
    if unlike:
        text = f"{_names(unlike)} {_have(unlike)} another chat template than the student: each is asked in its own."
        yield "templates_differ", text
    yield from _ends(config, pairs, by_token, listens("teaches_ends"))
    padding = [who for who, model in everyone.items() if model.pad_is_end]
    if padding:
        yield (
            "pad_is_end",
            f"{listed(padding)} {'pads' if len(padding) == 1 else 'pad'} with an end token: the attention mask tells "
            "padding from the end, so there is nothing to do.",
        )
    for method in config.objectives:
        heard = [teacher.name for teacher in teachers_of(method, config)]
        yield from method.advice([name for name in pairs if name in heard and pairs[name].same_tokenizer])
    for name in by_token:
        n, most = pairs[name].vocabulary, max(student.width, seen[name].width)
        if most > n:
            yield (
                "vocabulary_padded",
                f"The student and {name!r} are compared on {n:,} logits, one for each token both have: the rest, up "
                f"to {most:,}, are left out.",
            )


def _ends(
    config: RunConfig, pairs: dict[str, Pair], by_token: list[str], taught: list[str]
) -> Iterator[tuple[str, str]]:
    """Teachers that end answers otherwise: token by token that confuses any student, else only a base model."""
    for name in taught:
        pair = pairs[name]
        if not pair.same_end and (name in by_token or not pair.has_template[0]):
            done = "whatever it is shown, the student is taught its own"
            if name in by_token:
                taught = "the teacher's too" if demand(config, name).live else "its own"
                done = f"answers end at either, and the student is taught {taught}"
            yield (
                "ends_differ",
                f"{name!r} ends its answers with {pair.teacher_end!r} and the student {config.student.name!r} with "
                f"{pair.student_end!r}: {done}.",
            )


def _names(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names])


def _have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


# --- is there the memory and the disk? -------------------------------------------------------------------------------


def check_room(config: RunConfig, machine: Machine, token: str | None = None) -> list[ModelFacts]:
    """Ask the Hub for the models that aren't here, and compare what they need with what `machine` has; the facts of the
    student, then of each teacher that is listened to.

    Seconds at most, milliseconds where all are here. Raises ConfigError or UserError, one sentence, where a model can't
    be had (see hub_lookup.py), or where its weights can't be fetched to this disk or held in this memory.
    """
    facts = look_up_all(config, token)
    _check_disk(facts)
    check_memory(config, facts, machine)
    return facts


def look_up_all(config: RunConfig, token: str | None = None) -> list[ModelFacts]:
    """Of the student and of each teacher that is listened to what is known, asked of the Hub where it isn't here.

    Raises ConfigError or UserError as `check_room`, but compares nothing with this machine.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda ref: _known(config, ref, token), [config.student, *heard(config)]))


def _known(config: RunConfig, ref: ModelRef, token: str | None) -> ModelFacts:
    role = "student" if ref is config.student else "teacher"
    try:
        facts = look_up(ref, token)
        if facts.refusal:
            raise ConfigError(f"{ref.model} {facts.refusal}: choose a causal language model.")
        if facts.only_read and (role == "student" or continues(config, ref.name)):
            raise ConfigError(f"{ref.model} {cannot_continue(facts.only_read)}")
        return facts
    except UserError as error:
        raise type(error)(f"The {role} {ref.name!r} can't be used: {lower(str(error))}") from error


def _check_disk(facts: Sequence[ModelFacts]) -> None:
    missing = [model for model in facts if not model.fetched]
    if not missing:
        return
    from huggingface_hub.constants import HF_HUB_CACHE

    needed, free = memory_model.download_gb(missing), free_disk_mb(Path(HF_HUB_CACHE)) * 2**20 / 1e9
    if needed > free:
        names = ", ".join(dict.fromkeys(model.model for model in missing))
        raise UserError(
            f"{needed:,.1f} GB are to be fetched from the Hub ({names}), and the disk of the models' cache "
            f"has {free:,.1f} GB free: make room there, or set HF_HOME to a folder on a larger disk."
        )


def check_memory(
    config: RunConfig, facts: Sequence[ModelFacts], machine: Machine, called: str = "this machine"
) -> None:
    """The student and its largest teacher are in memory at once, or all those that stay loaded: is there room for their
    weights? `facts` as `look_up_all` gives them; nothing is said where a size isn't known. `called`: the machine.

    Raises UserError, one sentence, where there isn't.
    """
    if any(model.parameters is None for model in facts):
        return
    refs = [config.student, *heard(config)]
    size, quantize = weight_bytes(machine), config.lora.quantize
    sizes = [model.parameters * weight_bytes(machine.suited_to(model.parameters)) / GIB for model in facts]
    # On a CPU the student is float32 while it writes, whatever it is trained in.
    sizes[0] = memory_model.student_bytes(facts[0].parameters, quantize, size) / GIB
    beside, copies = processes_here(), ""  # without GPUs each has a student of its own in main memory
    then = f"choose smaller models, {'' if quantize else 'set lora.quantize, '}or take a larger machine"
    room = machine.memory_gb
    if machine.has_gpu and machine.gpu_gb is not None:
        if sizes[0] > machine.gpu_gb:
            raise UserError(
                f"The student {refs[0].name!r} has {_gb(sizes[0])} of weights, and {called}'s GPU "
                f"{_gb(machine.gpu_gb)}: {then}."
            )
        room += machine.gpu_gb  # a teacher that is larger than the GPU is in part in main memory
    elif beside > 1:
        sizes[0], copies = sizes[0] * beside, f" in {beside} processes"
    teachers = range(1, len(refs))
    together = [number for number in teachers if demand(config, refs[number].name).live]
    for some in ([max(teachers, key=sizes.__getitem__)] if teachers else [], together):
        needed = sizes[0] + sum(sizes[number] for number in some)
        if needed > room:
            who = [f"the student {refs[0].name!r} ({_gb(sizes[0])} of weights{copies})"]
            who += [f"the teacher {refs[number].name!r} ({_gb(sizes[number])})" for number in some]
            both = f"are in memory together, {_gb(needed)}," if some else "must be in memory,"
            raise UserError(f"T{listed(who)[1:]} {both} and {called} has {_gb(room)}: {then}.")


def _gb(gib: float) -> str:
    return f"{gib:,.1f} GB"
