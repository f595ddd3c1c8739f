"""Conversations: every answer that can be learnt is, given all that was said before it; what can't be is counted."""

import json

import pytest

from distill.config.errors import UserError
from distill.config.paths import zoo_names
from distill.config.run_config import ColumnsConfig, ModelRef, parse
from distill.data import tables
from distill.data.encoding import cut, encode
from distill.data.sources import split_problems
from distill.data.tables import read_rows
from distill.models.chat_template import template_of
from distill.models.conversation import Turn, joined, shortened, told, turns_of
from distill.models.loading import load_tokenizer
from distill.models.references import model_path
from distill.ui.configure.preview import preview

CHAT = ColumnsConfig(messages="messages")
CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def said(who, text, **more):
    return {"role": who, "content": text, **more}


S, U, V = said("system", "s"), said("user", "u"), said("user", "v")
A, B = said("assistant", "a"), said("assistant", "b")
LATER = "User: u\n\nAssistant: a\n\nUser: v"


def read(tmp_path, *conversations):
    """([(question as people read it, solution)], {code: warning})"""
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps({"messages": c}) + "\n" for c in conversations))
    notes = {}
    rows = read_rows(tmp_path / "chats.jsonl", CHAT, warn=notes.__setitem__)
    return [(told(row.question), row.solution) for row in rows], notes


@pytest.mark.parametrize(
    ("turns", "learnt"),
    [
        ([U, A], [("u", "a")]),
        ([S, U, A], [("System: s\n\nUser: u", "a")]),
        ([said("developer", "s"), U, A], [("System: s\n\nUser: u", "a")]),
        ([said("system", " "), U, A], [("u", "a")]),
        ([S, said("system", "t"), U, A], [("System: s\n\nt\n\nUser: u", "a")]),
        ([U, A, V, B], [(LATER, "b"), ("u", "a")]),
        ([U, V, A], [("u\n\nv", "a")]),
        ([U, A, B], [("u", "a\n\nb")]),
        ([U, A, S, V, B], [("User: u\n\nAssistant: a\n\nUser: s\n\nv", "b"), ("u", "a")]),
        ([U, said("assistant", "a", weight=0), V, B], [(LATER, "b")]),
        ([said("user", [{"type": "text", "text": "u"}, {"type": "text", "text": "w"}]), A], [("u\n\nw", "a")]),
        ([said("user", ["u"]), said("model", None, parts=[{"text": "a"}])], [("u", "a")]),
        ([U, said("assistant", "a", reasoning_content="t")], [("u", "<think>\nt\n</think>\n\na")]),
        (
            [U, said("assistant", "a", thinking="t"), V, B],
            [(LATER, "b"), ("u", "<think>\nt\n</think>\n\na")],
        ),
    ],
)
def test_every_answer_is_learnt_given_all_before_it(tmp_path, turns, learnt):
    assert read(tmp_path, turns) == (learnt, {})


@pytest.mark.parametrize(
    ("turns", "learnt", "words"),
    [
        ([U, A, V], [("u", "a")], "end with a question that has no answer"),
        ([A, U, B], [("u", "b")], "begin with the assistant"),
        ([S, A, U, B], [("System: s\n\nUser: u", "b")], "begin with the assistant"),
        ([U, A, V, CALL, said("tool", "7"), B], [("u", "a")], "call tools: what comes from the first call on"),
        ([U, CALL, said("tool", "7"), B], [], "call tools"),
        ([U, said("assistant", "", function_call={"name": "f"}), said("function", "7"), B], [], "call tools"),
        ([U, said("assistant", [{"type": "tool_use", "name": "f"}]), B], [], "call tools"),
        ([said("user", [{"type": "text", "text": "u"}, PICTURE]), A], [], "hold more than text (images, sound, files)"),
        ([U, A, said("user", [PICTURE]), B], [("u", "a")], "hold more than text"),
        ([U, said("assistant", "a", weight=0)], [], "have no answer that is to be learnt"),
        ([U, A] * 12, 10, "have more answers than are learnt of one (10,"),
    ],
)
def test_what_is_not_learnt_is_counted_and_said(tmp_path, turns, learnt, words):
    found, notes = read(tmp_path, turns, [V, B], turns)
    once = [pair for pair in found if pair != ("v", "b")]
    assert once == learnt * 2 if isinstance(learnt, list) else len(once) == 2 * learnt
    assert notes.keys() == {"turns_left_out"}
    assert notes["turns_left_out"].startswith("Of chats.jsonl not everything is learnt: 2 of its 3 conversations ")
    assert words in notes["turns_left_out"]


def test_of_very_large_tables_the_last_answers_alone_are_learnt(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_EARLIER", 1_000)
    found, notes = read(tmp_path, *[[U, A, V, B]] * 5)
    assert [solution for _, solution in found] == ["b", "a", "b", "a", "b", "a", "b", "b"]
    assert "2 of its 5 conversations have more answers than are learnt of one" in notes["turns_left_out"]


def test_where_nothing_can_be_learnt_it_says_why(tmp_path):
    with pytest.raises(UserError) as caught:
        read(tmp_path, [U, CALL, said("tool", "7"), B])
    assert str(caught.value).startswith("chats.jsonl has no rows to learn from: 1 of its 1 conversations call tools:")


@pytest.mark.parametrize(
    ("turns", "fault"),
    [
        ([U, said("assistant", "")], "has a turn without text in 'messages'"),
        ([said("user", None), A], "has a turn without text in 'messages'"),
        ([U], "has no user's turn that an assistant's follows in 'messages'"),
        ([A], "has no user's turn that an assistant's follows in 'messages'"),
        ([U, {"content": "a"}], "has a turn without a role (read are system, user, assistant and tool) in 'messages'"),
        ([U, said("judge", "a")], "has a turn whose role is 'judge' (read are system"),
        ([U, said("assistant", 7)], "has a turn (2) whose content is no text in 'messages'"),
        ([U, said("assistant", "\x02user\x03x")], "has the control character '\\x02' in 'messages', which marks turns"),
        ([said("user", "x" * 200_001), A], "has 200,001 characters in 'messages', more than 200,000"),
        (
            [said("user", "x" * 150_000), A, said("user", "x" * 50_000), B],
            "characters in 'messages', more than 200,000",
        ),
        ("Human: u\n\nAssistant: a", "has no list of turns ({role, content}) in 'messages'"),
        (["u", 7], "has no list of turns ({role, content}) in 'messages'"),
        ({"role": ["user"], "content": ["u", "a"]}, "has no list of turns ({role, content}) in 'messages'"),
    ],
)
def test_what_is_no_conversation_is_named_by_its_line(tmp_path, turns, fault):
    with pytest.raises(UserError) as caught:
        read(tmp_path, [U, A], turns)
    assert str(caught.value).startswith("Line 2 of chats.jsonl has ") and fault in str(caught.value)


def test_a_conversation_is_in_one_split_and_judged_by_its_last_answer(tmp_path):
    chats_of = [[S, said("user", f"What is {i} + 1?"), said("assistant", f"#### {i + 1}"), said("user", "And 1 more?"),
                 said("assistant", f"#### {i + 2}")] for i in range(150)]  # fmt: skip
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats_of))
    settings = {"source": "file", "path": str(tmp_path / "chats.jsonl"), "columns": {"messages": "messages"}}
    asked = parse({"student": "student-tiny", "objectives": ["task"], "data": settings}).data
    notes = {}
    found = split_problems(asked, {"train": 1000, "held_out": 10, "validation": 5, "probe": 5}, notes.__setitem__)

    def opening(problem):
        return turns_of(problem.question)[1].text

    splits = [{opening(problem) for problem in problems} for problems in found.values()]
    assert sum(map(len, splits)) == len(set.union(*splits))
    assert len(found["train"]) == 2 * len(splits[0]) and len({p.id for p in found["train"]}) == len(found["train"])
    for problem in found["held_out"]:
        assert problem.answer == str(int(opening(problem).split()[2]) + 2) and len(turns_of(problem.question)) == 4
    left = 150 - len(splits[0])
    assert notes["answers_not_judged"].startswith(
        f"{left} earlier answers of conversations in chats.jsonl are not used"
    )
    assert "repeated_questions" not in notes


def test_a_question_asked_after_several_system_turns_is_said_to_cross(tmp_path):
    rows = [
        {"system": s, "question": f"What is {i}?", "response": "x #### 1"}
        for i in range(60)
        for s in ("Be brief.", "Be kind.")
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = parse(
        {"student": "student-tiny", "objectives": ["task"], "data": {"source": "file", "path": str(path)}}
    ).data
    notes = {}
    split_problems(asked, {"train": 10, "held_out": 5}, notes.__setitem__)
    assert "has been" not in notes["questions_shared"] and "after another system turn" in notes["questions_shared"]


# --- as models read them ---------------------------------------------------------------------------------------------


TURNS = [
    Turn("system", "Pens cost 3 euros."),
    Turn("user", "How much are two?"),
    Turn("assistant", "It is 6."),
    Turn("user", "And four?"),
]


def test_a_conversation_is_one_text_and_back():
    for turns in (TURNS, TURNS[1:], TURNS[3:], [Turn("user", "\x02 user \x03")]):
        assert turns_of(joined(turns)) == turns
    assert joined(TURNS[3:]) == "And four?"
    for plain in ("q", "\x02user\x03a\n\n\x02assistant\x03b", "x\n\n\x02user\x03y", "\x02user"):
        assert turns_of(plain) == [Turn("user", plain)]
    whole = joined(TURNS)
    assert [told(shortened(whole, n)) for n in (5, 40, 10_000)] == ["And f", "And four?", told(whole)]
    assert cut(whole, "It is 12.", 40) == ("And four?", "It is 12.")


@pytest.mark.parametrize("name", zoo_names())
def test_every_model_reads_every_turn_and_learns_the_last_alone(name):
    tokenizer = load_tokenizer(model_path(ModelRef(model=name)), None, name)
    template, question = template_of(tokenizer), joined(TURNS)
    prompt, start, end = template.place(question)
    places = [prompt.find(turn.text) for turn in TURNS]
    assert -1 not in places and places == sorted(places) and prompt[start:end] == "And four?"
    example = encode(tokenizer, question, "It is 12.")
    learnt = tokenizer.decode([i for i in example.labels if i >= 0], skip_special_tokens=True)
    assert learnt.strip() == "It is 12."
    plain = encode(tokenizer, "And four?", "It is 12.")
    assert example.labels[example.completion_start :] == plain.labels[plain.completion_start :]


def test_a_template_that_drops_a_system_turn_gets_it_in_the_users():
    tokenizer = load_tokenizer(model_path(ModelRef(model="student-tiny")), None, "student-tiny")
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role != 'system' %}[{{ m.role }}] {{ m.content }}|{% endif %}{% endfor %}"
        "[assistant] "
    )
    prompt = template_of(tokenizer).render(joined(TURNS))
    assert prompt == (
        "[user] Pens cost 3 euros.\n\nHow much are two?|[assistant] It is 6.|[user] And four?|[assistant] "
    )
    tokenizer.chat_template = "[user] {{ messages[-1].content }}|[assistant] "
    assert template_of(tokenizer).render("And four?") == "[user] And four?|[assistant] "
    with pytest.raises(UserError, match="leaves turns of a conversation out"):
        template_of(tokenizer).render(joined(TURNS))


def test_the_preview_shows_the_turns(tmp_path):
    rows = [[S, said("user", f"q {i}"), A, V, said("assistant", "#### 3")] for i in range(60)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps({"conversations": chat}) + "\n" for chat in rows))
    data = {"source": "file", "path": str(tmp_path / "chats.jsonl"), "train": 8, "held_out": 2, "validation": 1}
    asked = parse({"student": "student-tiny", "objectives": ["task"], "data": data})
    template = template_of(load_tokenizer(model_path(asked.student), None, "student-tiny"))
    problems = split_problems(asked.data, {"train": 4})["train"]
    assert [len(turns_of(problem.question)) for problem in problems] == [4, 2, 4, 2]
    shown = preview(asked, 4)
    assert [row["prompt"] for row in shown] == [template.render(problem.question) for problem in problems]
    assert [row["completion"][:1] for row in shown] == ["#", "a", "#", "a"]
