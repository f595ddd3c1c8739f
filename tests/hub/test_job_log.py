"""Events in a log: whatever the log does to its lines, each event comes out once and as it was."""

import random

from distill.hub.job_log import Reader, is_marked, marked

EVENTS = ['{"kind":"status","state":"training"}', " spaces at both ends ", "x" * 9000, "", "a|b \\ |"]


def log(piece=4000):
    return [line for number, event in enumerate(EVENTS) for line in marked(number, event, piece)]


def test_they_come_out_as_they_went_in():
    reader = Reader()
    assert [found for line in log() if (found := reader.feed(line))] == list(enumerate(EVENTS))
    assert reader.lacking == []


def test_long_ones_go_in_pieces_that_one_write_takes():
    assert len(log()) == len(EVENTS) + 2 and max(map(len, log())) < 4096


def test_a_log_that_begins_again_says_nothing_twice():
    reader, found = Reader(), []
    for cut in (3, 9, len(log(piece=1000))):
        found += [one for line in log(piece=1000)[:cut] if (one := reader.feed(line))]
    assert found == list(enumerate(EVENTS))


def test_other_output_is_none_even_on_the_same_line():
    reader = Reader()
    line = next(iter(marked(0, EVENTS[0])))
    assert reader.feed("Loading weights:  50%") is None and not is_marked("@distill 1")
    assert reader.feed("Loading weights:  51%\r" + line + "\r\n") == (0, EVENTS[0])


def test_what_was_lost_is_known():
    reader, rest = Reader(), log()
    random.Random(0).shuffle(rest)
    for line in (line for line in rest if not line.startswith("@distill 1 ")):
        reader.feed(line)
    assert reader.lacking == [1]
