"""Every compiled decoder against nilearn, one row each: ``python bench/decoders.py [--write docs/decoders.md]``.

Rows come from the registry. Both decode random spheres of a standardised 2 mm brain by their ``search_light``, on the
same arrays and neighbourhoods: fastsl some thousand on all processors, nilearn as many as take two seconds on one.
nilearn's cost is then divided by the number of processors, as if it scaled perfectly, and without its search for
neighbours.
"""

import argparse
import os
import platform
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
from compare import spread, standardised_phantom, write_between_markers
from nilearn.decoding import searchlight as nilearn_searchlight
from sklearn.model_selection import LeaveOneGroupOut

import fastsl
from fastsl.decoders import REGISTRY
from fastsl.estimators import estimator_type

RADIUS = 8.0
SECONDS_OF_NILEARN = 2.0


def seconds_of(search_light, X, y, estimator, A, groups, n_jobs):
    began = time.perf_counter()
    search_light(X, y, estimator, A, groups, cv=LeaveOneGroupOut(), n_jobs=n_jobs)
    return time.perf_counter() - began


def measure(estimator, X, labels, A, n_jobs, repeats):
    """Seconds a sphere of fastsl and of nilearn, alternating."""
    runs = labels["run"]
    is_face = labels["condition"] == "face"
    y = is_face.astype(int) if decodes_classes(estimator) else is_face + np.random.default_rng(0).random(len(runs))
    seconds_of(fastsl.search_light, X, y, estimator, A[:8], runs, n_jobs)  # compiles
    ours, theirs, n_theirs = [], [], 2
    for repeat in range(repeats):
        few = seconds_of(fastsl.search_light, X, y, estimator, A[:8], runs, n_jobs)
        ours.append((seconds_of(fastsl.search_light, X, y, estimator, A, runs, n_jobs) - few) / (A.shape[0] - 8))
        if repeat == 0:
            once = seconds_of(nilearn_searchlight.search_light, X, y, estimator, A[:2].tolil(), runs, 1)
            n_theirs = max(2, min(100, int(SECONDS_OF_NILEARN / once * 2)))
        start = repeat * n_theirs
        sample = A[start : start + n_theirs].tolil()
        once = seconds_of(nilearn_searchlight.search_light, X, y, estimator, sample, runs, 1)
        theirs.append(once / n_theirs / n_jobs)
    return ours, theirs


def decodes_classes(estimator):
    return estimator_type(estimator) == "classifier"


def rows_of(registry):
    """(name, estimator, decoder) of every line of the registry."""
    for kind, decoder in registry.items():
        for estimator in decoder.examples or (kind(),):
            yield repr(estimator), estimator, decoder


def table(rows, arguments):
    lines = [
        f"Time of one sphere of {RADIUS:g} mm in a 2 mm brain (up to 257 voxels), 120 volumes of two classes, leave "
        f"one run out of 6, {arguments.n_jobs} processors ({platform.machine()}); smooth, standardised data. Median "
        f"(range) of {arguments.repeats} alternating runs. nilearn runs on one processor and counts as if it scaled "
        "perfectly, without its search for neighbours.",
        "",
        "| decoder | how | fastsl | nilearn | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, decoder, ours, theirs in rows:
        ratio = [b / a for a, b in zip(ours, theirs, strict=True)]
        lines.append(
            f"| `{name}` | {decoder.how} | {spread(ours, 1e6, 0)} µs | {spread(theirs, 1e3)} ms | "
            f"**{spread(ratio, digits=0)}** |"
        )
    return "\n".join(
        [
            *lines,
            "",
            "A 2 mm brain has some 235,000 spheres: 100 µs a sphere are 24 s. Made by `python bench/decoders.py`.",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--spheres", type=int, default=4000)
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--n-jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", type=Path, help="put the table between the bench markers of this file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    phantom, img = standardised_phantom(2.0)
    inside = phantom.mask_img.get_fdata() > 0
    X = np.ascontiguousarray(np.asarray(img.dataobj)[inside].T)
    centres = np.zeros(inside.shape, bool)
    chosen = np.random.default_rng(0).choice(np.flatnonzero(inside), arguments.spheres, replace=False)
    centres.ravel()[chosen] = True
    spheres = fastsl.sphere_neighbours(inside, phantom.mask_img.affine, RADIUS, centres)
    A = spheres.to_sparse()
    rows = []
    for name, estimator, decoder in rows_of(REGISTRY):
        if arguments.only in name:
            ours, theirs = measure(estimator, X, phantom.labels, A, arguments.n_jobs, arguments.repeats)
            rows.append((name, decoder, ours, theirs))
            print(name, f"{statistics.median(ours) * 1e6:.0f} µs, {statistics.median(theirs) * 1e3:.1f} ms", flush=True)
    text = table(rows, arguments)
    print(text)
    if arguments.write:
        write_between_markers(arguments.write, text)


if __name__ == "__main__":
    main()
