"""``explain``: which path an analysis would take, why, and how long it would, before anyone waits."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from sklearn.base import is_regressor

from fastsl._runtime.cpus import resolve_n_jobs
from fastsl._runtime.launch import max_threads
from fastsl.analysis import Analysis, Permutations, make_engine, matrix_dtype, plan_analysis
from fastsl.estimators import make_estimator
from fastsl.kept import Keep
from fastsl.neighbours import Neighbours
from fastsl.outcome import Engine
from fastsl.progress import Progress, duration
from fastsl.search import BYTES_OF_NULL, most_centres, run_search

#: Voxels of a brain at 2 mm, in MNI space.
WHOLE_BRAIN = 235_375
#: What a process takes with its libraries and compiled kernels, before any data. Measured at 230 to 300 MB.
_PROCESS_BYTES = 300_000_000
_SECONDS, _MOST_SPHERES = 0.5, 4096


@dataclass(frozen=True)
class Explanation:
    """What an analysis would do.

    Attributes
    ----------
    engine : Engine
        Path, with its reason, and how scores are made.
    n_folds, n_spheres, n_voxels, n_samples, n_jobs : int
        Size of the analysis; ``n_voxels`` in a sphere.
    seconds_per_sphere : float
        Measured just now on made-up data, all threads together.
    memory_bytes : int
        Expected at the peak. Of permutations, the scores of one block of spheres; the maps that TFCE and clusters need
        are in a file where they are large.
    n_permutations : int
        Counted in, by two small numbers of them.
    permutations : str
        How they are decoded.
    """

    engine: Engine
    n_folds: int
    n_spheres: int
    n_voxels: int
    n_samples: int
    n_jobs: int
    seconds_per_sphere: float
    memory_bytes: int
    n_permutations: int = 0
    permutations: str = ""

    @property
    def seconds(self) -> float:
        """Expected for all spheres."""
        return self.seconds_per_sphere * self.n_spheres

    def __str__(self) -> str:
        return (
            f"{self.engine.estimator}\n"
            f"path: {self.engine.path} ({self.engine.reason})\n"
            f"scoring: {self.engine.scoring}\n"
            + (f"{self.n_permutations} permutations: {self.permutations}\n" if self.n_permutations else "")
            + f"{self.n_spheres} spheres of {self.n_voxels} voxels, {self.n_samples} volumes, {self.n_folds} folds, "
            f"n_jobs={self.n_jobs}:\n"
            f"about {duration(self.seconds)} ({1000 * self.seconds_per_sphere:.3g} ms a sphere, measured on smooth "
            f"made-up data), {self.memory_bytes / 1e9:.2g} GB of memory"
        )


def explain(
    estimator: Any,
    n_samples: int,
    n_voxels: int,
    cv: Any = None,
    *,
    n_spheres: int = WHOLE_BRAIN,
    scoring: Any = None,
    y: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    n_jobs: int = -1,
    n_permutations: int = 0,
) -> Explanation:
    """Say which path an analysis would take, why, and measure how long it would.

    Some spheres of smooth random data are decoded, after compilation, for half a second (one sphere at least).

    Parameters
    ----------
    estimator, scoring, cv, n_jobs
        As in :class:`fastsl.SearchLight`.
    n_samples : int
        Volumes.
    n_voxels : int
        Voxels in a sphere: 33, 123, 257, 515 at radii of 2, 3, 4, 5 voxels.
    n_spheres : int
        Centres; a 2 mm brain by default.
    y, groups : array_like, shape (n_samples,), optional
        Of the analysis. By default two classes that alternate (values, for a regressor) and six runs of one length.
    n_permutations : int
        Of labels within ``groups``, or of all where there are none.

    Returns
    -------
    Explanation
        Prints as a paragraph.

    Raises
    ------
    TypeError, ValueError
        As the analysis itself would.

    Examples
    --------
    >>> from fastsl import explain
    >>> explain("svc", n_samples=60, n_voxels=33, cv=6, n_spheres=1000).engine.path
    'compiled'
    """
    sizes = {"n_samples": n_samples, "n_voxels": n_voxels, "n_spheres": n_spheres, "n_permutations": n_permutations}
    for name, size in sizes.items():
        least = 0 if name == "n_permutations" else 1
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {size!r}.")
    rng = np.random.default_rng(0)
    if y is None:
        model = make_estimator(estimator, scoring=scoring)
        y = rng.standard_normal(n_samples) if is_regressor(model) else np.arange(n_samples) % 2
    if groups is None and not (cv is None or isinstance(cv, int)):
        groups = np.arange(n_samples) * 6 // n_samples
    plan = partial(plan_analysis, y, n_samples, estimator, groups=groups, scoring=scoring, cv=cv)
    analysis, threads = plan(), resolve_n_jobs(n_jobs, max_threads())
    if n_permutations:
        seconds, how = _measure_permutations(plan, int(n_permutations), n_voxels, threads)
    else:
        seconds, how = _measure(analysis, n_samples, n_voxels, threads), ""
    dtype = np.dtype(matrix_dtype(analysis, np.float32))
    n_scores = len(analysis.scoring.names)
    n_results = 8 * len(analysis.folds) * n_scores
    block = min(int(n_spheres), most_centres(threads, n_scores, int(n_permutations)))
    return Explanation(
        analysis.engine,
        len(analysis.folds),
        int(n_spheres),
        int(n_voxels),
        int(n_samples),
        threads,
        seconds,
        _PROCESS_BYTES
        + int(n_spheres) * (dtype.itemsize * n_samples + n_results)
        + BYTES_OF_NULL * n_scores * int(n_permutations) * block,
        int(n_permutations),
        how,
    )


def _measure_permutations(plan: Callable[..., Analysis], n: int, n_voxels: int, threads: int) -> tuple[float, str]:
    """Seconds a sphere with ``n`` permutations, from two small numbers of them; and how they are decoded."""
    one = plan(permutations=Permutations(1))
    n_samples = len(one.y)
    engine = make_engine(np.zeros((1, n_samples), np.float32), one, keep=False)
    few, many = (plan(permutations=Permutations(k)) for k in ((1, 3) if engine.one_by_one else (16, 144)))
    counts = [0 if one.permuted is None else len(one.permuted) for one in (few, many)]
    with warnings.catch_warnings():
        # That the run itself would say, of the made-up spheres.
        warnings.filterwarnings("ignore", r"\d+ permutations of .*spheres", UserWarning)
        took = [_measure(one, n_samples, n_voxels, threads) for one in (few, many)]
    slope = max(0.0, took[1] - took[0]) / max(1, counts[1] - counts[0])
    how = f"one after the other ({engine.one_by_one})" if engine.one_by_one else "after one factorisation of a sphere"
    return took[0] + slope * max(0, n - counts[0]), how


def _measure(analysis: Analysis, n_samples: int, n_voxels: int, threads: int) -> float:
    """Seconds a sphere, of as many as take half a second."""
    time_made_up_spheres(analysis, n_samples, n_voxels, 1, threads)  # compiles, or starts the workers
    n_spheres = threads
    while True:
        seconds = time_made_up_spheres(analysis, n_samples, n_voxels, n_spheres, threads)
        if seconds > _SECONDS or n_spheres >= _MOST_SPHERES:
            return seconds / n_spheres
        n_spheres = min(_MOST_SPHERES, int(n_spheres * max(2.0, 1.2 * _SECONDS / max(seconds, 1e-3))))


def time_made_up_spheres(
    analysis: Analysis, n_samples: int, n_voxels: int, n_spheres: int, threads: int, keep: Keep | None = None
) -> float:
    """Seconds that some spheres of smooth random data take."""
    X = _smooth_data(n_voxels + n_spheres, n_samples)
    indptr = np.arange(n_spheres + 1) * n_voxels
    indices = (np.arange(n_spheres)[:, None] + np.arange(n_voxels)).ravel().astype(np.int32)
    neighbours = Neighbours(indptr, indices, np.zeros((n_spheres, 3)), len(X), full_sphere=n_voxels)
    began = time.perf_counter()
    run_search(X, neighbours, analysis, threads, Progress(0, "explain"), keep)
    return time.perf_counter() - began


def _smooth_data(n_voxels: int, n_samples: int) -> NDArray[np.float32]:
    """Standardised noise whose neighbouring voxels are alike, as fMRI's are: solvers take longer on it."""
    noise = np.random.default_rng(0).standard_normal((n_voxels, n_samples))
    X = gaussian_filter1d(noise, 8.0, axis=0, mode="wrap") + 0.05 * noise
    return ((X - X.mean(axis=1, keepdims=True)) / X.std(axis=1, keepdims=True)).astype(np.float32)
