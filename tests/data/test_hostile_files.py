"""Small files that stand for gigabytes: the process that reads each stays small, and there are rows or one sentence."""

import gzip
import json
import threading
import time

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.config.errors import UserError
from distill.config.run_config import ColumnsConfig, parse
from distill.data import reader, sources
from distill.ui.configure.uploads import store_upload

MORE = 300e6  # bytes that a process which reads may take beyond one that reads an easy file


def one_value(size, rows=3000):
    """A column of one text, stored once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * size]))


def table(path, columns, **how):
    pq.write_table(pa.table(columns), path, compression="zstd", **how)


def narrow(path):
    table(path, {"question": one_value(190_000), "solution": one_value(190_000)})


def thin(path):
    table(path, {"question": one_value(2_000, 90_000), "solution": one_value(2_000, 90_000)})


def wide(path):
    table(
        path, {**{f"c{i}": one_value(150_000) for i in range(900)}, "question": ["a"] * 3000, "solution": ["b"] * 3000}
    )


def plain(path):
    table(path, {"question": ["x" * 900_000] * 200, "solution": ["b"] * 200}, use_dictionary=False)


def nested(path):
    inner = pa.array([["y" * 1000] * 1000] * 1000)
    deep = pa.ListArray.from_arrays([0, 1000, 1000], inner)  # a list of 1,000 lists of 1,000 texts: 1 GB in one row
    table(path, {"question": ["a"] * 2, "solution": deep})


def claims(path):
    """Its footer says that it has 50,000 rows; it has 300."""
    table(path, {"question": [f"q{i}" for i in range(300)], "solution": ["s"] * 300})
    content = bytearray(path.read_bytes())
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    claimed, there = bytes([0xA0, 0x8D, 0x06]), bytes([0xD8, 0x04])  # 50,000 and 300 as Thrift's zigzag varints
    footer = bytes(content[start:-8]).replace(there, claimed)
    assert claimed in footer
    path.write_bytes(content[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


def keys(path):
    path.write_text("{" + ",".join(f'"k{i}":0' for i in range(1_400_000)) + "}\n")


def short_keys(path):
    path.write_text("{" + ",".join(f'"{i}":0' for i in range(300_000)) + "}\n")


def line(path):
    path.write_text('{"question": "' + "x" * 19_000_000 + '", "solution": "b"}\n')


def deep(path):
    path.write_text('{"question": "a", "solution": ' + "[" * 3_000_000 + "]" * 900_000 + "}\n")


def objects(path):
    path.write_text(('{"question": "a", "m": [' + ",".join(["{}"] * 1_300_000) + "]}\n") * 4)


def field(path):
    path.write_text('question,solution\n"' + "x" * 19_000_000 + '",b\n')


def commas(path):
    path.write_text("question,solution\n" + "," * 19_000_000 + "\n")


def header(path):
    path.write_text("," * 19_000_000 + "\n")


def quotes(path):
    path.write_text('question,solution\n"' + "a\n" * 9_000_000)


def sparse(path):
    with path.open("wb") as stream:
        stream.write(b'question,solution\n"')
        stream.truncate(50_000_000)


CASES = [
    (narrow, "parquet", "takes more than 120 MB of memory once it is unpacked (that is passed at row 3"),
    (thin, "parquet", "takes more than 120 MB of memory once it is unpacked (that is passed at row 2"),
    (wide, "parquet", None),
    (plain, "parquet", "unpacks to 180 MB, more than is read (100 MB"),
    (nested, "parquet", "row 1 unpacks to 1,064 MB, more than 4"),
    (claims, "parquet", None),
    (keys, "jsonl", "Line 1 of mine.jsonl has more than 4,000,000 characters"),
    (short_keys, "jsonl", "mine.jsonl has 300,000 columns, more than 1,000"),
    (line, "jsonl", "Line 1 of mine.jsonl has more than 4,000,000 characters"),
    (deep, "jsonl", "Line 1 of mine.jsonl is not valid JSON"),
    (objects, "jsonl", "mine.jsonl has no column 'solution'"),
    (field, "csv", "mine.csv has a row of more than 4,000,000 characters (line 2)"),
    (commas, "csv", "mine.csv has a row of more than 4,000,000 characters (line 2)"),
    (header, "csv", "mine.csv has a row of more than 4,000,000 characters (line 1)"),
    (quotes, "csv", "mine.csv has a row of more than 4,000,000 characters (line 2,000,001)"),
    (sparse, "csv", "mine.csv has 50 MB, more than 20"),
]


class Watched:
    """The largest this process and those it started became, and the longest that another thread of it had to wait."""

    def __enter__(self):
        self.children = self.own = self.slowest = 0.0
        self._process, self._done = psutil.Process(), threading.Event()
        self._before = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._done.is_set():
            began = time.monotonic()
            self._done.wait(0.02)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.own = max(self.own, self._process.memory_info().rss - self._before)
            for child in self._process.children(recursive=True):
                try:
                    if "distill.data.reader" in child.cmdline():  # before that it is a copy of this process
                        self.children = max(self.children, child.memory_info().rss)
                except psutil.Error:
                    continue

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()


@pytest.fixture(scope="module")
def easy(tmp_path_factory):
    """Bytes of the process that reads a file of one row."""
    path = tmp_path_factory.mktemp("easy") / "easy.parquet"
    table(path, {"question": ["a"], "solution": ["b"]})
    with Watched() as watched:
        assert reader.survey(path, ColumnsConfig()).rows == 1
    return watched.children


@pytest.mark.parametrize(("make", "kind", "said"), CASES, ids=[make.__name__ for make, *_ in CASES])
def test_a_file_that_stands_for_gigabytes_costs_the_page_nothing(tmp_path, easy, make, kind, said):
    path = tmp_path / f"mine.{kind}"
    make(path)
    found = ""
    with Watched() as watched:
        try:
            store_upload(path)
            reader.survey(path, ColumnsConfig())
        except UserError as error:
            found = str(error)
    assert watched.children < easy + MORE and watched.own < 50e6 and watched.slowest < 1
    if said is None:
        assert found == ""
    else:
        assert said in found and found.endswith((".", "?")) and "\n" not in found and found.count(": ") < 4


def test_what_was_found_is_kept_until_the_file_changes_and_one_process_answers_all(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "a", "solution": "b"}\n{"question": "cc", "solution": "d"}\n')
    started, real = [], reader.in_child
    monkeypatch.setattr(reader, "in_child", lambda *given: started.append(given) or real(*given))
    found = []
    askers = [threading.Thread(target=lambda: found.append(reader.survey(path, ColumnsConfig()))) for _ in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert found == [reader.Survey(2, 2.5)] * 6 and len(started) == 1
    path.write_text('{"question": "a"}\n')
    for _ in range(2):
        with pytest.raises(UserError, match=r"a\.jsonl has no column 'solution'"):
            reader.survey(path, ColumnsConfig())
    assert len(started) == 2


def test_only_so_many_wait_though_all_ask_the_same(tmp_path, monkeypatch):
    """Each holds a thread of the page, which Stop and Status need too."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "a", "solution": "b"}\n')
    go_on, real, found, refused = threading.Event(), reader.in_child, [], []
    monkeypatch.setattr(reader, "_WAITING", 3)
    monkeypatch.setattr(reader, "in_child", lambda *given: go_on.wait(60) and real(*given))

    def ask():
        try:
            found.append(reader.columns(path))
        except UserError as error:
            refused.append(str(error))
            if len(refused) == 3:
                go_on.set()

    askers = [threading.Thread(target=ask) for _ in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert found == [["question", "solution"]] * 3
    assert refused == ["This server is reading other visitors' files: try again in a minute."] * 3
    assert reader.columns(path) == ["question", "solution"] and reader._waiting == 0


def test_a_reader_that_takes_too_long_is_ended_with_all_it_started_and_said(tmp_path, monkeypatch):
    path = tmp_path / "slow.jsonl"
    path.write_text("".join(f'{{"question": "q{i}", "solution": "s"}}\n' for i in range(90_000)))
    monkeypatch.setattr(reader, "SECONDS", 0.25)
    before = psutil.Process().children()
    with pytest.raises(UserError, match=r"slow\.jsonl takes more than 0\.25 seconds to read: give fewer rows"):
        reader.columns(path)
    assert psutil.Process().children() == before


def test_the_length_of_texts_is_that_of_the_whole_file(tmp_path):
    path = tmp_path / "sorted.jsonl"
    texts = ["x"] * 200 + ["x" * 10_000] * 200  # the first rows are no sample of it
    path.write_text("".join(json.dumps({"question": text, "solution": "s"}) + "\n" for text in texts))
    assert reader.survey(path, ColumnsConfig()).characters == pytest.approx(5001.5)


# --- data sets -------------------------------------------------------------------------------------------------------


def rows_of(folder):
    asked = {"source": "hub", "dataset": str(folder)}
    return sources._hub_rows(
        parse({"student": "student-tiny", "objectives": ["task"], "data": asked}).data, lambda code, text: None
    )


def packed(path):
    with gzip.open(path / "train.jsonl.gz", "wt") as stream:
        for i in range(60_000):
            stream.write(json.dumps({"question": f"q{i}" + "x" * 500, "solution": "b"}) + "\n")


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: narrow(folder / "train.parquet"),
        lambda folder: wide(folder / "train.parquet"),
        lambda folder: (folder / "train.jsonl").write_text(
            '{"question": "a", "solution": "%s"}\n' % ("b" * 300) * 90_000
        ),
        packed,
    ],
    ids=["narrow", "wide", "lines", "gz"],
)
def test_a_data_set_is_limited_in_bytes_while_it_is_unpacked(tmp_path, monkeypatch, make):
    monkeypatch.setenv("DISTILL_TABLE_GB", "0.02")
    make(tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    with Watched() as watched, pytest.raises(UserError) as caught:
        rows_of(tmp_path)
    assert "unpacks to more than is read" in str(caught.value) or "File too large" in str(caught.value)
    assert watched.own < 200e6 and size < 32_000_000


def test_a_data_set_within_its_limits_is_read(tmp_path):
    table(tmp_path / "train.parquet", {"question": one_value(1_000, 500), "solution": one_value(10, 500)})
    assert len(rows_of(tmp_path)) == 500
