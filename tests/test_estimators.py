"""The fourteen names mean what they mean in nilearn, ours what is written here, and none leaves a trace behind."""

import copy

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from fastsl import estimators
from fastsl.estimators import NAMED, NAMED_BY_NILEARN, NAMED_HERE, estimator_type, make_estimator, scores_itself

#: As nilearn 0.14 documents them. Without verbose, which it sets from its own.
REPR = {
    "svc": "LinearSVC(max_iter=10000, random_state=0)",
    "svc_l2": "LinearSVC(max_iter=10000, random_state=0)",
    "svc_l1": "LinearSVC(max_iter=10000, penalty='l1', random_state=0)",
    "ridge_classifier": "RidgeClassifierCV()",
    "dummy_classifier": "DummyClassifier(random_state=0, strategy='stratified')",
    "ridge": "RidgeCV()",
    "ridge_regressor": "RidgeCV()",
    "lasso": "LassoCV()",
    "lasso_regressor": "LassoCV()",
    "svr": "SVR(kernel='linear', max_iter=10000)",
    "dummy_regressor": "DummyRegressor()",
}
#: Names that nilearn does not have.
OURS = {
    "RidgeClassifier": "RidgeClassifier()",
    "Ridge": "Ridge()",
    "correlation": "CorrelationClassifier()",
    "gnb": "GaussianNB()",
    "lda": "LinearDiscriminantAnalysis(shrinkage='auto', solver='lsqr')",
}
LOGISTIC = {"logistic": 0, "logistic_l2": 0, "logistic_l1": 1}
CLASSIFIERS = {"svc", "svc_l2", "svc_l1", *LOGISTIC, "ridge_classifier", "dummy_classifier", *OURS} - {"Ridge"}
SEEDED = {"svc", "svc_l2", "svc_l1", "dummy_classifier"}


class OwnScore(BaseEstimator):
    """Scores itself, by nilearn's protocol."""

    nilearn_searchlight_uses_cv = False

    def fit(self, X, y, groups=None):
        return self

    def score(self, X, y, groups=None):
        return 0.0


class OwnScoreWithoutGroups(OwnScore):
    def fit(self, X, y):
        return self


class NoScore(BaseEstimator):
    def fit(self, X, y):
        return self


class OwnScoreWithoutScore(NoScore):
    nilearn_searchlight_uses_cv = False


class Custom(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        return self


def test_the_names_are_nilearns_fourteen_and_ours():
    assert set(NAMED_BY_NILEARN) == set(REPR) | set(LOGISTIC)
    assert len(NAMED_BY_NILEARN) == 14
    assert set(NAMED_HERE) == set(OURS)
    assert set(NAMED) == set(NAMED_BY_NILEARN) | set(NAMED_HERE)
    assert len(NAMED) == len(NAMED_BY_NILEARN) + len(NAMED_HERE)


@pytest.mark.parametrize("name", OURS)
def test_a_name_of_ours_means_what_is_written_here(name):
    assert repr(make_estimator(name)) == OURS[name]


def test_arguments_may_replace_all_of_lda():
    model = make_estimator("lda", {"shrinkage": 0.1, "priors": [0.3, 0.7], "solver": "eigen"})
    assert type(model) is LinearDiscriminantAnalysis
    assert (model.shrinkage, model.priors, model.solver) == (0.1, [0.3, 0.7], "eigen")


@pytest.mark.parametrize("name", REPR)
def test_a_name_means_what_nilearn_documents(name):
    assert repr(make_estimator(name)) == REPR[name]


@pytest.mark.parametrize(("name", "l1_ratio"), LOGISTIC.items())
def test_the_logistic_names_mean_what_nilearn_documents(name, l1_ratio):
    model = make_estimator(name)
    assert type(model) is LogisticRegressionCV
    assert (model.solver, model.scoring, model.Cs, model.cv) == ("liblinear", "neg_log_loss", 10, None)
    if model.l1_ratios is not None:  # the spelling of newer scikit-learn
        assert list(model.l1_ratios) == [l1_ratio]
    else:
        assert model.penalty == ("l1" if l1_ratio else "l2")


@pytest.mark.parametrize("name", [*REPR, *LOGISTIC])
def test_a_name_has_the_parameters_that_nilearn_builds(name):
    theirs = pytest.importorskip("nilearn.decoding._utils", reason="nilearn is an oracle")
    expected = theirs.validate_estimator(name)
    model = make_estimator(name)
    assert type(model) is type(expected)
    assert model.get_params() == expected.get_params()


# Arguments of the estimator


def test_arguments_reach_the_estimator_and_nothing_else():
    arguments = {"C": 1e-6, "max_iter": 7, "random_state": 5}
    model = make_estimator("svc", arguments)
    assert (model.C, model.max_iter, model.random_state) == (1e-6, 7, 5)
    assert arguments == {"C": 1e-6, "max_iter": 7, "random_state": 5}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("svc", {"C": 1e-6, "max_iter": 3}),
        ("logistic", {"Cs": 3}),
        ("ridge", {"alphas": (1.0,)}),
        ("svr", {"max_iter": 5}),
        ("dummy_classifier", {"random_state": 9}),
    ],
)
def test_arguments_do_not_leak_into_later_estimators(name, arguments):
    before = {other: make_estimator(other).get_params() for other in NAMED}
    table = copy.deepcopy(NAMED)
    model = make_estimator(name, arguments)
    assert {key: model.get_params()[key] for key in arguments} == arguments
    assert {other: make_estimator(other).get_params() for other in NAMED} == before
    assert table == NAMED


def test_no_two_calls_return_the_same_object():
    assert make_estimator("svc") is not make_estimator("svc")


@pytest.mark.parametrize("empty", [None, {}])
def test_no_arguments_may_be_written_either_way(empty):
    model = SVC()
    assert make_estimator("ridge", empty).get_params() == RidgeCV().get_params()
    assert make_estimator(model, empty) is model


# random_state


@pytest.mark.parametrize("random_state", [0, 123, None])
@pytest.mark.parametrize("name", [*REPR, *LOGISTIC, *OURS])
def test_random_state_reaches_the_names_that_nilearn_seeds(name, random_state):
    model = make_estimator(name, random_state=random_state)
    assert model.get_params().get("random_state") == (random_state if name in SEEDED else None)


def test_random_state_changes_what_is_drawn():
    X, y = np.zeros((200, 1)), np.arange(200) % 2
    drawn = [make_estimator("dummy_classifier", random_state=seed).fit(X, y).predict(X) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()


# Estimators that are given


@pytest.mark.parametrize(
    "model", [LinearSVC(C=3), RidgeCV(), DummyClassifier(), make_pipeline(StandardScaler(), SVC())], ids=repr
)
def test_scikit_learns_estimators_pass_as_they_are(model):
    before = repr(model)
    assert make_estimator(model, random_state=5) is model
    assert repr(model) == before


@pytest.mark.parametrize("model", [Custom(), OwnScore()], ids=repr)
def test_other_estimators_pass_with_nilearns_warning(model):
    with pytest.warns(UserWarning, match="Use a custom estimator at your own risk"):
        assert make_estimator(model) is model


def test_an_estimator_without_score_passes_where_a_scorer_is_named():
    with pytest.warns(UserWarning, match="Use a custom estimator"):
        make_estimator(NoScore(), scoring="accuracy")


def test_the_protocol_of_estimators_that_score_themselves():
    assert scores_itself(OwnScore())
    assert not scores_itself(Custom())
    assert not scores_itself(LinearSVC())


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [
        *((name, "classifier" if name in CLASSIFIERS else "regressor") for name in [*REPR, *LOGISTIC, *OURS]),
        (LinearSVC(), "classifier"),
        (RidgeCV(), "regressor"),
        (make_pipeline(StandardScaler(), SVC()), "classifier"),
        (StandardScaler(), ""),
        (OwnScore(), ""),
        ("no such name", ""),
    ],
)
def test_kinds_of_estimators(estimator, kind):
    assert estimator_type(estimator) == kind


# What is refused


@pytest.mark.parametrize(
    ("estimator", "arguments", "error", "message"),
    [
        (
            "SVC",
            None,
            ValueError,
            r"estimator='SVC' is not known \(did you mean 'svc', .* one of: svc, svc_l2.*, RidgeClassifier, Ridge, ",
        ),
        ("", None, ValueError, "estimator='' is not known"),
        (LinearSVC, None, TypeError, r"must be an \*instance\*, got the class LinearSVC: write LinearSVC\(\)"),
        (None, None, TypeError, "must be a name or a scikit-learn estimator .* got None"),
        (3, None, TypeError, "must be a name or a scikit-learn estimator .* got 3"),
        (np.mean, None, TypeError, "must be a name or a scikit-learn estimator"),
        ("svc", [("C", 1)], TypeError, r"estimator_args must be a dict or None, got \[\('C', 1\)\]"),
        (SVC(), 3, TypeError, "estimator_args must be a dict or None, got 3"),
        (SVC(), {"C": 1}, TypeError, "estimator_args only goes with an estimator name"),
        ("svc", {"c": 1}, TypeError, "estimator_args has 'c', which estimator='svc' does not take; it takes: .*C"),
        ("ridge", {"C": 1}, TypeError, "estimator_args has 'C', which estimator='ridge' does not take"),
        ("svc_l1", {"penalty": "l2"}, TypeError, "'penalty', which estimator='svc_l1' fixes itself"),
        ("svr", {"kernel": "rbf"}, TypeError, "'kernel', which estimator='svr' fixes itself"),
        ("logistic", {"solver": "saga"}, TypeError, "'solver', which estimator='logistic' fixes itself"),
        (NoScore(), None, TypeError, "scoring=None asks NoScore for its own score, but it has no score method"),
        (OwnScoreWithoutScore(), None, TypeError, r"must implement score\(X, y, groups\)"),
        (OwnScoreWithoutGroups(), None, TypeError, "must accept a 'groups' parameter in fit"),
    ],
)
def test_bad_estimators(estimator, arguments, error, message):
    with pytest.raises(error, match=message):
        make_estimator(estimator, arguments)


def test_both_spellings_of_the_logistic_model_are_one_model(monkeypatch):
    """Older scikit-learn knows no ``use_legacy_attributes``: there the penalty has a name."""

    def older(penalty="l2", solver="lbfgs", scoring=None):
        raise AssertionError("only looked at")

    monkeypatch.setattr(estimators, "LogisticRegressionCV", older)
    common = {"solver": "liblinear", "scoring": "neg_log_loss"}
    assert estimators._logistic(0) == {**common, "penalty": "l2"}
    assert estimators._logistic(1) == {**common, "penalty": "l1"}
