"""A file is there whole or not at all, whatever happens while it is written."""

import hashlib
import os

import pytest

from distill.config.files import UNFINISHED, replacing, sha256_of, sweep, write_atomically


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_whole(tmp_path, sync, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(handle) or real(handle))
    file = tmp_path / "a.json"
    for content in ("Grüße\n", b"\0\1"):
        write_atomically(file, content, sync)
        assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert sha256_of(file) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert len(synced) == (4 if sync and os.name == "posix" else 2 * sync) and list(tmp_path.iterdir()) == [file]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("before")
    with pytest.raises(KeyboardInterrupt), replacing(file) as unfinished:
        unfinished.write_text("half")
        assert unfinished.suffix != ".json" and unfinished.parent == tmp_path
        raise KeyboardInterrupt
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]


def test_two_writers_do_not_meet(tmp_path):
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
    assert (tmp_path / "a").read_text() == "1"


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    left, growing, other = (tmp_path / f"{UNFINISHED}{name}" for name in ("a.json.0", "a.json.1", "b.json.0"))
    for file in (left, growing, other):
        file.write_text("half")
    for file in (left, other):
        os.utime(file, (1, 1))
    write_atomically(tmp_path / "a.json", "{}")
    assert not left.exists() and growing.exists() and other.exists()
    sweep(tmp_path)
    assert growing.exists() and not other.exists()
