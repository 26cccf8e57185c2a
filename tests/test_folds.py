"""Splits are scikit-learn's, drawn once; labels and groups that cannot be used are refused before any work."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    check_cv,
)

from fastsl.analysis import plan_analysis
from fastsl.folds import Folds, check_classes_are_known, check_groups, check_target, draw_folds, whole_sample

N = 30
LABELS = np.random.default_rng(0).permutation(np.repeat(["face", "house", "cat"], [12, 10, 8]))
VALUES = np.random.default_rng(1).standard_normal(N)
GROUPS = np.random.default_rng(2).permutation(np.repeat([3, 1, 7, 5, 9], 6))
PAIRS = [(np.arange(20), np.arange(20, 30)), (np.arange(10, 30), np.arange(10))]


def assert_same(folds, expected):
    expected = list(expected)
    assert len(folds) == len(expected)
    for (train, test), (their_train, their_test) in zip(folds, expected, strict=True):
        assert train.dtype == test.dtype == np.int64
        np.testing.assert_array_equal(train, their_train)
        np.testing.assert_array_equal(test, their_test)


SPLITTERS = [
    None,
    3,
    np.int64(4),
    KFold(4),
    KFold(3, shuffle=True, random_state=7),
    StratifiedKFold(4),
    StratifiedKFold(3, shuffle=True, random_state=7),
    ShuffleSplit(6, test_size=0.3, random_state=7),
    StratifiedShuffleSplit(2, random_state=7),
    LeaveOneOut(),
    PredefinedSplit(np.arange(N) % 4 - 1),
    PAIRS,
]


@pytest.mark.parametrize("cv", SPLITTERS, ids=lambda cv: type(cv).__name__ + str(getattr(cv, "shuffle", "")))
def test_splits_of_labels_are_those_of_scikit_learn(cv):
    assert_same(draw_folds(cv, LABELS), check_cv(cv, LABELS, classifier=True).split(LABELS, LABELS))


@pytest.mark.parametrize("cv", [None, 3, KFold(4), ShuffleSplit(6, random_state=7), LeaveOneOut(), PAIRS])
@pytest.mark.parametrize("y", [VALUES, np.arange(N) // 10], ids=["continuous", "whole numbers"])
def test_splits_of_values_are_those_of_scikit_learn(cv, y):
    assert_same(draw_folds(cv, y, classifier=False), check_cv(cv, y, classifier=False).split(y, y))


@pytest.mark.parametrize("cv", [LeaveOneGroupOut(), GroupKFold(3), StratifiedGroupKFold(2)])
@pytest.mark.parametrize("groups", [GROUPS, GROUPS.tolist(), GROUPS.astype(str)], ids=["array", "list", "strings"])
def test_splits_by_groups_are_those_of_scikit_learn(cv, groups):
    assert_same(draw_folds(cv, LABELS, groups), cv.split(LABELS, LABELS, groups))


def test_none_means_five_folds_stratified_for_a_classifier():
    assert_same(draw_folds(None, LABELS), StratifiedKFold(5).split(LABELS, LABELS))
    assert_same(draw_folds(None, VALUES, classifier=False), KFold(5).split(VALUES))


def test_pairs_may_come_from_a_generator_which_is_used_up_once():
    assert_same(draw_folds((pair for pair in PAIRS), LABELS), PAIRS)
    assert_same(draw_folds(KFold(3).split(LABELS), LABELS), KFold(3).split(LABELS))


@pytest.mark.parametrize(
    "pair",
    [
        (np.arange(N) < 20, np.arange(N) >= 20),
        (list(range(20)), list(range(20, 30))),
        (np.arange(20, dtype=np.uint8), np.arange(-10, 0)),
    ],
    ids=["boolean", "lists", "counted from the end"],
)
def test_pairs_may_be_written_in_several_ways(pair):
    assert_same(draw_folds([pair], LABELS), PAIRS[:1])


def test_a_random_splitter_draws_once_and_its_folds_stay():
    folds = draw_folds(ShuffleSplit(3, random_state=np.random.RandomState(3)), LABELS)
    first = [train.copy() for train, _ in folds]
    for again, before in zip(folds, first, strict=True):
        np.testing.assert_array_equal(again[0], before)
    assert_same(folds, ShuffleSplit(3, random_state=np.random.RandomState(3)).split(LABELS))


def test_training_samples_as_masks():
    masks = draw_folds(KFold(4), LABELS).train_masks()
    assert masks.shape == (4, N)
    for mask, (train, _) in zip(masks, KFold(4).split(LABELS), strict=True):
        np.testing.assert_array_equal(np.flatnonzero(mask), train)


@pytest.mark.parametrize(("train", "repeats"), [([0, 1, 2], False), ([0, 1, 1], True), ([29, 0, -1], True)])
def test_repeated_training_samples_are_seen(train, repeats):
    assert draw_folds([([3, 4], [5]), (train, [10])], LABELS).has_repeats is repeats


def test_the_whole_sample_is_one_fold():
    folds = whole_sample(4)
    assert isinstance(folds, Folds)
    assert_same(folds, [(np.arange(4), np.arange(4))])


# Groups that nobody uses


def test_groups_without_cv_are_ignored_with_a_word():
    with pytest.warns(UserWarning, match=r"cv=None is 5-fold cross-validation, which ignores them"):
        folds = draw_folds(None, LABELS, GROUPS)
    assert_same(folds, StratifiedKFold(5).split(LABELS, LABELS))


def test_groups_with_a_number_of_folds_are_ignored_with_a_word():
    with pytest.warns(UserWarning, match=r"cv=3 is 3-fold cross-validation, which ignores them") as caught:
        folds = draw_folds(3, LABELS, GROUPS)
    assert len(caught) == 1
    assert_same(folds, StratifiedKFold(3).split(LABELS, LABELS))


def test_groups_with_a_stratified_splitter_get_scikit_learns_warning():
    with pytest.warns(UserWarning, match="groups parameter is ignored by StratifiedKFold"):
        draw_folds(StratifiedKFold(3), LABELS, GROUPS)


@pytest.mark.parametrize("cv", [3, KFold(3)])
def test_groups_with_plain_folds_change_nothing(cv):
    assert_same(draw_folds(cv, VALUES, GROUPS, classifier=False), KFold(3).split(VALUES))


# What is refused

NO_CV = "is no cross-validation: give an integer of at least 2, a splitter"


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (0, f"cv=0 {NO_CV}"),
        (1, f"cv=1 {NO_CV}"),
        (-3, f"cv=-3 {NO_CV}"),
        (np.int32(1), NO_CV),
        (True, f"cv=True {NO_CV}"),
        (False, f"cv=False {NO_CV}"),
        ("x", f"cv='x' {NO_CV}"),
        (2.5, f"cv=2.5 {NO_CV}"),
        (KFold, NO_CV),
        (object(), NO_CV),
        ([1, 2], NO_CV),
        ([(PAIRS[0][0],)], NO_CV),
        ([(*PAIRS[0], [1])], NO_CV),
        ([], r"cv=\[\] gave no split"),
        ([([], [1])], "cv gave train samples that are no list of sample numbers"),
        ([([1], [])], "cv gave test samples that are no list of sample numbers"),
        ([([0.0, 1.0], [2])], "cv gave train samples that are no list of sample numbers"),
        ([([[0, 1]], [2])], "cv gave train samples that are no list of sample numbers"),
        ([(np.ones(5, bool), [2])], "cv gave train samples that are no list of sample numbers"),
        ([([0, 1], [30])], "cv gave test sample 30 but there are 30 volumes, numbered from 0"),
        ([([0, -31], [2])], "cv gave train sample -31 but there are 30 volumes, numbered from 0"),
        (31, "n_splits=31"),
        (
            LeaveOneGroupOut(),
            r"cv=LeaveOneGroupOut\(\) needs groups: pass groups=, one entry a volume, such as the run",
        ),
        (GroupKFold(2), r"cv=GroupKFold\(.*\) needs groups: .* \(The 'groups' parameter should not be None\)\.$"),
    ],
)
def test_bad_cv(cv, message):
    with pytest.raises(ValueError, match=message):
        draw_folds(cv, LABELS)


@pytest.mark.parametrize("labels", [GROUPS, np.array(list("abcdefghij"))[GROUPS]], ids=["numbers", "names"])
def test_folds_that_test_no_class_that_they_trained_on_are_refused(labels):
    folds = draw_folds(LeaveOneGroupOut(), labels, GROUPS)
    message = (
        r"no fold tests a class that it trained on \(fold 0 trains on .*, \.\.\. and tests (1|'b')\).*y .*groups.* cv "
    )
    with pytest.raises(ValueError, match=message):
        check_classes_are_known(folds, labels)
    with pytest.raises(ValueError, match=message):
        plan_analysis(labels, N, "svc", groups=GROUPS, cv=LeaveOneGroupOut())
    # A score of the user's own may know what foreign classes mean.
    plan_analysis(labels, N, "svc", groups=GROUPS, cv=LeaveOneGroupOut(), scoring=lambda estimator, X, y: 0.5)


def test_one_fold_that_tests_a_known_class_is_enough():
    y = np.repeat([0, 1, 0], 10)
    parts = np.split(np.arange(N), 3)
    pairs = [(parts[0], parts[1]), (np.r_[parts[0], parts[1]], parts[2])]
    assert len(plan_analysis(y, N, "svc", cv=pairs).folds) == 2
    with pytest.raises(ValueError, match="no fold tests a class"):
        plan_analysis(y, N, "svc", cv=pairs[:1])


def test_values_that_no_fold_has_trained_on_are_what_a_regressor_is_for():
    assert len(plan_analysis(GROUPS, N, "ridge", groups=GROUPS, cv=LeaveOneGroupOut()).folds) == 5


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (GROUPS[:-1], r"inconsistent numbers of samples: groups has shape \(29,\), 30 entries"),
        (GROUPS[:, None], r"groups has shape \(30, 1\), 30 entries are needed"),
        (3, r"groups has shape \(\), 30 entries are needed"),
        (np.where(GROUPS == 3, np.nan, GROUPS), "groups has 6 missing or infinite entries"),
        (np.array([*GROUPS[:-1], None], dtype=object), "groups has 1 missing .* the first at volume 29"),
    ],
)
@pytest.mark.parametrize("cv", [None, KFold(3), LeaveOneGroupOut()])
def test_bad_groups(cv, groups, message):
    with pytest.raises(ValueError, match=message):
        draw_folds(cv, LABELS, groups)


def test_no_groups_are_none():
    assert check_groups(None, N) is None


CONTINUOUS = "y is continuous but Thing is a classifier: give class labels, or use a regressor"


@pytest.mark.parametrize(
    ("y", "classifier", "error", "message"),
    [
        (None, True, TypeError, "y is missing: Thing needs one label or value for each of the 30 volumes"),
        (None, False, TypeError, "y is missing: Thing needs one label or value"),
        (LABELS[:29], True, ValueError, "inconsistent numbers of samples: 29 and 30"),
        (VALUES[:1], False, ValueError, "inconsistent numbers of samples: 1 and 30"),
        (np.zeros((N, 2)), True, ValueError, r"y must be one-dimensional, one entry a volume, got shape \(30, 2\)"),
        (np.zeros((N, 2)), False, ValueError, r"y must be one-dimensional, one entry a volume, got shape \(30, 2\)"),
        ("face", True, ValueError, r"y must be one-dimensional, one entry a volume, got shape \(\)"),
        (np.where(np.arange(N) == 4, np.nan, VALUES), False, ValueError, "y has 1 missing .* the first at volume 4"),
        (np.where(np.arange(N) > 27, np.inf, VALUES), False, ValueError, "y has 2 missing .* the first at volume 28"),
        (np.where(np.arange(N) == 4, np.nan, np.arange(N) % 2), True, ValueError, "y has 1 missing or infinite"),
        (np.array([None, *LABELS[1:]], dtype=object), True, ValueError, "y has 1 missing .* the first at volume 0"),
        (np.array([*LABELS[:-1], np.nan], dtype=object), True, ValueError, "y has 1 missing .* volume 29"),
        (["rest"] * N, True, ValueError, r"y holds one class only \('rest'\): a classifier needs at least two"),
        (np.ones(N), True, ValueError, r"y holds one class only \(1.0\)"),
        (VALUES, True, ValueError, CONTINUOUS),
    ],
)
def test_bad_targets(y, classifier, error, message):
    with pytest.raises(error, match=message):
        check_target(y, N, classifier=classifier, name="Thing")


def test_strings_are_refused_for_a_regressor():
    with pytest.raises(ValueError, match=r"y holds <U5 entries such as '\w+' but RidgeCV is a regressor"):
        plan_analysis(LABELS, N, RidgeCV())


@pytest.mark.parametrize(
    ("y", "classifier"),
    [
        (LABELS, True),
        (LABELS.tolist(), True),
        (LABELS.astype(object), True),
        (np.arange(N) % 2 == 0, True),
        ((np.arange(N) % 3).astype(float), True),
        (VALUES, False),
        (np.arange(N), False),
        (np.zeros(N), False),
    ],
)
def test_targets_are_returned_as_they_were_given(y, classifier):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # many distinct whole numbers are nothing to warn a regression of
        target = check_target(y, N, classifier=classifier, name="Thing")
    np.testing.assert_array_equal(target, np.asarray(y))
    assert target.dtype == np.asarray(y).dtype


def test_one_column_is_one_dimension():
    np.testing.assert_array_equal(check_target(LABELS[:, None], N, classifier=True, name="Thing"), LABELS)
