"""What Configure does when something in it is used, without a browser."""

import importlib.util
import json

import gradio as gr
import pytest
from configure_cases import edited
from test_uploads import ROWS

from distill.config import paths
from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.run_config import ConfigError
from distill.runs import index as run_list
from distill.ui.auth import new_token, visitor
from distill.ui.configure.binding import draft_of
from distill.ui.configure.draft import initial_state
from distill.ui.configure.fields import BUDGET, FIELDS, OBJECTIVES, PROBLEMS, STUDENT
from distill.ui.configure.form import Form
from distill.ui.configure.handlers import Handlers

VISITOR = visitor(new_token(), local=True)
SKIPPED = gr.skip()


@pytest.fixture(scope="module")
def form():
    with gr.Blocks():
        form = Form(draft_of("tiny").values)
        for fields in (STUDENT, PROBLEMS, BUDGET):
            form.add(fields)
        for objective in OBJECTIVES:
            form.add_objective(objective)
    return form


@pytest.fixture(params=[False, True], ids=["local", "public"])
def handlers(form, request):
    return Handlers(form, request.param)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))


def sent(**values):
    """What the browser sends: state, name, and every field."""
    draft = edited(**values)
    return initial_state("tiny"), draft.name, *[draft.values[key] for key in FIELDS]


def clicked(**data):
    return gr.EventData(None, data)


def shown(form, updates):
    """{field: its update} of what `look` gives."""
    return dict(zip(FIELDS, updates[-len(FIELDS) - 1 : -1], strict=True))


def test_form_has_a_labelled_component_for_every_field(form):
    assert set(form.widgets) == set(FIELDS)
    for key, widget in form.widgets.items():
        assert widget.label == FIELDS[key].label
        assert widget.value == draft_of("tiny").values[key]


def test_a_fault_is_marked_at_its_field_and_nowhere_else(handlers, form):
    updates = shown(form, handlers.refresh(None, *sent(budget__steps=0)))
    amiss = {key for key, update in updates.items() if "amiss" in update["elem_classes"]}
    assert amiss == {"budget.steps"}
    assert updates["budget.steps"]["info"] == "“Steps” is 0: it must be at least 1."
    assert all("value" not in update for update in updates.values())  # editing one field never touches another


def test_only_what_changed_is_sent_again(handlers, form):
    first = handlers.refresh(None, *sent())
    again = handlers.refresh(first[-1], *sent())
    assert all(part == SKIPPED for part in again[:-1])
    changed = handlers.refresh(first[-1], *sent(budget__steps=0))
    assert [key for key, update in shown(form, changed).items() if update != SKIPPED] == ["budget.steps"]


def test_a_space_after_the_students_name_is_no_matter(handlers):
    assert handlers.refresh(None, *sent(student__model="student-tiny "))[1] == handlers.refresh(None, *sent())[1] != ""


def test_a_fault_under_more_dials_opens_them(handlers, form):
    index = next(i for i, (_, fields) in enumerate(form.folds) if any(f.key == "budget.warmup" for f in fields))
    updates = form.show(edited().values, {"budget.warmup": "wrong"})
    folds = updates[len(form.groups) : len(form.groups) + len(form.folds)]
    assert [fold.get("open") for fold in folds] == [True if i == index else None for i in range(len(folds))]


def test_pressing_a_card_fills_everything_in(handlers, form):
    state, name, cards, marks, *fields = handlers.choose(clicked(name="tiny-ce"))
    assert (state["preset"], state["teachers"], name, marks) == ("tiny-ce", [], "", None)
    assert 'data-name="tiny-ce" aria-pressed="true"' in cards
    values = {key: update["value"] for key, update in zip(FIELDS, fields, strict=True)}
    assert values == draft_of("tiny-ce").values
    assert "every step is filled in" in handlers.refresh(None, state, name, *values.values())[0]
    with pytest.raises(ConfigError):
        handlers.choose(clicked(name="../etc"))


def test_teachers_are_added_and_refused_where_they_are_typed(handlers):
    state, field = handlers.add(initial_state("tiny-ce"), "phi3-tiny")
    assert [teacher["name"] for teacher in state["teachers"]] == ["phi3-tiny"] and field["value"] == ""
    nothing, field = handlers.add(state, "phi3-tiny")
    assert nothing == SKIPPED and "already" in field["info"] and "value" not in field
    assert handlers.change_row(state, clicked(act="remove", name="phi3-tiny"))["teachers"] == []


def test_an_upload_offers_its_columns(handlers, tmp_path):
    (tmp_path / "mine.csv").write_text("question;solution;topic\n" + ROWS)
    state, question, _, answer, family, messages = handlers.upload(str(tmp_path / "mine.csv"), initial_state("tiny"))
    assert state["file"] == "mine.csv" and state["columns"] == ["question", "solution", "topic"]
    assert question["choices"] == ["", "question", "solution", "topic"]
    assert (question["value"], answer["value"], family["value"]) == ("question", "", "topic")
    assert messages["value"] == ""
    assert handlers.clear_upload(state)[0]["upload"] == ""


def test_a_bad_upload_says_so_at_the_file_and_keeps_the_columns(handlers, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"question": \n')
    state, *columns = handlers.upload(str(tmp_path / "bad.jsonl"), initial_state("tiny"))
    assert columns == [SKIPPED] * 5 and state["upload"] == ""
    note = handlers.refresh(None, state, "", *sent(data__source="file")[2:])[4]
    assert "Line 1 of bad.jsonl is not valid JSON" in note


@pytest.mark.parametrize(
    ("record", "chosen"),
    [
        ({"question": "q", "answer": "#### 1"}, ("question", "answer", "")),
        ({"instruction": "q", "input": "x", "output": "#### 1"}, ("instruction", "output", "")),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "#### 1"}]},
            ("", "", "conversations"),
        ),
        ({"question": "q", "choices": ["1"], "answer": 0}, None),
    ],
)
def test_an_upload_is_read_by_its_layout_or_refused_by_its_name(handlers, tmp_path, record, chosen):
    (tmp_path / "mine.jsonl").write_text(json.dumps(record) + "\n")
    state, question, solution, _, _, messages = handlers.upload(str(tmp_path / "mine.jsonl"), initial_state("tiny"))
    if chosen is None:
        note = handlers.refresh(None, state, "", *sent(data__source="file")[2:])[4]
        assert "mine.jsonl is a table of multiple choice (choices)" in note
        assert question == solution == messages == SKIPPED
    else:
        assert (question["value"], solution["value"], messages["value"]) == chosen


def test_the_review_is_renewed_where_it_is_open(handlers, tmp_path):
    assert handlers.refresh_review("budget", *sent()) == [SKIPPED] * 4
    summary, command, download, start = handlers.refresh_review("review", *sent(budget__steps=60))
    assert "60 steps" in summary and command.endswith("--set budget.steps=60")
    assert configs.load(download["value"]).budget.steps == 60 and start["interactive"]
    assert "submit" not in command  # this machine can
    _, command, download, start = handlers.refresh_review("review", *sent(budget__steps=0))
    assert command == "" and not start["interactive"] and not download["interactive"]


def test_strangers_see_no_path_of_the_server(form, tmp_path):
    (tmp_path / "mine.csv").write_text("question;solution;topic\n" + ROWS)
    for public in (True, False):
        handlers = Handlers(form, public)
        state, *_ = handlers.upload(str(tmp_path / "mine.csv"), initial_state("tiny"))
        values = sent(data__source="file", data__train=40, data__held_out=9, data__columns__family="topic")[2:]
        _, command, download, start = handlers.refresh_review("review", state, "", *values)
        assert start["interactive"]
        assert (str(paths.home().cache) in command) is not public
        assert (configs.load(download["value"]).data.path == "mine.csv") is public


def test_too_few_rows_can_not_be_started(handlers, tmp_path):
    (tmp_path / "mine.csv").write_text("question;solution\n1+1?;#### 2\n")
    state, *_ = handlers.upload(str(tmp_path / "mine.csv"), initial_state("tiny"))
    values = sent(data__source="file")[2:]
    summary, *_, start = handlers.refresh_review("review", state, "", *values)
    assert "mine.csv are held out" in summary and not start["interactive"]
    with pytest.raises(UserError, match=r"mine\.csv are held out"):
        handlers.start(VISITOR, "", state, "", *values)


@pytest.mark.parametrize("values", [{"budget__steps": 0}, {"lora__quantize": "4bit"}])
def test_start_is_refused_while_anything_is_wrong(handlers, values, monkeypatch):
    usual = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "bitsandbytes" else usual(name)
    )
    with pytest.raises(UserError, match=r"at least 1|needs the package bitsandbytes"):
        handlers.start(VISITOR, "", *sent(**values))
    assert run_list.list_runs() == []


def test_what_the_browser_kept_is_there_again(handlers, form):
    state, name, _, marks, *fields = handlers.load(None, None)
    assert state == initial_state("tiny") and fields == [SKIPPED] * len(FIELDS) and name == SKIPPED and marks is None
    kept = {**edited("tiny-ce", budget__steps=7).values, "name": "mine"}
    state, name, cards, _, *fields = handlers.load(initial_state("tiny-ce"), kept)
    values = {key: update["value"] for key, update in zip(FIELDS, fields, strict=True)}
    assert (state["preset"], name, values["budget.steps"]) == ("tiny-ce", "mine", 7)
    assert 'data-name="tiny-ce" aria-pressed="true"' in cards


def test_previews_of_data_sets_wait_to_be_asked_for(handlers):
    request = gr.Request(session_hash="x")
    (said,) = handlers.refresh_preview(request, None, "problems", *sent(data__source="hub", data__dataset="a/b"))
    assert "Show the problems" in said
    assert list(handlers.refresh_preview(request, None, "budget", *sent())) == [SKIPPED]
    (said,) = handlers.refresh_preview(request, None, "problems", *sent(data__source="file"))
    assert "when there is a file" in said


def test_problems_of_reasoning_gym_are_shown_and_can_be_started(handlers):
    pytest.importorskip("reasoning_gym")
    asked = sent(data__source="reasoning_gym", **{"data__families__reasoning_gym": ["gcd"]})
    *_, rows = handlers.refresh_preview(gr.Request(session_hash="z"), None, "problems", *asked)
    assert rows.count("Find the Greatest Common Divisor") == 10 and "#### " in rows
    summary, command, _, start = handlers.refresh_review("review", *asked)
    assert "Reasoning Gym (gcd): " in summary and start["interactive"]
    assert "data.source=reasoning_gym" in command and "data.families=" in command
    none = sent(data__source="reasoning_gym", **{"data__families__reasoning_gym": []})
    assert "No kind of problem is chosen" in handlers.refresh(None, *none)[0]


def test_a_preview_says_first_that_it_takes_a_while_and_an_older_one_does_not_overwrite_it(handlers):
    request = gr.Request(session_hash="y")
    older = handlers.show_preview(request, None, *sent())
    assert "Reading the problems as student-tiny will see them" in next(older)
    wrong = list(handlers.show_preview(request, None, *sent(data__families=[])))
    assert len(wrong) == 1 and "No kind of problem is chosen" in wrong[0]
    assert list(older) == []  # another was asked for since
    *_, rows = handlers.show_preview(request, None, *sent())
    assert rows.count("learns to write") == 10 and "&lt;|im_start|&gt;user" in rows


def test_buttons_lead_to_steps_that_exist(handlers):
    assert handlers.go(clicked(step="budget"))[1] == "budget"
    assert handlers.go(clicked(step="<script>"))[1] == "student"
