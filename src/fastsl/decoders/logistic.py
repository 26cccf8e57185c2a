"""LogisticRegression with an l2 penalty."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels import logistic
from fastsl.decoders.plan import Plan
from fastsl.decoders.problems import classification_problems, outputs_of
from fastsl.folds import Folds
from fastsl.predictions import LogOdds


def refuse(estimator: Any) -> str | None:
    """Say what of this LogisticRegression is not compiled; None when all is."""
    if estimator.penalty not in ("l2", "deprecated") or estimator.l1_ratio not in (None, 0, 0.0):
        return f"penalty={estimator.penalty!r}, l1_ratio={estimator.l1_ratio!r} is not a ridge penalty"
    if not np.isfinite(estimator.C):
        return f"C={estimator.C!r}: without a penalty the solution is not unique"
    if estimator.dual:
        return "dual=True"
    if getattr(estimator, "multi_class", "deprecated") not in ("deprecated", "auto", "multinomial"):
        return f"multi_class={estimator.multi_class!r}"
    return None


def plan(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """Solve to the optimum, whatever ``tol``, ``max_iter`` and the solver: but liblinear penalises its intercept.

    Raises
    ------
    ValueError
        For more than two classes with liblinear, which does not know them.
    """
    problems, fold_classes = classification_problems(y, folds, estimator.class_weight, C=estimator.C)
    most = max(map(len, fold_classes))
    intercept = math.inf if estimator.fit_intercept else 0.0
    if estimator.solver == "liblinear":
        if most > 2:
            raise ValueError(
                f"LogisticRegression(solver='liblinear') is for two classes, y has {most}: use solver='lbfgs', or "
                "OneVsRestClassifier around it."
            )
        intercept = float(estimator.intercept_scaling) ** 2 if estimator.fit_intercept else 0.0
    kernel = logistic.logistic_two if most == 2 else logistic.logistic_many
    return Plan(
        name="LogisticRegression",
        run=lambda block, out, status: kernel(block, problems, out, status),
        outputs=outputs_of(problems, folds, fold_classes),
        y=y,
        folds=folds,
        kind=LogOdds,
        intercept=intercept,
        has_features_path=most == 2,
    )
