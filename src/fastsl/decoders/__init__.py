"""Compiled decoders, and the registry that says which scikit-learn estimators they equal.

A decoder is one file with two functions and one line in ``REGISTRY``:

    refuse(estimator) -> str | None      why these parameters are not compiled
    plan(estimator, y, folds) -> Plan    the models of one sphere and the kernel that fits them

The registry is also the list of what the parity tests, the benchmark and the documentation's table go through.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV, RidgeCV
from sklearn.svm import LinearSVC

from fastsl.decoders import lda, linear_svc, ridge
from fastsl.decoders.plan import Plan
from fastsl.folds import Folds


@dataclass(frozen=True)
class Decoder:
    """Functions of one compiled decoder; see the module's docstring."""

    refuse: Callable[[Any], str | None]
    plan: Callable[[Any, NDArray[Any], Folds], Plan]


REGISTRY: dict[type, Decoder] = {
    LinearSVC: Decoder(linear_svc.refuse, linear_svc.plan),
    Ridge: Decoder(ridge.refuse_fixed, ridge.plan_fixed_regressor),
    RidgeClassifier: Decoder(ridge.refuse_fixed, ridge.plan_fixed_classifier),
    RidgeCV: Decoder(ridge.refuse_cv, ridge.plan_cv_regressor),
    RidgeClassifierCV: Decoder(ridge.refuse_cv, ridge.plan_cv_classifier),
    LinearDiscriminantAnalysis: Decoder(lda.refuse, lda.plan),
}


def find_decoder(estimator: Any, folds: Folds) -> tuple[Decoder | None, str]:
    """Return the compiled decoder that equals ``estimator``, or None; and the reason."""
    name = type(estimator).__name__
    decoder = REGISTRY.get(type(estimator))
    if decoder is None:
        return None, f"{name} has no compiled decoder"
    estimator._validate_params()  # scikit-learn's own check of names and ranges, which its fit would make
    reason = decoder.refuse(estimator)
    weights = getattr(estimator, "class_weight", None)
    if reason is None and isinstance(weights, Mapping) and min(weights.values(), default=1) <= 0:
        reason = f"class_weight={weights!r} leaves a class out"
    if reason is None and folds.has_repeats:
        reason = "a fold trains on the same sample twice"
    if reason is not None:
        return None, f"{name} is compiled, but {reason}"
    return decoder, f"{name} is compiled"
