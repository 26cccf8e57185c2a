"""Compiled decoders, and the registry that says which scikit-learn estimators they equal.

A decoder is one file with two functions and one line in ``REGISTRY``:

    refuse(estimator) -> str | None      why these parameters are not compiled
    plan(estimator, y, folds) -> Plan    the models of one sphere and the kernel that fits them

The registry is also the list of what the parity tests, the benchmark and the documentation's table go through.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

from fastsl._kernels.additive import SEGMENT
from fastsl.correlation import CorrelationClassifier
from fastsl.decoders import additive, correlation, dummy, lda, linear_svc, logistic, ridge, scaled, support
from fastsl.decoders.labellings import NullPlanFunction
from fastsl.decoders.plan import PlanFunction
from fastsl.folds import Folds


@dataclass(frozen=True)
class Decoder:
    """One compiled decoder; see the module's docstring.

    ``how`` says in a few words which path it takes; ``examples`` are the estimators that the benchmark measures, one
    with default parameters where there is none; ``null_plan`` decodes many labellings after one factorisation;
    ``segment`` is what :func:`segment_of` says, ``shares`` what :func:`shares_sums`.
    """

    refuse: Callable[[Any], str | None]
    plan: PlanFunction
    how: str = ""
    examples: tuple[Any, ...] = ()
    null_plan: NullPlanFunction | None = None
    segment: int = 1
    shares: bool = True


REGISTRY: dict[type, Decoder] = {
    LinearSVC: Decoder(
        linear_svc.refuse,
        linear_svc.plan,
        "Gram or features; Newton on the active set",
        null_plan=linear_svc.null_plan,
    ),
    SVC: Decoder(
        support.refuse_svc,
        support.plan_svc,
        "kernels of the Gram; block pivoting",
        (SVC(kernel="linear"), SVC(), SVC(kernel="poly")),
    ),
    SVR: Decoder(support.refuse_svr, support.plan_svr, "as SVC", (SVR(kernel="linear"), SVR())),
    LinearSVR: Decoder(support.refuse_linear_svr, support.plan_linear_svr, "as SVC"),
    Ridge: Decoder(
        ridge.refuse_fixed,
        ridge.plan_fixed_regressor,
        "Gram or features; all folds from one factor",
        null_plan=ridge.null_plan,
    ),
    RidgeClassifier: Decoder(ridge.refuse_fixed, ridge.plan_fixed_classifier, "as Ridge", null_plan=ridge.null_plan),
    RidgeCV: Decoder(
        ridge.refuse_cv, ridge.plan_cv_regressor, "as Ridge, leave-one-out in closed form", null_plan=ridge.null_plan
    ),
    LogisticRegression: Decoder(logistic.refuse, logistic.plan, "Gram or features; Newton"),
    LogisticRegressionCV: Decoder(
        logistic.refuse_cv,
        logistic.plan_cv,
        "as LogisticRegression",
        (LogisticRegressionCV(solver="liblinear", scoring="neg_log_loss"),),
    ),
    GaussianNB: Decoder(
        additive.refuse_bayes, additive.plan_bayes, "prefix sums over voxels", segment=SEGMENT, shares=False
    ),
    NearestCentroid: Decoder(
        additive.refuse_centroid,
        additive.plan_centroid,
        "prefix sums over voxels",
        null_plan=additive.null_plan_centroid,
        segment=SEGMENT,
        shares=False,
    ),
    CorrelationClassifier: Decoder(correlation.refuse, correlation.plan, "sums over voxels", shares=False),
    DummyClassifier: Decoder(dummy.refuse, dummy.plan, "scikit-learn, once for all spheres", shares=False),
    DummyRegressor: Decoder(dummy.refuse, dummy.plan, "scikit-learn, once for all spheres", shares=False),
    RidgeClassifierCV: Decoder(ridge.refuse_cv, ridge.plan_cv_classifier, "as RidgeCV", null_plan=ridge.null_plan),
    LinearDiscriminantAnalysis: Decoder(
        lda.refuse,
        lda.plan,
        "Gram; covariance where voxels are few",
        (
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1),
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
            LinearDiscriminantAnalysis(),
        ),
        lda.null_plan,
    ),
}


def segment_of(estimator: Any) -> int:
    """Rows of the data matrix that the decoder of ``estimator`` sums together: sums change in rounding where they move.

    1 for what does not look at a voxel's place.
    """
    decoder = _registered(estimator)
    return 1 if decoder is None else decoder.segment


def shares_sums(estimator: Any) -> bool:
    """Whether neighbouring spheres share Gram products, of which they have to be told what they have in common."""
    decoder = _registered(estimator)
    return decoder is not None and decoder.shares


def _registered(estimator: Any) -> Decoder | None:
    return REGISTRY.get(type(estimator[1] if scaled.is_scaled(estimator) else estimator))


def find_decoder(estimator: Any, folds: Folds) -> tuple[PlanFunction | None, str]:
    """Return ``plan(estimator, y, folds)`` of the decoder that equals ``estimator``, or None; and the reason."""
    name = type(estimator).__name__
    if scaled.is_scaled(estimator):
        estimator[0]._validate_params()
        plan, reason = find_decoder(estimator[1], folds)
        return (None if plan is None else partial(scaled.plan, plan)), f"{reason}, on voxels scaled in each fold"
    decoder = REGISTRY.get(type(estimator))
    if decoder is None:
        return None, f"{name} has no compiled decoder"
    if hasattr(estimator, "_parameter_constraints"):
        estimator._validate_params()  # scikit-learn's own check of names and ranges, which its fit would make
    refusal = decoder.refuse(estimator)
    weights = getattr(estimator, "class_weight", None)
    if refusal is None and isinstance(weights, Mapping) and min(weights.values(), default=1) <= 0:
        refusal = f"class_weight={weights!r} leaves a class out"
    if refusal is None and folds.has_repeats:
        refusal = "a fold trains on the same sample twice"
    if refusal is not None:
        return None, f"{name} is compiled, but {refusal}"
    return decoder.plan, f"{name} is compiled"
