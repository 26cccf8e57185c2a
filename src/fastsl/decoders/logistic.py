"""LogisticRegression and LogisticRegressionCV with an l2 penalty."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, check_cv

from fastsl._kernels import logistic, logistic_cv
from fastsl._kernels.logistic_cv import InnerFolds
from fastsl.decoders.plan import Plan
from fastsl.decoders.problems import classification_problems, outputs_of
from fastsl.folds import Folds
from fastsl.predictions import LogOdds


def refuse(estimator: Any) -> str | None:
    """Say what of this LogisticRegression is not compiled; None when all is."""
    if not np.isfinite(estimator.C):
        return f"C={estimator.C!r}: without a penalty the solution is not unique"
    return _refuse_penalty(estimator, estimator.l1_ratio)


def _refuse_penalty(estimator: Any, l1_ratio: Any) -> str | None:
    if estimator.penalty not in ("l2", "deprecated") or l1_ratio not in (None, 0, 0.0):
        return f"penalty={estimator.penalty!r}, l1_ratio={l1_ratio!r} is not a ridge penalty"
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
    kernel = logistic.logistic_two if most == 2 else logistic.logistic_many
    return Plan(
        name="LogisticRegression",
        run=lambda block, out, status: kernel(block, problems, out, status),
        outputs=outputs_of(problems, folds, fold_classes),
        y=y,
        folds=folds,
        kind=LogOdds,
        intercept=_intercept(estimator, most),
        features_below=0.2 if most == 2 else 0.0,
    )


def _intercept(estimator: Any, n_classes: int) -> float:
    if not estimator.fit_intercept:
        return 0.0
    if estimator.solver != "liblinear":
        return math.inf
    if n_classes > 2:
        raise ValueError(
            f"{type(estimator).__name__}(solver='liblinear') is for two classes, y has {n_classes}: use "
            "solver='lbfgs', or OneVsRestClassifier around it."
        )
    return float(estimator.intercept_scaling) ** 2


def refuse_cv(estimator: Any) -> str | None:
    """Say what of this LogisticRegressionCV is not compiled; None when all is."""
    if estimator.solver != "liblinear":
        return f"solver={estimator.solver!r} takes more than two classes"
    if estimator.scoring not in (None, "warn", "accuracy", "neg_log_loss"):
        return f"scoring={estimator.scoring!r} is not accuracy or neg_log_loss"
    if not estimator.refit:
        return "refit=False averages the coefficients of its inner folds"
    if not isinstance(check_cv(estimator.cv), KFold):
        return f"cv={estimator.cv!r} is not a number of folds"
    ratios = estimator.l1_ratios
    if ratios is not None and not isinstance(ratios, str) and len(ratios) != 1:
        return f"l1_ratios={ratios!r} is no single penalty"
    return _refuse_penalty(estimator, ratios[0] if isinstance(ratios, tuple | list | np.ndarray) else None)


def plan_cv(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """Choose C within the training samples of each fold, as scikit-learn does, and fit them all with it.

    Raises
    ------
    ValueError
        For more than two classes with liblinear, which does not know them.
    """
    problems, fold_classes = classification_problems(y, folds, estimator.class_weight)
    Cs = np.logspace(-4, 4, estimator.Cs) if isinstance(estimator.Cs, int | np.integer) else np.asarray(estimator.Cs)
    n_inner = check_cv(estimator.cv).get_n_splits()
    train = np.zeros((len(problems.fold), n_inner, len(y)), bool)
    test = np.zeros_like(train)
    for q, fold in enumerate(problems.fold):
        own = folds.train[fold]
        splitter = check_cv(estimator.cv, y[own], classifier=True)
        for k, (inner_train, inner_test) in enumerate(splitter.split(np.zeros((len(own), 1)), y[own])):
            if len(np.unique(y[own[inner_test]])) < 2:
                raise ValueError(
                    f"LogisticRegressionCV chooses its penalty on {n_inner} folds of the training samples of fold "
                    f"{fold}, of which one tests one class only: give it fewer folds, as LogisticRegressionCV(cv=2)."
                )
            train[q, k, own[inner_train]] = True
            test[q, k, own[inner_test]] = True
    inner = InnerFolds(train, test, Cs.astype(np.float64), estimator.scoring == "neg_log_loss")
    return Plan(
        name="LogisticRegressionCV",
        run=lambda block, out, status: logistic_cv.logistic_cv(block, problems, inner, out, status),
        outputs=outputs_of(problems, folds, fold_classes),
        y=y,
        folds=folds,
        kind=LogOdds,
        intercept=_intercept(estimator, max(map(len, fold_classes))),
        features_below=0.5,
    )
