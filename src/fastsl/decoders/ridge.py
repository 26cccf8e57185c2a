"""Ridge, RidgeClassifier, and both with the penalty chosen by leave-one-out inside each fold."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels import ridge, ridge_held_out, ridge_null
from fastsl._kernels.block import Block, Problems
from fastsl._kernels.labellings import Labellings
from fastsl.decoders.groups import sample_groups
from fastsl.decoders.labellings import NullPlan, in_launches
from fastsl.decoders.plan import Plan
from fastsl.decoders.problems import classification_problems, outputs_of, regression_problems
from fastsl.folds import Folds

_EXACT_SOLVERS = ("auto", "svd", "cholesky")


def refuse_fixed(estimator: Any) -> str | None:
    """Say what of this Ridge or RidgeClassifier is not compiled; None when all is."""
    if estimator.positive:
        return "positive=True constrains the weights"
    if estimator.solver not in _EXACT_SOLVERS:
        return f"solver={estimator.solver!r} stops at a tolerance"
    return _refuse_alphas(np.ravel(estimator.alpha), "alpha")


def refuse_cv(estimator: Any) -> str | None:
    """Say what of this RidgeCV or RidgeClassifierCV is not compiled; None when all is."""
    if estimator.cv is not None:
        return "cv inside the estimator is not leave-one-out"
    if estimator.scoring is not None:
        return f"scoring={estimator.scoring!r} inside the estimator"
    if getattr(estimator, "alpha_per_target", False):
        return "alpha_per_target=True"
    return _refuse_alphas(np.ravel(estimator.alphas), "alphas")


def _refuse_alphas(alphas: NDArray[Any], name: str) -> str | None:
    if alphas.dtype.kind not in "iuf" or not (alphas > 0).all():
        return f"{name}={alphas.tolist()} is not positive: without a penalty the solution is not unique"
    if name == "alpha" and len(alphas) > 1:
        return "alpha has one value for each of several targets"
    return None


def _plan(estimator: Any, y: NDArray[Any], folds: Folds, alphas: NDArray[np.float64], classifier: bool) -> Plan:
    fold_classes: tuple[NDArray[Any] | None, ...] = (None,) * len(folds)
    if classifier:
        problems, fold_classes = classification_problems(y, folds, estimator.class_weight)
    else:
        problems = regression_problems(y, folds)
    groups = sample_groups(problems)
    kernel = ridge_held_out.ridge_held_out if len(alphas) == 1 and _blocks_are_enough(problems) else ridge.ridge

    return Plan(
        name=type(estimator).__name__,
        run=lambda block, out, status: kernel(block, problems, groups, alphas, out, status),
        outputs=outputs_of(problems, folds, fold_classes),
        y=y,
        folds=folds,
        intercept=math.inf if estimator.fit_intercept else 0.0,
        features_below=0.6 if len(alphas) == 1 else 0.4,
    )


def _blocks_are_enough(problems: Problems) -> bool:
    """Whether no trained fold tests what it trains on, and the folds' blocks of the inverse take less than all of it.

    Counted in multiplications a sample: blocks, and columns to solve for beyond the first eight, against the product of
    the triangle with itself. One column is the intercept's.
    """
    n, folds = problems.train.shape[1], np.unique(problems.fold)
    tested = [problems.test[problems.test_ptr[fold] : problems.test_ptr[fold + 1]] for fold in folds]
    if any(problems.train[fold, test].any() for fold, test in zip(folds, tested, strict=True)):
        return False
    n_left_out = np.count_nonzero(~problems.train[folds], axis=1)
    more_columns = 8 * (len(problems.fold) // 8)
    return bool(more_columns * n + (n_left_out**2).sum() / 4 <= n * n / 6)


def plan_fixed_regressor(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """Ridge."""
    return _plan(estimator, y, folds, np.ravel(estimator.alpha).astype(np.float64), False)


def plan_fixed_classifier(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """RidgeClassifier."""
    return _plan(estimator, y, folds, np.ravel(estimator.alpha).astype(np.float64), True)


def plan_cv_regressor(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """RidgeCV."""
    return _plan(estimator, y, folds, np.ravel(estimator.alphas).astype(np.float64), False)


def plan_cv_classifier(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """RidgeClassifierCV."""
    return _plan(estimator, y, folds, np.ravel(estimator.alphas).astype(np.float64), True)


def null_plan(estimator: Any, labellings: Labellings) -> NullPlan | None:
    """Any of the four for many labellings; weights of classes would make the factorisation depend on them."""
    if getattr(estimator, "class_weight", None) is not None:
        return None
    alphas = np.ravel(estimator.alphas if hasattr(estimator, "alphas") else estimator.alpha).astype(np.float64)

    def kernel(block: Block, part: Labellings, null: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        ridge_null.ridge_null(block, part, alphas, null, status)

    return NullPlan(in_launches(kernel, labellings, 1024), math.inf if estimator.fit_intercept else 0.0)
