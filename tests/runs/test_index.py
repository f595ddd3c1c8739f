"""Which runs there are: listed and found."""

import pytest

from distill.config.run_config import ConfigError, load
from distill.runs import index, store


def test_runs_are_listed_newest_first_and_found(tmp_path):
    made = [store.create(load("tiny"), tmp_path) for _ in range(3)]
    (tmp_path / "no-run").mkdir()
    assert [run.folder for run in index.list_runs(tmp_path)] == made[::-1]
    assert index.list_runs(tmp_path / "nowhere") == []
    assert index.find(made[0].name, tmp_path) == index.find(str(made[0])) == made[0]
    assert index.find(made[1].name[:11], tmp_path) == made[1]
    with pytest.raises(ConfigError, match=f"the newest is {made[2].name}"):
        index.find("zz", tmp_path)
    with pytest.raises(ConfigError, match="There is no run ''"):
        index.find("", tmp_path)
    twin = made[0].with_name(made[0].name[:6] + "aaaaaa")
    made[0].rename(made[0].with_name(made[0].name[:6] + "bbbbbb"))
    made[1].rename(twin)
    with pytest.raises(ConfigError, match="is the start of 2 runs"):
        index.find(twin.name[:6], tmp_path)


@pytest.mark.parametrize("asked", ["..", "/etc", "", "zz", "0" * 13, "a/b"])
def test_a_page_finds_runs_by_id_alone(tmp_path, asked):
    folder = store.create(load("tiny"), tmp_path)
    assert index.find_id(folder.name, tmp_path) == index.find_id(folder.name[:6], tmp_path) == folder.resolve()
    with pytest.raises(ConfigError, match="There is no run"):
        index.find_id(asked, tmp_path)
