"""From labels and folds to the list of linear models with one target each that a kernel fits in every sphere."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

from fastsl._kernels.block import Problems
from fastsl.decoders.plan import Output, lay_out
from fastsl.folds import Folds


def regression_problems(y: NDArray[Any], folds: Folds) -> Problems:
    """One target, y itself, unweighted, in every fold."""
    entries = [(fold, y.astype(np.float64), np.ones(len(y))) for fold in range(len(folds))]
    return pack(entries, folds)


def classification_problems(
    y: NDArray[Any], folds: Folds, class_weight: Any, *, C: float = 1.0, rest_weighted: bool = True
) -> tuple[Problems, tuple[NDArray[Any], ...]]:
    """One target +-1 for two classes, one against the rest for more, by the classes of each fold's training samples.

    ``ridge`` of a sample is 1 / (C weight). Its weight is that of its class, by scikit-learn's ``class_weight`` on the
    training samples; with ``rest_weighted=False`` samples of "the rest" weigh 1 where there are more than two classes.
    Returns the problems and each fold's classes.
    """
    entries = []
    fold_classes = []
    for fold, train in enumerate(folds.train):
        classes = np.unique(y[train])
        fold_classes.append(classes)
        if len(classes) < 2:
            continue
        weight = np.ones(len(y))  # test samples of a class that is not trained have no part in any sum
        if class_weight is not None:
            of_class = compute_class_weight(class_weight, classes=classes, y=y[train])
            for label, value in zip(classes, of_class, strict=True):
                weight[y == label] = value
        for k in range(1, 2) if len(classes) == 2 else range(len(classes)):
            is_class = y == classes[k]
            own = weight if rest_weighted or len(classes) == 2 else np.where(is_class, weight, 1.0)
            entries.append((fold, np.where(is_class, 1.0, -1.0), 1.0 / (C * own)))
    return pack(entries, folds), tuple(fold_classes)


def pack(entries: list[tuple[int, NDArray[np.float64], NDArray[np.float64]]], folds: Folds) -> Problems:
    """Problems from (fold, target, 1 / weight) of each, sorted by fold."""
    fold_of = np.array([fold for fold, _, _ in entries], dtype=np.int64)
    all_targets = np.array([target for _, target, _ in entries]).reshape(len(entries), folds.n_samples)
    targets, target_of = np.unique(all_targets, axis=0, return_inverse=True)
    ridge = np.array([weight for _, _, weight in entries]).reshape(len(entries), folds.n_samples)
    of_fold = np.searchsorted(fold_of, np.arange(len(folds) + 1))
    new_weights = np.ones(len(folds), bool)
    for fold in range(1, len(folds)):
        here, before = of_fold[fold], of_fold[fold] - 1  # the last problem of the last fold that has any
        if 0 < here < of_fold[fold + 1]:
            new_weights[fold] = not np.array_equal(ridge[here], ridge[before])
    sizes = np.array([len(test) for test in folds.test], dtype=np.int64)
    return Problems(
        train=folds.train_masks(),
        test=np.concatenate(folds.test),
        test_ptr=np.concatenate([[0], np.cumsum(sizes)]),
        of_fold=of_fold,
        fold=fold_of,
        target=target_of.reshape(-1).astype(np.int64),
        targets=np.ascontiguousarray(targets),
        ridge=ridge,
        new_weights=new_weights,
        out_ptr=np.concatenate([[0], np.cumsum(sizes[fold_of])]).astype(np.int64),
    )


def outputs_of(
    problems: Problems, folds: Folds, fold_classes: tuple[NDArray[Any] | None, ...]
) -> tuple[Output | None, ...]:
    """One column for each problem of a fold."""
    return lay_out(folds, np.diff(problems.of_fold).tolist(), fold_classes)
