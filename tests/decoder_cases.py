"""Estimators that the registry-driven tests go through: parameter sets of every compiled decoder."""

import inspect

import numpy as np
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

from fastsl import CorrelationClassifier

#: Where liblinear gives up before its tolerance, its ConvergenceWarning is an error here, as every warning.
CONVERGED = {"dual": True, "tol": 1e-10, "max_iter": 10**6, "random_state": 0}


def linear_svc(**parameters):
    return LinearSVC(**{**CONVERGED, **parameters})


def lda(shrinkage="auto", solver="lsqr", **parameters):
    return LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage, **parameters)


#: Parameter sets that are tried for each registered type.
CASES = {
    LinearSVC: (
        linear_svc(),
        linear_svc(C=1e-4),
        linear_svc(C=1e-2, class_weight="balanced"),
        linear_svc(C=30.0),
        linear_svc(C=1e3),
        linear_svc(class_weight={0: 3.0, 1: 0.5}),
        linear_svc(class_weight={0: 3.0, 1: 0.5}, C=1e-2),
        linear_svc(fit_intercept=False),
        linear_svc(intercept_scaling=3.0),
        linear_svc(intercept_scaling=0.1, class_weight="balanced"),
        linear_svc(fit_intercept=False, intercept_scaling=50.0),
        linear_svc(loss="hinge"),
        linear_svc(loss="hinge", C=1e-4),
        linear_svc(loss="hinge", C=1e-2, class_weight="balanced", intercept_scaling=2.0),
        linear_svc(loss="hinge", C=0.05, fit_intercept=False, class_weight={0: 0.5, 1: 2.0}),
    ),
    Ridge: (
        Ridge(),
        Ridge(1e-2),
        Ridge(1e4),
        Ridge(np.array([3.0])),
        Ridge(fit_intercept=False),
        Ridge(solver="svd"),
        Ridge(solver="cholesky"),
    ),
    RidgeClassifier: (
        RidgeClassifier(),
        RidgeClassifier(1e-2),
        RidgeClassifier(1e4),
        RidgeClassifier(class_weight="balanced"),
        RidgeClassifier(2.0, class_weight={0: 3.0, 1: 0.5}),
        RidgeClassifier(fit_intercept=False, class_weight="balanced"),
        RidgeClassifier(fit_intercept=False, solver="svd"),
    ),
    RidgeCV: (
        RidgeCV(),
        RidgeCV(alphas=(1e-2, 1.0, 30.0, 100.0, 1e4)),
        RidgeCV(alphas=5.0),
        RidgeCV(fit_intercept=False),
        RidgeCV(gcv_mode="eigen"),
        RidgeCV(store_cv_results=True),
    ),
    RidgeClassifierCV: (
        RidgeClassifierCV(),
        RidgeClassifierCV(alphas=(1e-2, 1.0, 30.0, 100.0, 1e4)),
        RidgeClassifierCV(class_weight="balanced"),
        RidgeClassifierCV(class_weight={0: 3.0, 1: 0.5}, alphas=(1.0, 1e3)),
        RidgeClassifierCV(fit_intercept=False, class_weight="balanced"),
    ),
    LinearDiscriminantAnalysis: (
        lda(0.3),
        lda(1e-3),
        lda(1),
        lda(0.1, solver="eigen", n_components=1),
        lda(),
        lda(solver="eigen"),
        lda(None, "svd"),
        lda(None, "svd", tol=0.4, store_covariance=True),
    ),
}
CASES[GaussianNB] = (
    GaussianNB(),
    GaussianNB(var_smoothing=1e-2),
    GaussianNB(var_smoothing=0.0),
)
CASES[NearestCentroid] = (
    NearestCentroid(),
    NearestCentroid(priors="empirical"),
)
#: lbfgs ends where its objective stops falling, with decisions right to 1e-7: Newton goes on.
TIGHT = {"tol": 1e-11, "max_iter": 10**5, "solver": "newton-cholesky"}
CASES[LogisticRegression] = (
    LogisticRegression(**TIGHT),
    LogisticRegression(C=1e-3, **TIGHT),
    LogisticRegression(C=5.0, **TIGHT),
    LogisticRegression(class_weight="balanced", **TIGHT),
    LogisticRegression(class_weight={0: 3.0, 1: 0.5}, C=0.1, **TIGHT),
    LogisticRegression(fit_intercept=False, **TIGHT),
    LogisticRegression(C=100.0, **TIGHT),
    LogisticRegression(solver="liblinear", tol=1e-11, max_iter=10**4),
    LogisticRegression(solver="liblinear", tol=1e-11, max_iter=10**4, C=0.1, intercept_scaling=10.0),
)
#: l1_ratios and use_legacy_attributes are there to keep scikit-learn 1.8 and later quiet.
INNER = {"solver": "liblinear", "tol": 1e-11, "max_iter": 10**4, "Cs": (1e-3, 0.1, 10.0)}
if "use_legacy_attributes" in inspect.signature(LogisticRegressionCV).parameters:
    INNER |= {"l1_ratios": (0,), "use_legacy_attributes": False}
CASES[LogisticRegressionCV] = (
    LogisticRegressionCV(scoring="neg_log_loss", **INNER),
    LogisticRegressionCV(scoring="accuracy", cv=2, class_weight="balanced", **INNER),
)
#: libsvm's tolerance is on the gradient: 1e-10 leaves decisions right to some 1e-9.
LIBSVM = {"tol": 1e-10, "cache_size": 100}
CASES[SVC] = (
    SVC(kernel="linear", **LIBSVM),
    SVC(kernel="linear", C=1e-4, **LIBSVM),
    SVC(kernel="linear", C=0.1, class_weight="balanced", **LIBSVM),
    SVC(kernel="linear", C=0.1, class_weight={0: 3.0, 1: 0.5}, **LIBSVM),
    SVC(**LIBSVM),
    SVC(C=30.0, gamma=1e-3, **LIBSVM),
    SVC(gamma="auto", class_weight="balanced", **LIBSVM),
    SVC(kernel="poly", coef0=1.0, **LIBSVM),
    SVC(kernel="poly", degree=2, gamma=0.01, coef0=0.5, **LIBSVM),
    SVC(kernel="linear", C=0.1, decision_function_shape="ovo", **LIBSVM),
)
CASES[SVR] = (
    SVR(kernel="linear", **LIBSVM),
    SVR(kernel="linear", C=1e-2, epsilon=0.5, **LIBSVM),
    SVR(kernel="linear", C=10.0, epsilon=0.0, **LIBSVM),
    SVR(**LIBSVM),
    SVR(kernel="poly", coef0=1.0, epsilon=0.3, **LIBSVM),
)
LIBLINEAR = {"dual": True, "tol": 1e-11, "max_iter": 10**7, "random_state": 0}
CASES[LinearSVR] = (
    LinearSVR(C=1e-2, epsilon=0.1, **LIBLINEAR),
    LinearSVR(C=1e-2, intercept_scaling=10.0, **LIBLINEAR),
    LinearSVR(loss="squared_epsilon_insensitive", C=1e-2, epsilon=0.5, **LIBLINEAR),
    LinearSVR(loss="squared_epsilon_insensitive", C=1e-2, fit_intercept=False, **LIBLINEAR),
)
CASES[CorrelationClassifier] = (CorrelationClassifier(), CorrelationClassifier(centre=False))
CASES[DummyClassifier] = tuple(
    DummyClassifier(strategy=strategy, random_state=3)
    for strategy in ("prior", "most_frequent", "stratified", "uniform")
)
CASES[DummyRegressor] = (DummyRegressor(), DummyRegressor(strategy="quantile", quantile=0.3))
EVERY_CASE = [estimator for estimators in CASES.values() for estimator in estimators]
#: One or two of each type, for what does not depend on parameters.
PLAIN = [
    CorrelationClassifier(),
    DummyClassifier(strategy="most_frequent"),
    DummyRegressor(strategy="median"),
    SVC(kernel="linear", **LIBSVM),
    SVC(C=2.0, **LIBSVM),
    SVR(kernel="linear", epsilon=0.2, **LIBSVM),
    LinearSVR(C=1e-3, epsilon=0.1, **LIBLINEAR),
    LogisticRegression(C=0.1, **TIGHT),
    LogisticRegressionCV(scoring="neg_log_loss", cv=3, **INNER),
    GaussianNB(),
    NearestCentroid(priors="empirical"),
    linear_svc(C=0.1, class_weight="balanced"),
    linear_svc(loss="hinge", C=0.05),
    Ridge(2.0),
    RidgeClassifier(2.0, class_weight="balanced"),
    RidgeCV(alphas=(0.1, 1.0, 10.0, 100.0)),
    RidgeClassifierCV(alphas=(0.1, 1.0, 10.0, 100.0)),
    lda(0.2),
    lda(),
    lda(None, "svd"),
]


def numbers_of_classes(estimator, numbers):
    """Those of ``numbers`` that scikit-learn's estimator takes."""
    return [n for n in numbers if n == 2 or getattr(estimator, "solver", None) != "liblinear"]


def tolerance_of(estimator):
    """How closely decision values, probabilities and predictions must agree with the converged scikit-learn model."""
    if isinstance(estimator, SVC | SVR):
        # libsvm keeps its kernel matrix in float32, which moves decision values by up to 4e-5 (C=10, few voxels);
        # test_kernels_box.py holds ours to the conditions of the optimum.
        return 1e-4
    # liblinear's Newton steps end when they lower the objective no more, its decision values being off by 1e-7 then.
    return 1e-6 if getattr(estimator, "solver", None) == "liblinear" else 1e-9
