"""Scores of compiled decoders, of whatever their numbers mean, against scikit-learn's cross_validate."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.metrics import get_scorer, make_scorer, top_k_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.svm import SVC

from decoder_cases import PLAIN, numbers_of_classes, tolerance_of
from fastsl.search import search_light
from test_decoders import make_data

CLASSIFIERS = [
    *(estimator for estimator in PLAIN if is_classifier(estimator)),
    SVC(decision_function_shape="ovo", C=2.0),
]
NAMES = ("accuracy", "balanced_accuracy", "f1_macro", "matthews_corrcoef", "neg_log_loss")
OF_TWO = ("roc_auc", "average_precision", "neg_brier_score")
OF_MORE = ("roc_auc_ovr", "roc_auc_ovo_weighted")

TOP_TWO = make_scorer(top_k_accuracy_score, k=2, response_method=("decision_function", "predict_proba"))
SCORES = {2: (*NAMES, *OF_TWO), 3: (*NAMES, *OF_MORE, TOP_TWO)}
MEMBERS = ([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 4, 7], [2, 3, 6])
SPHERES = sparse.csr_array(np.array([np.isin(np.arange(8), members) for members in MEMBERS]))


def reference(estimator, X, y, cv, scoring):
    """Scores (n_folds, n_centres) by scikit-learn; NaN where it cannot score."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.transpose(
            [
                cross_validate(estimator, X[:, members].astype(float), y, cv=cv, scoring=scoring, error_score=np.nan)[
                    "test_score"
                ]
                for members in MEMBERS
            ]
        )


@pytest.mark.parametrize(
    ("estimator", "n_classes", "scoring"),
    [
        (estimator, n, name)
        for estimator in CLASSIFIERS
        for n in numbers_of_classes(estimator, SCORES)
        for name in SCORES[n]
    ],
    ids=str,
)
def test_scores_equal_cross_validate(estimator, n_classes, scoring):
    X, y, _ = make_data(8, n_classes, seed=11)
    cv = StratifiedKFold(3)
    scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
    expected = reference(estimator, X, y, cv, scorer)
    if np.isnan(expected).all():  # no decision values, or no probabilities, or pairs where classes are wanted
        with pytest.raises(ValueError, match="no fold can be scored"):
            search_light(X, y, estimator, SPHERES, scoring=scoring, cv=cv, n_jobs=1)
        return
    found = search_light(X, y, estimator, SPHERES, scoring=scoring, cv=cv, n_jobs=1)
    np.testing.assert_allclose(found, expected.mean(axis=0), rtol=0, atol=10 * tolerance_of(estimator))


def test_nothing_but_what_cannot_be_scored_is_refused():
    """Of each classifier that has probabilities, the log loss is one number a sphere."""
    X, y, _ = make_data(8, 2, seed=11)
    for estimator in CLASSIFIERS:
        if hasattr(estimator, "predict_proba"):
            found = search_light(X, y, estimator, SPHERES, scoring="neg_log_loss", cv=StratifiedKFold(3), n_jobs=1)
            assert np.isfinite(found).all()
