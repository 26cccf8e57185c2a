"""On which threads kernels run: a chosen number of them, each with a share of the work and BLAS to itself."""

import contextlib
import functools
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numba
import threadpoolctl

#: A part is one in so many of what a thread would still have to do: large at first, so that few are begun, and small at
#: last, so that threads end together though one of them was slower.
_SHARE = 2


class _Team(NamedTuple):
    n_threads: int
    others: ThreadPoolExecutor  # than the thread that calls


_team: ContextVar[_Team | None] = ContextVar("team", default=None)
_holding_blas = threading.RLock()
_held: list[threadpoolctl.threadpool_limits] = []


def _forget_other_threads() -> None:
    """In a forked child, where no other thread is: none is left to give back what it held, or to take a part."""
    global _holding_blas
    _holding_blas = threading.RLock()
    if _held and _team.get() is None:  # another thread's: the one that forked searches nothing
        _held[0].restore_original_limits()
    _held.clear()
    _team.set(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)


def max_threads() -> int:
    """How many threads "all" is at most: ``NUMBA_NUM_THREADS``, which joblib sets for its workers, or processors."""
    return int(numba.config.NUMBA_NUM_THREADS)


def n_threads() -> int:
    """How many threads :func:`in_parts` uses here."""
    team = _team.get()
    return max_threads() if team is None else team.n_threads


@functools.cache
def _loaded_blas() -> threadpoolctl.ThreadpoolController:
    """Every BLAS of this process. Looking takes some ms, and numpy's and scipy's, which kernels call, are there."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def _hold_blas() -> None:
    """Hold BLAS at one thread for calls from this thread: an OpenBLAS that is built with OpenMP counts for each."""
    _loaded_blas().limit(limits=1)


@contextmanager
def kernel_threads(n_threads: int) -> Iterator[None]:
    """Let :func:`in_parts` use ``n_threads`` threads, each with one BLAS thread; restore BLAS, also after an exception.

    BLAS is held at one thread in every copy that is loaded (numpy and scipy bring one each): the kernels call it from
    all threads. A second Python thread waits: one of them would give BLAS its threads back while the other computes.
    """
    pool = ThreadPoolExecutor(max(1, n_threads - 1), initializer=_hold_blas)
    with _holding_blas, _loaded_blas().limit(limits=1) as limits, pool:
        before = _team.get()
        _held.append(limits)
        _team.set(_Team(n_threads, pool))
        try:
            yield
        finally:
            _team.set(before)
            del _held[-1:]  # empty in a child that was forked meanwhile


def _parts(n: int, fewest: int, n_threads: int) -> Iterator[slice]:
    """Cut ``range(n)`` into parts that become smaller."""
    start = 0
    while start < n:
        left = n - start
        stop = n if n_threads <= 1 else min(n, start + max(fewest, math.ceil(left / (_SHARE * n_threads))))
        yield slice(start, stop)
        start = stop


def in_parts(n: int, fewest: int, work: Callable[[slice], None]) -> None:
    """Call ``work`` for parts of ``range(n)`` on the threads of :func:`kernel_threads`, or on all, and wait for them.

    ``work`` that calls BLAS needs that context. A thread that is done with a part takes the next. No part is smaller
    than ``fewest``, but the last. What ``work`` computes may not depend on the parts, and it holds the GIL as little as
    it can: kernels give it back.
    """
    team = _team.get()
    needed = min(n_threads(), -(-n // fewest))
    waiting = deque(_parts(n, fewest, needed))

    def work_on() -> None:
        while waiting:
            try:
                part = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            work(part)

    if needed <= 1:
        work_on()
    elif team is not None:
        _together(work_on, waiting, needed, team.others)
    else:
        with ThreadPoolExecutor(needed - 1) as others:
            _together(work_on, waiting, needed, others)


def _together(work_on: Callable[[], None], waiting: deque[slice], n_threads: int, others: ThreadPoolExecutor) -> None:
    """Work on with ``n_threads - 1`` others; an error ends what is waiting, and is raised when all have ended."""
    working: list[Future[None]] = []
    try:
        # No thread can be started where the interpreter is about to end, or a limit of the system is reached.
        with contextlib.suppress(RuntimeError):
            working.extend(others.submit(work_on) for _ in range(n_threads - 1))
        work_on()
    finally:
        waiting.clear()
        wait(working)
    for one in working:
        one.result()
