"""False positives of permutation tests on noise: ``python bench/false_positives.py [--write docs/permutation.md]``.

Many small brains of smooth noise, each with labels in runs, are decoded and tested as a user would. Of each brain the
smallest family-wise p value of every statistic counts, and the uncorrected p value of one sphere.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from markers import publish
from scipy.ndimage import gaussian_filter
from scipy.stats import binom
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import LeaveOneGroupOut

from fastsl import cluster_inference, sphere_neighbours, voxel_adjacency
from fastsl.analysis import Permutations, plan_analysis
from fastsl.kept import Keep
from fastsl.progress import Progress
from fastsl.search import run_search

SHAPE, N_SAMPLES, N_RUNS = (6, 6, 6), 24, 4
MASK = np.ones(SHAPE, bool)
SPHERES, ADJACENCY = sphere_neighbours(MASK, np.eye(4), 1.5), voxel_adjacency(MASK)
MIDDLE = 129  # voxel (3, 3, 3)
LABELS, RUNS = np.arange(N_SAMPLES) % 2, np.repeat(np.arange(N_RUNS), N_SAMPLES // N_RUNS)
THRESHOLD = 2.0
KINDS = {"RidgeClassifier": RidgeClassifier(), "Ridge, of values": Ridge()}
STATISTICS = ("one sphere, uncorrected", "largest score", "TFCE", "cluster extent", "cluster mass")


def p_values(seed, estimator, n_permutations):
    """Of one brain, those of ``STATISTICS``."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.standard_normal((*SHAPE, N_SAMPLES)), (1, 1, 1, 0))
    X = (noise / noise.std()).reshape(-1, N_SAMPLES).astype(np.float32)
    analysis = plan_analysis(
        rng.standard_normal(N_SAMPLES) if isinstance(estimator, Ridge) else LABELS,
        N_SAMPLES,
        estimator,
        groups=RUNS,
        cv=LeaveOneGroupOut(),
        permutations=Permutations(n_permutations),
        random_state=seed,
    )
    result = run_search(X, SPHERES, analysis, 1, Progress(0, "false positives"), Keep(null_maps=True))
    null = result.null
    found = cluster_inference(
        result.scores[0],
        null.maps[0],
        ADJACENCY,
        mean=null.mean[0],
        sd=null.sd[0],
        cluster_threshold=THRESHOLD,
        n_jobs=1,
    )
    return (
        null.p[0, MIDDLE],
        null.p_fwe(result.scores).min(),
        found.p_tfce.min(),
        found.clusters.p_extent.min(initial=1.0),
        found.clusters.p_mass.min(initial=1.0),
    )


def band(level, n):
    """Rates of n experiments, each a false positive with probability ``level``, in 999 of 1,000 cases."""
    return binom.ppf([0.0005, 0.9995], n, level) / n


def table(rates, arguments, minutes):
    (low, high), (low1, high1) = band(0.05, arguments.brains), band(0.01, arguments.brains)
    lines = [
        f"{arguments.brains:,} brains of {' x '.join(map(str, SHAPE))} voxels of smooth noise, {N_SAMPLES} images in "
        f"{N_RUNS} runs, leave one run out, {arguments.permutations} permutations within runs; clusters of z > "
        f"{THRESHOLD:g}. Part of the brains with any p at or below 0.05 (0.01). Of a test that is exact, 999 of 1,000 "
        f"such simulations lie between {low:.3f} and {high:.3f} ({low1:.3f} and {high1:.3f}); ties, which accuracies "
        "and extents have, make it smaller.",
        "",
        "| decoder | " + " | ".join(STATISTICS) + " |",
        "| --- |" + " --- |" * len(STATISTICS),
    ]
    for name, (five, one) in rates.items():
        lines.append(f"| {name} | " + " | ".join(f"{a:.3f} ({b:.3f})" for a, b in zip(five, one, strict=True)) + " |")
    return "\n".join([*lines, "", f"Made by `python bench/false_positives.py`, in {minutes:.0f} minutes."])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brains", type=int, default=2000)
    parser.add_argument("--permutations", type=int, default=99)
    parser.add_argument("--write", type=Path, help="put the table between the bench markers of this file")
    arguments = parser.parse_args()
    began, rates = time.perf_counter(), {}
    for name, estimator in KINDS.items():
        p = np.array([p_values(seed, estimator, arguments.permutations) for seed in range(arguments.brains)])
        rates[name] = [(p <= level + 1e-9).mean(axis=0) for level in (0.05, 0.01)]
        print(name, *rates[name], f"{time.perf_counter() - began:.0f} s", flush=True)
    publish(table(rates, arguments, (time.perf_counter() - began) / 60), arguments.write, "false-positives")


if __name__ == "__main__":
    main()
