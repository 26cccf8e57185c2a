"""DummyClassifier and DummyRegressor: the same predictions in every sphere, made once by scikit-learn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier

from fastsl._kernels.block import Block
from fastsl.decoders.plan import Plan, lay_out
from fastsl.folds import Folds
from fastsl.predictions import Constant, HeldOut


def refuse(estimator: Any) -> str | None:
    """Say what of this dummy is not compiled; None when all is."""
    if getattr(estimator, "strategy", "") in ("uniform", "stratified") and not isinstance(
        estimator.random_state, int | np.integer
    ):
        return f"random_state={estimator.random_state!r} gives every sphere other predictions"
    return None


def plan(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """Fit and predict without voxels; any sphere then has these predictions."""
    rows, n_columns, fold_classes = [], [], []
    for train, test in folds:
        nothing = np.zeros((max(len(train), len(test)), 1))
        fitted = clone(estimator).fit(nothing[: len(train)], y[train])
        labels = fitted.predict(nothing[: len(test)])
        if is_classifier(estimator):
            with np.errstate(divide="ignore"):
                probabilities = np.log(fitted.predict_proba(nothing[: len(test)]))
            columns = [np.searchsorted(fitted.classes_, labels), *probabilities.T]
        else:
            columns = [labels]
        rows += columns
        n_columns.append(len(columns))
        fold_classes.append(fitted.classes_ if is_classifier(estimator) else None)
    row = np.concatenate(rows).astype(np.float64)

    def run(block: Block, out: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        status[:] = np.where(np.diff(block.indptr) < block.min_voxels, -1, 0)
        out[:] = np.where(status[:, None] == 0, row, np.nan)

    kind = Constant if is_classifier(estimator) else HeldOut
    return Plan(type(estimator).__name__, run, lay_out(folds, n_columns, tuple(fold_classes)), y, folds, kind)
