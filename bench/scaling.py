"""One factor at a time around the standard case: ``python bench/scaling.py [--write docs/performance.md]``.

The standard case is 120 volumes of a 2 mm brain, smooth and standardised, spheres of 8 mm, leave one run out of 6. All
sides run on one processor: fastsl with one thread, nilearn's search for neighbours and its cross-validation, and a
plain loop of scikit-learn's ``cross_val_score`` over spheres that are already found. They take turns, and every ratio
is made of one turn. What reading the same voxels takes is not counted: a fit of a DummyClassifier in a part of the
spheres that reaches them all. The bound is the Gram product of a sphere alone, float64, by BLAS. What two processes sum
of these, beside one, bounds what a second thread can give. More volumes than 120 are cut from the middle of six
phantoms, one a run.
"""

import argparse
import itertools
import os
import platform
import resource
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import nilearn
import numpy as np
import scipy
import sklearn
from compare import spread, standardised
from decoders import Brain, enough_spheres
from markers import publish
from resources import first_fit
from scipy.linalg.blas import dsyrk
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.naive_bayes import GaussianNB
from threadpoolctl import threadpool_limits
from threads import DECODERS, second_processor

import fastsl
from fastsl._runtime.cpus import processor_name
from fastsl.phantom import Phantom

N_RUNS, LONGEST, HALF_BOX = 6, 242, 20
#: A turn of the peers that takes longer than this is the only one.
LONG = 4.0


@dataclass(frozen=True)
class Case:
    """Where a row differs from the standard case."""

    name: str
    n: int = 120
    radius: float = 8.0
    voxel_size: float = 2.0
    smoothness: float = 4.0
    standardise: bool = True
    boxed: bool = False


STANDARD = Case("standard")
CASES = [
    STANDARD,
    *(Case(f"{radius} mm radius", radius=radius) for radius in (4, 6, 10)),
    Case("3 mm voxels", voxel_size=3.0),
    Case("white", smoothness=0.0),
    Case("raw", standardise=False),
    *(Case(f"{n:,} volumes", n=n, boxed=True) for n in (40, 120, 400, 1000, 1452)),
    *(Case(f"{n:,} volumes, 4 mm radius", n=n, radius=4, boxed=True) for n in (216, 1000)),
]
QUICK = [Case("4 mm radius", radius=4, voxel_size=4.0), Case("40 volumes", n=40, boxed=True)]


class Phantoms:
    """Makes the data of cases, and keeps what the next one may need."""

    def __init__(self, longest):
        self._longest, self._boxes, self._last = longest, None, (None, None)

    def brain(self, case):
        """The brain that a case decodes."""
        if case.boxed:
            return Brain(*self._boxed(case.n), case.radius)
        made_of = replace(case, name="", radius=0)
        if self._last[0] != made_of:
            phantom = fastsl.make_phantom(case.voxel_size, smoothness=case.smoothness)
            self._last = made_of, (phantom, standardised(phantom) if case.standardise else phantom.img)
        return Brain(*self._last[1], case.radius)

    def _boxed(self, n):
        """``n`` volumes of a box in the middle of the brain."""
        if self._boxes is None:
            phantoms = (fastsl.make_phantom(2.0, 1, self._longest, seed=seed) for seed in range(N_RUNS))
            self._boxes = [_box(phantom) for phantom in phantoms]
        sizes = np.diff(np.round(np.linspace(0, n, N_RUNS + 1))).astype(int)
        chosen = [np.round(np.linspace(0, self._longest - 1, size)).astype(int) for size in sizes]
        pairs = list(zip(self._boxes, chosen, strict=True))
        img = nib.Nifti1Image(np.concatenate([box[0][..., keep] for box, keep in pairs], axis=3), np.diag([2, 2, 2, 1]))
        inside = nib.Nifti1Image(self._boxes[0][2], img.affine)
        labels = {
            "condition": np.concatenate([box[1][keep] for box, keep in pairs]),
            "run": np.repeat(np.arange(N_RUNS), sizes),
        }
        phantom = Phantom(img, inside, inside, labels)
        return phantom, standardised(phantom)


def _box(phantom):
    """Volumes, conditions and mask in the middle of a phantom."""
    middle = tuple(slice(n // 2 - HALF_BOX, n // 2 + HALF_BOX) for n in phantom.img.shape[:3])
    volumes = np.asarray(phantom.img.dataobj)[middle].copy(order="F")
    return volumes, phantom.labels["condition"], np.asarray(phantom.mask_img.dataobj)[middle].copy()


def scikit_learn(brain, estimator, rng, n):
    """Seconds of ``cross_val_score`` on each of ``n`` random spheres."""
    spheres, y = brain.random_spheres(rng, n), brain.target(estimator)
    began = time.perf_counter()
    for sphere in range(n):
        cross_val_score(estimator, brain.X[:, spheres[sphere]], y, groups=brain.runs, cv=LeaveOneGroupOut())
    return time.perf_counter() - began


def gram_products(brain, n=100):
    """Seconds of one Gram product, of ``n`` random spheres that are gathered already."""
    spheres = brain.random_spheres(np.random.default_rng(0), n)
    gathered = [brain.X.T[spheres[sphere]].astype(np.float64) for sphere in range(n)]
    G = np.zeros((len(brain.X),) * 2, order="F")
    with threadpool_limits(1, user_api="blas"):
        dsyrk(1.0, gathered[0].T, c=G, overwrite_c=1)
        began = time.perf_counter()
        for B in gathered:
            dsyrk(1.0, B.T, c=G, overwrite_c=1)
        return (time.perf_counter() - began) / n


def listing(brain, n):
    """Seconds that fastsl takes to list one sphere, on as many threads as there are."""
    took = []
    for size in (8, n):
        centres = brain.centres(size).astype(bool)
        began = time.perf_counter()
        fastsl.sphere_neighbours(brain.mask, brain.affine, brain.radius, centres)
        took.append(time.perf_counter() - began)
    return (took[1] - took[0]) / (n - 8)


def by_threads(brain, estimator, n, times=3):
    """Seconds that fastsl takes for a sphere with one thread and with two, medians of so many alternating runs."""
    took = [[(brain.fastsl(estimator, n, k) - brain.reading(n, k)) / n for k in (1, 2)] for _ in range(times)]
    return np.median(took, axis=0)


def measure(brain, estimator, seconds, repeats):
    """Turns of (fastsl with one thread, with two, listing, nilearn's search, its decoding, scikit-learn, Gram)."""
    n = enough_spheres(brain, estimator, 1, seconds)
    took = brain.nilearn(estimator, np.random.default_rng(0), 1)
    n_theirs = max(1, min(100, int(seconds / took)))
    turns = []
    for repeat in range(1 if took > LONG else repeats):
        nilearns = brain.nilearn(estimator, np.random.default_rng(repeat), n_theirs) / n_theirs
        with threadpool_limits(1, user_api="blas"):
            loops = scikit_learn(brain, estimator, np.random.default_rng(repeat), n_theirs) / n_theirs
            search = brain.nilearn_search(np.random.default_rng(repeat))
        turns.append(
            (
                *by_threads(brain, estimator, n),
                listing(brain, min(4096, brain.X.shape[1])),
                search,
                nilearns,
                loops,
                gram_products(brain),
            )
        )
    return np.array(turns)


def row(case, estimator, brain, turns):
    """A line of the table; ratios are made within a turn. Where fastsl loses it says so."""
    one, two, listed, search, decoding, loop, gram = turns.T
    ratios = [(search + decoding) / one, decoding / one, loop / one]
    lost = " (fastsl loses)" if min(np.median(ratio) for ratio in ratios) < 1 else ""
    size = np.median(brain.random_spheres(np.random.default_rng(0), 100).sizes)
    return (
        f"| {case.name} | {type(estimator).__name__}{lost} | {size:.0f} | {spread(one, 1e6, 0)} | "
        f"{np.median(one / two):.2f} | "
        f"{np.median(listed) * 1e6:.1f} | {np.median(search) * 1e3:.1f} + {spread(decoding, 1e3)} | "
        f"{np.median(loop) * 1e3:.1f} | **{spread(ratios[0], digits=0)}** | {np.median(ratios[1]):.0f} | "
        f"{np.median(ratios[2]):.0f} | {np.median(gram) * 1e6:.0f} | {np.median(gram / one):.0%} |"
    )


HEADING = (
    "| case | decoder | voxels in a sphere | fastsl, 1 thread, µs | 2 threads are faster by | of it listing, µs | "
    "nilearn: search + decoding, ms | scikit-learn loop, ms | ratio | of decoding alone | to the loop | "
    "Gram alone, µs | of fastsl |"
)


def growth(cases, found):
    """Powers of the number of volumes with which the time of a sphere grows, between neighbours in the sweep."""
    for estimator in DECODERS:
        name = type(estimator).__name__
        sweep_of = [case for case in cases if case.boxed and case.radius == STANDARD.radius and (case, name) in found]
        times = [(case.n, np.median(found[case, name][:, 0])) for case in sweep_of]
        steps = [
            f"{np.log(b[1] / a[1]) / np.log(b[0] / a[0]):.1f} from {a[0]} to {b[0]}"
            for a, b in itertools.pairwise(times)
        ]
        if steps:
            yield f"- {name}: the time of a sphere grows with the power {', '.join(steps)} volumes."


def linearity(brain, estimator, seconds):
    """Whether twice and four times the spheres take twice and four times as long."""
    n = min(enough_spheres(brain, estimator, 1, seconds), brain.X.shape[1] // 4)
    turns = []
    for _ in range(3):
        times = [brain.fastsl(estimator, k * n, 1) - brain.reading(k * n, 1) for k in (1, 2, 4)]
        turns.append([times[1] / times[0], times[2] / times[0]])
    twice, four = np.median(turns, axis=0)
    return (
        f"- {type(estimator).__name__}: {2 * n:,} and {4 * n:,} spheres take {twice:.2f} and {four:.2f} times as long "
        f"as {n:,}."
    )


def crowding(n_centres):
    """64 threads on the processors that there are."""
    phantom = fastsl.make_phantom(3.0)
    brain, few = Brain(phantom, standardised(phantom)), len(os.sched_getaffinity(0))
    for estimator in DECODERS:
        n = min(brain.X.shape[1], n_centres * (20 if isinstance(estimator, GaussianNB) else 1))
        brain.fastsl(estimator, 8, few)
        ratio = statistics.median(brain.fastsl(estimator, n, 64) / brain.fastsl(estimator, n, few) for _ in range(5))
        name = type(estimator).__name__
        yield f"- {name}: 64 threads on {few} processors take {ratio:.2f} times as long as {few} threads."


def first_calls():
    """First fit of a small brain in a process, with an empty compile cache and with a full one."""
    for estimator in DECODERS:
        with tempfile.TemporaryDirectory() as cache:
            first, warm = (first_fit(repr(estimator), cache) for _ in range(2))
        yield f"- {type(estimator).__name__}: {first:.1f} s, compiling; {warm:.2f} s in the next process."


def sweep(cases, arguments, seconds, repeats):
    phantoms = Phantoms(20 if arguments.quick else LONGEST)
    found, lines, possible = {}, [HEADING, "| --- " * (HEADING.count("|") - 1) + "|"], []
    for case in cases:
        brain = phantoms.brain(case)
        possible.append(second_processor(brain))
        for estimator in DECODERS:
            name = type(estimator).__name__
            if arguments.decoder in name:
                found[case, name] = measure(brain, estimator, seconds, repeats)
                lines.append(row(case, estimator, brain, found[case, name]))
                print(lines[-1], flush=True)
    faster = [one / two for turns in found.values() for one, two in turns[:, :2]]
    lines += [
        "",
        f"Two processes of OpenBLAS sum {spread(possible, 1, 2)} times as many Gram products as one, measured before "
        f"each case; two threads of fastsl are {spread(faster, 1, 2)} times as fast as one.",
    ]
    return found, lines


def busy_elsewhere():
    """Seconds of processor time that were not ours: a machine that others use says nothing of threads.

    Measured beside 1.4 busy processors of two: 2 threads took as long as 1, and 64 threads two thirds of what 2 took.
    """
    ticks = Path("/proc/stat").read_text().split(maxsplit=5)[1:4]  # user, nice, system
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def report(arguments):
    cases = [case for case in (QUICK if arguments.quick else CASES) if arguments.only in case.name]
    seconds, repeats = (0.1, 1) if arguments.quick else (arguments.seconds, arguments.repeats)
    began, busy_before = time.perf_counter(), busy_elsewhere()
    found, lines = sweep(cases, arguments, seconds, repeats)
    lines += ["", *growth(cases, found), "", "The number of spheres:", ""]
    brain = Phantoms(0).brain(Case("", radius=8.0, voxel_size=4.0 if arguments.quick else 2.0))
    lines += [linearity(brain, one, seconds) for one in DECODERS if arguments.decoder in type(one).__name__]
    lines += ["", "More threads than processors:", "", *crowding(50 if arguments.quick else 2000)]
    if not arguments.quick:
        lines += ["", "First fit in a process:", "", *first_calls()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    turns = "One turn" if repeats == 1 else f"Median (range) of {repeats} turns"
    others = (busy_elsewhere() - busy_before) / (time.perf_counter() - began)
    lines += [
        "",
        f"{turns}. fastsl {fastsl.__version__}, nilearn {nilearn.__version__}, scikit-learn {sklearn.__version__}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}, Python {platform.python_version()}, "
        f"{len(os.sched_getaffinity(0))} processors ({processor_name()}). "
        f"{(time.perf_counter() - began) / 60:.0f} min, peak memory of this process with all sides {peak:.1f} GB. "
        f"Other processes took {others:.1f} processors meanwhile. Made by `python bench/scaling.py`.",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="how long a turn of one side takes, about")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--decoder", default="", help="decoders whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="a few small cases, to see that all of it runs")
    parser.add_argument("--write", type=Path, help="put the tables between the scaling markers of this file")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=sklearn.exceptions.ConvergenceWarning)
    publish(report(arguments), arguments.write, "scaling")


if __name__ == "__main__":
    main()
