"""What is wrong with a file of wordings or a pool is said in one sentence, with file and line."""

import shutil

import pytest

from distill.config.errors import ConfigError
from distill.config.paths import PROBLEMS
from distill.data import families, problems
from distill.data.wordings import pools, wordings


@pytest.fixture
def folder(tmp_path):
    """A copy of all wordings, and `mine.txt` to be written."""
    return shutil.copytree(PROBLEMS / "wordings", tmp_path / "wordings")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{n} has {a} {x}, {m} {b}. How many {thing}?", r"there is no slot \{thing\} here"),
        ("{n} has {a} {x}, {m} {c}. {b}?", r"there is no slot \{c\} here"),
        ("{n} has {a} {x}. How many?", r"\{b\} is missing: every wording of a section shows all its numbers"),
        ("{n} has {a} {x} and [some|{b}]. How many?", r"\{b\} is missing"),
        ("{n has {a} {x} and {b}. How many?", "a bracket is not closed"),
        ("{n} has [{a} {x} and {b}. How many?", "a bracket is not closed"),
        ("[One|Two [or|and] three] {a} {b}", "a bracket is not closed, or one stands inside another"),
        ("{a} and {b} [more]?", r"\[more\] offers no choice"),
        ("== nowhere", "there is no section 'nowhere'"),
    ],
)
def test_a_wrong_line_is_named(folder, line, said):
    (folder / "mine.txt").write_text(f"# Me.\n== in_all\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"^mine.txt, line 3: {said}"):
        wordings(folder)


def test_a_wording_before_any_section_is_refused(folder):
    (folder / "mine.txt").write_text("{n} has {a} and {b}.\n")
    with pytest.raises(ConfigError, match=r"^mine.txt, line 1: a wording stands before the first section"):
        wordings(folder)


def test_a_kind_with_too_few_wordings_is_named(tmp_path):
    (tmp_path / "mine.txt").write_text("== in_all\n{a} and {b}?\n")
    with pytest.raises(ConfigError, match=r"section 'in_all' has too few wordings for its splits \([01] trained and"):
        wordings(tmp_path)


def test_facts_that_cannot_be_drawn_are_named(monkeypatch):
    variant = families.Variant("in_all", lambda rng: (2, 2), lambda a, b: (["2 + 2 = 4"], "4"))
    monkeypatch.setitem(families.FAMILIES, "in_all", families.Family("in_all", "In all", (variant,)))
    split = next(s for s in ("held_out", "train") if not problems.in_split("in_all", (2, 2), s))
    with pytest.raises(ConfigError, match=f"families.py: 'in_all' .* draws no facts for '{split}': widen"):
        problems.generate(split, 1, families=["in_all"])


@pytest.mark.parametrize(
    ("line", "said"),
    [("tom she", "'tom' is there already, on line"), ("Ann", "'Ann' is not written as the entries here are")],
)
def test_a_wrong_name_is_named(tmp_path, line, said):
    folder = shutil.copytree(PROBLEMS / "pools", tmp_path / "pools")
    with (folder / "names.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ConfigError, match=rf"^names.txt, line \d+: {said}"):
        pools(False, False, folder)
    with pytest.raises(ConfigError, match=r"things.txt can't be read"):
        (folder / "names.txt").write_text("\n".join(f"{c} she" for c in "abcdefghijklmnopqrstuvwxyz"))
        (folder / "things.txt").unlink()
        pools(False, False, folder)
