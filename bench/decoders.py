"""Every compiled decoder against nilearn, one row each: ``python bench/decoders.py [--write docs/decoders.md]``.

Rows come from the registry. fastsl fits images, on as many neighbouring centres as take some seconds, up to the whole
brain. Everything is counted; of reading and standardising, which a fit of few centres does for all voxels around
them, as much as a sphere of the whole brain has of it. nilearn's cost of a sphere is its search
for neighbours, which runs on one processor, and its cross-validation, which is measured on one and divided by the
number of processors, as if it scaled perfectly.
"""

import argparse
import os
import statistics
import time
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
from compare import spread, standardised_phantom
from markers import publish
from nilearn.decoding import searchlight as nilearn_searchlight
from nilearn.maskers.nifti_spheres_masker import apply_mask_and_get_affinity
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import LeaveOneGroupOut
from threadpoolctl import threadpool_limits

import fastsl
from fastsl._runtime.cpus import processor_name
from fastsl.decoders import REGISTRY
from fastsl.estimators import estimator_type

RADIUS = 8.0
SECONDS = 1.0
SEARCHED = (20, 120)
#: Does nothing but read, in the centres at one of so many places of each axis, whose spheres have all voxels.
READING, THINNED = DummyClassifier(), 4


class Brain:
    """The data that all rows share: the standardised 2 mm phantom, or what is given."""

    def __init__(self, phantom=None, img=None, radius=RADIUS):
        self.phantom, self.img = standardised_phantom(2.0) if phantom is None else (phantom, img)
        self.radius = radius
        self.mask = self.phantom.mask_img.get_fdata() > 0
        self.affine = self.phantom.mask_img.affine
        self.runs = self.phantom.labels["run"]
        self.is_face = self.phantom.labels["condition"] == "face"
        self.X = np.ascontiguousarray(np.asarray(self.img.dataobj)[self.mask].T)

    def target(self, estimator):
        """Two classes, or values for a regressor."""
        if decodes_classes(estimator):
            return self.is_face.astype(int)
        return self.is_face + np.random.default_rng(0).random(len(self.is_face))

    def centres(self, n, every=1):
        """The ``n`` centres in the middle of the brain, in C order, or those at every so many places from the first."""
        inside = np.flatnonzero(self.mask)
        start = (len(inside) - n) // 2
        chosen = np.zeros(self.mask.shape, np.uint8)
        chosen.ravel()[inside[start : start + n]] = 1
        thinned = np.zeros_like(chosen)
        places = tuple(slice(first, None, every) for first in np.argwhere(chosen).min(axis=0))
        thinned[places] = chosen[places]
        return thinned

    def fastsl(self, estimator, n, n_jobs, every=1):
        """Seconds of a fit of these centres."""
        centres = nib.Nifti1Image(self.centres(n, every), self.affine)
        search = fastsl.SearchLight(
            self.phantom.mask_img, centres, self.radius, estimator, cv=LeaveOneGroupOut(), n_jobs=n_jobs
        )
        began = time.perf_counter()
        search.fit(self.img, self.target(estimator), self.runs)
        return time.perf_counter() - began

    def reading(self, n, n_jobs):
        """Seconds that a fit of these centres takes to read what their spheres have."""
        return self.fastsl(READING, n, n_jobs, THINNED)

    def random_spheres(self, rng, n):
        """``n`` spheres somewhere in the brain."""
        centres = np.zeros(self.mask.shape, bool)
        centres.ravel()[rng.choice(np.flatnonzero(self.mask), n, replace=False)] = True
        return fastsl.sphere_neighbours(self.mask, self.affine, self.radius, centres)

    def nilearn(self, estimator, rng, n):
        """Seconds of cross-validation of ``n`` random spheres, on one processor.

        BLAS has one thread, as in the workers of joblib: two threads of it at matrices of this size made discriminant
        analysis twice as slow.
        """
        A = self.random_spheres(rng, n).to_sparse().tolil()
        y = self.target(estimator)
        with threadpool_limits(1, user_api="blas"):
            began = time.perf_counter()
            nilearn_searchlight.search_light(self.X, y, estimator, A, self.runs, cv=LeaveOneGroupOut(), n_jobs=1)
            return time.perf_counter() - began

    def nilearn_search(self, rng):
        """Seconds that nilearn's search for the neighbours of one centre takes."""
        voxels = np.argwhere(self.mask)
        first = self.img.slicer[..., :1]
        took = []
        for n in SEARCHED:
            seeds = nib.affines.apply_affine(self.affine, voxels[rng.choice(len(voxels), n, replace=False)])
            began = time.perf_counter()
            apply_mask_and_get_affinity(seeds, first, self.radius, True, self.phantom.mask_img)
            took.append(time.perf_counter() - began)
        return (took[1] - took[0]) / (SEARCHED[1] - SEARCHED[0])


def enough_spheres(brain, estimator, n_jobs, seconds):
    """How many centres take so long, or all of the brain."""
    brain.fastsl(estimator, 8, n_jobs)  # compiles
    few, n = brain.fastsl(estimator, 8, n_jobs), 100
    while n < brain.X.shape[1] and brain.fastsl(estimator, n, n_jobs) - few < seconds:
        n = min(brain.X.shape[1], 4 * n)
    return n


def measure(brain, estimator, n_jobs, repeats):
    """Seconds a sphere of fastsl, and of nilearn's search and decoding, alternating."""
    rng, n_all = np.random.default_rng(0), brain.X.shape[1]
    n = enough_spheres(brain, estimator, n_jobs, SECONDS)
    n_theirs = max(2, min(100, int(2 * SECONDS / brain.nilearn(estimator, rng, 2))))
    ours, theirs = [], []
    for _ in range(repeats):
        decoding = (brain.fastsl(estimator, n, n_jobs) - brain.reading(n, n_jobs)) / n
        ours.append(decoding + brain.reading(n_all, n_jobs) / n_all)
        decoding = brain.nilearn(estimator, rng, n_theirs) / n_theirs / n_jobs
        theirs.append((brain.nilearn_search(rng), decoding))
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
        f"one run out of 6, {arguments.n_jobs} processors ({processor_name()}); smooth, standardised data. Median "
        f"(range) of {arguments.repeats} alternating runs. nilearn's search for neighbours runs on one processor; its "
        "decoding is counted as if it scaled perfectly.",
        "",
        "| decoder | how | fastsl | nilearn: search + decoding | ratio | of decoding alone |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, decoder, ours, theirs in rows:
        search, decoding = np.transpose(theirs)
        lines.append(
            f"| `{name}` | {decoder.how} | {spread(ours, 1e6, 0)} µs | {np.median(search) * 1e3:.1f} + "
            f"{spread(decoding, 1e3)} ms | **{spread((search + decoding) / ours, digits=0)}** | "
            f"{np.median(decoding / ours):.0f} |"
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
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--n-jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", type=Path, help="put the table between the bench markers of this file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    brain, rows = Brain(), []
    for name, estimator, decoder in rows_of(REGISTRY):
        if arguments.only in name:
            ours, theirs = measure(brain, estimator, arguments.n_jobs, arguments.repeats)
            rows.append((name, decoder, ours, theirs))
            print(name, f"{statistics.median(ours) * 1e6:.1f} µs", theirs, flush=True)
    publish(table(rows, arguments), arguments.write)


if __name__ == "__main__":
    main()
