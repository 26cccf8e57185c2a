"""Every compiled decoder against nilearn, one row each: ``python bench/decoders.py [--write docs/decoders.md]``.

Rows come from the registry. fastsl decodes some thousand random spheres of a 2 mm brain, nilearn two small samples of
them, whose difference gives its cost of one sphere; repetitions alternate. Compiling and reading are not counted.
"""

import argparse
import os
import platform
import statistics
from pathlib import Path

from compare import NilearnSearchLight, sample_mask, spread, standardised_phantom, timed, write_between_markers
from sklearn.model_selection import LeaveOneGroupOut

import fastsl
from fastsl.decoders import REGISTRY
from fastsl.estimators import estimator_type

RADIUS = 8.0


def measure(estimator, phantom, img, n_spheres, samples, n_jobs, repeats):
    """Seconds a sphere of fastsl and of nilearn (None where it cannot run the estimator), alternating."""
    common = {"radius": RADIUS, "estimator": estimator, "cv": LeaveOneGroupOut(), "n_jobs": n_jobs}
    y = phantom.labels["run"] + (phantom.labels["condition"] == "face")
    labels = {
        "condition": phantom.labels["condition"] if decodes_classes(estimator) else y,
        "run": phantom.labels["run"],
    }
    fastsl.SearchLight(phantom.mask_img, sample_mask(phantom.mask_img, 4, 0), **common).fit(img, *labels.values())
    ours, theirs = [], []
    for repeat in range(repeats):
        few = timed(
            fastsl.SearchLight(phantom.mask_img, sample_mask(phantom.mask_img, 8, repeat), **common), img, labels
        )
        many = sample_mask(phantom.mask_img, n_spheres, repeat)
        ours.append((timed(fastsl.SearchLight(phantom.mask_img, many, **common), img, labels) - few) / (n_spheres - 8))
        times = []
        for n in samples:
            process_mask = sample_mask(phantom.mask_img, n, repeat)
            times.append(timed(NilearnSearchLight(phantom.mask_img, process_mask, **common), img, labels))
        theirs.append((times[1] - times[0]) / (samples[1] - samples[0]))
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
        f"Spheres of {RADIUS:g} mm in a 2 mm brain (up to 257 voxels), 120 volumes of two classes, leave one run out "
        f"of 6, {arguments.n_jobs} processors ({platform.machine()}); smooth, standardised data. Median (range) of "
        f"{arguments.repeats} alternating runs.",
        "",
        "| decoder | how | fastsl, a sphere | nilearn, a sphere | ratio |",
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
    parser.add_argument("--samples", type=int, nargs=2, default=(4, 20), help="spheres of nilearn")
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--n-jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", type=Path, help="put the table between the bench markers of this file")
    arguments = parser.parse_args()
    phantom, img = standardised_phantom(2.0)
    rows = []
    for name, estimator, decoder in rows_of(REGISTRY):
        if arguments.only in name:
            ours, theirs = measure(
                estimator, phantom, img, arguments.spheres, arguments.samples, arguments.n_jobs, arguments.repeats
            )
            rows.append((name, decoder, ours, theirs))
            print(name, f"{statistics.median(ours) * 1e6:.0f} µs, {statistics.median(theirs) * 1e3:.1f} ms", flush=True)
    text = table(rows, arguments)
    print(text)
    if arguments.write:
        write_between_markers(arguments.write, text)


if __name__ == "__main__":
    main()
