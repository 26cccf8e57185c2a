"""What a run prints: nothing, lines now and then, or a bar that is always closed."""

import itertools
import re
import sys
import time
from types import SimpleNamespace

import pytest

from fastsl import progress
from fastsl.progress import FIRST_LINE, LONGEST_WAIT, Progress, readable

LINE = re.compile(
    r"\[title\] (?P<done>\d+)/(?P<total>\d+) spheres \((?P<percent>[\d.]+)%\), (?P<rate>\d+) a second, "
    r"(?P<h>\d+) HR (?P<m>\d\d) MIN (?P<s>\d\d) SEC remaining"
)


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = 5000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=made.monotonic, time=time.time))
    return made


@pytest.fixture
def log_file(monkeypatch):
    monkeypatch.setattr(progress, "_is_live", lambda: False)


@pytest.fixture
def bars(monkeypatch):
    """A terminal: the bars that were drawn."""
    drawn = []

    class Recorded(progress.tqdm):
        closed = False

        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            drawn.append(self)

        def close(self):
            super().close()
            self.closed = True

    monkeypatch.setattr(progress, "_is_live", lambda: True)
    monkeypatch.setattr(progress, "tqdm", Recorded)
    return drawn


def advance(clock, total, seconds_a_sphere=1.0, first_block=1, compiling=0.0, verbose=1):
    """Run ``total`` spheres, one at a time after the first block."""
    with Progress(verbose, "title").over(total) as bar:
        clock.now += compiling
        bar.advance(first_block)
        for _ in range(total - first_block):
            clock.now += seconds_a_sphere
            bar.advance(1)


def printed_lines(capsys):
    return [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()[:-1]]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00 HR 00 MIN 00 SEC"),
        (59.9, "00 HR 00 MIN 59 SEC"),
        (3600, "01 HR 00 MIN 00 SEC"),
        (86_399, "23 HR 59 MIN 59 SEC"),
        (86_400, "24 HR 00 MIN 00 SEC"),
        (90_061, "25 HR 01 MIN 01 SEC"),
        (360_000, "100 HR 00 MIN 00 SEC"),
    ],
)
def test_hours_go_beyond_a_day(seconds, text):
    assert readable(seconds) == text


# verbose


@pytest.mark.parametrize("live", [False, True])
def test_nothing_is_printed_at_0(monkeypatch, capsys, clock, live):
    monkeypatch.setattr(progress, "_is_live", lambda: live)
    advance(clock, 3000, verbose=0)
    Progress(0, "title").say("a line")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("verbose", "heard"), [(0, 0), (False, 0), (1, 1), (True, 1), (2, 2), (3, 3), (10, 3)])
def test_each_level_says_more(capsys, verbose, heard):
    for level in (1, 2, 3):
        Progress(verbose, "title").say(f"level {level}", level=level)
    assert capsys.readouterr().out.splitlines() == [f"[title] level {level}" for level in range(1, heard + 1)]


# Lines in a log file


def test_a_short_search_prints_its_end_only(capsys, clock, log_file):
    advance(clock, 9, compiling=30.5)
    assert capsys.readouterr() == ("[title] 9 spheres done in 38.5 seconds\n", "")


def test_lines_come_after_waits_that_grow_to_the_longest(capsys, clock, log_file):
    advance(clock, 12_000)
    seconds = [int(line["done"]) - 1 for line in printed_lines(capsys)]  # one a second after the first block
    waits = [b - a for a, b in itertools.pairwise([0, *seconds])]
    assert waits[0] == FIRST_LINE
    assert waits == sorted(waits)
    assert all(b == pytest.approx(min(1.5 * a, LONGEST_WAIT), abs=1.5) for a, b in itertools.pairwise(waits))
    assert waits[-1] == LONGEST_WAIT


@pytest.mark.parametrize(("total", "seconds_a_sphere", "rate"), [(500, 1.0, 1), (500_000, 0.01, 100), (400, 1000.0, 0)])
def test_rate_and_time_left_do_not_count_the_compiler(capsys, clock, log_file, total, seconds_a_sphere, rate):
    advance(clock, total, seconds_a_sphere, first_block=32, compiling=300.0)
    lines = printed_lines(capsys)
    assert len(lines) > 2
    for line in lines:
        left = int(line["h"]) * 3600 + int(line["m"]) * 60 + int(line["s"])
        assert left == pytest.approx((total - int(line["done"])) * seconds_a_sphere, abs=1.1)
        assert float(line["percent"]) == pytest.approx(100 * int(line["done"]) / total, abs=0.051)
        assert (int(line["rate"]), int(line["total"])) == (rate, total)


def test_a_long_search_says_how_many_days_of_hours_are_left(capsys, clock, log_file):
    advance(clock, 400_001)
    assert printed_lines(capsys)[0]["h"] == "111"  # 399,990 seconds


def test_the_last_sphere_gets_no_line_of_its_own(capsys, clock, log_file):
    advance(clock, 2, seconds_a_sphere=1000.0)
    assert capsys.readouterr().out == "[title] 2 spheres done in 1000.0 seconds\n"


# The bar


def test_the_bar_ends_full_and_closed(capsys, bars, clock):
    advance(clock, 50, first_block=20)
    (bar,) = bars
    assert (bar.n, bar.total, bar.initial, bar.closed) == (50, 50, 20, True)
    captured = capsys.readouterr()
    assert "title" in captured.err
    assert captured.out == "[title] 50 spheres done in 30.0 seconds\n"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_bar_is_closed_after_an_exception_and_nothing_is_called_done(capsys, bars, error):
    def interrupted():
        with Progress(1, "title").over(10) as bar:
            bar.advance(3)
            raise error

    with pytest.raises(error):
        interrupted()
    assert [bar.closed for bar in bars] == [True]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("terminal", "module", "live"), [(True, "tqdm.asyncio", 1), (False, "tqdm.asyncio", 0), (False, "tqdm.notebook", 1)]
)
def test_a_bar_is_drawn_in_a_terminal_or_a_notebook(monkeypatch, terminal, module, live):
    base = type("base", (), {"__module__": module})
    monkeypatch.setattr(progress, "tqdm", type("tqdm", (base,), {}))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: terminal))
    assert progress._is_live() == live
