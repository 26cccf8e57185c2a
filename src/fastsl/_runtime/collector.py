"""Python's garbage collector, stopped while Numba compiles.

Numba makes so many objects that the collector went a dozen times over all that is imported, 3 s of the 28 of a first
fit; few of them are garbage before the end.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Stopped:
    lock = threading.Lock()
    n_inside = 0
    was_enabled = False


@contextmanager
def stopped_collector() -> Iterator[None]:
    """Stop it from when the first thread enters to when the last one leaves, unless somebody else had stopped it."""
    with _Stopped.lock:
        if _Stopped.n_inside == 0:
            _Stopped.was_enabled = gc.isenabled()
            gc.disable()
        _Stopped.n_inside += 1
    try:
        yield
    finally:
        with _Stopped.lock:
            _Stopped.n_inside -= 1
            if _Stopped.n_inside == 0 and _Stopped.was_enabled:
                gc.enable()
