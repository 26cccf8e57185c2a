"""Progress of a search: a bar where somebody looks, a line now and then in a log file, nothing when not asked."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

#: In a log file: the first line after so many seconds, each further wait this much longer, up to the longest.
FIRST_LINE, GROWTH, LONGEST_WAIT = 10.0, 1.5, 600.0


def readable(seconds: float) -> str:
    """Hours, minutes and seconds; hours may exceed 24.

    Examples
    --------
    >>> readable(90_061)
    '25 HR 01 MIN 01 SEC'
    """
    whole = int(seconds)
    return f"{whole // 3600:02d} HR {whole // 60 % 60:02d} MIN {whole % 60:02d} SEC"


def duration(seconds: float) -> str:
    """Seconds in the unit that one would say.

    Examples
    --------
    >>> duration(9000)
    '2.5 hours'
    """
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


class _Bar:
    """Counts spheres; shows a tqdm bar or writes lines."""

    def __init__(self, title: str, total: int, shown: bool, is_live: bool) -> None:
        self._title, self._total, self._shown = title, total, shown
        self._done, self._first, self._began = 0, 0, time.monotonic()
        self._next_line, self._wait = FIRST_LINE, FIRST_LINE
        self._bar = (
            tqdm(total=total, desc=title, unit=" spheres", dynamic_ncols=True, leave=False)
            if shown and is_live
            else None
        )

    def advance(self, n: int) -> None:
        self._done += n
        if self._first == 0:
            # The first block may have waited for the compiler: rate and time left count from its end.
            self._first, self._began = n, time.monotonic()
            if self._bar is not None:
                self._bar.start_t = self._bar.last_print_t = time.time()
                self._bar.initial = n
        if self._bar is not None:
            self._bar.update(n)
        elif self._shown:
            self._write_line()

    def _write_line(self) -> None:
        elapsed = time.monotonic() - self._began
        if elapsed < self._next_line or self._done == self._total:
            return
        self._wait = min(LONGEST_WAIT, self._wait * GROWTH)
        self._next_line = elapsed + self._wait
        rate = (self._done - self._first) / elapsed
        left = readable((self._total - self._done) / rate)
        print(
            f"[{self._title}] {self._done}/{self._total} spheres ({100 * self._done / self._total:.1f}%), "
            f"{rate:.0f} a second, {left} remaining",
            flush=True,
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class Progress:
    """What a run says, by ``verbose``: 0 nothing, 1 progress and a line at the start and the end, 2 how, 3 details."""

    def __init__(self, verbose: int, title: str) -> None:
        self.verbose = int(verbose)
        self.title = title

    def say(self, text: str, level: int = 1) -> None:
        """Print a line when ``verbose`` is at least ``level``."""
        if self.verbose >= level:
            print(f"[{self.title}] {text}", flush=True)

    @contextmanager
    def over(self, total: int) -> Iterator[_Bar]:
        """Follow ``total`` spheres; the bar is closed however the body ends."""
        began = time.monotonic()
        bar = _Bar(self.title, total, self.verbose > 0, _is_live())
        try:
            yield bar
        finally:
            bar.close()
        self.say(f"{total} spheres done in {time.monotonic() - began:.1f} seconds")


def _is_live() -> bool:
    """A terminal, or a notebook (where tqdm.auto draws a widget instead of writing to stderr)."""
    return sys.stderr.isatty() or "notebook" in tqdm.__mro__[1].__module__
