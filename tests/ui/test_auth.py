"""Only who started a run may end it; tokens can't be made up, and a run's folder lets nobody in."""

import pytest

from distill.config import run_config as configs
from distill.config.errors import UserError
from distill.config.paths import home
from distill.runs import store
from distill.ui.auth import new_token, visitor


@pytest.fixture
def folder():
    return store.create(configs.load("tiny"))


def test_the_owner_may_and_a_stranger_may_not(folder):
    mine, other = (visitor(new_token(), local=True) for _ in range(2))
    mine.claim(folder)
    assert mine.owns(folder) and not other.owns(folder)
    mine.check(folder, "stop")
    with pytest.raises(UserError, match="started by another visitor, so you can watch it but not stop it"):
        other.check(folder, "stop")


def test_a_forged_token_is_nobody(folder):
    token = new_token()
    name, _, signature = token.partition(".")
    visitor(token, local=False).claim(folder)
    for forged in (f"{name}.", name, f"{name}.{'0' * len(signature)}", f"x{token}", "", None, "é.é", f".{signature}"):
        someone = visitor(forged, local=False)
        assert someone.id == "" and not someone.owns(folder), forged


def test_a_token_outlives_the_server_process():
    token = new_token()
    assert visitor(token, local=False).id == visitor(token, local=False).id == token.partition(".")[0]
    assert (home().cache / "page.key").stat().st_mode & 0o077 == 0  # nobody else on this machine reads it


def test_the_folder_holds_no_token(folder):
    token = new_token()
    visitor(token, local=False).claim(folder)
    said = (folder / "owner.json").read_text()
    assert token not in said and token.partition(".")[0] not in said


def test_a_name_counts_where_visitors_sign_in(folder):
    visitor(new_token("ada.l"), local=False).claim(folder)
    assert visitor(new_token("ada.l"), local=False).owns(folder)  # from another browser
    assert not visitor(new_token("bob"), local=False).owns(folder)
    assert not visitor(new_token(), local=False).owns(folder)


def test_a_run_from_the_command_line_is_for_who_is_at_this_machine(folder):
    assert visitor(new_token(), local=True).owns(folder)
    with pytest.raises(UserError, match="started from the command line"):
        visitor(new_token(), local=False).check(folder, "delete")


def test_a_damaged_owner_file_lets_nobody_in(folder):
    (folder / "owner.json").write_text("{")
    assert not visitor(new_token(), local=True).owns(folder)
