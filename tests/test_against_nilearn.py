"""The same arguments give the same numbers as nilearn's SearchLight, but for what is documented."""

import copy
import warnings

import nibabel as nib
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, LinearSVC

from fastsl import SearchLight, sphere_neighbours
from fastsl.estimators import make_estimator

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    nilearn_decoding = pytest.importorskip("nilearn.decoding")

RADIUS = 15.0  # between two shells of the 10 mm grid: no rounding decides what is inside
#: nilearn's solver run to the optimum, where ours always is.
CONVERGED = LinearSVC(tol=1e-8, dual=True, max_iter=100_000)
TIE = 1e-4


def _theirs(mask, process, imgs, y, groups=None, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nilearn_decoding.SearchLight(mask, process, n_jobs=1, **arguments).fit(imgs, y, groups)


def _ours(mask, process, imgs, y, groups=None, **arguments):
    return SearchLight(mask, process, n_jobs=1, **arguments).fit(imgs, y, groups)


@pytest.fixture(scope="module")
def standardized(phantom):
    """The phantom z-scored within runs, float32."""
    data = phantom.img.get_fdata()
    for run in np.unique(phantom.labels["run"]):
        part = data[..., phantom.labels["run"] == run]
        spread = part.std(axis=-1, keepdims=True)
        centred = part - part.mean(axis=-1, keepdims=True)
        data[..., phantom.labels["run"] == run] = centred / np.where(spread > 0, spread, 1)
    return nib.Nifti1Image(data.astype(np.float32), phantom.img.affine)


@pytest.fixture(scope="module")
def values(phantom):
    """Something to predict for a regressor: the condition in noise."""
    noise = np.random.default_rng(4).standard_normal(len(phantom.labels["run"]))
    return (phantom.labels["condition"] == "face") + 0.3 * noise


def _pairs(n=40):
    return [(np.arange(0, n // 2), np.arange(n // 2, n)), (np.arange(n // 4, n), np.arange(0, n // 4))]


#: name: (estimator, whether it predicts values, cv, scoring)
SAME = {
    "svc, stratified folds": (CONVERGED, False, None, None),
    "svc, three folds": (CONVERGED, False, 3, None),
    "svc, runs": (CONVERGED, False, LeaveOneGroupOut(), None),
    "svc, runs in two": (CONVERGED, False, GroupKFold(2), None),
    "svc, plain folds": (CONVERGED, False, KFold(4), None),
    "svc, seeded shuffles": (CONVERGED, False, StratifiedKFold(3, shuffle=True, random_state=1), None),
    "svc, pairs": (CONVERGED, False, _pairs(), None),
    "svc, one pair": (CONVERGED, False, _pairs()[:1], None),
    "svc, predefined": (CONVERGED, False, PredefinedSplit(np.arange(40) % 4 - 1), None),
    "svc, roc_auc": (CONVERGED, False, LeaveOneGroupOut(), "roc_auc"),
    "svc, f1_macro": (CONVERGED, False, LeaveOneGroupOut(), "f1_macro"),
    "svc, matthews": (CONVERGED, False, LeaveOneGroupOut(), "matthews_corrcoef"),
    "svc, C=0.01": (LinearSVC(C=0.01, tol=1e-8, dual=True, max_iter=100_000), False, 4, "roc_auc"),
    "svc_l1": ("svc_l1", False, 3, None),
    "ridge_classifier": ("ridge_classifier", False, LeaveOneGroupOut(), None),
    "ridge_classifier, roc_auc": ("ridge_classifier", False, None, "roc_auc"),
    "dummy_classifier": ("dummy_classifier", False, None, None),
    # "logistic" with a tolerance: as nilearn has it, liblinear ends early, and another penalty may be the best.
    "logistic": (make_estimator("logistic", {"tol": 1e-9, "max_iter": 10**5}), False, _pairs()[:1], None),
    "naive Bayes": (GaussianNB(), False, None, None),
    # Soft enough that no probability is 1 in float32, where nilearn has it and scikit-learn then cuts the loss.
    "naive Bayes, log loss": (GaussianNB(var_smoothing=1.0), False, 3, "neg_log_loss"),
    "pipeline": (make_pipeline(StandardScaler(), SelectKBest(k=5), GaussianNB()), False, LeaveOneGroupOut(), None),
    "ridge": ("ridge", True, None, None),
    "ridge, runs": ("ridge", True, LeaveOneGroupOut(), "r2"),
    "ridge, error": ("ridge", True, 3, "neg_mean_squared_error"),
    "ridge, correlation": ("ridge", True, 3, "explained_variance"),
    "lasso": ("lasso", True, _pairs()[:1], None),
    "SVR": (SVR(kernel="linear", tol=1e-9), True, 3, None),
    "dummy_regressor": ("dummy_regressor", True, KFold(4), None),
}


def _near_ties(mask, process, imgs, y, groups, estimator, cv):
    """How many held-out decision values of each sphere are too close to 0 to have a sign."""
    inside = mask.get_fdata() > 0
    X = imgs.get_fdata(dtype=np.float32)[inside].T
    counts = []
    for members in sphere_neighbours(inside, mask.affine, RADIUS, process.get_fdata() > 0):
        values = cross_val_predict(estimator, X[:, members], y, groups=groups, cv=cv, method="decision_function")
        counts.append(np.count_nonzero(np.abs(values) < TIE))
    return np.array(counts)


@pytest.mark.parametrize("case", SAME)
def test_same_scores(case, phantom, standardized, few_centres, values):
    estimator, predicts_values, cv, scoring = SAME[case]
    y = values if predicts_values else phantom.labels["condition"]
    groups = phantom.labels["run"] if isinstance(cv, LeaveOneGroupOut | GroupKFold | KFold) else None
    data = (phantom.mask_img, few_centres, standardized, y, groups)
    arguments = {"radius": RADIUS, "estimator": estimator, "cv": cv, "scoring": scoring}
    ours, theirs = _ours(*data, **arguments), _theirs(*data, **arguments)
    assert ours.n_elements_ == theirs.n_elements_ == ours.process_mask_.sum()
    np.testing.assert_array_equal(ours.process_mask_, theirs.process_mask_)
    np.testing.assert_array_equal(ours.scores_[ours.process_mask_], ours.masked_scores_)
    assert np.isfinite(theirs.scores_).all()
    different = ~np.isclose(ours.masked_scores_, theirs.masked_scores_, rtol=1e-4, atol=1e-6)
    if different.any() and isinstance(estimator, LinearSVC):
        different &= _near_ties(*data, estimator, cv) == 0
    np.testing.assert_array_equal(ours.masked_scores_[different], theirs.masked_scores_[different])
    assert (ours.scores_[~ours.process_mask_] == theirs.scores_[~ours.process_mask_]).all()


@pytest.mark.parametrize(
    "estimator",
    [LinearSVC(dual=False, tol=1e-10, max_iter=10_000), "ridge_classifier", "ridge", GaussianNB()],
    ids=["svc", "ridge_classifier", "ridge", "naive Bayes"],
)
def test_raw_intensities_too(estimator, phantom, few_centres):
    # nilearn's own "svc" stops early on unscaled data; here it goes on, with the solver that gets there.
    y = (phantom.labels["condition"] == "face").astype(int)
    data = (phantom.mask_img, few_centres, phantom.img, y, phantom.labels["run"])
    arguments = {"radius": RADIUS, "estimator": estimator, "cv": LeaveOneGroupOut()}
    ours, theirs = _ours(*data, **arguments), _theirs(*data, **arguments)
    np.testing.assert_allclose(ours.masked_scores_, theirs.masked_scores_, atol=1e-4)


@pytest.mark.parametrize("estimator", ["svc", "ridge_classifier", "ridge"])
def test_named_estimators_on_standardized_data(estimator, phantom, standardized, few_centres):
    # "svc" with nilearn's own tolerance and solver: a label may flip where the solver has not converged.
    y = (phantom.labels["condition"] == "face").astype(int)
    data = (phantom.mask_img, few_centres, standardized, y)
    ours, theirs = (fit(*data, radius=RADIUS, estimator=estimator) for fit in (_ours, _theirs))
    np.testing.assert_allclose(
        ours.masked_scores_, theirs.masked_scores_, atol=1.01 / 40 if estimator == "svc" else 1e-5
    )


# ------------------------------------------------------------------------------------------------------ random, small

SHAPE, N = (4, 5, 4), 30
AFFINE = np.array([[-2.0, 0, 0, 4], [0, 3, 0, -5], [0, 0, 2.5, 1], [0, 0, 0, 1]])


@pytest.fixture
def small():
    rng = np.random.default_rng(7)
    mask = rng.random(SHAPE) < 0.7
    centres = np.zeros(SHAPE, bool)
    centres[1:3, 2:4, 1:3] = True

    class Small:
        data = rng.standard_normal((*SHAPE, N)).astype(np.float32)
        y = np.arange(N) % 3
        groups = np.repeat([1, 2, 3], N // 3)
        mask_img = nib.Nifti1Image(mask.astype(np.uint8), AFFINE)
        centres_img = nib.Nifti1Image(centres.astype(np.uint8), AFFINE)

        def both(self, data=None, imgs=None, y=None, groups=None, mask="mask", process="centres", **arguments):
            imgs = nib.Nifti1Image(self.data if data is None else data, AFFINE) if imgs is None else imgs
            mask = self.mask_img if isinstance(mask, str) else mask
            process = self.centres_img if isinstance(process, str) else process
            given = (mask, process, imgs, self.y if y is None else y, groups)
            arguments = {"radius": 4.2, "estimator": CONVERGED, **arguments}
            return _ours(*given, **arguments), _theirs(*given, **arguments)

    return Small()


def _assert_same(ours, theirs, **tolerance):
    assert ours.scores_.shape == theirs.scores_.shape
    np.testing.assert_allclose(ours.scores_, theirs.scores_, **{"rtol": 1e-5, "atol": 1e-6, **tolerance})


@pytest.mark.parametrize(
    "estimator", [CONVERGED, "ridge_classifier", GaussianNB()], ids=["svc", "ridge", "naive Bayes"]
)
@pytest.mark.parametrize("scoring", [None, "balanced_accuracy", "f1_macro"])
def test_three_classes(estimator, scoring, small):
    _assert_same(*small.both(estimator=estimator, scoring=scoring))


def _hits(estimator, X, y):
    return float(np.mean(estimator.predict(X) == y)) - 1 / 3


def test_a_scoring_function(small):
    _assert_same(*small.both(scoring=_hits))


def test_list_of_3d_images(small):
    volumes = nib.funcs.four_to_three(nib.Nifti1Image(small.data, AFFINE))
    _assert_same(*small.both(imgs=volumes))


@pytest.mark.parametrize("labels", [["a", "b", "c"], [2.0, -1.0, 5.0]])
def test_labels_of_any_type(labels, small):
    _assert_same(*small.both(y=[labels[k] for k in small.y]))


def test_the_whole_mask_is_searched_without_a_process_mask(small):
    ours, theirs = small.both(process=None, estimator="ridge", y=np.linspace(0, 1, N) ** 2, cv=3)
    assert ours.n_elements_ == int(small.mask_img.get_fdata().sum())
    _assert_same(ours, theirs)


def test_without_mask_img(small):
    ours, theirs = small.both(mask=None)
    assert ours.mask_img_ is theirs.mask_img_ is None
    _assert_same(ours, theirs)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_voxels(bad, small):
    data = small.data.copy()
    voxel = tuple(np.argwhere((small.mask_img.get_fdata() > 0) & (small.centres_img.get_fdata() > 0))[0])
    data[(*voxel, slice(0, 3))] = bad
    with pytest.warns(RuntimeWarning, match="imgs has 3 NaN or infinite"):
        ours = _ours(small.mask_img, small.centres_img, nib.Nifti1Image(data, AFFINE), small.y, radius=4.2)
    theirs = _theirs(
        small.mask_img, small.centres_img, nib.Nifti1Image(data, AFFINE), small.y, radius=4.2, estimator=CONVERGED
    )
    _assert_same(ours, theirs)


def test_constant_voxels(small):
    data = small.data.copy()
    data[:2] = 0
    _assert_same(*small.both(data=data))


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64])
def test_images_of_other_types(dtype, small):
    data = (20 * small.data + 100).astype(dtype)
    _assert_same(*small.both(data=data, estimator="ridge", y=np.linspace(0, 1, N) ** 2, cv=3), rtol=1e-4, atol=1e-5)


def test_a_mask_on_another_grid(small):
    finer = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    finer[:3, 3] = (AFFINE @ [-0.2, -0.2, -0.2, 1])[:3]
    mask = np.zeros((9, 11, 9), np.uint8)
    mask[2:8, 2:9, 2:8] = 1
    arguments = {"mask": nib.Nifti1Image(mask, finer), "process": small.centres_img, "y": small.y}
    with pytest.warns(UserWarning, match="mask_img is on another grid"):
        ours, theirs = small.both(**arguments)
    _assert_same(ours, theirs)


def test_a_process_mask_on_another_grid(small):
    finer = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    process = np.zeros((8, 10, 8), np.uint8)
    process[2:4, 4:6, 3:5] = 1
    ours, theirs = small.both(process=nib.Nifti1Image(process, finer))
    assert ours.scores_.shape == (8, 10, 8)
    _assert_same(ours, theirs)


def test_centres_on_voxels_and_between_them():
    """A 3 mm process mask of 2 mm images, and spheres so large that neighbours share what they sum."""
    rng, shape = np.random.default_rng(8), (9, 10, 11)
    image = nib.Nifti1Image(rng.standard_normal((*shape, N)).astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    mask = nib.Nifti1Image((rng.random(shape) < 0.9).astype(np.uint8), image.affine)
    process = np.zeros((6, 6, 7), np.uint8)
    process[1:5, 2:5, 1:6] = 1
    data = (mask, nib.Nifti1Image(process, np.diag([3.0, 3.0, 3.0, 1.0])), image, rng.standard_normal(N))
    ours, theirs = (fit(*data, radius=6.3, estimator="ridge", cv=3) for fit in (_ours, _theirs))
    assert (ours.n_voxels_ > 60).all()
    _assert_same(ours, theirs, rtol=1e-4, atol=1e-5)


def test_one_fold_with_one_class(small):
    y = np.repeat([0, 1], N // 2)
    cv = [(np.arange(N // 2), np.arange(N // 2, N)), (np.arange(0, N, 2), np.arange(1, N, 2))]
    with pytest.warns(RuntimeWarning, match="1 of 2 folds could not be scored"):
        ours = _ours(small.mask_img, small.centres_img, nib.Nifti1Image(small.data, AFFINE), y, radius=4.2, cv=cv)
    theirs = _theirs(small.mask_img, small.centres_img, nib.Nifti1Image(small.data, AFFINE), y, radius=4.2, cv=cv)
    np.testing.assert_array_equal(ours.scores_, theirs.scores_)
    assert np.isnan(ours.masked_scores_).all()


class Dissimilarity(BaseEstimator):
    """Scores itself, by nilearn's protocol: the distance between the first groups' means, say."""

    nilearn_searchlight_uses_cv = False

    def fit(self, X, y, groups=None):
        self.seen_ = sorted(set(groups))
        return self

    def score(self, X, y, groups=None):
        first, second = (X[np.asarray(groups) == group] for group in self.seen_[:2])
        return float(np.linalg.norm(first.mean(axis=0) - second.mean(axis=0)))


def test_an_estimator_that_scores_itself(small):
    own = Dissimilarity()
    with pytest.warns(UserWarning, match="Use a custom estimator at your own risk"):
        ours = _ours(
            small.mask_img,
            small.centres_img,
            nib.Nifti1Image(small.data, AFFINE),
            small.y,
            small.groups,
            radius=4.2,
            estimator=own,
            cv=7,  # of no interest to it
        )
    assert not hasattr(own, "seen_")  # nilearn fits the user's object
    _, theirs = (
        None,
        _theirs(
            small.mask_img,
            small.centres_img,
            nib.Nifti1Image(small.data, AFFINE),
            small.y,
            small.groups,
            radius=4.2,
            estimator=Dissimilarity(),
        ),
    )
    _assert_same(ours, theirs)
    assert np.ptp(ours.masked_scores_) > 0


# ----------------------------------------------------------------------------------------------------------- deviations


def test_deviation_estimator_args_do_not_leak(small, monkeypatch):
    searchlight_module = pytest.importorskip("nilearn.decoding._utils")
    before = copy.deepcopy(searchlight_module.SUPPORTED_ESTIMATORS)
    arguments = {"scoring": "accuracy", "estimator": "svc"}
    data = (small.mask_img, small.centres_img, nib.Nifti1Image(small.data, AFFINE), small.y)
    first = _ours(*data, radius=4.2, **arguments).scores_
    _ours(*data, radius=4.2, estimator_args={"C": 1e-6}, **arguments)
    np.testing.assert_array_equal(_ours(*data, radius=4.2, **arguments).scores_, first)
    assert str(searchlight_module.SUPPORTED_ESTIMATORS) == str(before)


def test_deviation_estimator_args_count_as_in_nilearn(small):
    given = {"C": 0.01, "tol": 1e-8, "dual": True, "max_iter": 100_000}
    data = (small.mask_img, small.centres_img, nib.Nifti1Image(small.data, AFFINE), small.y)
    ours = _ours(*data, radius=4.2, estimator_args=given)
    _assert_same(ours, _theirs(*data, radius=4.2, estimator=LinearSVC(**given)))
    assert (ours.scores_ != _ours(*data, radius=4.2).scores_).any()


@pytest.mark.parametrize("n_jobs", [-2, -50])
def test_deviation_negative_n_jobs(n_jobs, small):
    data = (small.mask_img, small.centres_img)
    imgs = nib.Nifti1Image(small.data, AFFINE)
    ours = SearchLight(*data, radius=4.2, n_jobs=n_jobs).fit(imgs, small.y)
    _assert_same(ours, _theirs(*data, imgs, small.y, radius=4.2, estimator=CONVERGED))


def test_deviation_unknown_names_are_a_value_error(small):
    with pytest.raises(ValueError, match="estimator='nonsense' is not known"):
        _ours(small.mask_img, None, nib.Nifti1Image(small.data, AFFINE), small.y, estimator="nonsense")


@pytest.mark.parametrize("cv", [ShuffleSplit(4), KFold(3, shuffle=True)])
@pytest.mark.parametrize("estimator", ["svc", GaussianNB()], ids=["compiled", "general"])
def test_deviation_unseeded_splits_are_the_same_for_every_sphere(cv, estimator, small):
    same = np.broadcast_to(small.data[1, 1, 1], small.data.shape).copy()
    data = (small.mask_img, None, nib.Nifti1Image(same, AFFINE), small.y % 2)
    ours = _ours(*data, radius=0, cv=cv, estimator=estimator)
    assert ours.n_elements_ > 20
    assert np.ptp(ours.fold_scores_, axis=1).max() == 0


def test_deviation_maps_have_a_float_header(small, tmp_path):
    data = (small.mask_img, small.centres_img, nib.Nifti1Image(small.data, AFFINE), np.linspace(0, 1, N) ** 2)
    ours = _ours(*data, radius=4.2, estimator="ridge")
    assert ours.scores_img_.get_data_dtype() == np.float64
    nib.save(ours.scores_img_, tmp_path / "scores.nii")
    np.testing.assert_array_equal(nib.load(tmp_path / "scores.nii").get_fdata(), ours.scores_)


def test_deviation_lengths_are_checked_before_any_work(small, monkeypatch):
    monkeypatch.setattr("fastsl.searchlight.run_search", lambda *_: pytest.fail("spheres were decoded"))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        _ours(small.mask_img, None, nib.Nifti1Image(small.data, AFFINE), small.y[1:])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        _ours(small.mask_img, None, nib.Nifti1Image(small.data, AFFINE), small.y, small.groups[1:], cv=KFold(3))


def test_deviation_header_rounding_loses_no_neighbour(small):
    rounded = AFFINE.copy()
    rounded[:3, 3] += 1e-4
    mask_img = nib.Nifti1Image(np.ones(SHAPE, np.uint8), rounded)
    ours = SearchLight(mask_img, radius=2.0, n_jobs=1).fit(nib.Nifti1Image(small.data, AFFINE), small.y)
    assert ours.n_voxels_.reshape(SHAPE)[1, 1, 1] == 3  # itself and its neighbours along x, 2 mm away
