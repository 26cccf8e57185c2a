"""What a second thread gives: ``python bench/threads.py [--write docs/performance.md]``.

The standard case: smooth, standardised data, 120 volumes, spheres of 8 mm in a 2 mm brain, leave one run out of 6. Fits
with one thread and with two take turns, on as many centres as take one thread some seconds, everything counted. What
two processes that wait for nobody sum of Gram products by OpenBLAS, beside one, is measured in each turn: more than
that a second thread cannot give on this machine.
"""

import argparse
import multiprocessing
import os
import platform
import time
import warnings
from pathlib import Path

import numpy as np
from compare import spread
from decoders import Brain, enough_spheres
from markers import publish
from scipy.linalg.blas import dsyrk
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from fastsl._runtime.cpus import processor_name

DECODERS = [LinearSVC(), RidgeClassifier(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1), GaussianNB()]
#: Seconds in which processes sum what they can.
MEANWHILE = 0.3


def products_meanwhile(gathered, start, done):
    """How many Gram products one process sums in :data:`MEANWHILE` seconds."""
    G = np.zeros((gathered[0].shape[1],) * 2, order="F")
    with threadpool_limits(1, user_api="blas"):
        dsyrk(1.0, gathered[0].T, c=G, overwrite_c=1)
        start.wait()
        n, until = 0, time.perf_counter() + MEANWHILE
        while time.perf_counter() < until:
            dsyrk(1.0, gathered[n % len(gathered)].T, c=G, overwrite_c=1)
            n += 1
    done.put(n)


def second_processor(brain):
    """How many times as many Gram products two processes sum as one: what a second thread can give on this machine."""
    spheres, forked = brain.random_spheres(np.random.default_rng(0), 100), multiprocessing.get_context("fork")
    gathered, summed = [brain.X.T[spheres[sphere]].astype(np.float64) for sphere in range(100)], []
    for n_processes in (1, 2, 1):
        start, done = forked.Barrier(n_processes), forked.Queue()
        processes = [
            forked.Process(target=products_meanwhile, args=(gathered, start, done)) for _ in range(n_processes)
        ]
        for process in processes:
            process.start()
        summed.append(sum(done.get() for _ in processes))
        for process in processes:
            process.join()
    return 2 * summed[1] / (summed[0] + summed[2])


def row(brain, estimator, seconds, repeats):
    """A line of the table, of so many turns."""
    n = enough_spheres(brain, estimator, 1, seconds)
    turns = [[*(brain.fastsl(estimator, n, k) for k in (1, 2)), second_processor(brain)] for _ in range(repeats)]
    one, two, possible = np.transpose(turns)
    return (
        f"| {type(estimator).__name__} | {n:,} | {spread(one, digits=2)} | {spread(two, digits=2)} | "
        f"**{spread(one / two, digits=2)}** | {spread(possible, digits=2)} |"
    )


def report(arguments):
    brain = Brain()
    lines = [
        "| decoder | spheres | one thread, s | two threads, s | faster by | two processes of OpenBLAS, by |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for estimator in DECODERS:
        lines.append(row(brain, estimator, arguments.seconds, arguments.repeats))
        print(lines[-1], flush=True)
    return "\n".join(
        [
            *lines,
            "",
            f"Median (range) of {arguments.repeats} alternating runs. Python {platform.python_version()}, "
            f"{len(os.sched_getaffinity(0))} processors ({processor_name()}). Made by `python bench/threads.py`.",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long one thread takes at least, about")
    parser.add_argument("--write", type=Path, help="put the table between the threads markers of this file")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    publish(report(arguments), arguments.write, "threads")


if __name__ == "__main__":
    main()
