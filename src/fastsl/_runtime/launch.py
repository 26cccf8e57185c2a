"""Where compiled kernels may run: one at a time, with a chosen number of threads and single-threaded BLAS."""

import functools
import math
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numba
import threadpoolctl

_launching = threading.RLock()
_launched_in: int | None = None
#: A part is one in so many of what a thread would still have to do: large at first, so that few are begun, and small at
#: last, so that threads end together though one of them was slower.
_SHARE = 2


def max_threads() -> int:
    """The number of threads that Numba's pool was made with, the most that a launch can use."""
    return int(numba.config.NUMBA_NUM_THREADS)


@contextmanager
def launching() -> Iterator[None]:
    """Guard launches of kernels that use no BLAS, with as many threads as there are: one at a time, none after a fork.

    The lock serves Numba's workqueue layer, which aborts the process when two threads launch at once.

    Raises
    ------
    RuntimeError
        In a child forked after a kernel ran in its parent: the thread pool does not survive a fork.
    """
    global _launched_in
    if _launched_in is not None and _launched_in != os.getpid():
        raise RuntimeError(
            "fastsl ran in the parent process before this process was forked, and its threads do not survive a fork. "
            "Start workers with joblib's 'loky' backend or multiprocessing.get_context('spawn')."
        )
    with _launching:
        _launched_in = os.getpid()
        yield


@functools.cache
def _loaded_blas() -> threadpoolctl.ThreadpoolController:
    """Every BLAS of this process. Looking takes some ms, and numpy's and scipy's, which kernels call, are there."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def _hold_blas() -> None:
    """Hold BLAS at one thread for calls from this thread: an OpenBLAS that is built with OpenMP counts for each."""
    _loaded_blas().limit(limits=1)


@contextmanager
def kernel_threads(n_threads: int) -> Iterator[int]:
    """Guard launches with ``n_threads`` kernel threads and one BLAS thread; restore both, also after an exception.

    BLAS is held at one thread in every copy that is loaded (numpy and scipy bring one each): the kernels call it from
    all threads.
    """
    with launching(), _loaded_blas().limit(limits=1):
        limit = max_threads()
        if n_threads > limit:
            warnings.warn(
                f"n_jobs asks for {n_threads} threads but Numba's pool has {limit}; running with {limit}. "
                "Set NUMBA_NUM_THREADS before Python starts to have more.",
                RuntimeWarning,
                stacklevel=3,
            )
        previous = numba.get_num_threads()
        numba.set_num_threads(min(n_threads, limit))
        try:
            yield min(n_threads, limit)
        finally:
            numba.set_num_threads(previous)


def _parts(n: int, fewest: int, n_threads: int) -> Iterator[slice]:
    """Cut ``range(n)`` into parts that become smaller."""
    start = 0
    while start < n:
        left = n - start
        stop = n if n_threads <= 1 else min(n, start + max(fewest, math.ceil(left / (_SHARE * n_threads))))
        yield slice(start, stop)
        start = stop


def in_parts(n: int, fewest: int, work: Callable[[slice], None], *, calls_blas: bool = True) -> None:
    """Call ``work`` for parts of ``range(n)``, on as many threads as :func:`kernel_threads` says, and wait for all.

    ``work`` that calls BLAS needs that context, which gives back what threads take from it.

    A thread that is done with a part takes the next. No part is smaller than ``fewest``, but the last. What ``work``
    computes may not depend on the parts, and holds the GIL as little as it can: a kernel that is a
    :func:`fastsl._runtime.jit.worker` gives it back.
    """
    n_threads = min(numba.get_num_threads(), -(-n // fewest))
    waiting = deque(_parts(n, fewest, n_threads))

    def work_on() -> None:
        while waiting:
            try:
                part = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            work(part)

    if n_threads <= 1:
        work_on()
        return
    with ThreadPoolExecutor(n_threads - 1, initializer=_hold_blas if calls_blas else None) as pool:
        others = [pool.submit(work_on) for _ in range(n_threads - 1)]
        try:
            work_on()
        finally:
            waiting.clear()
    for other in others:
        other.result()
