"""Every setting can be reached from the page, with config.py's own ranges and choices, and comes back as it was."""

from dataclasses import replace

import pytest
from configure_cases import TEACHER, edited
from pydantic import BaseModel

from distill.config import paths
from distill.config import run_config as configs
from distill.config.run_config import ConfigError, RunConfig
from distill.objectives import KINDS
from distill.ui.configure.binding import draft_of, preset, relevant, settings, spec, values_of
from distill.ui.configure.fields import AUTOMATIC, FIELDS, OBJECTIVES
from distill.ui.configure.fields.steps import GYM

# Settings that are filled in by other means: the list of teachers, the upload, the names.
ELSEWHERE = {"name", "description", "teachers", "objectives", "student.name", "data.path"}


def leaves(model, above=""):
    """Every setting of a group as a dotted path."""
    for name, info in model.model_fields.items():
        inner = [info.annotation, *getattr(info.annotation, "__args__", [])]
        group = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if group and f"{above}{name}" not in ELSEWHERE:
            yield from leaves(group, f"{above}{name}.")
        elif name != "kind" or above.endswith("gate."):
            yield f"{above}{name}"


def test_every_setting_has_a_field():
    wanted = set(leaves(RunConfig)) - ELSEWHERE
    for kind, model in KINDS.items():
        wanted |= {f"objectives.{kind}", *leaves(model, f"objectives.{kind}.")}
    assert {field.path for field in FIELDS.values()} == wanted
    assert tuple(objective.kind for objective in OBJECTIVES) == tuple(KINDS)


@pytest.mark.parametrize("key", [key for key in FIELDS if spec(key).kind == "choice"])
def test_every_choice_is_put_into_words(key):
    said = [option for option in FIELDS[key].words if option not in ("", AUTOMATIC)]
    assert sorted(said) == sorted(spec(key).options)


def test_every_dial_says_what_it_is_and_what_it_means():
    assert [key for key, field in FIELDS.items() if not (field.label.strip() and field.help.strip())] == []


def test_every_field_has_a_label_of_its_own():
    labels = [field.label for field in FIELDS.values()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("key", [key for key in FIELDS if spec(key).low is not None])
def test_ranges_are_the_configs(key):
    what = spec(key)
    for outside in (what.low if what.above else what.low - 1, what.high if what.below else what.high + 1):
        values = {key: outside, "objectives.geometry.gate.kind": "meta"}
        if key.startswith("objectives."):
            values[f"objectives.{key.split('.')[1]}"] = True
        asked = settings(edited(**{name.replace(".", "__"): value for name, value in values.items()}))
        with pytest.raises(ConfigError, match=f"^{key} is "):
            configs.parse(asked)
    assert f"{what.high:,}" in what.range


@pytest.mark.parametrize("name", paths.preset_names())
def test_a_preset_comes_back_as_it_was(name):
    assert configs.parse({**settings(draft_of(name))}) == preset(name)


def test_what_is_filled_in_is_what_is_asked():
    config = configs.parse(
        settings(
            edited(
                budget__steps=60.0,  # as a browser may send it
                lora__targets="q_proj, v_proj",
                lora__quantize="4bit",
                data__families=["rate", "change"],
                student__model=" smollm2-tiny ",
                objectives__geometry=False,
                objectives__response=False,
                teachers=(TEACHER,),
                name=" mine ",
            )
        )
    )
    assert config.budget.steps == 60 and isinstance(config.budget.steps, int)
    assert config.lora.targets == ["q_proj", "v_proj"] and config.lora.quantize == "4bit"
    assert config.data.families == ["change", "rate"]
    assert (config.student.model, config.student.name) == ("smollm2-tiny", "smollm2-tiny")
    assert [objective.kind for objective in config.objectives] == ["task"]
    assert [teacher.name for teacher in config.teachers] == ["qwen2-tiny"]
    assert config.name == "mine"


def test_all_families_are_no_choice_of_families():
    assert configs.parse(settings(draft_of("tiny"))).data.families == []
    assert draft_of("tiny").values["data.families"] == list(FIELDS["data.families"].words)


def test_automatic_follows_the_mode():
    assert draft_of("tiny-deku").values["objectives.geometry.similarity"] == AUTOMATIC
    deku = configs.parse(settings(edited(objectives__geometry__mode="deku")))
    assert (deku.geometry.similarity, deku.geometry.pooling) == ("biased", "mean")
    said = configs.parse(settings(edited(objectives__geometry__mode="deku", objectives__geometry__similarity="nbs")))
    assert said.geometry.similarity == "nbs"
    assert values_of(said)["objectives.geometry.similarity"] == "nbs"


def test_what_only_other_sources_have_is_left_out():
    file = configs.parse(settings(edited(data__source="file", upload=f"{'a' * 64}.csv", data__families=["rate"])))
    assert file.data.path.endswith(f"uploads/{'a' * 64}.csv") and file.data.families == []
    hub = configs.parse(settings(edited(data__source="hub", data__dataset="openai/gsm8k", upload=f"{'a' * 64}.csv")))
    assert (hub.data.dataset, hub.data.path, hub.data.split) == ("openai/gsm8k", None, "train")
    assert configs.parse(settings(edited(data__dataset="openai/gsm8k"))).data.dataset is None


def test_the_data_sets_of_reasoning_gym_are_its_families():
    draft = edited(data__source="reasoning_gym", data__families=["rate"])
    assert configs.parse(settings(draft)).data.families == ["gsm_symbolic"]
    chosen = replace(draft, values={**draft.values, GYM: ["gcd", "gsm_symbolic"]})
    config = configs.parse(settings(chosen))
    assert config.data.families == ["gsm_symbolic", "gcd"]  # as they stand on the page
    assert values_of(config)[GYM] == ["gsm_symbolic", "gcd"]
    assert values_of(config)["data.families"] == list(FIELDS["data.families"].words)
    every = replace(draft, values={**draft.values, GYM: list(FIELDS[GYM].words)})
    assert configs.parse(settings(every)).data.families == list(FIELDS[GYM].words)
    back = replace(chosen, values={**chosen.values, "data.source": "problems"})
    assert configs.parse(settings(back)).data.families == ["rate"]
    shown = {key for key, field in FIELDS.items() if relevant(field, chosen.values)}
    assert GYM in shown and not {"data.families", "data.new_phrasing", "data.columns.question"} & shown


def test_a_conversation_stands_for_question_and_solution():
    columns = {"data__columns__messages": "messages", "data__columns__question": "", "data__columns__solution": "q"}
    draft = edited(data__source="hub", data__dataset="allenai/tulu-3-sft-mixture", **columns)
    assert configs.parse(settings(draft)).data.columns == configs.ColumnsConfig(messages="messages")
    shown = {key for key, field in FIELDS.items() if relevant(field, draft.values)}
    assert "data.columns.messages" in shown and not {"data.columns.question", "data.columns.solution"} & shown


def test_only_what_matters_is_shown():
    values = draft_of("tiny").values
    shown = {key for key, field in FIELDS.items() if relevant(field, values)}
    assert {"data.families", "objectives.geometry.gate.tau"} <= shown
    assert not {"data.dataset", "data.columns.question", "objectives.geometry.bank_size"} & shown
    off = {key for key, field in FIELDS.items() if relevant(field, {**values, "objectives.geometry": False})}
    assert "objectives.geometry" in off and not any(key.startswith("objectives.geometry.") for key in off)


def test_epochs_take_the_place_of_steps():
    draft = draft_of("tiny-ce")
    values = {**draft.values, "budget.epochs": 3}
    assert not relevant(FIELDS["budget.steps"], values) and relevant(FIELDS["budget.steps"], draft.values)
    budget = configs.parse(settings(replace(draft, values=values))).budget
    assert (budget.epochs, budget.steps) == (3, None)
    assert configs.parse(settings(draft)).budget.steps == configs.load("tiny-ce").budget.steps
