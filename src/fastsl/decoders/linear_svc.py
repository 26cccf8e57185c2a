"""LinearSVC: squared hinge and hinge loss, l2 penalty, one against the rest."""

from typing import Any

from numpy.typing import NDArray

from fastsl._kernels import decode
from fastsl.decoders.problems import Plan, classification_problems
from fastsl.folds import Folds


def refuse(estimator: Any) -> str | None:
    """Say what of this LinearSVC is not compiled; None when all is."""
    if estimator.penalty != "l2":
        return f"penalty={estimator.penalty!r} is not a ridge penalty"
    if estimator.multi_class != "ovr":
        return f"multi_class={estimator.multi_class!r} is one joint problem"
    return None


def plan(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """Solve to the optimum, whatever ``tol``, ``max_iter``, ``dual`` and ``random_state`` say.

    liblinear's objective: the intercept is a feature of constant value ``intercept_scaling`` and is penalised.
    """
    problems, fold_classes = classification_problems(
        y, folds, estimator.class_weight, C=estimator.C, rest_weighted=False
    )
    return Plan(
        name="LinearSVC",
        run=decode.svc_squared_hinge if estimator.loss == "squared_hinge" else decode.svc_hinge,
        problems=problems,
        intercept=float(estimator.intercept_scaling) ** 2 if estimator.fit_intercept else 0.0,
        y=y,
        folds=folds,
        fold_classes=fold_classes,
    )
