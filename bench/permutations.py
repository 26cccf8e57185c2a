"""Permutation tests against their cost with nilearn: ``python bench/permutations.py [--write docs/permutation.md]``.

nilearn has no permutation test of a searchlight: each permutation is another whole fit. Its cost is therefore (n + 1)
times that of a fit, which is its search for neighbours, on one processor, and its cross-validation, measured on one and
divided by the number of processors, as if it scaled perfectly. fastsl fits images, on as many centres in the middle of
the brain as take some seconds; what a fit of a quarter of them takes is not counted. Repetitions alternate.

``--whole-brain`` decodes RidgeClassifier with 1,000 permutations in every sphere, with TFCE and clusters.
"""

import argparse
import os
import resource
import statistics
import time
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
from compare import spread
from decoders import RADIUS, SECONDS, Brain
from markers import publish
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.svm import SVC, LinearSVC

import fastsl
from fastsl._runtime.cpus import processor_name

#: Estimator, permutations, and the fewest centres. Permutations that are decoded one by one take large blocks, in which
#: what a block costs once a permutation is shared: few centres would say nothing of a whole brain.
ROWS = [
    (RidgeClassifier(), 1000, 64),
    (RidgeClassifierCV(), 1000, 64),
    (LinearSVC(), 100, 64),
    (NearestCentroid(), 1000, 64),
    (GaussianNB(), 100, 4096),
    (SVC(kernel="linear"), 20, 512),
]
FEW = 8


def searchlight(brain, estimator, n_permutations, n_jobs, centres=None, **options):
    return fastsl.SearchLight(
        brain.phantom.mask_img,
        centres,
        RADIUS,
        estimator,
        cv=LeaveOneGroupOut(),
        n_jobs=n_jobs,
        n_permutations=n_permutations,
        **options,
    )


def timed(brain, search, estimator):
    began = time.perf_counter()
    search.fit(brain.img, brain.target(estimator), brain.runs)
    return time.perf_counter() - began


def seconds(brain, estimator, n_permutations, n, n_jobs):
    """Of a permutation test of ``n`` centres in the middle of the brain."""
    centres = nib.Nifti1Image(brain.centres(n), brain.affine)
    return timed(brain, searchlight(brain, estimator, n_permutations, n_jobs, centres), estimator)


def measure(brain, estimator, n_permutations, n, n_jobs, repeats):
    """Seconds a sphere: of a test by fastsl, and of one fit by nilearn."""
    rng, most = np.random.default_rng(0), brain.X.shape[1]
    seconds(brain, estimator, 2, FEW, n_jobs)  # compiles
    few = seconds(brain, estimator, n_permutations, n // 4, n_jobs)
    while 4 * n < most and (many := seconds(brain, estimator, n_permutations, n, n_jobs)) - few < SECONDS:
        few, n = many, 4 * n
    n_theirs = max(2, min(100, int(2 * SECONDS / brain.nilearn(estimator, rng, 2))))
    ours, theirs = [], []
    for _ in range(repeats):
        few = seconds(brain, estimator, n_permutations, n // 4, n_jobs)
        ours.append((seconds(brain, estimator, n_permutations, n, n_jobs) - few) / (n - n // 4))
        theirs.append(brain.nilearn_search(rng) + brain.nilearn(estimator, rng, n_theirs) / n_theirs / n_jobs)
    return np.array(ours), np.array(theirs)


def table(rows, n_spheres, arguments):
    lines = [
        f"Spheres of {RADIUS:g} mm in a 2 mm brain (up to 257 voxels), 120 volumes of two classes, leave one run out "
        f"of 6, {arguments.n_jobs} processors ({processor_name()}); smooth, standardised data. Median (range) of "
        f"{arguments.repeats} alternating runs; whole brains ({n_spheres:,} spheres) are extrapolated from spheres in "
        "its middle. nilearn has no such test: its cost is that of n + 1 fits, their decoding counted as if it scaled "
        "perfectly over processors.",
        "",
        "| decoder | permutations | fastsl, one sphere | fastsl, whole brain | nilearn, n + 1 fits | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for estimator, n, ours, theirs in rows:
        days = theirs * (n + 1) * n_spheres / 86400
        lines.append(
            f"| `{estimator!r}` | {n:,} | {spread(ours, 1e3, 2)} ms | {spread(ours, n_spheres / 60)} min | "
            f"{spread(days, digits=0)} days | **{spread((n + 1) * theirs / ours, digits=0)}** |"
        )
    return "\n".join([*lines, "", f"fastsl {fastsl.__version__}. Made by `python bench/permutations.py`."])


def whole_brain(brain, n_jobs):
    """Time and peak memory of the whole test in every sphere."""
    estimator = RidgeClassifier()
    timed(
        brain, searchlight(brain, estimator, 20, n_jobs, nib.Nifti1Image(brain.centres(FEW), brain.affine)), estimator
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    took = timed(
        brain, searchlight(brain, estimator, 1000, n_jobs, tfce=True, cluster_threshold=3.1, verbose=1), estimator
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"RidgeClassifier, 1,000 permutations, {brain.X.shape[1]:,} spheres, TFCE and clusters, {n_jobs} processors: "
        f"{took / 60:.1f} min, peak {peak:.1f} GB ({before:.1f} GB before)."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose estimator has this in its name")
    parser.add_argument("--n-jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--whole-brain", action="store_true", help="decode every sphere; takes many minutes")
    parser.add_argument("--write", type=Path, help="put the table between the bench markers of this file")
    arguments = parser.parse_args()
    brain = Brain()
    if arguments.whole_brain:
        whole_brain(brain, arguments.n_jobs)
        return
    warnings.filterwarnings("ignore", ".*decoded one after the other")
    rows = []
    for estimator, n, fewest in ROWS:
        if arguments.only in repr(estimator):
            rows.append((estimator, n, *measure(brain, estimator, n, fewest, arguments.n_jobs, arguments.repeats)))
            ours, theirs = map(statistics.median, rows[-1][2:])
            print(f"{estimator!r}, {n}: {ours * 1e3:.2f} ms, nilearn {theirs * (n + 1):.1f} s a sphere", flush=True)
    publish(table(rows, brain.X.shape[1], arguments), arguments.write)


if __name__ == "__main__":
    main()
