"""The searchlight on arrays: blocks of spheres in, scores and predictions out."""

import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from fastsl._runtime.cpus import resolve_n_jobs
from fastsl._runtime.launch import max_threads
from fastsl._runtime.memory import give_back
from fastsl._runtime.signals import stop_if_asked
from fastsl.analysis import Analysis, make_engine, matrix_dtype, plan_analysis
from fastsl.checkpoints.blocks import Block
from fastsl.checkpoints.recorder import FileRecorder, Recorder
from fastsl.collected import Collector, SearchResult
from fastsl.compiled import CompiledEngine
from fastsl.general import GeneralEngine
from fastsl.kept import Keep
from fastsl.matrix import zero_non_finite
from fastsl.neighbours import Neighbours
from fastsl.outcome import Decoded, stop_if_hopeless
from fastsl.progress import Progress, duration

#: Centres of the largest block, and for each thread that shares it: a larger one takes more memory (GaussianNB in all
#: spheres of a 2 mm brain and two threads peaks at 525 MB with 8,192, at 484 with 2,048) and no less time.
LARGEST_BLOCK, CENTRES_A_THREAD = 8192, 1024
#: Most permuted scores of a block (scores x permutations x centres), and the bytes that each takes on its way from the
#: kernel to counts and moments: the largest block of 1,000 permutations would take 160 MB otherwise, of 10,000 1.6 GB.
LARGEST_NULL, BYTES_OF_NULL = 4_000_000, 20
#: Permutations that take longer are worth a word, and so many seconds of them say how long all will take.
LONG, SECONDS_TO_TELL = 3600.0, 1.0


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


def run_search(
    X: NDArray[Any],
    source: NeighbourSource,
    analysis: Analysis,
    n_jobs: int,
    progress: Progress,
    keep: Keep | None = None,
    recorder: Recorder | None = None,
    part_from: int | None = None,
) -> SearchResult:
    """Decode every neighbourhood of ``source`` as :func:`decode_blocks`, and put the blocks together."""
    keep, recorder = Keep() if keep is None else keep, recorder or Recorder()
    results = Collector(analysis.layout, len(source), keep)
    decode_blocks(X, source, analysis, n_jobs, progress, keep, recorder, part_from, results)
    return results.finish(is_part=part_from is not None)


def decode_blocks(
    X: NDArray[Any],
    source: NeighbourSource,
    analysis: Analysis,
    n_jobs: int,
    progress: Progress,
    keep: Keep,
    recorder: Recorder,
    part_from: int | None,
    results: Collector | None,
) -> None:
    """Decode every neighbourhood of ``source`` on X (n_voxels, n_samples), block by block.

    X is shifted in place on the way, and shifted back. Blocks go to ``recorder``, and those that it has are not
    decoded; and to ``results``, or :func:`collect_blocks` puts them together later. ``part_from`` says that the
    neighbourhoods are a part of more, and which of those the first one is.

    Raises
    ------
    Stopped
        When a signal asked this process to end; the recorder has the blocks that were done.
    """
    engine = make_engine(X, analysis, keep=bool(keep))
    with engine.running(n_jobs), progress.over(len(source)) as bar:
        give_back()
        known = 0
        for block in recorder.replay():
            if results is not None:
                results.put(*block)
            known += len(block.sizes)
        if known:
            bar.advance(known)  # at once: the first advance is none that the rate counts
        left = recorder.left(len(source))
        pace = None if analysis.permuted is None else _Pace(analysis, engine.one_by_one, left)
        if pace is not None and engine.one_by_one:
            pace.foretell(engine, source)
        n_permutations = 0 if analysis.permuted is None else len(analysis.permuted)
        most = most_centres(n_jobs, len(analysis.scoring.names), n_permutations)
        first = min(most, engine.first_block)
        for start, stop in blocks(left, first, engine.seconds_a_block, most):
            stop_if_asked()
            neighbours = source.block(start, stop)
            decoded = _decode(engine, neighbours)
            if start + (part_from or 0) == 0 and (part_from is None or stop == first):
                stop_if_hopeless(decoded.troubles, decoded.scores)
            if results is not None:
                results.put(start, neighbours.sizes, decoded)
            recorder.put(Block(start, neighbours.sizes, decoded))
            bar.advance(stop - start)
            if pace is not None:
                pace.advance(stop - start)


def collect_blocks(recorder: FileRecorder, analysis: Analysis, n_centres: int, *, is_part: bool) -> SearchResult:
    """Put together what :func:`decode_blocks` left to ``recorder``.

    Scores and sizes of all spheres, 131 MB of a 0.8 mm brain and four folds, are then never beside the data matrix.
    """
    results = Collector(analysis.layout, n_centres, Keep())
    for block in recorder.read_back(n_centres):
        results.put(*block)
    return results.finish(is_part=is_part)


class _Pace:
    """Says once how long the permutations of what is left will take."""

    def __init__(self, analysis: Analysis, one_by_one: str, left: Sequence[tuple[int, int]]) -> None:
        assert analysis.permuted is not None
        self._what = f"{len(analysis.permuted)} permutations of {analysis.engine.estimator}"
        self._n, self._one_by_one = len(analysis.permuted), one_by_one
        self._left = sum(stop - start for start, stop in left)
        self._has_told, self._began, self._done = bool(one_by_one), 0.0, -1

    def foretell(self, engine: CompiledEngine | GeneralEngine, source: NeighbourSource) -> None:
        """Say it of permutations that are decoded one after the other, by some spheres without them."""
        if not self._left:
            return
        size = min(len(source), engine.first_block)
        start = (len(source) - size) // 2
        engine.observed(source.block(start, start + 1))  # compiles, or starts workers
        block = source.block(start, start + size)
        began = time.perf_counter()
        engine.observed(block)
        seconds = (time.perf_counter() - began) / size * self._left * self._n
        _warn(
            f"{self._what} are decoded one after the other ({self._one_by_one}): about {duration(seconds)} for "
            f"{self._left} spheres. Ridge, RidgeClassifier and their CV forms, LinearSVC and "
            "LinearDiscriminantAnalysis with fixed shrinkage, without class_weight, scored by accuracy, "
            "balanced_accuracy, roc_auc, r2, neg_mean_squared_error or neg_mean_absolute_error, share one "
            "factorisation between permutations, and NearestCentroid, scored by accuracy or balanced_accuracy, one "
            "Gram matrix."
        )

    def advance(self, n: int) -> None:
        """Count spheres, and say it of permutations that are shared, where it is long."""
        self._left -= n
        if self._done < 0:  # the first block may have waited for the compiler
            self._done, self._began = 0, time.perf_counter()
            return
        self._done += n
        elapsed = time.perf_counter() - self._began
        if self._has_told or elapsed < SECONDS_TO_TELL:
            return
        self._has_told = True
        seconds = elapsed / self._done * self._left
        if seconds > LONG:
            _warn(
                f"{self._what} will take about {duration(seconds)} for the {self._left} spheres that are left. "
                "RidgeClassifier, Ridge and their CV forms are the fastest at this; shards share the work between "
                "machines, and a checkpoint keeps what is done."
            )


def _warn(text: str) -> None:
    """Warn at the line of the user's call."""
    warnings.warn(text, UserWarning, stacklevel=5)


def _decode(engine: CompiledEngine | GeneralEngine, neighbours: Neighbours) -> Decoded:
    """Decode a block; workers that a signal ended, as SLURM sends it to all of a job, are no defect."""
    try:
        return engine(neighbours)
    except BrokenExecutor:
        stop_if_asked()
        raise


def most_centres(n_threads: int, n_scores: int, n_permutations: int) -> int:
    """Centres of the largest block."""
    most = min(LARGEST_BLOCK, CENTRES_A_THREAD * n_threads)
    if not n_permutations:
        return most
    return max(1, min(most, LARGEST_NULL // (n_permutations * max(1, n_scores))))


def blocks(
    left: Sequence[tuple[int, int]], first: int, seconds: float, most: int | None = None
) -> Iterator[tuple[int, int]]:
    """Cut ranges into blocks, the first of ``first`` centres, each as large as the last one's speed says.

    No later one has more than ``most`` centres. Scores do not depend on the blocks.
    """
    size, most = first, LARGEST_BLOCK if most is None else most
    for start, last in left:
        while start < last:
            stop = min(last, start + size)
            began = time.perf_counter()
            yield start, stop
            took = max(1e-6, time.perf_counter() - began)
            wanted = int((stop - start) * seconds / took)
            size = min(most, max(first // 4, 1, min(wanted, 4 * size)))
            start = stop


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
) -> NDArray[np.float64] | dict[str, NDArray[np.float64]]:
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
    scoring : str, callable, list, dict or None
        Name of a scikit-learn scorer, or ``callable(estimator, X, y)``. None: accuracy, or R2 for a regressor.
        Several at once as in ``cross_validate``: a list of names, or a dict of names or callables.
    cv : int, splitter, iterable of (train, test), or None
        None is 5 folds, stratified for classifiers. Splits are drawn once and serve all neighbourhoods.
    n_jobs : int
        Threads (compiled decoders) or processes (others); -1 takes all that this job may use.
    verbose : int
        0 is silent, larger shows progress.

    Returns
    -------
    ndarray of float64, shape (n_centres,)
        Unweighted mean over folds; NaN where a neighbourhood is empty or could not be decoded. A dict of these by name
        where ``scoring`` is a list or dict.

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
    result = run_search(matrix, neighbours, analysis, threads, progress)
    if analysis.scoring.several:
        return dict(zip(result.names, result.scores, strict=True))
    return result.scores[0]
