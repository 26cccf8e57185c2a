"""Small matrices by tiles and by the library: ``python bench/matrices.py [--write docs/performance.md]``.

What :mod:`fastsl._kernels.matrices` does by tiles, and OpenBLAS on one thread, in turn on the same data; microseconds
of one processor, medians of repetitions. The library is measured where kernels would call it, from compiled code.
"""

import argparse
import platform
import statistics
import time
from pathlib import Path

import numba
import numpy as np
import threadpoolctl
from markers import publish

from fastsl._kernels import lapack, matrices
from fastsl._runtime.cpus import processor_name

ORDERS = (20, 42, 60, 100, 120, 160, 200, 240, 300, 400)
N_VOXELS = 257
#: Seconds that one side of a cell takes in each repetition.
SECONDS = 0.02


@numba.njit(error_model="numpy")
def library(what, S, R, B, x, work, times):
    """Restore the work space and do it, so often; what is none of these only restores."""
    m = S.shape[0]
    for _ in range(times):
        work[:] = S if what == 0 else R
        if what == 0:
            lapack.cholesky(work, m)
        elif what == 1:
            lapack.cholesky_solve(work, m, x, 1)
        elif what == 2:
            lapack.cholesky_solve(work, m, x, 8)
        elif what == 3:
            lapack.cholesky_inverse(work, m)
        elif what == 4:
            lapack.syrk(B, work)


@numba.njit(error_model="numpy")
def tiles(what, S, R, B, x, work, times):
    """As :func:`library`."""
    m = S.shape[0]
    X, W = np.empty((m, 8)), np.empty((m, m))
    for _ in range(times):
        work[:] = S if what == 0 else R
        if what == 0:
            matrices.factor(work, m, m)
        elif what == 1:
            matrices.solve_factored(work, m, x, 1, X)
        elif what == 2:
            matrices.solve_factored(work, m, x, 8, X)
        elif what == 3:
            matrices.inverse_of_factored(work, m, W)
        elif what == 4:
            matrices.gram(work, B, work, True)


WHAT = (
    "Cholesky factor",
    "one system with it",
    "eight systems",
    "inverse from it",
    f"Gram product of {N_VOXELS} voxels",
)
NOTHING = len(WHAT)


def measure(order, what, repeats):
    """Microseconds of the library and of tiles, medians, without what restoring takes."""
    rng = np.random.default_rng(0)
    B = rng.standard_normal((N_VOXELS, order))
    S = B.T @ B + np.eye(order)
    R, x = np.ascontiguousarray(np.linalg.cholesky(S).T), np.zeros((8, order))
    arguments, found = (S, R, B, x, np.empty_like(S)), {}
    library(NOTHING, *arguments, 1)  # compiles
    times = 1
    while (seconds := timed(tiles, what, arguments, times)) < SECONDS:
        times = max(2 * times, int(times * SECONDS / max(seconds, 1e-6)))
    for _ in range(repeats):
        for side in (library, tiles):
            nothing = timed(side, NOTHING, arguments, times)
            found.setdefault(side, []).append((timed(side, what, arguments, times) - nothing) / times)
    return [1e6 * statistics.median(found[side]) for side in (library, tiles)]


def timed(side, what, arguments, times):
    """Seconds."""
    began = time.perf_counter()
    side(what, *arguments, times)
    return time.perf_counter() - began


def number(microseconds):
    """Two digits or so."""
    return f"{microseconds:.1f}" if microseconds < 10 else f"{microseconds:.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to, between its markers")
    arguments = parser.parse_args()
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        cells = [[measure(order, what, arguments.repeats) for order in ORDERS] for what in range(len(WHAT))]
    lines = [f"| µs, library and tiles | {' | '.join(map(str, ORDERS))} |", f"| --- |{' --- |' * len(ORDERS)}"]
    for what, row in zip(WHAT, cells, strict=True):
        lines.append(f"| {what} | {' | '.join(f'{number(a)}, **{number(b)}**' for a, b in row)} |")
    versions = f"numba {numba.__version__}, numpy {np.__version__}, Python {platform.python_version()}"
    lines += ["", f"{processor_name()}, one core, {versions}. Made by `python bench/matrices.py`."]
    publish("\n".join(lines), arguments.write, "matrices")


if __name__ == "__main__":
    main()
