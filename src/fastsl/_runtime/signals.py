"""Signals that ask a run to end: it finishes the block that it is at, saves what is done, and says "again".

A handler only takes a note; the search looks at it between blocks, at points where everything is in order.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: SIGTERM: the end of a job, ``scancel``, a node that shuts down. SIGUSR1, SIGUSR2: what ``sbatch --signal`` sends
#: ahead of the time limit.
ASKING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))

_received: str | None = None


class Stopped(BaseException):
    """The run ended early because a signal asked for it. As with Ctrl-C nothing is wrong, and it can be continued."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _take_note(number: int, _: Any) -> None:
    global _received
    _received = signal.Signals(number).name


@contextmanager
def watching() -> Iterator[None]:
    """Take note of signals that ask to end, for as long as the context lasts; then everything is as it was.

    Only the main thread of a program can watch; elsewhere, and for signals that are ignored, nothing changes.
    """
    global _received
    _received = None
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in ASKING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, _take_note)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _received = None


def received() -> str | None:
    """Name of the signal that asked this process to end; None: none did."""
    return _received


def stop_if_asked() -> None:
    """Raise :class:`Stopped` when a signal asked this process to end."""
    if _received is not None:
        raise Stopped(_received)
