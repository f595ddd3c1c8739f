"""Problems from files and data sets: no question in two splits, nothing dropped unsaid, too few rows refused."""

import csv
import json
import re

import datasets
import pytest

from distill.config.errors import UserError
from distill.config.run_config import ConfigError, load, parse
from distill.data.problems import generate
from distill.data.sources import problems_for, split_of_question, split_problems

SPLITS = ("train", "validation", "probe", "held_out", "new_phrasing")
# Of one line each: then a row is a line.
ROWS = [{"question": p.question, "solution": p.solution} for p in generate("train", 1000) if "\n" not in p.question]
ROWS = list({row["question"]: row for row in ROWS}.values())


@pytest.fixture
def table(tmp_path):
    """`table(rows)` -> the path of a CSV file that holds them."""

    def write(rows, name="rows.csv"):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / name

    return write


def asked(path, columns=None, **data):
    settings = {"source": "file", "path": str(path), "columns": columns or {}, **data}
    return parse({"student": "student-tiny", "objectives": ["task"], "data": settings}).data


def draw(data, **counts):
    """(problems by split, {code: text} of the warnings)"""
    said = {}
    return split_problems(data, counts, said.__setitem__), said


def plain(question):
    """What two spellings of a question have in common, found in another way than the module does."""
    return re.sub(r"\s", "", question).lower()


def test_every_question_is_in_exactly_one_split_and_training_has_most(table):
    counts = {"train": 10_000, "validation": 10_000, "probe": 10_000, "held_out": 100}
    found, said = draw(asked(table(ROWS)), **counts)
    n = {split: len(problems) for split, problems in found.items()}
    assert n["train"] == pytest.approx(0.65 * len(ROWS), rel=0.1) and n["held_out"] == 100
    assert n["validation"] == pytest.approx(0.1 * len(ROWS), rel=0.3)
    assert n["probe"] == pytest.approx(0.1 * len(ROWS), rel=0.3)
    questions = [problem.question for problems in found.values() for problem in problems]
    assert len(questions) == len(set(questions))
    assert all(p.split == split == split_of_question(p.question) for split, ps in found.items() for p in ps)
    assert said.keys() == {"few_rows:train", "few_rows:validation", "few_rows:probe"}
    assert said["few_rows:train"].startswith(
        f"Only {n['train']} of the {len(ROWS):,} questions of rows.csv are for train"
    )


def test_a_held_out_question_cannot_be_trained_on_however_it_is_written(table):
    counts = {"train": 10_000, "held_out": 100, "validation": 1, "probe": 4}
    before, _ = draw(asked(table(ROWS)), **counts)
    held_out = [problem.question for problem in before["held_out"]]
    disguises = [
        str.upper,
        lambda q: "  " + q.replace(" ", "   ") + "\n",
        lambda q: q.replace(" ", "\u00a0"),  # no-break spaces
        lambda q: q.replace("e", "e\u200b"),  # zero-width spaces
        lambda q: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in q),  # full-width letters
    ]
    smuggled = [{"question": hide(q), "solution": "It is #### 1"} for hide in disguises for q in held_out]
    after, said = draw(asked(table(smuggled + ROWS)), **counts)
    assert {p.question for p in after["train"]} == {p.question for p in before["train"]}
    assert not {plain(p.question) for p in after["train"]} & {plain(q) for q in held_out}
    assert f"{len(smuggled)} of {len(smuggled) + len(ROWS):,} rows of rows.csv repeat" in said["repeated_questions"]


@pytest.mark.parametrize("hide", [str, str.upper, lambda q: q.replace(" ", "\n ")])
def test_all_solutions_of_a_question_are_learnt_and_none_crosses_a_split(table, hide):
    """Also where the question is written otherwise; exact repetitions are left out, contradictions named."""
    first = {plain(row["question"]): row["solution"] for row in ROWS}
    later = [{"question": hide(row["question"]), "solution": "It is #### 1"} for row in ROWS]
    found, said = draw(asked(table(ROWS + later + later[:7])), train=10_000, held_out=100, validation=10, probe=10)
    once, _ = draw(asked(table(ROWS)), train=10_000, held_out=100, validation=10, probe=10)
    assert [p.solution for p in found["held_out"]] == [p.solution for p in once["held_out"]]
    assert len(found["train"]) == 2 * len(once["train"])
    of = {key: {p.solution for p in found["train"] if plain(p.question) == key} for key in list(first)[:40]}
    trained = {plain(p.question) for p in once["train"]}
    assert all(of[key] == ({first[key], "It is #### 1"} if key in trained else set()) for key in of)
    assert said["several_solutions"].startswith(f"{len(ROWS):,} questions of rows.csv have several solutions: all")
    differ = sum(not row["solution"].endswith("#### 1") for row in ROWS)
    assert said["contradictions"].startswith(f"{differ:,} questions of rows.csv have solutions with different answers")
    assert " rows of rows.csv repeat an earlier question: left out." in said["repeated_questions"]


@pytest.mark.parametrize(
    ("answers", "contradict"),
    [
        (("18", "18.0"), False),
        (("1,000", "$1000"), False),
        (("Paris", " paris."), False),
        (("18", "19"), True),
        (("yes", "no"), True),
    ],
)
def test_contradictions_are_told_from_other_spellings(table, answers, contradict):
    rows = [
        {"question": r["question"], "solution": f"{w} #### {a}", "final": a}
        for r in ROWS[:200]
        for w, a in zip("ab", answers, strict=True)
    ]
    _, said = draw(asked(table(rows), {"answer": "final"}), train=10, held_out=10)
    assert "several_solutions" in said and ("contradictions" in said) == contradict


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("all", {"first 1", "second, right", "third is right too", "no"}),
        ("right", {"second, right", "third is right too"}),
        ("shortest", {"second, right"}),
        ("majority", {"second, right"}),
    ],
)
def test_several_solutions_are_learnt_by_keep(table, keep, kept):
    solutions = {"first 1": 1, "second, right": 7, "third is right too": 7, "no": 3}
    rows = [
        {"question": r["question"], "solution": f"{t} #### {n}", "final": 7}
        for r in ROWS[:200]
        for t, n in solutions.items()
    ]
    found, said = draw(asked(table(rows), {"answer": "final"}, keep=keep), train=10_000, held_out=10)
    assert {p.solution.partition(" ####")[0] for p in found["train"]} == kept
    n = 4 * len({p.question for p in found["train"]})
    assert len(found["train"]) == n * len(kept) // 4
    if keep != "all":
        assert said["solutions_not_kept"].startswith(f"{n - len(found['train']):,} of {n:,} training solutions")


def test_keep_needs_answers_to_judge_by(table):
    with pytest.raises(ConfigError, match=r"data.keep is 'right', but no column holds answers"):
        asked(table(ROWS), keep="right")
    assert asked(table(ROWS), keep="majority").keep == "majority"


def test_rows_keep_their_split_when_a_file_is_sorted_or_extended(table):
    few, _ = draw(asked(table(ROWS[:600])), train=10_000, held_out=50)
    more, _ = draw(asked(table(sorted(ROWS, key=lambda row: row["question"]))), train=10_000, held_out=100)
    assert {p.question for p in few["train"]} < {p.question for p in more["train"]}
    trained = {p.question for p in more["train"]}
    assert not trained & {p.question for p in few["held_out"]}


def test_the_first_of_a_split_are_the_same_however_many_are_drawn_and_follow_the_seed(table):
    path = table(ROWS)
    many, few = draw(asked(path), held_out=100)[0]["held_out"], draw(asked(path), held_out=20)[0]["held_out"]
    assert many[:20] == few
    other = draw(asked(path, seed=1), held_out=20)[0]["held_out"]
    assert other != few and all(split_of_question(p.question) == "held_out" for p in other)


def test_a_problem_says_where_it_was_and_what_is_right(table):
    rows = [{"q": row["question"], "s": row["solution"], "final": 7, "kind": "sum"} for row in ROWS]
    columns = {"question": "q", "solution": "s"}
    (first,) = draw(asked(table(rows), columns), train=1)[0]["train"]
    line = int(first.id.removeprefix("row:"))
    assert (first.question, first.solution) == tuple(ROWS[line - 2].values())
    assert first.answer == first.solution.split("#### ")[1] and first.family == "all"
    (first,) = draw(asked(table(rows), {**columns, "answer": "final", "family": "kind"}), train=1)[0]["train"]
    assert (first.answer, first.family) == ("7", "sum")


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 1,024", "1,024"),
        ("#### Step 1\nAdd.\n#### 5", "5"),
        (r"So we get \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("That makes 12 apples.", "12"),
    ],
)
def test_without_a_column_of_answers_the_solution_says_it(table, solution, answer):
    rows = [{**row, "solution": solution} for row in ROWS[:20]]
    assert {p.answer for p in draw(asked(table(rows)), train=5)[0]["train"]} == {answer}


def test_what_cannot_be_graded_is_trained_on_but_not_judged_by(table):
    mute = [{**row, "solution": "Who knows."} if i % 2 else row for i, row in enumerate(ROWS)]
    found, said = draw(asked(table(mute)), train=10_000, held_out=20, validation=10)
    assert all(problem.answer for split in ("held_out", "validation") for problem in found[split])
    assert any(not problem.answer for problem in found["train"])
    assert re.match(r"\d+ held-out rows of rows.csv conclude with no answer", said["no_answer:held_out"])
    with pytest.raises(UserError, match=r"Only 0 of the .* questions of rows.csv are held out, with an answer"):
        draw(asked(table([{**row, "solution": "Who knows."} for row in ROWS])), held_out=1)


def test_solutions_that_do_not_end_in_the_answer_are_announced(table):
    rows = [{**row, "answer": row["solution"].split("#### ")[1]} for row in ROWS]
    assert draw(asked(table(rows), {"answer": "answer"}), held_out=50)[1] == {}
    wrong = [{**row, "answer": "123456"} for row in rows]
    assert "50 of 50 solutions" in draw(asked(table(wrong), {"answer": "answer"}), held_out=50)[1]["solutions_disagree"]


def test_too_few_rows_to_judge_by_are_refused_with_how_many_there_are(table):
    there = sum(split_of_question(row["question"]) == "held_out" for row in ROWS)
    with pytest.raises(UserError) as caught:
        draw(asked(table(ROWS)), held_out=there + 1)
    assert str(caught.value) == (
        f"Only {there} of the {len(ROWS):,} questions of rows.csv are held out, with an answer to grade by (3 in 20 "
        f"are drawn), but {there + 1} are asked for: ask for {there} or fewer (data.held_out), or give more rows."
    )
    assert len(draw(asked(table(ROWS)), held_out=there)[0]["held_out"]) == there
    with pytest.raises(UserError, match=r"are for the diagnostics .* at least 4 are needed: give more rows"):
        draw(asked(table(ROWS[:12])), probe=128)


def test_families_are_a_column_and_can_be_chosen(table):
    rows = [{**row, "kind": "odd" if i % 2 else "even"} for i, row in enumerate(ROWS)]
    columns = {"family": "kind"}
    found = draw(asked(table(rows), columns, families=["odd"]), train=10_000, held_out=20)[0]
    assert {p.family for problems in found.values() for p in problems} == {"odd"}
    with pytest.raises(
        ConfigError, match=r"rows.csv has no family 'add', which data.families names: did you mean 'odd'"
    ):
        draw(asked(table(rows), columns, families=["add"]), train=1)
    with pytest.raises(ConfigError, match="holds 100 different families, more than 64"):
        draw(asked(table([{**row, "kind": i % 100} for i, row in enumerate(ROWS)]), columns), train=1)


def test_generated_problems_are_what_they_always_were():
    few = ["data.held_out=9", "data.validation=9", "data.new_phrasing=9"]
    config = load("tiny", ["data.seed=5", "data.families=[rate, share]", "data.train=8", "probe.texts=6", *few])
    found = problems_for(config, lambda code, text: None)
    families = ["rate", "share"]
    assert tuple(found) == SPLITS
    assert found["train"] == generate("train", 8, 5, families)
    assert found["probe"] == generate("validation", 6, 6, families)
    for split in ("validation", "held_out", "new_phrasing"):
        assert found[split] == generate(split, getattr(config.data, split), 5, families)
    assert problems_for(config, lambda code, text: None, {"held_out": 3}) == {"held_out": found["held_out"][:3]}


def test_a_run_on_rows_asks_for_probe_texts_only_where_teachers_are_heard(table):
    path = table(ROWS)
    of_rows = ["data.source=file", f"data.path={path}", "data.held_out=30", "probe.texts=16", "data.new_phrasing=9"]
    for preset, probes in [("tiny", 16), ("tiny-logits", 16), ("tiny-ce", 0)]:
        found = problems_for(load(preset, of_rows), lambda code, text: None)
        assert tuple(found) == SPLITS
        assert (len(found["held_out"]), len(found["probe"]), found["new_phrasing"]) == (30, probes, [])


# --- data sets of the Hub, here folders of files that `datasets` loads in the same way ---


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data set with the columns of GSM8K and two configurations, of which `small` holds ten rows."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / "gsm"
    path.mkdir()
    lines = [json.dumps({"question": r["question"], "answer": r["solution"], "level": i}) for i, r in enumerate(ROWS)]
    (path / "main.jsonl").write_text("\n".join(lines))
    (path / "small.jsonl").write_text("\n".join(lines[:10]))
    (path / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files: main.jsonl\n"
        "- config_name: small\n  data_files: small.jsonl\n---\n"
    )
    return path


def of_hub(dataset, columns=None, **data):
    settings = {"source": "hub", "dataset": str(dataset), "columns": columns or {"solution": "answer"}, **data}
    return parse({"student": "student-tiny", "objectives": ["task"], "data": settings}).data


def test_a_data_set_gives_what_a_file_of_the_same_rows_gives(folder, table):
    found, _ = draw(of_hub(folder, subset="main"), train=50, held_out=20)
    same, _ = draw(asked(table(ROWS)), train=50, held_out=20)
    texts = [[(p.question, p.solution, p.answer) for p in s["train"] + s["held_out"]] for s in (found, same)]
    assert texts[0] == texts[1]
    with pytest.raises(UserError, match="of the 100 questions of"):
        draw(of_hub(folder, subset="main", split="train[:100]"), held_out=90)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "data.subset must be one of its configurations (main, small)."),
        ({"subset": "big"}, "gsm (big) can't be loaded: data.subset must be one of its configurations (main, small)."),
        ({"subset": "main", "split": "test"}, "it has no split 'test' (data.split)."),
        ({"subset": "main", "columns": {"solution": "result"}}, "has no column 'result', which data.columns.solution"),
        ({"subset": "small", "columns": {"solution": "level"}}, "10 rows of"),
    ],
)
def test_a_data_set_that_is_asked_for_wrongly(folder, settings, sentence):
    with pytest.raises(UserError) as caught:
        draw(of_hub(folder, **settings), train=1)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_data_sets_that_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("what `datasets` calls the data set 'text' is every text file around")
    for name in ("text", "../x", "/nowhere/at/all"):
        with pytest.raises(ConfigError, match="was not found"):
            draw(of_hub(name), train=1)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jsonl").write_text('{"question": \n')
    with pytest.raises(UserError, match=r"The data set broken can't be loaded: .*JSON"):
        draw(of_hub("broken"), train=1)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "code.py").write_text("open('ran', 'w')")
    with pytest.raises(UserError, match="scripts are no longer supported"):
        draw(of_hub("code"), train=1)
    assert not (tmp_path / "ran").exists()


def test_probe_texts_are_no_condition_where_no_method_compares_models(table):
    path = table(ROWS[:16])
    few = ["data.source=file", f"data.path={path}", "data.held_out=1", "data.train=4", "data.validation=0"]
    said = []
    found = problems_for(load("tiny-logits", few), lambda code, text: said.append(code))
    assert found["probe"] == [] and found["train"]
    with pytest.raises(UserError, match="are needed"):
        problems_for(load("tiny", few), lambda code, text: None)


def test_conversations_of_a_data_set_give_the_same_problems(tmp_path, table, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "tulu").mkdir()
    names = ("user", "question"), ("assistant", "solution")
    turns = [[{"role": role, "content": row[part]} for role, part in names] for row in ROWS]
    chats = [{"id": str(i), "messages": said, "source": "x"} for i, said in enumerate(turns)]
    datasets.Dataset.from_list(chats).to_parquet(tmp_path / "tulu" / "train.parquet")
    found, _ = draw(of_hub(tmp_path / "tulu", {"messages": "messages"}), train=50, held_out=20)
    same, _ = draw(asked(table(ROWS)), train=50, held_out=20)
    for split in ("train", "held_out"):
        pairs = zip(found[split], same[split], strict=True)
        assert all((a.question, a.solution, a.answer) == (b.question, b.solution, b.answer) for a, b in pairs)
