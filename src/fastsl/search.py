"""The searchlight on arrays: blocks of spheres in, scores out."""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.base import is_classifier, is_regressor

from fastsl._runtime.cpus import resolve_n_jobs
from fastsl._runtime.launch import max_threads
from fastsl.decoders import find_decoder
from fastsl.engines import CompiledEngine, Engine, GeneralEngine, Troubles
from fastsl.estimators import make_estimator, scores_itself
from fastsl.folds import Folds, check_groups, check_target, draw_folds, whole_sample
from fastsl.neighbours import Neighbours
from fastsl.progress import Progress
from fastsl.scoring import check_scoring_argument, compiled_metric

#: A block of spheres should take this long: Ctrl-C waits for it, and progress moves with it.
SECONDS_A_BLOCK = 0.25
_FIRST_BLOCK, _LARGEST_BLOCK = 32, 8192


class NeighbourSource(Protocol):
    """Neighbourhoods that can be listed piece by piece: ``Neighbours`` and ``Spheres`` are."""

    @property
    def n_voxels(self) -> int:
        """Number of columns of the data matrix."""
        ...

    def __len__(self) -> int: ...

    def block(self, start: int, stop: int) -> Neighbours:
        """List the neighbourhoods ``start`` to ``stop - 1``."""
        ...


@dataclass(frozen=True, eq=False)
class Analysis:
    """A checked question: what to decode, with what, on which folds. Everything that can be refused has been."""

    y: NDArray[Any]
    estimator: Any
    folds: Folds
    scoring: Any
    groups: NDArray[Any] | None
    min_voxels: int
    engine: Engine

    @property
    def compiled(self) -> bool:
        """Whether the compiled path runs."""
        return self.engine.path == "compiled"


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Scores of every sphere.

    Attributes
    ----------
    fold_scores : ndarray of float64, shape (n_folds, n_centres)
        NaN where a fold could not be scored, or the sphere has too few voxels.
    n_voxels : ndarray of int32, shape (n_centres,)
        Sphere sizes.
    """

    fold_scores: NDArray[np.float64]
    n_voxels: NDArray[np.int32]

    @property
    def scores(self) -> NDArray[np.float64]:
        """Unweighted mean over folds, shape (n_centres,)."""
        return self.fold_scores.mean(axis=0)


def plan_analysis(
    y: ArrayLike,
    n_samples: int,
    estimator: Any,
    *,
    groups: ArrayLike | None = None,
    scoring: Any = None,
    cv: Any = None,
    estimator_args: Any = None,
    random_state: Any = 0,
    min_voxels: int = 1,
) -> Analysis:
    """Check every argument, draw the folds and choose the path, before any work."""
    model = make_estimator(estimator, estimator_args, random_state, scoring)
    check_scoring_argument(scoring)
    _check_min_voxels(min_voxels)
    name = type(model).__name__
    classifier = is_classifier(model)
    target = check_target(y, n_samples, classifier=classifier, name=name)
    if is_regressor(model) and target.dtype.kind not in "biuf":
        raise ValueError(
            f"y holds {target.dtype} entries such as {target.tolist()[0]!r} but {name} is a regressor: give numbers, "
            "or a classifier for labels."
        )
    if scores_itself(model):
        folds = whole_sample(n_samples)
    else:
        folds = draw_folds(cv, target, groups, classifier=classifier)
    decoder, reason = find_decoder(model, folds)
    metric, how = compiled_metric(scoring, classifier=classifier) if decoder else (None, "its own scorer")
    if decoder is not None and metric is None:
        reason = how
    engine = Engine("compiled" if metric else "general", repr(model), reason, how)
    return Analysis(target, model, folds, scoring, check_groups(groups, n_samples), int(min_voxels), engine)


def _check_min_voxels(min_voxels: Any) -> None:
    if isinstance(min_voxels, bool) or not isinstance(min_voxels, int | np.integer) or min_voxels < 1:
        raise ValueError(f"min_voxels must be a whole number of at least 1, got {min_voxels!r}.")


def matrix_dtype(analysis: Analysis, source_dtype: Any) -> Any:
    """float32 for kernels; for other estimators what nilearn would hand them: float64 only where the data are."""
    if analysis.compiled or np.dtype(source_dtype) != np.float64:
        return np.float32
    return np.float64


def subtract_means(X: NDArray[np.float32]) -> NDArray[np.float64]:
    """Subtract each voxel's mean in place where it exceeds the voxel's standard deviation; return what was subtracted.

    Raw fMRI has means some hundred times its signal, and products of such numbers lose it. The mean is rounded to
    float32 first: the difference of two float32 within a factor of two of each other is exact (Sterbenz), so raw
    data lose nothing. Standardised data stay as they are.
    """
    means = np.zeros(len(X))
    for start in range(0, len(X), 4096):
        rows = X[start : start + 4096]
        mean = rows.mean(axis=1, dtype=np.float64)
        shift = np.where(np.abs(mean) > rows.std(axis=1, dtype=np.float64), mean, 0.0).astype(np.float32)
        rows -= shift[:, None]
        means[start : start + 4096] = shift
    return means


def zero_non_finite(X: NDArray[Any], name: str) -> None:
    """Set NaN and infinite values to 0 in place, with one warning that counts them."""
    finite = np.isfinite(X)
    if not finite.all():
        X[~finite] = 0
        _warn(
            f"{name} has {np.count_nonzero(~finite)} NaN or infinite values (of {X.size}); they are taken as 0.",
            stacklevel=4,
        )


def standardize_groups(X: NDArray[Any], groups: NDArray[Any] | None) -> None:
    """Z-score each voxel of X (n_voxels, n_samples) within each group, in place; constant voxels become 0."""
    labels = np.zeros(X.shape[1]) if groups is None else groups
    columns = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for start in range(0, len(X), 4096):
        rows = X[start : start + 4096]
        for chosen in columns:
            part = rows[:, chosen].astype(np.float64)
            part -= part.mean(axis=1, keepdims=True)
            spread = part.std(axis=1, keepdims=True)
            rows[:, chosen] = np.divide(part, spread, out=np.zeros_like(part), where=spread > 0)


def make_engine(X: NDArray[Any], analysis: Analysis) -> CompiledEngine | GeneralEngine:
    """Ready the path of ``analysis`` for X (n_voxels, n_samples); the compiled path shifts X in place."""
    if not analysis.compiled:
        return GeneralEngine(
            X,
            analysis.y,
            analysis.estimator,
            analysis.folds,
            analysis.scoring,
            analysis.groups,
            analysis.min_voxels,
        )
    decoder, _ = find_decoder(analysis.estimator, analysis.folds)
    metric, _ = compiled_metric(analysis.scoring, classifier=is_classifier(analysis.estimator))
    assert decoder is not None
    assert metric is not None
    plan = decoder.plan(analysis.estimator, analysis.y, analysis.folds)
    return CompiledEngine(X, subtract_means(X), plan, metric, analysis.min_voxels)


def run_search(
    X: NDArray[Any], source: NeighbourSource, analysis: Analysis, n_jobs: int, progress: Progress
) -> SearchResult:
    """Score every neighbourhood of ``source`` on X (n_voxels, n_samples), block by block. X may be shifted in place."""
    engine = make_engine(X, analysis)
    fold_scores = np.full((len(analysis.folds), len(source)), np.nan)
    n_voxels = np.zeros(len(source), np.int32)
    troubles = Troubles()
    with engine.running(n_jobs), progress.over(len(source)) as bar:
        for start, stop in _blocks(len(source)):
            neighbours = source.block(start, stop)
            fold_scores[:, start:stop], met = engine(neighbours)
            n_voxels[start:stop] = neighbours.sizes
            troubles.add(met)
            if start == 0:
                _stop_if_hopeless(troubles, fold_scores[:, :stop])
            bar.advance(stop - start)
    _report(troubles, n_voxels, analysis, fold_scores)
    return SearchResult(fold_scores, n_voxels)


def _blocks(n_centres: int) -> Iterator[tuple[int, int]]:
    """Ranges of centres, each as large as the last one's speed says. Scores do not depend on the ranges."""
    start, size = 0, _FIRST_BLOCK
    while start < n_centres:
        stop = min(n_centres, start + size)
        began = time.perf_counter()
        yield start, stop
        took = max(1e-6, time.perf_counter() - began)
        wanted = int((stop - start) * SECONDS_A_BLOCK / took)
        size = min(_LARGEST_BLOCK, max(8, min(wanted, 4 * size)))
        start = stop


def _stop_if_hopeless(troubles: Troubles, fold_scores: NDArray[np.float64]) -> None:
    """Raise when nothing came of the first block but failures: estimator, labels and score do not go together."""
    if not np.isnan(fold_scores).all():
        return
    if troubles.failed:
        failed = sum(troubles.failed.values())
        raise ValueError(
            f"stopped after the first {failed} spheres: all fits failed. {troubles.failed.most_common(1)[0][0]}"
        )
    if troubles.folds:
        raise ValueError(
            "stopped after the first spheres: no sphere could be scored in any fold. "
            f"{troubles.folds.most_common(1)[0][0]}"
        )


def _report(
    troubles: Troubles, n_voxels: NDArray[np.int32], analysis: Analysis, fold_scores: NDArray[np.float64]
) -> None:
    """One error when nothing could be done, else one warning for each kind of trouble."""
    n = len(n_voxels)
    if n and not n_voxels.any():
        raise ValueError(
            f"these spheres are empty: none of the {n} holds a voxel of the mask. Do process_mask_img and mask_img "
            "overlap, and is the radius at least half a voxel?"
        )
    failed = sum(troubles.failed.values())
    if troubles.too_small:
        _warn(
            f"{troubles.too_small} of {n} spheres have fewer than min_voxels={analysis.min_voxels} voxels: their score "
            "is NaN."
        )
    if failed:
        reasons = "; ".join(f"{count}: {text}" for text, count in troubles.failed.most_common(3))
        _warn(f"{failed} of {n} spheres failed and score NaN ({reasons}).")
    if troubles.folds:
        reasons = "; ".join(text for text, _ in troubles.folds.most_common(3))
        _warn(
            f"{int(np.isnan(fold_scores).any(axis=1).sum())} of {len(fold_scores)} folds could not be scored "
            f"everywhere; their scores, and the means over folds, are NaN ({reasons})."
        )


def _warn(text: str, stacklevel: int = 5) -> None:
    """Warn at the line of the user's call."""
    warnings.warn(text, RuntimeWarning, stacklevel=stacklevel)


def search_light(
    X: ArrayLike,
    y: ArrayLike,
    estimator: Any,
    A: Any,
    groups: ArrayLike | None = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int = -1,
    verbose: int = 0,
) -> NDArray[np.float64]:
    """Cross-validate a decoder on every neighbourhood of a data matrix.

    Parameters
    ----------
    X : array_like, shape (n_samples, n_voxels)
        Data; not changed. Compiled decoders compute in float64 on float32 data.
    y : array_like, shape (n_samples,)
        Labels of a classifier, values of a regressor.
    estimator : str or scikit-learn estimator
        As in :class:`fastsl.SearchLight`.
    A : Neighbours or scipy sparse matrix, shape (n_centres, n_voxels)
        Row ``c`` has the members of neighbourhood ``c``: spheres of a volume, discs of a surface mesh, anything.
    groups : array_like, shape (n_samples,), optional
        For splitters that keep groups together.
    scoring : str, callable or None
        Name of a scikit-learn scorer, or ``callable(estimator, X, y)``. None: accuracy, or R2 for a regressor.
    cv : int, splitter, iterable of (train, test), or None
        None is 5 folds, stratified for classifiers. Splits are drawn once and serve all neighbourhoods.
    n_jobs : int
        Threads (compiled decoders) or processes (others); -1 takes all that this job may use.
    verbose : int
        0 is silent, larger shows progress.

    Returns
    -------
    ndarray of float64, shape (n_centres,)
        Unweighted mean over folds; NaN where a neighbourhood is empty or could not be decoded.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsl import search_light, sphere_neighbours
    >>> rng = np.random.default_rng(0)
    >>> y = np.tile([0, 1], 20)
    >>> X = rng.standard_normal((40, 27))
    >>> X[:, 13] += 4 * y  # the middle voxel tells the classes apart
    >>> A = sphere_neighbours(np.ones((3, 3, 3)), np.eye(4), radius=0)
    >>> scores = search_light(X, y, "svc", A, cv=4)
    >>> int(scores.argmax())
    13
    """
    data = np.asarray(X)
    if data.ndim != 2:
        raise ValueError(f"X must be two-dimensional (n_samples, n_voxels), got shape {data.shape}.")
    if data.dtype.kind not in "biuf":
        raise TypeError(f"X must hold real numbers, got dtype {data.dtype}.")
    if not (isinstance(A, Neighbours) or sparse.issparse(A)):
        raise TypeError(f"A must be Neighbours or a scipy sparse matrix (n_centres, n_voxels), got {type(A).__name__}.")
    neighbours = A if isinstance(A, Neighbours) else Neighbours.from_sparse(A)
    if neighbours.n_voxels != data.shape[1]:
        raise ValueError(f"A has neighbourhoods of {neighbours.n_voxels} voxels but X has {data.shape[1]} columns.")
    threads = resolve_n_jobs(n_jobs, max_threads())
    analysis = plan_analysis(y, len(data), estimator, groups=groups, scoring=scoring, cv=cv)
    matrix = np.array(data.T, dtype=matrix_dtype(analysis, data.dtype), order="C")
    zero_non_finite(matrix, "X")
    progress = Progress(verbose, "search_light")
    return run_search(matrix, neighbours, analysis, threads, progress).scores
