"""What a browser sends back is not believed, and what it kept is filled in again."""

from configure_cases import edited

from distill.ui.actions import uploads
from distill.ui.configure.binding import draft_of
from distill.ui.configure.draft import initial_state, restored_values, to_draft, validated
from distill.ui.configure.fields import FIELDS

NAME = f"{'b' * 64}.csv"


def test_a_new_browser_holds_the_first_preset():
    assert validated(None) == initial_state("tiny")
    assert [teacher["name"] for teacher in initial_state("tiny-ce")["teachers"]] == []


def test_junk_is_left_out():
    for junk in ("", [], 7, {"preset": "../../etc"}, {"preset": ["tiny"]}, {"preset": None}):
        assert validated(junk) == initial_state("tiny")
    kept = validated({"preset": "tiny-ce", "teachers": ["x", {"model": 1, "name": "y"}, {"model": "a/b", "name": "b"}]})
    assert kept["teachers"] == [{"model": "a/b", "name": "b", "revision": None}]


def test_only_uploads_that_are_there_are_held():
    uploads().mkdir(parents=True, exist_ok=True)
    (uploads() / NAME).write_text("question,solution\n")
    (uploads() / "secret.csv").write_text("question,solution\n")
    good = {"preset": "tiny", "upload": NAME, "file": "mine.csv", "columns": ["question", 3]}
    assert [validated(good)[key] for key in ("upload", "file", "columns")] == [NAME, "mine.csv", ["question", ""]]
    for upload in (f"{'c' * 64}.csv", "secret.csv", f"../uploads/{NAME}", "/etc/passwd", None):
        assert validated({**good, "upload": upload})["upload"] == ""


def test_a_draft_of_what_the_fields_hold():
    draft = edited(budget__steps=7)
    assert to_draft(initial_state("tiny"), "mine", [draft.values[key] for key in FIELDS]) == edited(
        budget__steps=7, name="mine", teachers=tuple(initial_state("tiny")["teachers"])
    )


def test_kept_values_come_back_and_unfit_ones_do_not():
    tiny = draft_of("tiny").values
    kept = {**tiny, "budget.steps": 7, "student.model": "org/x", "budget.learning_rate": None, "gone": 1}
    assert restored_values(kept, "tiny") == {
        **tiny,
        "budget.steps": 7,
        "student.model": "org/x",
        "budget.learning_rate": None,
    }
    unfit = {"budget.steps": "7", "data.families": ["rate", "none", 3], "data.source": "disk", "lora.r": True}
    assert restored_values({**tiny, **unfit}, "tiny") == {**tiny, "data.families": ["rate"]}
    assert restored_values("junk", "tiny-deku") == draft_of("tiny-deku").values
