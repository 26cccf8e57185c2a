"""GaussianNB and NearestCentroid: sums over the voxels of a sphere."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels import gaussian
from fastsl._kernels.block import Block
from fastsl._kernels.gaussian import ClassFolds, Tables
from fastsl.decoders.local import localise
from fastsl.decoders.plan import Output, Plan, lay_out
from fastsl.folds import Folds
from fastsl.predictions import LogLikelihoods, NearestMeans


def refuse_bayes(estimator: Any) -> str | None:
    """Say what of this GaussianNB is not compiled; None when all is."""
    return _refuse_priors(estimator.priors)


def refuse_centroid(estimator: Any) -> str | None:
    """Say what of this NearestCentroid is not compiled; None when all is."""
    if estimator.metric != "euclidean":
        return f"metric={estimator.metric!r} is no sum of squares"
    if estimator.shrink_threshold is not None:
        return "shrink_threshold needs a median over the voxels of the sphere"
    if isinstance(getattr(estimator, "priors", "uniform"), str):
        return None
    return _refuse_priors(estimator.priors)


def _refuse_priors(priors: Any) -> str | None:
    if priors is None:
        return None
    values = np.asarray(priors, dtype=np.float64)
    if values.ndim != 1 or not np.isclose(values.sum(), 1.0) or (values <= 0).any():
        return f"priors={priors!r} are no positive probabilities that sum to 1"
    return None


def class_folds(
    y: NDArray[Any], folds: Folds, fewest: int, n_priors: int | None, n_columns: int
) -> tuple[ClassFolds, tuple[Output | None, ...]]:
    """Entries of all folds, and where their results are: ``n_columns`` columns for each class of a fold.

    A fold with fewer classes than ``fewest``, or another number than ``n_priors``, is not trained.
    """
    code = np.full((len(folds), len(y)), -1, np.int32)
    count: list[int] = []
    first, fold_classes = [0], []
    for fold, train in enumerate(folds.train):
        classes, inverse = np.unique(y[train], return_inverse=True)
        fold_classes.append(classes)
        if len(classes) >= fewest and n_priors in (None, len(classes)):
            code[fold, train] = len(count) + inverse
            count += np.bincount(inverse).tolist()
        first.append(len(count))
    n_test = np.array([len(test) for test in folds.test])
    outputs = lay_out(folds, [n_columns * n for n in np.diff(first)], tuple(fold_classes))
    start = np.zeros(len(count), np.int64)
    for fold, output in enumerate(outputs):
        if output is not None:
            entries = np.arange(first[fold], first[fold + 1])
            start[entries] = output.start + (entries - first[fold]) * n_test[fold]
    return (
        ClassFolds(
            code,
            np.array(first, np.int64),
            np.array(count, np.int64),
            np.concatenate(folds.test),
            np.concatenate([[0], np.cumsum(n_test)]),
            start,
        ),
        outputs,
    )


def tables_of(block: Block, entries: ClassFolds) -> tuple[Block, Tables]:
    """Tables of the voxels of a block, and the block with places in the tables for indices, and their means."""
    voxels, indices = localise(block)
    n, n_entries = len(voxels), len(entries.size)
    tables = Tables(
        np.empty((n, len(entries.test)), np.float32),
        np.empty((n, n_entries)),
        np.empty((n, n_entries)),
        np.empty((n, len(entries.code))),
    )
    gaussian.tabulate(block.X, voxels, entries, tables)
    return block._replace(indices=indices, means=block.means[voxels]), tables


def _log_prior(entries: ClassFolds, priors: NDArray[np.float64] | None, uniform: bool) -> NDArray[np.float64]:
    """Of each entry: given, equal, or the class's part of the training samples."""
    share = np.empty(len(entries.size))
    for first, last in zip(entries.first[:-1], entries.first[1:], strict=True):
        if priors is not None and last > first:
            share[first:last] = priors / priors.sum()
        elif uniform:
            share[first:last] = 1.0 / max(1, last - first)
        else:
            share[first:last] = entries.size[first:last] / entries.size[first:last].sum()
    return np.log(share)


def plan_bayes(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """GaussianNB, which also takes a fold of one class."""
    priors = None if estimator.priors is None else np.asarray(estimator.priors, dtype=np.float64)
    entries, outputs = class_folds(y, folds, 1, None if priors is None else len(priors), 1)
    log_prior, smoothing = _log_prior(entries, priors, uniform=False), float(estimator.var_smoothing)

    def run(block: Block, out: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        local, tables = tables_of(block, entries)
        gaussian.naive_bayes(local, tables, entries, log_prior, smoothing, out, status)

    return Plan("GaussianNB", run, outputs, y, folds, LogLikelihoods)


def plan_centroid(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """NearestCentroid: by plain distance where classes are equally probable, else by discriminant scores."""
    given = getattr(estimator, "priors", "uniform")
    priors = None if isinstance(given, str) else np.asarray(given, dtype=np.float64)
    entries, outputs = class_folds(y, folds, 2, None if priors is None else len(priors), 2)
    log_prior = _log_prior(entries, priors, uniform=isinstance(given, str) and given == "uniform")

    by_distance = np.array(
        [np.allclose(log_prior[a:b], -np.log(max(1, b - a))) for a, b in itertools.pairwise(entries.first)]
    )

    def run(block: Block, out: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        local, tables = tables_of(block, entries)
        gaussian.nearest_centroid(local, tables, entries, log_prior, by_distance, out, status)

    return Plan("NearestCentroid", run, outputs, y, folds, NearestMeans)
