"""Every metric against the scikit-learn scorer whose name it has."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as theirs
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import get_scorer, make_scorer

from fastsl.metrics import CLASSIFIER_METRICS, METRICS, REGRESSOR_METRICS, confusion, score, score_by_replay
from fastsl.predictions import HeldOut, LogOdds

N_CENTRES = 12
exact = {"rtol": 1e-12, "atol": 1e-12}


def held_out(y_true, classes, seed=0, *, ties=False):
    """Random decision values; with ``ties`` from a few whole numbers, zero among them."""
    columns = 1 if len(classes) == 2 else len(classes)
    values = np.random.default_rng(seed).standard_normal((N_CENTRES, len(y_true), columns))
    return HeldOut(np.asarray(y_true), np.rint(values) if ties else values, np.asarray(classes))


def random_labels(labels, weights, n=23, seed=1):
    return np.random.default_rng(seed).choice(np.asarray(labels), n, p=weights)


def hand_predictions(case):
    """Predicted labels, written without fastsl: sign of one column, first largest of several."""
    if case.values.shape[2] == 1:
        return np.where(case.values[:, :, 0] > 0, case.classes[1], case.classes[0])
    return np.array([[case.classes[np.flatnonzero(row == row.max())[0]] for row in sphere] for sphere in case.values])


def quietly(function, *arguments, **options):
    """Call scikit-learn where it warns of what is not defined or not expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function(*arguments, **options)


PER_CLASS = {"precision": theirs.precision_score, "recall": theirs.recall_score, "f1": theirs.f1_score}
#: Name: function of (true, predicted, decision values of one sphere).
DIRECT = {
    "accuracy": lambda y, p, f: theirs.accuracy_score(y, p),
    "balanced_accuracy": lambda y, p, f: theirs.balanced_accuracy_score(y, p),
    "roc_auc": lambda y, p, f: theirs.roc_auc_score(y, f[:, 0]),
    **{kind: lambda y, p, f, s=function: s(y, p) for kind, function in PER_CLASS.items()},
    **{
        f"{kind}_{average}": lambda y, p, f, s=function, a=average: s(y, p, average=a)
        for kind, function in PER_CLASS.items()
        for average in ("macro", "micro", "weighted")
    },
    "r2": lambda y, p, f: theirs.r2_score(y, f[:, 0]),
    "explained_variance": lambda y, p, f: theirs.explained_variance_score(y, f[:, 0]),
    "neg_mean_squared_error": lambda y, p, f: -theirs.mean_squared_error(y, f[:, 0]),
    "neg_root_mean_squared_error": lambda y, p, f: -np.sqrt(theirs.mean_squared_error(y, f[:, 0])),
    "neg_mean_absolute_error": lambda y, p, f: -theirs.mean_absolute_error(y, f[:, 0]),
}

TWO, WORDS = [0, 1], ["cat", "face", "house"]
EVEN, FEW = [0.5, 0.5], [0.85, 0.15]
CASES = {
    "two classes": held_out(random_labels(TWO, EVEN), TWO),
    "two classes, unbalanced": held_out(random_labels(TWO, FEW), TWO),
    "two classes, ties": held_out(random_labels(TWO, EVEN), TWO, ties=True),
    "-1 and 1": held_out(random_labels([-1, 1], EVEN), [-1, 1]),
    "1 and 2": held_out(random_labels([1, 2], EVEN), [1, 2]),
    "booleans": held_out(random_labels([False, True], EVEN), [False, True]),
    "two words": held_out(random_labels(["face", "house"], FEW), ["face", "house"]),
    "words as objects": held_out(random_labels(["face", "house"], EVEN).astype(object), ["face", "house"]),
    "three words": held_out(random_labels(WORDS, [0.3, 0.3, 0.4]), WORDS),
    "three classes, ties": held_out(random_labels(range(3), [0.3, 0.3, 0.4]), range(3), ties=True),
    "four classes, unbalanced": held_out(random_labels(range(4), [0.7, 0.2, 0.05, 0.05]), range(4)),
    "five classes": held_out(random_labels(range(5), [0.2] * 5), range(5)),
    "test lacks a class of three": held_out(random_labels([0, 2], EVEN), range(3)),
    "test has one class of three": held_out(np.full(9, 1), range(3)),
    "test has one class of two": held_out(np.ones(9, int), TWO),
    "training lacked a class": held_out(random_labels(range(4), [0.25] * 4), [0, 1, 3]),
    "one test sample": held_out([1], TWO),
}
AUC_UNDEFINED = ("test has one class of two", "one test sample")


def accepts(name, case):
    """Whether scikit-learn's scorer is defined: AUC for two classes, the binary averages for a class called 1."""
    if name == "roc_auc":
        return len(case.classes) == 2
    if name in PER_CLASS:
        return len(case.classes) == 2 and case.classes.dtype.kind in "bi"
    return True


CLASSIFIER_PAIRS = [
    (name, key) for name in CLASSIFIER_METRICS for key in CASES if name != "neg_log_loss" and accepts(name, CASES[key])
]


def test_every_metric_has_an_oracle():
    assert {*DIRECT, "neg_log_loss"} == set(METRICS) == set(CLASSIFIER_METRICS) | set(REGRESSOR_METRICS)


@pytest.mark.parametrize("replayed", [False, True])
@pytest.mark.parametrize(
    "key", ["two classes, unbalanced", "1 and 2", "two words", "three words", "four classes, unbalanced"]
)
def test_log_loss_equals_scikit_learns(key, replayed):
    case = LogOdds(CASES[key].y_true, 20.0 * CASES[key].values, CASES[key].classes)  # some are certain, and wrong
    metric = score_by_replay(get_scorer("neg_log_loss")) if replayed else METRICS["neg_log_loss"]
    expected = [-theirs.log_loss(case.y_true, p, labels=case.classes) for p in case.probability]
    np.testing.assert_allclose(score(metric, case), expected, **exact)


@pytest.mark.parametrize(("name", "key"), CLASSIFIER_PAIRS)
def test_classifier_metrics_equal_scikit_learns_functions_and_scorers(name, key):
    case = CASES[key]
    expected = [
        quietly(DIRECT[name], case.y_true, predicted, values)
        for predicted, values in zip(hand_predictions(case), case.values, strict=True)
    ]
    assert np.isnan(expected).all() == (name == "roc_auc" and key in AUC_UNDEFINED)
    np.testing.assert_allclose(score(METRICS[name], case), expected, **exact)
    np.testing.assert_allclose(quietly(score, score_by_replay(get_scorer(name)), case), expected, **exact)


VALUES = {
    "values": np.random.default_rng(5).standard_normal(17),
    "whole numbers": np.random.default_rng(6).integers(0, 5, 17),
    "far from zero": 1e6 + np.random.default_rng(7).standard_normal(17),
    "two samples": np.array([0.5, 2.0]),
    "constant": np.full(8, 0.5),
}


@pytest.mark.parametrize("name", REGRESSOR_METRICS)
@pytest.mark.parametrize("y", VALUES.values(), ids=VALUES)
def test_regressor_metrics_equal_scikit_learns_functions_and_scorers(name, y):
    values = y[None, :, None] + np.random.default_rng(8).standard_normal((N_CENTRES, len(y), 1))
    values[3, :, 0] = y  # perfect
    values[4, :, 0] = y + 0.25  # off by a constant
    case = HeldOut(y, values, None)
    expected = [DIRECT[name](y, None, sphere) for sphere in values]
    np.testing.assert_allclose(score(METRICS[name], case), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(score(score_by_replay(get_scorer(name)), case), expected, **exact)


@pytest.fixture(scope="module")
def fitted_classifiers():
    """Estimators fitted on three voxels each, and what they say about the test samples, by the number of classes."""
    rng = np.random.default_rng(9)
    made = {}
    for n_classes in (2, 4):
        y = rng.permutation(np.arange(60) % n_classes)
        X = rng.standard_normal((N_CENTRES, 60, 3)) + 0.5 * y[:, None]
        models = [RidgeClassifier().fit(X[c, :40], y[:40]) for c in range(N_CENTRES)]
        values = np.array(
            [model.decision_function(x).reshape(20, -1) for model, x in zip(models, X[:, 40:], strict=True)]
        )
        made[n_classes] = models, X[:, 40:], HeldOut(y[40:], values, np.arange(n_classes))
    return made


#: Of the ridge classifier below, which has no probabilities.
N_CLASSES = {"neg_log_loss": (), "roc_auc": (2,), **dict.fromkeys(PER_CLASS, (2,))}


@pytest.mark.parametrize(
    ("name", "n_classes"),
    [(name, n) for name in CLASSIFIER_METRICS for n in (2, 4) if n in N_CLASSES.get(name, (2, 4))],
)
def test_classifier_metrics_equal_the_scorer_of_fitted_estimators(fitted_classifiers, name, n_classes):
    models, X, case = fitted_classifiers[n_classes]
    expected = [quietly(get_scorer(name), model, x, case.y_true) for model, x in zip(models, X, strict=True)]
    assert len(set(expected)) > 1
    np.testing.assert_allclose(score(METRICS[name], case), expected, **exact)


@pytest.mark.parametrize("name", REGRESSOR_METRICS)
def test_regressor_metrics_equal_the_scorer_of_fitted_estimators(name):
    rng = np.random.default_rng(10)
    y, X = rng.standard_normal(60), rng.standard_normal((N_CENTRES, 60, 3))
    models = [Ridge().fit(x[:40], y[:40]) for x in X]
    values = np.array([model.predict(x[40:])[:, None] for model, x in zip(models, X, strict=True)])
    expected = [get_scorer(name)(model, x[40:], y[40:]) for model, x in zip(models, X, strict=True)]
    np.testing.assert_allclose(score(METRICS[name], HeldOut(y[40:], values, None)), expected, **exact)


SCORERS = {
    "Matthews": (make_scorer(theirs.matthews_corrcoef), [2, 4]),
    "kappa": (make_scorer(theirs.cohen_kappa_score, weights="linear"), [2, 4]),
    "F2 of class 0": (make_scorer(theirs.fbeta_score, beta=2, pos_label=0), [2]),
    "loss": (make_scorer(theirs.zero_one_loss, greater_is_better=False), [2, 4]),
    "average precision": (make_scorer(theirs.average_precision_score, response_method="decision_function"), [2]),
    "top 2": (make_scorer(theirs.top_k_accuracy_score, k=2, response_method="decision_function"), [4]),
    "AUC by get_scorer": (get_scorer("roc_auc"), [2]),
    "Jaccard by get_scorer": (get_scorer("jaccard_macro"), [2, 4]),
}


@pytest.mark.parametrize(
    ("key", "n_classes"), [(key, n_classes) for key, (_, allowed) in SCORERS.items() for n_classes in allowed]
)
def test_a_replayed_scorer_equals_the_scorer_of_fitted_estimators(fitted_classifiers, key, n_classes):
    scorer = SCORERS[key][0]
    models, X, case = fitted_classifiers[n_classes]
    expected = [scorer(model, x, case.y_true) for model, x in zip(models, X, strict=True)]
    assert len(set(expected)) > 1
    np.testing.assert_allclose(score(score_by_replay(scorer), case), expected, **exact)


@pytest.mark.parametrize(
    "function", [theirs.max_error, theirs.median_absolute_error, theirs.mean_pinball_loss], ids=lambda f: f.__name__
)
def test_a_replayed_scorer_of_a_regressor(function):
    y = VALUES["values"]
    values = np.random.default_rng(11).standard_normal((N_CENTRES, len(y), 1))
    scorer = make_scorer(function, greater_is_better=False)
    expected = [-function(y, sphere[:, 0]) for sphere in values]
    np.testing.assert_allclose(score(score_by_replay(scorer), HeldOut(y, values, None)), expected, **exact)


# Failed spheres and folds that cannot be scored


@pytest.mark.parametrize("replayed", [False, True])
@pytest.mark.parametrize("name", METRICS)
def test_a_failed_sphere_scores_nan_and_leaves_the_others_alone(name, replayed):
    metric = score_by_replay(get_scorer(name)) if replayed else METRICS[name]
    kind = LogOdds if name == "neg_log_loss" else HeldOut
    whole = kind(**vars(CASES["two classes"]))
    if name in REGRESSOR_METRICS:
        whole = HeldOut(np.asarray(whole.y_true, float), whole.values, None)
    values = whole.values.copy()
    values[2] = np.nan  # the solver failed
    values[5, 3] = np.nan  # one prediction is missing
    scores = score(metric, kind(whole.y_true, values, whole.classes))
    assert np.flatnonzero(np.isnan(scores)).tolist() == [2, 5]
    others = np.delete(np.arange(N_CENTRES), [2, 5])
    np.testing.assert_array_equal(scores[others], score(metric, whole)[others])


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("roc_auc", held_out(np.zeros(6, int), TWO)),
        ("roc_auc", held_out(np.ones(6, int), TWO)),
        ("roc_auc", held_out([0, 1, 2, 1], TWO)),
        ("r2", HeldOut(np.array([1.5]), np.ones((N_CENTRES, 1, 1)), None)),
    ],
    ids=["no positive", "no negative", "a class that was not trained", "one value"],
)
def test_a_score_that_is_not_defined_is_nan(name, case):
    assert np.isnan(score(METRICS[name], case)).all()


def test_auc_counts_pairs_and_ties_by_half():
    values = np.array([[0.0, 0.0, 1.0, -1.0], [3.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]])[:, :, None]
    case = HeldOut(np.array(["b", "a", "b", "a"]), values, np.array(["a", "b"]))
    # pairs (b, a): 0>0 half, 0>-1, 1>0, 1>-1; then 3>1, 3>0, 2>1, 2>0; then four halves
    np.testing.assert_allclose(score(METRICS["roc_auc"], case), [3.5 / 4, 1.0, 0.5])


# Predictions


def test_ties_go_to_the_first_class():
    one_column = HeldOut(np.array([0, 1]), np.array([[[0.0], [1e-300]]]), np.array(TWO))
    several = HeldOut(np.array([0, 1]), np.array([[[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]]]), np.arange(3))
    assert one_column.predicted.tolist() == [[0, 1]]
    assert several.predicted.tolist() == [[0, 1]]


@pytest.mark.parametrize("key", ["two words", "four classes, unbalanced", "training lacked a class"])
def test_confusion_counts_equal_scikit_learns(key):
    case = CASES[key]
    counts, labels = confusion(case)
    for sphere, predicted in zip(counts, hand_predictions(case), strict=True):
        np.testing.assert_array_equal(sphere, theirs.confusion_matrix(case.y_true, predicted, labels=labels))


# What is refused

LOG_ODDS = LogOdds(np.array([0, 1, 0]), np.zeros((2, 3, 3)), np.arange(3))
LOG_ODDS_OF_TWO = (np.array([0, 1, 0]), np.zeros((2, 3, 1)), np.arange(2))


class Speechless(HeldOut):
    """Predicts, and says no more."""

    decision = None


REGRESSION = HeldOut(np.arange(4.0), np.zeros((2, 4, 1)), None)


@pytest.mark.parametrize(
    ("name", "case", "message"),
    [
        *((name, REGRESSION, "this score is for classifiers; for a regressor use") for name in CLASSIFIER_METRICS),
        ("neg_log_loss", CASES["two words"], "needs probabilities, and the estimator has no predict_proba"),
        ("neg_log_loss", LOG_ODDS, r"every class among the training and the test samples, but \[2\] is in one of them"),
        ("roc_auc", Speechless(*LOG_ODDS_OF_TWO), "needs decision values or probabilities"),
        ("roc_auc", CASES["three words"], r"needs two classes, got 3 \(\['cat', 'face', 'house'\]\)"),
        ("f1", CASES["three classes, ties"], r"needs two classes of which one is the number 1, got \[0, 1, 2\]"),
        ("f1", CASES["two words"], r"one is the number 1, got \['face', 'house'\]; use 'f1_macro' or 'f1_weighted'"),
        ("recall", held_out([0, 2], [0, 2]), r"got \[0, 2\]; use 'recall_macro'"),
    ],
)
def test_scores_that_do_not_fit(name, case, message):
    with pytest.raises(ValueError, match=message):
        METRICS[name](case)


@pytest.mark.parametrize("name", METRICS)
def test_scores_of_a_sphere_do_not_depend_on_how_many_there_are(name):
    """numpy adds rows in another order where they lie otherwise in memory: not all layouts are those of one sphere."""
    n_test, generator = 37, np.random.default_rng(4)
    kind, classes = HeldOut, None
    y_true, n_columns = generator.standard_normal(n_test), 1
    if name in CLASSIFIER_METRICS:
        n_columns = 1 if name in ("roc_auc", "precision", "recall", "f1") else 11
        kind, classes = LogOdds, np.arange(max(2, n_columns))
        y_true = generator.permutation(np.arange(n_test) % len(classes))
    columns = generator.standard_normal((20, n_columns, n_test))  # as decoders lay them out
    whole = score(METRICS[name], kind(y_true, columns.transpose(0, 2, 1), classes))
    for centre in range(20):
        one = columns[centre : centre + 1].copy().transpose(0, 2, 1)
        assert score(METRICS[name], kind(y_true, one, classes))[0] == whole[centre]
