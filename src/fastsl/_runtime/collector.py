"""Python's garbage collector, stopped while Numba compiles.

Numba makes so many objects that the collector went a dozen times over all that is imported, 3 s of the 28 of a first
fit; few of them are garbage before the end.
"""

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Stopped:
    lock = threading.RLock()
    n_inside = 0
    was_enabled = False


def _leave_all() -> None:
    """In a forked process: the threads that were inside are not in it."""
    _Stopped.lock = threading.RLock()
    if _Stopped.n_inside and _Stopped.was_enabled:
        gc.enable()
    _Stopped.n_inside = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all)


@contextmanager
def stopped_collector() -> Iterator[None]:
    """Stop it from when the first thread enters to when the last one leaves, unless it was stopped before."""
    entered = False
    try:
        with _Stopped.lock:
            if _Stopped.n_inside == 0:
                _Stopped.was_enabled = gc.isenabled()
                gc.disable()
            _Stopped.n_inside += 1
            entered = True
        yield
    finally:
        with _Stopped.lock:
            if entered and _Stopped.n_inside:
                _Stopped.n_inside -= 1
                if _Stopped.n_inside == 0 and _Stopped.was_enabled:
                    gc.enable()
