"""Support vector machines whose coefficients have bounds: SVC, SVR, LinearSVR, and LinearSVC with the hinge loss."""

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

from fastsl._kernels import machines
from fastsl._kernels.block import Problems
from fastsl._kernels.machines import Machine
from fastsl.decoders.plan import Plan, lay_out
from fastsl.decoders.problems import classification_problems, outputs_of, pack, regression_problems
from fastsl.folds import Folds
from fastsl.predictions import HeldOut, Votes, VotesOfPairs

_KERNELS = {"linear": 0, "rbf": 1, "poly": 2}


def refuse_svc(estimator: Any) -> str | None:
    """Say what of this SVC is not compiled; None when all is."""
    if getattr(estimator, "probability", False) is True:
        return "probability=True fits it five times more, on random folds"
    if estimator.break_ties:
        return "break_ties=True"
    return _refuse_kernel(estimator)


def refuse_svr(estimator: Any) -> str | None:
    """Say what of this SVR is not compiled; None when all is."""
    return _refuse_kernel(estimator)


def _refuse_kernel(estimator: Any) -> str | None:
    if estimator.kernel not in _KERNELS:
        return f"kernel={estimator.kernel!r} is not one of {', '.join(_KERNELS)}"
    if estimator.kernel == "poly" and not (estimator.coef0 >= 0 and float(estimator.degree).is_integer()):
        return f"degree={estimator.degree!r}, coef0={estimator.coef0!r}: the kernel may not be positive definite"
    return None


def refuse_linear_svr(estimator: Any) -> str | None:
    """All of LinearSVR is compiled."""
    return None


def _machine(
    estimator: Any, problems: Problems, low: NDArray[Any], high: NDArray[Any], D: float, gamma_train: NDArray[np.bool_]
) -> Machine:
    gamma = getattr(estimator, "gamma", 0.0)
    return Machine(
        eps=float(getattr(estimator, "epsilon", 0.0)),
        D=np.full(problems.ridge.shape, D),
        low=low,
        high=high,
        kernel=_KERNELS[getattr(estimator, "kernel", "linear")],
        gamma={"scale": 0.0, "auto": -1.0}[gamma] if isinstance(gamma, str) else float(gamma),
        degree=int(getattr(estimator, "degree", 1)),
        coef0=float(getattr(estimator, "coef0", 0.0)),
        gamma_train=gamma_train,
    )


def _hinge_bounds(problems: Problems) -> tuple[NDArray[Any], NDArray[Any]]:
    """Between 0 and C y."""
    bound = problems.targets[problems.target] / problems.ridge
    return np.minimum(bound, 0.0), np.maximum(bound, 0.0)


def plan_linear_svc(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """LinearSVC with the hinge loss: the intercept is a feature of value ``intercept_scaling``, and penalised."""
    problems, fold_classes = classification_problems(
        y, folds, estimator.class_weight, C=estimator.C, rest_weighted=False
    )
    machine = _machine(estimator, problems, *_hinge_bounds(problems), 0.0, folds.train_masks())
    return Plan(
        name="LinearSVC",
        run=lambda block, out, status: machines.support_vectors(block, problems, machine, out, status),
        outputs=outputs_of(problems, folds, fold_classes),
        y=y,
        folds=folds,
        intercept=float(estimator.intercept_scaling) ** 2 if estimator.fit_intercept else 0.0,
    )


def plan_svc(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """One problem for each pair of a fold's classes, on the samples of both, as libsvm has it."""
    entries: list[tuple[int, NDArray[np.float64], NDArray[np.float64]]] = []
    trains, tests, gamma_train, fold_classes, n_pairs = [], [], [], [], []
    for train, test in folds:
        classes = np.unique(y[train])
        fold_classes.append(classes)
        of_class = compute_class_weight(estimator.class_weight, classes=classes, y=y[train])
        pairs = list(itertools.combinations(range(len(classes)), 2))
        n_pairs.append(len(pairs))
        whole = np.isin(np.arange(len(y)), train)
        for one, other in pairs:
            # Votes are positive for the first of a pair, but the decision of two classes is for the second.
            positive, negative = (one, other) if len(classes) > 2 else (other, one)
            target = np.where(y == classes[positive], 1.0, -1.0)
            weight = np.where(y == classes[positive], of_class[positive], of_class[negative])
            entries.append((len(entries), target, 1.0 / (estimator.C * weight)))
            trains.append(train[np.isin(y[train], classes[[one, other]])])
            tests.append(test)
            gamma_train.append(whole)
    problems = pack(entries, Folds(folds.n_samples, tuple(trains), tuple(tests)))
    machine = _machine(estimator, problems, *_hinge_bounds(problems), 0.0, np.array(gamma_train))
    return Plan(
        name="SVC",
        run=lambda block, out, status: machines.support_vectors(block, problems, machine, out, status),
        outputs=lay_out(folds, n_pairs, tuple(fold_classes)),
        y=y,
        folds=folds,
        kind=Votes if estimator.decision_function_shape == "ovr" else VotesOfPairs,
        intercept=math.inf if estimator.kernel == "linear" else 0.0,
    )


def plan_svr(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """SVR."""
    intercept = math.inf if estimator.kernel == "linear" else 0.0
    return _plan_regressor(estimator, y, folds, intercept, float(estimator.C), 0.0)


def plan_linear_svr(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """LinearSVR: like LinearSVC, liblinear's penalises its intercept, as a feature of value ``intercept_scaling``."""
    intercept = float(estimator.intercept_scaling) ** 2 if estimator.fit_intercept else 0.0
    if estimator.loss == "epsilon_insensitive":
        return _plan_regressor(estimator, y, folds, intercept, float(estimator.C), 0.0)
    return _plan_regressor(estimator, y, folds, intercept, math.inf, 0.5 / float(estimator.C))


def _plan_regressor(estimator: Any, y: NDArray[Any], folds: Folds, intercept: float, bound: float, D: float) -> Plan:
    problems = regression_problems(y, folds)
    high = np.full(problems.ridge.shape, bound)
    machine = _machine(estimator, problems, -high, high, D, folds.train_masks())
    return Plan(
        name=type(estimator).__name__,
        run=lambda block, out, status: machines.support_vectors(block, problems, machine, out, status),
        outputs=outputs_of(problems, folds, (None,) * len(folds)),
        y=y,
        folds=folds,
        kind=HeldOut,
        intercept=intercept,
    )
