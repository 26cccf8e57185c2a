"""Where compiled kernels may run: one at a time, with a chosen number of threads and single-threaded BLAS."""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import threadpoolctl

_launching = threading.RLock()
_launched_in: int | None = None


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


@contextmanager
def kernel_threads(n_threads: int) -> Iterator[int]:
    """Guard launches with ``n_threads`` kernel threads and one BLAS thread; restore both, also after an exception.

    BLAS is held at one thread in every copy that is loaded (numpy and scipy bring one each): the kernels call it from
    all threads.
    """
    with launching(), threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
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
