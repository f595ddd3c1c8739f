"""How presets are offered: in groups, with titles in words, tiny first."""

from distill.config import paths
from distill.config.run_config import load
from distill.models.hardware import Machine
from distill.runs.preset_cards import GROUPS, cards, group, title


def test_cards_come_by_group_and_method():
    offered = cards(Machine(2, 23.5))
    groups = [list(GROUPS).index(card.group) for card in offered]
    assert groups == sorted(groups) and offered[0].name == "tiny"
    names = [card.name for card in offered if card.group == "methods"]
    assert names[:4] == ["tiny-ce", "tiny-response", "tiny-logits", "tiny-features"]


def test_every_tiny_preset_has_a_title_in_words():
    titles = [title(name) for name in paths.preset_names()]
    assert len(set(titles)) == len(titles)
    assert all("(" in title(name) or "," in title(name) for name in paths.preset_names() if group(name) == "methods")


def test_a_preset_without_a_title_is_called_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PRESETS", tmp_path)
    (tmp_path / "my-own.yaml").write_text("student: student-tiny\nobjectives: [task]\n")
    assert (title("my-own"), group("my-own")) == ("My own", "large")
    (tmp_path / "my-own.yaml").write_text("title: Mine, all mine\nstudent: student-tiny\nobjectives: [task]\n")
    assert title("my-own") == "Mine, all mine" and load("my-own").student.model == "student-tiny"
