"""search_light on arrays: the same numbers as a plain loop over spheres, and clear words about what cannot be."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeCV
from sklearn.metrics import accuracy_score, fbeta_score, make_scorer, mean_absolute_error
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, StratifiedKFold
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC, LinearSVC

import naive
from fastsl import search_light, sphere_neighbours
from fastsl._kernels import ridge_held_out, svm
from fastsl.analysis import plan_analysis
from fastsl.neighbours import Neighbours
from fastsl.progress import Progress
from fastsl.search import run_search

N_SAMPLES, N_VOXELS = 40, 27
LABELS = np.arange(N_SAMPLES) // 2 % 2
GROUPS = np.arange(N_SAMPLES) // 8
CV = StratifiedKFold(4)

CONVERGED_SVC = LinearSVC(C=0.1, dual=True, tol=1e-10, max_iter=10**6, random_state=0)


@pytest.fixture(scope="module")
def X():  # noqa: N802
    rng = np.random.default_rng(0)
    pattern = 0.6 * rng.standard_normal(N_VOXELS)
    data = rng.standard_normal((N_SAMPLES, N_VOXELS)) + pattern * (2.0 * LABELS[:, None] - 1.0)
    return data.astype(np.float32)


@pytest.fixture(scope="module")
def values(X):
    return X[:, 10:16].sum(axis=1) + np.random.default_rng(1).standard_normal(N_SAMPLES)


@pytest.fixture(scope="module")
def spheres():
    """27 voxels of a cube, spheres of 4 to 7 voxels; the last one has all voxels, more than half the samples."""
    near = sphere_neighbours(np.ones((3, 3, 3)), np.eye(4), radius=1).to_sparse()
    return sparse.vstack([near, sparse.csr_array(np.ones((1, N_VOXELS), bool))], format="csr")


@pytest.fixture(scope="module")
def few(spheres):
    """Five of the spheres, for what is slow."""
    return spheres[[0, 4, 13, 22, 27]]


def members_of(A):
    return [row.indices for row in sparse.csr_array(A)]


def compare(X, y, estimator, A, *, cv=CV, groups=None, scoring=None, atol=1e-12):
    """search_light equals the mean over folds of the plain loop; returns the scores."""
    found = search_light(X, y, estimator, A, groups, scoring, cv, n_jobs=1)
    expected = naive.fold_scores(X, np.asarray(y), estimator, members_of(A), cv=cv, groups=groups, scoring=scoring)
    np.testing.assert_allclose(found, expected.mean(axis=0), rtol=0, atol=atol)
    assert np.ptp(found) > 0, "all spheres score alike: the comparison would miss a wrong order"
    return found


def fold_scores(X, y, estimator, A, **arguments):
    """The compiled search, fold by fold."""
    analysis = plan_analysis(y, len(X), estimator, **arguments)
    matrix = np.array(X.T, dtype=np.float32, order="C")
    return run_search(matrix, Neighbours.from_sparse(A), analysis, 1, Progress(0, "test")).fold_scores[0]


# The same numbers as the plain loop


@pytest.mark.parametrize(
    "estimator", [CONVERGED_SVC, RidgeClassifier(), RidgeClassifier(class_weight="balanced")], ids=repr
)
def test_compiled_classifiers_score_as_the_plain_loop(X, spheres, estimator):
    assert plan_analysis(LABELS, N_SAMPLES, estimator).engine.path == "compiled"
    compare(X, LABELS, estimator, spheres)


@pytest.mark.parametrize("estimator", [Ridge(), RidgeCV()], ids=repr)
def test_compiled_regressors_score_as_the_plain_loop(X, values, spheres, estimator):
    assert plan_analysis(values, N_SAMPLES, estimator).engine.path == "compiled"
    compare(X.astype(float), values, estimator, spheres, cv=KFold(4), atol=1e-9)


def test_each_fold_is_scored_as_in_the_plain_loop(X, spheres):
    found = fold_scores(X, LABELS, RidgeClassifier(), spheres, cv=LeaveOneGroupOut(), groups=GROUPS)
    expected = naive.fold_scores(
        X, LABELS, RidgeClassifier(), members_of(spheres), cv=LeaveOneGroupOut(), groups=GROUPS
    )
    np.testing.assert_array_equal(found, expected)


class Nearest(ClassifierMixin, BaseEstimator):
    """A classifier of the user's own."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == label].mean(axis=0) for label in self.classes_])
        return self

    def predict(self, X):
        return self.classes_[((X[:, None] - self.means_) ** 2).sum(axis=2).argmin(axis=1)]


GENERAL = [
    BernoulliNB(),
    make_pipeline(MinMaxScaler(), SVC(kernel="linear")),
    KNeighborsClassifier(),
    SVC(kernel="sigmoid"),
    LinearSVC(penalty="l1", dual=False, C=0.5, random_state=0),
]


@pytest.mark.parametrize("estimator", GENERAL, ids=repr)
def test_any_other_estimator_scores_as_the_plain_loop(X, few, estimator):
    assert plan_analysis(LABELS, N_SAMPLES, estimator).engine.path == "general"
    compare(X, LABELS, estimator, few)


def test_an_estimator_of_the_users_own_scores_as_the_plain_loop(X, few):
    with pytest.warns(UserWarning, match="Use a custom estimator at your own risk"):
        compare(X, LABELS, Nearest(), few)


@pytest.mark.slow
def test_workers_score_as_one_process_does(X, few):
    one, two = (search_light(X, LABELS, BernoulliNB(), few, cv=CV, n_jobs=n_jobs) for n_jobs in (1, 2))
    np.testing.assert_array_equal(one, two)


class Spread(BaseEstimator):
    """Scores itself, by nilearn's protocol: no folds, all samples, groups in both calls."""

    nilearn_searchlight_uses_cv = False

    def fit(self, X, y, groups=None):
        self.spread_ = float(X[y == 1].mean() - X[y == 0].mean()) + groups.sum()
        return self

    def score(self, X, y, groups=None):
        return self.spread_ + len(X) + groups.max()


def test_an_estimator_that_scores_itself_sees_all_samples_once(X, few):
    estimator = Spread()
    with pytest.warns(UserWarning, match="at your own risk"):
        found = search_light(X, LABELS, estimator, few, GROUPS, n_jobs=1)
    expected = [
        float(X[np.ix_(LABELS == 1, members)].mean() - X[np.ix_(LABELS == 0, members)].mean())
        + GROUPS.sum()
        + N_SAMPLES
        + GROUPS.max()
        for members in members_of(few)
    ]
    np.testing.assert_array_equal(found, expected)
    assert not hasattr(estimator, "spread_")


@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("container", ["array", "matrix"])
def test_neighbourhoods_come_in_any_sparse_format(X, spheres, layout, container):
    A = getattr(sparse, f"{layout}_{container}")(spheres)
    expected = search_light(X, LABELS, RidgeClassifier(), Neighbours.from_sparse(spheres), cv=CV, n_jobs=1)
    np.testing.assert_array_equal(search_light(X, LABELS, RidgeClassifier(), A, cv=CV, n_jobs=1), expected)


def f2(y_true, y_predicted):
    return fbeta_score(y_true, y_predicted, beta=2)


def share_of_ones(estimator, X, y):
    """A scorer that looks at the fitted estimator: only the general path has one."""
    return float((estimator.predict(X) == 1).mean()) + estimator.coef_.size


CLASSIFIER_SCORINGS = [
    None,
    "accuracy",
    "balanced_accuracy",
    "roc_auc",
    "average_precision",
    "f1",
    "matthews_corrcoef",
    make_scorer(accuracy_score),
    make_scorer(f2),
    share_of_ones,
]


@pytest.mark.parametrize("scoring", CLASSIFIER_SCORINGS, ids=str)
def test_classifier_scorings_equal_scikit_learn(X, few, scoring):
    compare(X, LABELS, RidgeClassifier(), few, scoring=scoring)


@pytest.mark.parametrize(
    "scoring",
    [None, "r2", "neg_mean_squared_error", "neg_max_error", make_scorer(mean_absolute_error, greater_is_better=False)],
    ids=str,
)
def test_regressor_scorings_equal_scikit_learn(X, values, few, scoring):
    compare(X.astype(float), values, Ridge(), few, cv=KFold(4), scoring=scoring, atol=1e-9)


@pytest.mark.parametrize(
    "labels",
    [np.array(["house", "face"])[LABELS], LABELS.astype(bool), np.array(["b", "a"], object)[LABELS], LABELS - 7.0],
    ids=["strings", "booleans", "objects", "floats"],
)
@pytest.mark.parametrize("estimator", [RidgeClassifier(), BernoulliNB()], ids=repr)
def test_labels_of_any_kind_score_as_numbers_do(X, few, labels, estimator):
    expected = search_light(X, LABELS, estimator, few, cv=CV, n_jobs=1)
    np.testing.assert_array_equal(search_light(X, labels, estimator, few, cv=CV, n_jobs=1), expected)
    np.testing.assert_array_equal(search_light(X, labels.tolist(), estimator, few, cv=CV, n_jobs=1), expected)


def test_groups_reach_the_splitter(X, few):
    compare(X, LABELS, RidgeClassifier(), few, cv=GroupKFold(3), groups=GROUPS)


def test_cv_none_is_five_stratified_folds(X, few):
    found = search_light(X, LABELS, RidgeClassifier(), few, n_jobs=1)
    np.testing.assert_array_equal(found, search_light(X, LABELS, RidgeClassifier(), few, cv=StratifiedKFold(5)))


def test_an_unseeded_splitter_is_drawn_once_for_all_spheres(X):
    same = sparse.csr_array(np.ones((6, N_VOXELS), bool))
    scores = search_light(X, LABELS, RidgeClassifier(), same, cv=StratifiedKFold(4, shuffle=True), n_jobs=1)
    assert np.unique(scores).size == 1


# Data that are not as they should be


@pytest.mark.parametrize("estimator", [RidgeClassifier(), BernoulliNB()], ids=repr)
def test_values_that_are_not_finite_count_as_zero_with_one_warning(X, few, estimator):
    broken, zeroed = X.copy(), X.copy()
    for data, fill in ((broken, [np.nan, np.inf, -np.inf]), (zeroed, [0, 0, 0])):
        data[[3, 8, 30], [13, 2, 13]] = fill
    with pytest.warns(RuntimeWarning, match=r"X has 3 NaN or infinite values .*1080") as caught:
        found = search_light(broken, LABELS, estimator, few, cv=CV, n_jobs=1)
    assert len(caught) == 1
    np.testing.assert_array_equal(found, search_light(zeroed, LABELS, estimator, few, cv=CV, n_jobs=1))


@pytest.mark.parametrize("estimator", [RidgeClassifier(), BernoulliNB()], ids=repr)
def test_spheres_that_are_too_small_are_nan_and_counted(X, spheres, estimator):
    sizes = np.diff(spheres.indptr)
    with pytest.warns(RuntimeWarning, match=r"8 of 28 spheres have fewer than min_voxels=5 voxels") as caught:
        found = fold_scores(X, LABELS, estimator, spheres, cv=CV, min_voxels=5)
    assert len(caught) == 1
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(sizes < 5, found.shape))
    np.testing.assert_array_equal(
        found[:, sizes >= 5], fold_scores(X, LABELS, estimator, spheres[np.flatnonzero(sizes >= 5)], cv=CV)
    )


@pytest.mark.parametrize("estimator", [RidgeClassifier(), BernoulliNB()], ids=repr)
def test_empty_spheres_are_nan_and_counted(X, few, estimator):
    A = few.toarray()
    A[[0, 3]] = False
    with pytest.warns(RuntimeWarning, match="2 of 5 spheres have fewer than min_voxels=1 voxels"):
        found = search_light(X, LABELS, estimator, sparse.csr_array(A), cv=CV, n_jobs=1)
    np.testing.assert_array_equal(np.isnan(found), [True, False, False, True, False])


@pytest.mark.parametrize("estimator", [RidgeClassifier(), BernoulliNB()], ids=repr)
def test_an_error_when_every_sphere_is_empty(X, estimator):
    with pytest.raises(ValueError, match="none of the 4 holds a voxel"):
        search_light(X, LABELS, estimator, sparse.csr_array((4, N_VOXELS)), cv=CV, n_jobs=1)


#: Not compiled, and cannot be fitted to one class.
ONE_FAILS = LinearSVC(penalty="l1", dual=False)
ONE_CLASS = [
    (np.arange(20), np.arange(20, 40)),
    (np.flatnonzero(LABELS == 1), np.arange(8)),
    (np.arange(20, 40), np.arange(20)),
]


@pytest.mark.parametrize("estimator", [RidgeClassifier(), CONVERGED_SVC], ids=repr)
def test_a_fold_with_one_class_is_nan_with_one_warning(X, few, estimator):
    with pytest.warns(RuntimeWarning, match="1 of 3 folds could not be scored.*fold 1: .*one class only") as caught:
        found = fold_scores(X, LABELS, estimator, few, cv=ONE_CLASS)
    assert len(caught) == 1
    assert np.isnan(found[1]).all()
    others = fold_scores(X, LABELS, estimator, few, cv=[ONE_CLASS[0], ONE_CLASS[2]])
    np.testing.assert_array_equal(found[[0, 2]], others)


def test_a_fold_that_fails_is_nan_with_one_warning_on_the_general_path(X, few):
    with pytest.warns(RuntimeWarning, match="1 of 3 folds could not be scored") as caught:
        found = fold_scores(X, LABELS, ONE_FAILS, few, cv=ONE_CLASS)
    assert len(caught) == 1
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), [False, True, False])


def test_the_mean_over_folds_is_nan_when_a_fold_is(X, few):
    with pytest.warns(RuntimeWarning, match="the means over folds, are NaN"):
        assert np.isnan(search_light(X, LABELS, RidgeClassifier(), few, cv=ONE_CLASS, n_jobs=1)).all()


def test_an_error_when_no_fold_has_two_classes(X, few):
    with pytest.raises(ValueError, match="First fold: its training samples have one class only"):
        search_light(X, LABELS, RidgeClassifier(), few, cv=ONE_CLASS[1:2], n_jobs=1)


def test_an_error_when_no_score_can_be_made_on_the_general_path(X, few):
    with pytest.raises(ValueError, match=r"no sphere could be scored.*multi_class must be"):
        search_light(X, np.arange(N_SAMPLES) % 3, BernoulliNB(), few, scoring="roc_auc", cv=3, n_jobs=1)


def test_an_error_when_every_fit_fails(X, few):
    with pytest.raises(ValueError, match="stopped after the first 5 spheres: all fits failed"):
        search_light(X, LABELS, ONE_FAILS, few, cv=ONE_CLASS[1:2], n_jobs=1)


# What cannot be is refused before any work


class _Unreached:
    """Neighbourhoods that must not be looked at: the question itself is wrong."""

    n_voxels = N_VOXELS

    def __len__(self):
        return 4

    def block(self, start, stop):
        raise AssertionError("work has begun")


@pytest.mark.parametrize(
    ("scoring", "labels", "message"),
    [
        ("roc_auc", np.arange(N_SAMPLES) % 3, "scoring='roc_auc' needs two classes, got 3"),
        ("f1", np.arange(N_SAMPLES) % 3, "scoring='f1' needs two classes"),
        ("f1", np.array(["face", "house"])[LABELS], "needs two classes of which one is the number 1"),
        ("neg_log_loss", LABELS, "no fold can be scored.*predict_proba"),
        ("r2", LABELS, "scoring='r2' is for regressors but the estimator is a classifier"),
        ("acuracy", LABELS, "scoring='acuracy' is not known"),
    ],
)
def test_a_score_that_cannot_be_made_is_refused_before_any_work(X, scoring, labels, message):
    with pytest.raises(ValueError, match=message):
        run_search(
            X.T.copy(),
            _Unreached(),
            plan_analysis(labels, N_SAMPLES, RidgeClassifier(), scoring=scoring, cv=3),
            1,
            Progress(0, "test"),
        )


EYE = sparse.csr_array(sparse.eye(N_VOXELS, format="csr", dtype=bool))
BAD = {
    "X of one dimension": ({"X": np.zeros(9)}, ValueError, "X must be two-dimensional"),
    "X of text": ({"X": np.full((N_SAMPLES, N_VOXELS), "a")}, TypeError, "X must hold real numbers, got dtype <U1"),
    "complex X": ({"X": np.zeros((N_SAMPLES, N_VOXELS), complex)}, TypeError, "X must hold real numbers"),
    "dense A": ({"A": np.eye(N_VOXELS)}, TypeError, "A must be Neighbours or a scipy sparse matrix .*, got ndarray"),
    "A of other voxels": ({"A": EYE[:, :9]}, ValueError, "A has neighbourhoods of 9 voxels but X has 27 columns"),
    "short y": ({"y": LABELS[:-1]}, ValueError, "inconsistent numbers of samples: 39 and 40"),
    "no y": ({"y": None}, TypeError, "y is missing: RidgeClassifier needs one label"),
    "y of two dimensions": ({"y": np.zeros((N_SAMPLES, 2))}, ValueError, r"y must be one-dimensional.*\(40, 2\)"),
    "one class": ({"y": np.ones(N_SAMPLES)}, ValueError, "y holds one class only"),
    "values for a classifier": ({"y": np.linspace(0, 1, N_SAMPLES)}, ValueError, "y is continuous but RidgeClassifier"),
    "missing label": ({"y": np.where(LABELS, np.nan, 1.0)}, ValueError, "y has 20 missing .* the first at volume 2"),
    "labels for a regressor": (
        {"estimator": Ridge(), "y": np.array(["a", "b"])[LABELS]},
        ValueError,
        "Ridge is a regressor",
    ),
    "unknown name": ({"estimator": "svm"}, ValueError, "estimator='svm' is not known.*one of: svc,"),
    "a class": ({"estimator": LinearSVC}, TypeError, "must be an \\*instance\\*, got the class LinearSVC"),
    "no estimator": ({"estimator": 3}, TypeError, "estimator must be a name or a scikit-learn estimator"),
    "short groups": ({"groups": GROUPS[:5]}, ValueError, r"groups has shape \(5,\)"),
    "scoring of a number": ({"scoring": 3}, TypeError, "scoring must be None, the name of a scikit-learn scorer"),
    "one fold": ({"cv": 1}, ValueError, "cv=1 is no cross-validation"),
    "cv of text": ({"cv": "five"}, ValueError, "cv='five' is no cross-validation"),
    "no pairs": ({"cv": []}, ValueError, r"cv=\[\] gave no split"),
    "samples out of range": ({"cv": [([0, 1, 2, 40], [3])]}, ValueError, "cv gave train sample 40 but there are 40"),
    "no test samples": ({"cv": [([0, 1, 2], [])]}, ValueError, "cv gave test samples that are no list"),
    "n_jobs of zero": ({"n_jobs": 0}, ValueError, "n_jobs=0 has no meaning"),
    "n_jobs of text": ({"n_jobs": "all"}, TypeError, "n_jobs must be an integer"),
}


@pytest.mark.parametrize(("changed", "error", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_named(X, changed, error, message):
    arguments = {"X": X, "y": LABELS, "estimator": RidgeClassifier(), "A": EYE, "cv": CV, "n_jobs": 1}
    with pytest.raises(error, match=message):
        search_light(**{**arguments, **changed})


@pytest.mark.parametrize("min_voxels", [0, -1, 2.0, True, "5"])
def test_min_voxels_is_a_whole_number(min_voxels):
    with pytest.raises(ValueError, match="min_voxels must be a whole number of at least 1"):
        plan_analysis(LABELS, N_SAMPLES, "svc", min_voxels=min_voxels)


# What goes in stays as it is, and any memory layout will do


@pytest.mark.parametrize("estimator", [CONVERGED_SVC, RidgeClassifier(), BernoulliNB()], ids=repr)
@pytest.mark.parametrize("order", ["C", "F"])
def test_inputs_are_never_modified(X, few, estimator, order):
    data = np.array(X + 100.0, order=order)
    data[2, 3] = np.nan
    inputs = [data, LABELS.copy(), GROUPS.copy(), few.copy()]
    before = [data.copy(), LABELS.copy(), GROUPS.copy(), few.toarray()]
    parameters = repr(estimator.get_params())
    with pytest.warns(RuntimeWarning, match="X has 1 NaN"):
        search_light(data, inputs[1], estimator, inputs[3], inputs[2], cv=LeaveOneGroupOut(), n_jobs=1)
    inputs[3] = inputs[3].toarray()
    for after, was in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(after, was)
    assert repr(estimator.get_params()) == parameters
    assert not hasattr(estimator, "classes_")


def read_only(X):
    data = X.copy()
    data.flags.writeable = False
    return data


LAYOUTS = {
    "float64": lambda X: X.astype(np.float64),
    "big-endian": lambda X: X.astype(">f4"),
    "big-endian int16": lambda X: X.astype(">i2"),
    "int16": lambda X: X.astype(np.int16),
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "every second row of more": lambda X: np.repeat(X, 2, axis=0)[::2],
    "a list": lambda X: X.tolist(),
}


@pytest.mark.parametrize("estimator", [CONVERGED_SVC, RidgeClassifier()], ids=repr)
def test_any_memory_layout_scores_the_same_with_one_specialisation(X, spheres, estimator):
    whole = np.rint(20 * X).astype(np.float32)  # exact in int16 too
    expected = search_light(whole, LABELS, estimator, spheres, cv=CV, n_jobs=1)
    for name, layout in LAYOUTS.items():
        found = search_light(layout(whole), LABELS, estimator, spheres, cv=CV, n_jobs=1)
        np.testing.assert_array_equal(found, expected, err_msg=name)
    kernel = svm.squared_hinge_gram if isinstance(estimator, LinearSVC) else ridge_held_out.ridge_held_out
    assert len(getattr(kernel.__wrapped__, "signatures", [None])) == 1


@pytest.mark.parametrize(
    ("full_sphere", "n_samples", "expected"),
    [
        (7, N_SAMPLES, "squared_hinge_any"),
        (33, N_SAMPLES, "squared_hinge_gram"),
        (0, N_SAMPLES, "squared_hinge_gram"),
        (33, 130, "squared_hinge_any"),
    ],
)
def test_linear_svc_has_one_form_where_samples_are_few_and_spheres_large(
    full_sphere, n_samples, expected, X, monkeypatch
):
    called = set()
    for name in ("squared_hinge_gram", "squared_hinge_any"):
        kernel = getattr(svm, name)
        monkeypatch.setattr(svm, name, lambda *args, name=name, kernel=kernel: (called.add(name), kernel(*args)))
    labels = np.resize(LABELS, n_samples)
    analysis = plan_analysis(labels, n_samples, CONVERGED_SVC, cv=CV)
    matrix = np.resize(X.T, (N_VOXELS, n_samples)).astype(np.float32, order="C")
    neighbours = replace(sphere_neighbours(np.ones((3, 3, 3)), np.eye(4), radius=1), full_sphere=full_sphere)
    found = run_search(matrix, neighbours, analysis, 1, Progress(0, "test")).fold_scores[0]
    assert called == {expected}
    np.testing.assert_array_equal(
        found, naive.fold_scores(matrix.T, labels, CONVERGED_SVC, list(map(list, neighbours)), cv=CV)
    )


def test_no_warning_without_a_reason(X, spheres):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search_light(X, LABELS, "svc", spheres, cv=CV, n_jobs=1)
