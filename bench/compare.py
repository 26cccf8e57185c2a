"""fastsl against nilearn on a whole brain, both in one run: ``python bench/compare.py [--write README.md]``.

fastsl decodes every sphere. nilearn decodes two random samples of them; the difference of the two times gives its cost
of one sphere, sphere search included, without what it spends once. Both get the same images in memory, the same folds
and all processors. Repetitions alternate between the two; medians are printed, with the range.
"""

import argparse
import os
import platform
import resource
import statistics
import time
from pathlib import Path

import nibabel as nib
import nilearn
import numpy as np
import sklearn
from markers import publish
from nilearn.decoding import SearchLight as NilearnSearchLight
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC

import fastsl
from fastsl._runtime.cpus import processor_name

RADIUS = 8.0
SAMPLES = (40, 160)
#: Of decoders of which so few take nilearn a few seconds, which vary: one of ridge took 17 to 29 ms.
SAMPLES_OF = {
    "RidgeClassifier": (40, 1000),
    "LinearDiscriminantAnalysis(shrinkage=0.1)": (40, 500),
    "GaussianNB": (40, 1000),
}
ESTIMATORS = {
    "LinearSVC": LinearSVC(),
    "RidgeClassifier": RidgeClassifier(),
    "RidgeClassifierCV": "ridge_classifier",
    "LinearDiscriminantAnalysis(shrinkage=0.1)": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1),
    "GaussianNB": GaussianNB(),
}


def standardised_phantom(voxel_size):
    """The phantom of the documentation, z-scored within runs: smooth data, 6 runs of 20 volumes."""
    phantom = fastsl.make_phantom(voxel_size)
    return phantom, standardised(phantom)


def standardised(phantom):
    """The image of a phantom, z-scored within runs."""
    inside = phantom.mask_img.get_fdata() > 0
    X = np.asarray(phantom.img.dataobj)[inside].astype(np.float32)
    for run in np.unique(phantom.labels["run"]):
        part = X[:, phantom.labels["run"] == run]
        X[:, phantom.labels["run"] == run] = (part - part.mean(1, keepdims=True)) / part.std(1, keepdims=True)
    data = np.zeros(phantom.img.shape, np.float32, order="F")
    data[inside] = X
    return nib.Nifti1Image(data, phantom.img.affine)


def sample_mask(mask_img, n, seed):
    inside = np.flatnonzero(mask_img.get_fdata() > 0)
    chosen = np.zeros(mask_img.shape, np.uint8)
    chosen.ravel()[np.random.default_rng(seed).choice(inside, n, replace=False)] = 1
    return nib.Nifti1Image(chosen, mask_img.affine)


def timed(searchlight, img, labels):
    began = time.perf_counter()
    searchlight.fit(img, labels["condition"], labels["run"])
    return time.perf_counter() - began


def measure(estimator, phantom, img, n_jobs, repeats, samples=SAMPLES):
    """Times of fastsl (whole brain) and of one sphere of nilearn, alternating."""
    common = {"radius": RADIUS, "estimator": estimator, "cv": LeaveOneGroupOut(), "n_jobs": n_jobs}
    ours, theirs = [], []
    for repeat in range(repeats):
        ours.append(timed(fastsl.SearchLight(phantom.mask_img, **common), img, phantom.labels))
        times = []
        for n in samples:
            process_mask = sample_mask(phantom.mask_img, n, repeat)
            times.append(timed(NilearnSearchLight(phantom.mask_img, process_mask, **common), img, phantom.labels))
        theirs.append((times[1] - times[0]) / (samples[1] - samples[0]))
    return ours, theirs


def spread(values, unit=1.0, digits=1):
    """The median, and the range where there is one."""
    low, middle, high = min(values) * unit, statistics.median(values) * unit, max(values) * unit
    return f"{middle:.{digits}f}" + (f" ({low:.{digits}f}–{high:.{digits}f})" if len(values) > 1 else "")


def table(rows, n_spheres, voxel_size, repeats):
    lines = [
        f"{n_spheres:,} spheres of {RADIUS:g} mm ({voxel_size:g} mm voxels), 120 volumes, leave one run out of 6, "
        f"{len(os.sched_getaffinity(0))} processors ({processor_name()}); smooth, standardised data. "
        f"Median (range) of {repeats} alternating runs; everything is counted but compiling and reading the file.",
        "",
        "| estimator | fastsl, whole brain | nilearn, one sphere | nilearn, whole brain, extrapolated | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, ours, theirs in rows:
        total = [t * n_spheres for t in theirs]
        ratio = [b / a for a, b in zip(ours, total, strict=True)]
        lines.append(
            f"| {name} | {spread(ours)} s | {spread(theirs, 1e3)} ms | {spread(total, 1 / 60, 0)} min | "
            f"**{spread(ratio, digits=0)}** |"
        )
    lines += [
        "",
        f"fastsl {fastsl.__version__}, nilearn {nilearn.__version__}, scikit-learn {sklearn.__version__}, numpy "
        f"{np.__version__}, Python {platform.python_version()}. Peak memory of this process: "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB. Made by `python bench/compare.py`.",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voxel-size", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--estimators", default=",".join(ESTIMATORS))
    parser.add_argument("--n-jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", type=Path, help="put the table between the bench markers of this file")
    arguments = parser.parse_args()
    phantom, img = standardised_phantom(arguments.voxel_size)
    small = sample_mask(phantom.mask_img, 4, 0)
    n_spheres = int((phantom.mask_img.get_fdata() > 0).sum())
    rows = []
    for name in arguments.estimators.split(","):
        estimator = ESTIMATORS[name]
        fastsl.SearchLight(phantom.mask_img, small, RADIUS, estimator).fit(img, phantom.labels["condition"])  # compile
        samples = SAMPLES_OF.get(name, SAMPLES)
        rows.append((name, *measure(estimator, phantom, img, arguments.n_jobs, arguments.repeats, samples)))
        print(rows[-1], flush=True)
    publish(table(rows, n_spheres, arguments.voxel_size, arguments.repeats), arguments.write)


if __name__ == "__main__":
    main()
