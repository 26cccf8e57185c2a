"""GaussianNB and NearestCentroid: sums over the voxels of a sphere."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels import bayes, bayes_classes, centroid, centroid_null, scores
from fastsl._kernels.additive import SEGMENT
from fastsl._kernels.block import Block
from fastsl._kernels.labellings import Labellings
from fastsl._kernels.voxels import ClassFolds, Voxels, measure_voxels
from fastsl._runtime.launch import in_parts
from fastsl.decoders.labellings import NullPlan, in_launches
from fastsl.decoders.local import localise
from fastsl.decoders.plan import Output, Plan, lay_out, row_length
from fastsl.decoders.prefix_sums import FEWEST_SEGMENTS, BySums, ExactRows, PrefixSums, RoundedRows, room_for_voxels
from fastsl.folds import Folds
from fastsl.predictions import ClassesAlone, LogRatios, NearestMeans


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
    y: NDArray[Any], folds: Folds, fewest: int, n_priors: int | None, n_columns: int, *, contrast: bool = False
) -> tuple[ClassFolds, tuple[Output | None, ...]]:
    """Entries of all folds, and where their results are: ``n_columns`` columns for each class of a fold.

    Two classes share the columns of one where ``contrast``. A fold with fewer classes than ``fewest``, or another
    number than ``n_priors``, is not trained.
    """
    members: list[NDArray[Any]] = []
    first, fold_classes = [0], []
    for train in folds.train:
        classes, inverse = np.unique(y[train], return_inverse=True)
        fold_classes.append(classes)
        if len(classes) >= fewest and n_priors in (None, len(classes)):
            members += [np.bincount(train[inverse == k], minlength=len(y)) for k in range(len(classes))]
        first.append(len(members))
    n_test = np.array([len(test) for test in folds.test])
    width = [1 if contrast and n == 2 else n for n in np.diff(first)]
    outputs = lay_out(folds, [n_columns * n for n in width], tuple(fold_classes))
    start = np.zeros(len(members), np.int64)
    for fold, output in enumerate(outputs):
        if output is not None:
            entries = np.arange(first[fold], first[fold + 1])
            start[entries] = output.start + (entries - first[fold]) % width[fold] * n_test[fold]
    return (
        ClassFolds(
            *_groups(np.array(members, np.float64).reshape(len(members), len(y)).T),
            np.array(first, np.int64),
            np.array([member.sum() for member in members], np.int64),
            np.concatenate(folds.test),
            np.concatenate([[0], np.cumsum(n_test)]),
            start,
        ),
        outputs,
    )


def _groups(member: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Sort samples by their rows of ``member`` (n_samples, n_entries), without those that are in no entry."""
    used = np.flatnonzero(member.any(axis=1))
    if not len(used):
        return used, np.zeros(1, np.int64), np.zeros((0, member.shape[1]))
    rows, group = np.unique(member[used], axis=0, return_inverse=True)
    return (
        used[np.argsort(group, kind="stable")],
        np.concatenate([[0], np.cumsum(np.bincount(group))]),
        np.ascontiguousarray(rows),
    )


def measured(block: Block, entries: ClassFolds) -> tuple[Block, Voxels, NDArray[np.float32]]:
    """The block on its own voxels alone, what is known of these, and their test samples."""
    chosen, indices = localise(block)
    voxels, tested = room_for_voxels(len(chosen), entries), np.empty((len(chosen), len(entries.test)), np.float32)

    def work(part: slice) -> None:
        measure_voxels(part.start, part.stop, block.X, chosen, entries, voxels, tested)

    in_parts(len(chosen), FEWEST_SEGMENTS * SEGMENT, work)
    return block._replace(indices=indices, means=block.means[chosen]), voxels, tested


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


def _n_contrasts(entries: ClassFolds) -> int:
    return int(np.maximum(np.diff(entries.first) - 1, 0) @ np.diff(entries.test_ptr))


def bayes_rows(entries: ClassFolds) -> ExactRows:
    """How many contrasts a sphere has, and how many values besides: E_0, and the contrasts' derivatives."""
    return ExactRows(_n_contrasts(entries), len(entries.test) + _n_contrasts(entries))


def plan_bayes(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """GaussianNB, which also takes a fold of one class."""
    entries, outputs, decode = _ready_bayes(bayes.naive_bayes, estimator, y, folds)
    run = BySums(entries, bayes_rows(entries), bayes.tabulate_bayes, decode)
    alone = partial(_plan_classes_of_bayes, estimator, y, folds)
    return Plan("GaussianNB", run, outputs, y, folds, LogRatios, classes_alone=alone)


def _plan_classes_of_bayes(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    entries, outputs, decode = _ready_bayes(bayes_classes.classes_of_bayes, estimator, y, folds, contrast=True)
    run = BySums(entries, RoundedRows(_n_contrasts(entries)), bayes_classes.tabulate_classes, decode)
    return Plan("GaussianNB", run, outputs, y, folds, ClassesAlone)


def _ready_bayes(
    kernel: Callable[..., None], estimator: Any, y: NDArray[Any], folds: Folds, *, contrast: bool = False
) -> tuple[ClassFolds, tuple[Output | None, ...], Callable[..., None]]:
    """Entries, outputs, and ``decode`` of :class:`BySums`."""
    priors = None if estimator.priors is None else np.asarray(estimator.priors, dtype=np.float64)
    entries, outputs = class_folds(y, folds, 1, None if priors is None else len(priors), 1, contrast=contrast)
    log_prior, smoothing = _log_prior(entries, priors, uniform=False), float(estimator.var_smoothing)

    def decode(part: Block, table: PrefixSums, out: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        kernel(part, table.shift, table.voxels, table.sums, entries, log_prior, smoothing, out, status)

    return entries, outputs, decode


def plan_centroid(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """NearestCentroid: by plain distance where classes are equally probable, else by discriminant scores."""
    given = getattr(estimator, "priors", "uniform")
    priors = None if isinstance(given, str) else np.asarray(given, dtype=np.float64)
    entries, outputs = class_folds(y, folds, 2, None if priors is None else len(priors), 2, contrast=True)
    log_prior = _log_prior(entries, priors, uniform=isinstance(given, str) and given == "uniform")
    by_distance = np.array(
        [np.allclose(log_prior[a:b], -np.log(max(1, b - a))) for a, b in itertools.pairwise(entries.first)]
    )

    def decode(part: Block, table: PrefixSums, out: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        sums = table.sums
        centroid.nearest_centroid(part, table.shift, table.voxels, sums, entries, log_prior, by_distance, out, status)

    run = BySums(entries, ExactRows(row_length(outputs, folds), 0), centroid.tabulate_centroids, decode)
    return Plan("NearestCentroid", run, outputs, y, folds, NearestMeans)


def null_plan_centroid(estimator: Any, labellings: Labellings) -> NullPlan | None:
    """NearestCentroid by plain distance, for scores of what is nearest.

    Discriminant scores, by which AUC ranks, are in units of deviations within classes: these depend on the labels.
    """
    by_class = {scores.ACCURACY, scores.BALANCED_ACCURACY}
    if not by_class.issuperset(labellings.codes.tolist()) or not _by_distance(estimator, labellings):
        return None

    def kernel(block: Block, part: Labellings, null: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        centroid_null.nearest_centroid_null(block._replace(features_below=0), part, null, status)

    return NullPlan(in_launches(kernel, labellings, 1024), math.inf)


def _by_distance(estimator: Any, labellings: Labellings) -> bool:
    """Whether classes are equally probable in every fold of every labelling."""
    given, n_classes = getattr(estimator, "priors", "uniform"), max(2, labellings.targets.shape[1])
    if isinstance(given, str) and given == "uniform":
        return True
    if not isinstance(given, str):
        priors = np.asarray(given, dtype=np.float64)
        return len(priors) == n_classes and np.allclose(np.log(priors / priors.sum()), -np.log(n_classes))
    train = labellings.train.T.astype(np.float64)
    sizes = np.array([(labellings.true == k) @ train for k in range(n_classes)])
    return bool((sizes == sizes[0]).all())
