"""``predict``, ``decision_function``, ``score`` and ``transform`` of a fitted SearchLight, and what it keeps."""

import pickle

import nibabel as nib
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.naive_bayes import BernoulliNB
from sklearn.svm import LinearSVC

from fastsl import SearchLight, sphere_neighbours

SHAPE = (4, 5, 3)
AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])
rng = np.random.default_rng(1)
MASK = rng.random(SHAPE) < 0.8
LABELS = np.array(["face", "house"] * 12)
GROUPS = np.repeat([0, 1, 2], 8)
OLD = rng.standard_normal((*SHAPE, 24)).astype(np.float32) + 0.5 * (LABELS == "face") + 100
NEW = rng.standard_normal((*SHAPE, 7)).astype(np.float32) + 100
NEW_LABELS = np.array(["house", "face"] * 3 + ["face"])
RADIUS = 6.0


def image(data, affine=AFFINE):
    return nib.Nifti1Image(np.asarray(data, np.float32), affine)


def fit(y=LABELS, estimator="ridge_classifier", **arguments):
    mask = nib.Nifti1Image(MASK.astype(np.uint8), AFFINE)
    return SearchLight(mask, radius=RADIUS, estimator=estimator, n_jobs=1, **arguments).fit(image(OLD), y, GROUPS)


def spheres():
    neighbours = sphere_neighbours(MASK, AFFINE, RADIUS)
    return [neighbours[centre] for centre in range(len(neighbours))]


def by_hand(estimator, y, method, old=OLD, new=NEW):
    """One plain fit in every sphere."""
    X, X_new = old[MASK].T.astype(float), new[MASK].T.astype(float)
    return np.array([getattr(estimator.fit(X[:, m], y), method)(X_new[:, m]) for m in spheres()])


pytestmark = pytest.mark.filterwarnings("ignore:groups are given but cv=None")


@pytest.mark.parametrize(
    "estimator", [RidgeClassifier(), BernoulliNB(binarize=100.0)], ids=["compiled", "general, probabilities"]
)
def test_new_images_are_decoded_as_by_one_fit_in_every_sphere(estimator):
    searchlight = fit(estimator=estimator)
    np.testing.assert_array_equal(searchlight.predict(image(NEW)), by_hand(estimator, LABELS, "predict").T)
    if isinstance(estimator, RidgeClassifier):
        expected = by_hand(estimator, LABELS, "decision_function").T
    else:
        expected = by_hand(estimator, LABELS, "predict_proba")[:, :, 1].T
    found = searchlight.decision_function(image(NEW))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(searchlight.transform(image(NEW)), found)


def test_three_classes_have_a_decision_each():
    y = np.array(["a", "b", "c"] * 8)
    found = fit(y).decision_function(image(NEW))
    expected = by_hand(RidgeClassifier(alpha=1.0), y, "decision_function")
    assert found.shape == (7, MASK.sum(), 3)
    assert np.abs(found.sum(axis=2)).max() < 1e-3 or expected.shape == (MASK.sum(), 7, 3)


def test_a_regressor_predicts_values_and_has_no_decision():
    y = np.linspace(-1, 1, 24)
    searchlight = fit(y, Ridge(3.0))
    expected = by_hand(Ridge(3.0), y, "predict").T
    np.testing.assert_allclose(searchlight.predict(image(NEW)), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(searchlight.transform(image(NEW)), searchlight.predict(image(NEW)))
    with pytest.raises(AttributeError, match="a regressor has no decision_function; predict gives its values"):
        searchlight.decision_function(image(NEW))


def test_scores_of_new_images_are_the_decoders_own():
    X, X_new = OLD[MASK].T.astype(float), NEW[MASK].T.astype(float)
    expected = [RidgeClassifier().fit(X[:, m], LABELS).score(X_new[:, m], NEW_LABELS) for m in spheres()]
    searchlight = fit(estimator=RidgeClassifier())
    np.testing.assert_allclose(searchlight.score(image(NEW), NEW_LABELS), expected, rtol=0, atol=1e-12)
    several = fit(estimator=RidgeClassifier(), scoring=["accuracy", "roc_auc"]).score(image(NEW), NEW_LABELS)
    assert list(several) == ["accuracy", "roc_auc"]
    np.testing.assert_allclose(several["accuracy"], expected, rtol=0, atol=1e-12)


def test_standardize_works_within_the_runs_of_the_new_images():
    def z(data, groups):
        out = np.empty_like(data, dtype=np.float64)
        for group in np.unique(groups):
            part = data[..., groups == group].astype(float)
            out[..., groups == group] = (part - part.mean(-1, keepdims=True)) / part.std(-1, keepdims=True)
        return out

    new_groups = np.array([0, 0, 0, 1, 1, 1, 1])
    found = fit(estimator=RidgeClassifier(), standardize=True).decision_function(image(NEW), new_groups)
    expected = by_hand(RidgeClassifier(), LABELS, "decision_function", z(OLD, GROUPS), z(NEW, new_groups)).T
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_images_of_fit_may_be_decoded_again_and_again():
    searchlight = fit(estimator=LinearSVC(random_state=0))
    first = searchlight.decision_function(image(OLD))
    np.testing.assert_array_equal(searchlight.decision_function(image(OLD)), first)
    np.testing.assert_array_equal(searchlight.fit_transform(image(OLD), LABELS, GROUPS), first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(searchlight)).decision_function(image(OLD)), first)


def test_a_sphere_that_is_too_small_predicts_nothing():
    with pytest.warns(RuntimeWarning, match="fewer than min_voxels"):
        searchlight = fit(min_voxels=12)
    with pytest.warns(RuntimeWarning, match="fewer than min_voxels"):
        labels = searchlight.predict(image(NEW))
    small = searchlight.n_voxels_ < 12
    assert (labels[:, small] == "").all()
    assert np.isin(labels[:, ~small], LABELS).all()
    with pytest.warns(RuntimeWarning, match="fewer than min_voxels"):
        numbers = fit((LABELS == "face").astype(int), min_voxels=12)
    with pytest.warns(RuntimeWarning, match="fewer than min_voxels"):
        assert np.isnan(numbers.predict(image(NEW))[:, small]).all()


def test_to_img_puts_values_where_their_centres_are():
    searchlight = fit()
    one = searchlight.to_img(searchlight.masked_scores_)
    np.testing.assert_array_equal(one.get_fdata(), searchlight.scores_)
    np.testing.assert_array_equal(one.affine, AFFINE)
    four = searchlight.to_img(searchlight.decision_function(image(NEW)))
    assert four.shape == (*SHAPE, 7)
    np.testing.assert_array_equal(four.get_fdata()[MASK].T, searchlight.decision_function(image(NEW)))


BAD = {
    "another grid": (lambda s: s.predict(image(NEW, np.diag([2.0, 3.0, 4.0, 1.0]))), "imgs are on another grid"),
    "a number of groups": (lambda s: s.predict(image(NEW), [0, 1]), "groups"),
    "labels missing": (lambda s: s.score(image(NEW), NEW_LABELS[:3]), "inconsistent numbers of samples: 3 and 7"),
    "unknown label": (lambda s: s.score(image(NEW), ["cat"] * 7), r"classes that fit did not see: \['cat'\]"),
    "values of another brain": (lambda s: s.to_img(np.zeros(5)), r"values must have shape \(\d+,\) or"),
    "values of no shape": (lambda s: s.to_img(1.0), "values must have shape"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_decoded_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(fit())


@pytest.mark.parametrize("method", ["predict", "decision_function", "transform"])
def test_nothing_is_decoded_before_fit(method):
    with pytest.raises(NotFittedError):
        getattr(SearchLight(image(MASK)), method)(image(NEW))


def test_kept_predictions_give_the_scores(tmp_path):
    searchlight = fit(
        cv=LeaveOneGroupOut(), keep_predictions=str(tmp_path), keep_confusion=True, scoring=["accuracy", "roc_auc"]
    )
    labels = searchlight.classes_[searchlight.predictions_]
    accuracy = np.mean([(labels == LABELS[:, None])[g == GROUPS].mean(axis=0) for g in range(3)], axis=0)
    np.testing.assert_allclose(searchlight.masked_scores_["accuracy"], accuracy, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(searchlight.prediction_samples_, np.arange(24))
    np.testing.assert_array_equal(searchlight.prediction_folds_, GROUPS)
    np.testing.assert_array_equal(np.load(tmp_path / "predictions.npy"), searchlight.predictions_)
    counts = searchlight.confusion_
    np.testing.assert_allclose(np.trace(counts, axis1=1, axis2=2) / 24, accuracy, rtol=0, atol=1e-12)
    assert searchlight.scores_["accuracy"].shape == SHAPE
    np.testing.assert_array_equal(searchlight.scores_img_["roc_auc"].get_fdata(), searchlight.scores_["roc_auc"])


def test_nothing_is_kept_without_being_asked_for():
    searchlight = fit()
    for name in ("predictions_", "decisions_", "confusion_", "prediction_samples_", "prediction_folds_"):
        assert getattr(searchlight, name) is None
    np.testing.assert_array_equal(searchlight.classes_, ["face", "house"])
