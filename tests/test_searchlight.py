"""SearchLight: what it takes, what it gives back, and what it refuses before any work."""

import pickle
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import accuracy_score, f1_score, make_scorer
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, ShuffleSplit, cross_val_score
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted

from fastsl import CorrelationClassifier, SearchLight, sphere_neighbours

SHAPE, N = (6, 5, 4), 24
AFFINE = np.array([[-3.0, 0, 0, 9], [0, 3, 0, -6], [0, 0, 3, 1.5], [0, 0, 0, 1]])
Y = np.tile([0, 1], N // 2)
GROUPS = np.repeat([1, 2, 3, 4], N // 4)


def _data(n=N):
    data = np.random.default_rng(0).standard_normal((*SHAPE, n)).astype(np.float32)
    data[2:4, 2, 1:3] += 1.5 * np.resize(Y, n)
    return data


def _image(data=None):
    return nib.Nifti1Image(_data() if data is None else data, AFFINE)


def _mask_data():
    mask = np.random.default_rng(1).random(SHAPE) < 0.7
    mask[2, 2, 2] = True
    return mask


def _mask(data=None):
    return nib.Nifti1Image((_mask_data() if data is None else data).astype(np.uint8), AFFINE)


def _centres():
    centres = np.zeros(SHAPE, bool)
    centres[1:5, 2, 1:3] = True
    return centres


def _searchlight(**changes):
    return SearchLight(**{"mask_img": _mask(), "radius": 4.0, "n_jobs": 1, **changes})


def _fit(**changes):
    return _searchlight(**changes).fit(_image(), Y)


# ------------------------------------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize("estimator", ["svc", "ridge_classifier", BernoulliNB()], ids=["svc", "ridge", "general"])
def test_attributes(estimator):
    process = _centres()
    searchlight = _fit(process_mask_img=_mask(process), estimator=estimator, cv=4)
    n = int(process.sum())
    assert searchlight.n_elements_ == n
    assert searchlight.scores_.shape == SHAPE
    assert searchlight.scores_.dtype == np.float64
    assert searchlight.masked_scores_.shape == (n,)
    assert searchlight.masked_scores_.dtype == np.float64
    assert searchlight.fold_scores_.shape == (4, n)
    assert searchlight.n_voxels_.shape == (n,)
    assert searchlight.n_voxels_.dtype == np.int32
    assert searchlight.process_mask_.dtype == bool
    np.testing.assert_array_equal(searchlight.process_mask_, process)
    np.testing.assert_array_equal(searchlight.process_mask_affine_, AFFINE)
    np.testing.assert_array_equal(searchlight.mask_img_.get_fdata() > 0, _mask_data())


def test_scores_are_in_c_order_of_the_process_mask_with_zeros_outside():
    process = _centres()
    searchlight = _fit(process_mask_img=_mask(process))
    np.testing.assert_array_equal(searchlight.scores_[process], searchlight.masked_scores_)
    assert (searchlight.scores_[~process] == 0).all()
    for place, voxel in enumerate(np.argwhere(process)):
        one = np.zeros(SHAPE, bool)
        one[tuple(voxel)] = True
        alone = _fit(process_mask_img=_mask(one))
        assert alone.masked_scores_ == searchlight.masked_scores_[place]  # to the last bit
        assert alone.n_voxels_ == searchlight.n_voxels_[place]


def test_scores_are_those_of_scikit_learn_in_each_sphere():
    # LinearSVC here is solved to the optimum: so is scikit-learn's.
    model = LinearSVC(dual=True, tol=1e-8, max_iter=100_000)
    ours = _searchlight(process_mask_img=_mask(_centres()), estimator=model, cv=LeaveOneGroupOut())
    ours.fit(_image(), Y, GROUPS)
    mask = _mask_data()
    X = _data()[mask].T
    for place, members in enumerate(sphere_neighbours(mask, AFFINE, 4.0, _centres())):
        expected = cross_val_score(model, X[:, members], Y, groups=GROUPS, cv=LeaveOneGroupOut())
        np.testing.assert_allclose(ours.fold_scores_[:, place], expected, atol=1e-12)


def test_masked_scores_are_the_mean_of_the_fold_scores():
    searchlight = _fit(cv=KFold(7))
    assert searchlight.fold_scores_.shape == (7, searchlight.n_elements_)
    np.testing.assert_allclose(searchlight.masked_scores_, searchlight.fold_scores_.mean(axis=0), rtol=1e-15)
    assert np.ptp(searchlight.fold_scores_) > 0


def test_sphere_sizes():
    searchlight = _fit()
    np.testing.assert_array_equal(searchlight.n_voxels_, sphere_neighbours(_mask_data(), AFFINE, 4.0).sizes)


@pytest.mark.parametrize("attribute", ["scores_img_", "n_voxels_img_"])
def test_maps_survive_saving_exactly(attribute, tmp_path):
    turned = AFFINE.copy()
    turned[:3, 3] += [-3, 3, 0]  # of the process mask: another grid than that of the mask
    process = nib.Nifti1Image(_centres().astype(np.uint8), turned)
    searchlight = _fit(process_mask_img=process, cv=7)
    image = getattr(searchlight, attribute)
    nib.save(image, tmp_path / "map.nii.gz")
    back = nib.load(tmp_path / "map.nii.gz")
    values = searchlight.masked_scores_ if attribute == "scores_img_" else searchlight.n_voxels_
    np.testing.assert_array_equal(np.asanyarray(back.dataobj)[_centres()], values)
    assert np.count_nonzero(np.asanyarray(back.dataobj)[~_centres()]) == 0
    np.testing.assert_array_equal(image.affine, turned)
    np.testing.assert_array_equal(back.affine, turned)
    assert back.shape == SHAPE


def test_a_process_mask_on_another_grid_scores_the_same_places():
    process = np.zeros((2, 1, 2), np.uint8)
    process[0, 0, 0] = process[1, 0, 1] = 1
    shifted = AFFINE.copy()
    shifted[:3, 3] = (AFFINE @ [2, 2, 1, 1])[:3]
    searchlight = _fit(process_mask_img=nib.Nifti1Image(process, shifted))
    assert searchlight.scores_.shape == (2, 1, 2)
    whole = _fit(mask_img=_mask(), process_mask_img=_mask(np.ones(SHAPE)))
    assert searchlight.scores_[0, 0, 0] == whole.scores_[2, 2, 1]
    assert searchlight.scores_[1, 0, 1] == whole.scores_[3, 2, 2]


def test_without_mask_img_every_voxel_may_enter():
    alone = _fit(mask_img=None, process_mask_img=_mask(_centres()))
    everything = _fit(mask_img=_mask(np.ones(SHAPE)), process_mask_img=_mask(_centres()))
    assert alone.mask_img_ is None
    np.testing.assert_array_equal(alone.scores_, everything.scores_)
    np.testing.assert_array_equal(alone.n_voxels_, everything.n_voxels_)
    np.testing.assert_array_equal(alone.scores_img_.affine, AFFINE)


def test_images_and_masks_from_files(tmp_path):
    nib.save(_image(), tmp_path / "bold.nii.gz")
    nib.save(_mask(), tmp_path / "mask.nii.gz")
    nib.save(_mask(_centres()), tmp_path / "centres.nii")
    searchlight = _searchlight(mask_img=str(tmp_path / "mask.nii.gz"), process_mask_img=Path(tmp_path / "centres.nii"))
    searchlight.fit(tmp_path / "bold.nii.gz", Y)
    np.testing.assert_array_equal(searchlight.scores_, _fit(process_mask_img=_mask(_centres())).scores_)
    assert isinstance(searchlight.mask_img_, nib.Nifti1Image)
    assert searchlight.mask_img == str(tmp_path / "mask.nii.gz")


# ------------------------------------------------------------------------------------------------------ as an estimator


def test_positional_arguments_are_in_the_order_of_nilearn():
    values = [_mask(), _mask(_centres()), 5.0, "ridge", 1, "r2", 3, 0, 7, {"alphas": [1.0]}]
    names = ["mask_img", "process_mask_img", "radius", "estimator", "n_jobs", "scoring", "cv", "verbose"]
    names += ["random_state", "estimator_args"]
    parameters = SearchLight(*values).get_params()
    assert [parameters[name] for name in names] == values
    with pytest.raises(TypeError, match="positional"):
        SearchLight(*values, 2)


def test_defaults_are_those_of_nilearn_but_for_n_jobs():
    nilearn = pytest.importorskip("nilearn.decoding")
    ours, theirs = SearchLight().get_params(), nilearn.SearchLight().get_params()
    assert {name for name in theirs if ours[name] != theirs[name]} == {"n_jobs"}
    of_tests = {"n_permutations", "permutation_scheme", "tfce", "cluster_threshold", "connectivity", "keep_null"}
    kept = {"keep_predictions", "keep_confusion", "checkpoint"}
    assert ours.keys() - theirs.keys() == {"min_voxels", "standardize"} | kept | of_tests


def test_clone_takes_parameters_and_no_results():
    searchlight = _fit(estimator_args={"C": 0.1})
    copied = clone(searchlight)
    assert copied.estimator_args == {"C": 0.1}
    assert not hasattr(copied, "scores_")
    np.testing.assert_array_equal(copied.fit(_image(), Y).scores_, searchlight.scores_)


def test_set_params_counts():
    searchlight = _fit()
    searchlight.set_params(radius=0.0).fit(_image(), Y)
    assert (searchlight.n_voxels_ == 1).all()
    with pytest.raises(ValueError, match="Invalid parameter"):
        searchlight.set_params(sphere=1)


@pytest.mark.parametrize("state", ["new", "fitted", "with its volume"])
def test_pickle(state):
    searchlight = _searchlight() if state == "new" else _fit()
    if state == "with its volume":
        assert searchlight.scores_.shape == SHAPE
    back = pickle.loads(pickle.dumps(searchlight))
    if state == "new":
        back.fit(_image(), Y)
    np.testing.assert_array_equal(back.scores_, _fit().scores_)
    np.testing.assert_array_equal(back.scores_img_.get_fdata(), _fit().scores_)
    assert back.engine_ == _fit().engine_


def test_repr_names_what_differs_from_the_default():
    text = repr(SearchLight(radius=8, min_voxels=20))
    assert text == "SearchLight(min_voxels=20, radius=8)"


@pytest.mark.parametrize(
    ("estimator", "classifies"), [("svc", True), ("svr", False), (BernoulliNB(), True), (Ridge(), False)]
)
def test_it_is_what_its_estimator_is(estimator, classifies):
    assert is_classifier(SearchLight(estimator=estimator)) is classifies
    assert is_regressor(SearchLight(estimator=estimator)) is not classifies


@pytest.mark.parametrize("attribute", ["scores_", "scores_img_", "n_voxels_img_"])
def test_maps_need_a_fit(attribute):
    assert not hasattr(_searchlight(), attribute)
    with pytest.raises(NotFittedError):
        getattr(_searchlight(), attribute)


def test_the_volume_of_scores_is_made_by_fit_or_when_it_is_asked_for():
    searchlight = _searchlight()
    searchlight._keeps_images = False
    searchlight.fit(_image(), Y)
    check_is_fitted(searchlight)
    assert "scores_" not in vars(searchlight)
    assert searchlight.scores_ is searchlight.scores_
    assert "scores_" in vars(_fit())


def test_the_volume_of_scores_is_that_of_the_last_fit():
    searchlight = _fit()
    first = searchlight.scores_
    second = searchlight.fit(_image(), np.repeat([0, 1], N // 2)).scores_
    assert (first != second).any()
    np.testing.assert_array_equal(second[searchlight.process_mask_], searchlight.masked_scores_)
    with pytest.raises(ValueError, match="y"):
        searchlight.fit(_image(), Y[1:])
    assert searchlight.scores_ is second


@pytest.mark.parametrize("estimator", [LinearSVC(), BernoulliNB()], ids=["compiled", "general"])
def test_fit_changes_nothing_that_it_was_given_and_can_be_repeated(estimator):
    mask, process, image, y = _mask(), _mask(_centres()), _image(), Y.copy()
    searchlight = SearchLight(mask, process, 4.0, estimator, 1, standardize=True)
    before = searchlight.get_params()
    first = searchlight.fit(image, y).scores_
    second = searchlight.fit(image, y).scores_
    np.testing.assert_array_equal(first, second)
    assert all(searchlight.get_params()[name] is value for name, value in before.items())
    assert not hasattr(estimator, "classes_")
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), _mask_data())
    np.testing.assert_array_equal(np.asanyarray(process.dataobj), _centres())
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), _data())
    np.testing.assert_array_equal(y, Y)


@pytest.mark.parametrize("form", [list, tuple, np.array, lambda y: np.array(y)[:, None]])
@pytest.mark.parametrize("labels", [[0, 1], ["face", "house"], [False, True], [2.0, -1.0]])
def test_forms_of_y(form, labels):
    y = form([labels[value] for value in Y])
    np.testing.assert_array_equal(_searchlight().fit(_image(), y).scores_, _fit().scores_)


# --------------------------------------------------------------------------------------------------------- what it does


class _Centroid(ClassifierMixin, BaseEstimator):
    """A classifier that is not scikit-learn's."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.centroids_ = np.array([X[y == label].mean(axis=0) for label in self.classes_])
        return self

    def predict(self, X):
        distances = ((X[:, None] - self.centroids_) ** 2).sum(axis=-1)
        return self.classes_[distances.argmin(axis=1)]


def _accuracy(estimator, X, y):
    return float((estimator.predict(X) == y).mean())


ENGINES = {
    "svc": ({}, "compiled", "LinearSVC is compiled", "accuracy of all spheres at once"),
    "ridge": ({"estimator": "ridge"}, "compiled", "RidgeCV is compiled", "r2 of all spheres at once"),
    "replay": ({"scoring": "jaccard"}, "compiled", "LinearSVC is compiled", "jaccard sphere by sphere"),
    "own scorer": (
        {"scoring": make_scorer(f1_score, average="macro")},
        "compiled",
        "LinearSVC is compiled",
        "a scikit-learn scorer, sphere by sphere",
    ),
    "l1": ({"estimator": "svc_l1"}, "general", "penalty='l1' is not a ridge penalty", "its own scorer"),
    "other": ({"estimator": BernoulliNB()}, "general", "BernoulliNB has no compiled decoder", "its own scorer"),
    "pipeline": (
        {"estimator": make_pipeline(MinMaxScaler(), LinearSVC())},
        "general",
        "Pipeline has no compiled decoder",
        "its own scorer",
    ),
    "callable": ({"scoring": _accuracy}, "general", "scoring is a function of the fitted estimator", ""),
    "bootstrap": (
        {"cv": [(np.r_[0:12, 0:12], np.arange(12, 24))]},
        "general",
        "a fold trains on the same sample twice",
        "its own scorer",
    ),
}


@pytest.mark.parametrize("case", ENGINES)
def test_engine_says_which_path_ran_and_why(case):
    changes, path, reason, scoring = ENGINES[case]
    engine = _fit(process_mask_img=_mask(_centres()), **changes).engine_
    assert engine.path == path
    assert reason in engine.reason
    assert scoring in engine.scoring
    assert str(engine).startswith(f"{path}: ")


def test_a_scoring_function_and_a_scorer_name_agree():
    by_name = _fit(process_mask_img=_mask(_centres()), scoring="accuracy")
    by_function = _fit(
        process_mask_img=_mask(_centres()), scoring=_accuracy, estimator=LinearSVC(dual=True, tol=1e-8, max_iter=10**6)
    )
    assert (by_name.engine_.path, by_function.engine_.path) == ("compiled", "general")
    np.testing.assert_allclose(by_function.masked_scores_, by_name.masked_scores_, atol=1e-12)


def test_a_custom_estimator_warns_and_works():
    with pytest.warns(UserWarning, match="Use a custom estimator at your own risk"):
        searchlight = _fit(process_mask_img=_mask(_centres()), estimator=_Centroid())
    assert searchlight.masked_scores_.max() > 0.7  # the planted voxels


@pytest.mark.parametrize("estimator", ["svc", BernoulliNB()], ids=["compiled", "general"])
def test_small_spheres_score_nan_and_are_counted(estimator):
    sizes = sphere_neighbours(_mask_data(), AFFINE, 4.0).sizes
    limit = int(np.median(sizes))
    small = sizes < limit
    assert 0 < small.sum() < len(sizes)
    message = f"{small.sum()} of {len(sizes)} spheres have fewer than min_voxels={limit} voxels"
    with pytest.warns(RuntimeWarning, match=message) as caught:
        searchlight = _fit(estimator=estimator, min_voxels=limit)
    assert len(caught) == 1
    np.testing.assert_array_equal(np.isnan(searchlight.masked_scores_), small)
    np.testing.assert_array_equal(np.isnan(searchlight.fold_scores_), np.tile(small, (5, 1)))
    np.testing.assert_array_equal(searchlight.masked_scores_[~small], _fit(estimator=estimator).masked_scores_[~small])
    np.testing.assert_array_equal(searchlight.n_voxels_, sizes)


@pytest.mark.parametrize("groups", [None, GROUPS, np.array(["a", "b"] * 12)], ids=["all", "runs", "alternating"])
def test_standardize_is_standardscaler_within_each_run(groups):
    data = _data()
    data += 100 * np.arange(N)
    data[0, 0, 0] = 5.0  # constant: becomes 0, not NaN
    scaled = np.empty_like(data)
    labels = np.zeros(N) if groups is None else groups
    for label in np.unique(labels):
        part = data[..., labels == label].reshape(-1, (labels == label).sum()).T.astype(np.float64)
        scaled[..., labels == label] = StandardScaler().fit_transform(part).T.reshape(*SHAPE, -1)
    arguments = {"mask_img": _mask(np.ones(SHAPE)), "estimator": "ridge", "cv": KFold(4)}
    ours = _searchlight(**arguments, standardize=True).fit(_image(data), np.linspace(0, 1, N) ** 2, groups)
    expected = _searchlight(**arguments).fit(_image(scaled), np.linspace(0, 1, N) ** 2, groups)
    np.testing.assert_allclose(ours.scores_, expected.scores_, rtol=1e-5, atol=1e-6)
    raw = _searchlight(**arguments).fit(_image(data), np.linspace(0, 1, N) ** 2, groups)
    assert np.abs(raw.scores_ - ours.scores_).max() > 0.1


@pytest.mark.filterwarnings("ignore:n_jobs asks for")
@pytest.mark.parametrize("estimator", ["svc", "ridge_classifier", BernoulliNB()], ids=["svc", "ridge", "general"])
@pytest.mark.parametrize("n_jobs", [2, -1, -2, np.int64(1)])
def test_scores_do_not_depend_on_n_jobs(estimator, n_jobs):
    one = _fit(estimator=estimator, process_mask_img=_mask(_centres()))
    many = _fit(estimator=estimator, process_mask_img=_mask(_centres()), n_jobs=n_jobs)
    np.testing.assert_array_equal(many.fold_scores_, one.fold_scores_)


@pytest.mark.parametrize("name", ["svc", "svc_l1"])
def test_estimator_args_do_not_leak_into_later_fits(name):
    arguments = {"process_mask_img": _mask(_centres()), "estimator": name, "scoring": "roc_auc"}
    before = _fit(**arguments)
    given = {"C": 0.05}
    changed = _fit(**arguments, estimator_args=given)
    after = _fit(**arguments)
    assert given == {"C": 0.05}
    assert np.abs(changed.scores_ - before.scores_).max() > 0
    np.testing.assert_array_equal(after.scores_, before.scores_)


def test_random_state_seeds_and_does_not_leak():
    def scores(**changes):
        return _fit(process_mask_img=_mask(_centres()), estimator="dummy_classifier", **changes).scores_

    default = scores()
    np.testing.assert_array_equal(scores(random_state=0), default)
    assert (scores(random_state=3) != default).any()
    np.testing.assert_array_equal(scores(random_state=3), scores(random_state=3))
    np.testing.assert_array_equal(scores(), default)


def test_random_splits_are_drawn_once_for_all_spheres():
    same = np.repeat(np.random.default_rng(0).standard_normal((1, 1, 1, N)), 30, axis=0).astype(np.float32)
    mask = nib.Nifti1Image(np.ones((30, 1, 1), np.uint8), AFFINE)
    cv = ShuffleSplit(5, test_size=0.5)  # without a seed
    searchlight = SearchLight(mask, radius=0, n_jobs=1, cv=cv).fit(_image(same), Y)
    assert np.ptp(searchlight.fold_scores_, axis=1).max() == 0
    assert np.ptp(searchlight.fold_scores_) > 0


@pytest.mark.parametrize("estimator", ["svc", BernoulliNB()], ids=["compiled", "general"])
def test_verbose(estimator, capsys):
    lengths = []
    for verbose in (0, 1, 2, 3):
        _fit(process_mask_img=_mask(_centres()), estimator=estimator, verbose=verbose)
        said = capsys.readouterr()
        lengths.append(len(said.out))
        if verbose:
            assert all("SearchLight.fit" in line for line in said.out.splitlines())
    assert lengths[0] == 0
    assert lengths == sorted(set(lengths))
    assert said.err == ""


def test_a_generator_of_splits_serves_all_spheres():
    pairs = [(np.arange(12), np.arange(12, 24)), (np.arange(12, 24), np.arange(12))]
    arguments = {"process_mask_img": _mask(_centres())}
    expected = _fit(**arguments, cv=KFold(2))
    np.testing.assert_array_equal(_fit(**arguments, cv=iter(pairs)).scores_, expected.scores_)


# ------------------------------------------------------------------------------------------------------------- warnings


def _nan_image():
    data = _data()
    data[2, 2, 2, 0] = np.nan
    return _image(data)


def _nan_mask():
    return nib.Nifti1Image(np.where(_mask_data(), 1, np.nan), AFFINE)


def _moved_mask():
    return nib.Nifti1Image(_mask_data().astype(np.uint8), AFFINE + 0.2 * np.eye(4))


WARNED = {
    "NaN in imgs": ({}, _nan_image, None, "1 NaN or infinite"),
    "NaN in the mask": ({"mask_img": _nan_mask()}, _image, None, "taken as outside"),
    "another grid": ({"mask_img": nib.Nifti1Image(np.ones((7, 5, 4)), AFFINE)}, _image, None, "another grid"),
    "superfluous groups": ({}, _image, GROUPS, "groups are given but cv=None is 5-fold"),
    "custom estimator": ({"estimator": _Centroid()}, _image, None, "custom estimator"),
    "small spheres": ({"min_voxels": 4}, _image, None, "min_voxels=4"),
    "single voxels": (
        {"radius": 2.0},
        _image,
        None,
        "2 mm hold the centre voxel alone, since voxels are 3 x 3 x 3",
    ),
    "the whole mask": (
        {"radius": 99.0},
        _image,
        None,
        "99 mm hold the whole mask, all its 83 voxels of 3 x 3",
    ),
    "few permutations": (
        {"n_permutations": 9},
        _image,
        None,
        "no p value can be smaller than 1/10 = 0.1",
    ),
}


@pytest.mark.parametrize("case", WARNED)
def test_a_warning_comes_once_and_points_at_the_line_of_the_user(case):
    changes, image, groups, message = WARNED[case]
    searchlight = _searchlight(**{"process_mask_img": _mask(), **changes})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        searchlight.fit(image(), Y, groups)
    assert len(caught) == 1
    assert message in str(caught[0].message)
    assert Path(caught[0].filename).name == Path(__file__).name


@pytest.mark.parametrize(
    "changes",
    [
        {"radius": 0.0},
        {"radius": 3.0},
        {"radius": 20.0},  # its diagonals are longer
        {"radius": 99.0, "process_mask_img": _mask(np.arange(120).reshape(SHAPE) == 60)},
        {"estimator": "RidgeClassifier", "n_permutations": 19},
    ],
    ids=str,
)
def test_what_may_be_meant_is_not_warned_of(changes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _searchlight(**{"mask_img": _mask(np.ones(SHAPE)), **changes}).fit(_image(), Y)


def test_superfluous_groups_are_fine_where_the_splitter_says_so():
    np.testing.assert_array_equal(
        _searchlight(cv=KFold(4)).fit(_image(), Y, GROUPS).scores_, _searchlight(cv=KFold(4)).fit(_image(), Y).scores_
    )


def test_nan_counts_as_0():
    data = _data()
    data[2, 2, 2, 0] = 0
    with pytest.warns(RuntimeWarning, match="1 NaN"):
        ours = _searchlight().fit(_nan_image(), Y)
    np.testing.assert_array_equal(ours.scores_, _searchlight().fit(_image(data), Y).scores_)


def test_a_fold_of_one_class_is_nan_with_a_warning():
    halves = np.repeat([0, 1], N // 2)
    cv = [(np.arange(12), np.arange(12, 24)), (np.arange(0, 24, 2), np.arange(1, 24, 2))]
    with pytest.warns(RuntimeWarning, match="1 of 2 folds could not be scored.*fold 0: its training samples have one"):
        searchlight = _searchlight(cv=cv).fit(_image(), halves)
    assert np.isnan(searchlight.fold_scores_[0]).all()
    assert np.isfinite(searchlight.fold_scores_[1]).all()
    assert np.isnan(searchlight.masked_scores_).all()


# -------------------------------------------------------------------------------------------------------------- refused


class _Unscored(BaseEstimator):
    def fit(self, X, y):
        return self


class _NoGroups(BaseEstimator):
    nilearn_searchlight_uses_cv = False

    def fit(self, X, y):
        return self

    def score(self, X, y, groups=None):
        return 0.0


def _three_values():
    data = np.ones(SHAPE, np.uint8)
    data[0, 0, :2] = 0, 2
    return nib.Nifti1Image(data, AFFINE)


def _with(values, place, entry):
    values = list(values)
    values[place] = entry
    return values


PAIRS = (np.arange(12), np.arange(12, 24))
NO_CV = "is no cross-validation: give an integer"
#: (argument, value, exception, message)
BAD = [
    ("radius", -1, ValueError, "radius must be finite and not negative, got -1.0 mm"),
    ("radius", np.nan, ValueError, "radius must be finite and not negative, got nan"),
    ("radius", np.inf, ValueError, "radius must be finite and not negative, got inf"),
    ("radius", "8", TypeError, "radius must be a number of mm, got '8'"),
    ("radius", True, TypeError, "radius must be a number of mm, got True"),
    ("radius", None, TypeError, "radius must be a number of mm, got None"),
    ("estimator", "svm", ValueError, "estimator='svm' is not known.*svc, svc_l2"),
    ("estimator", "", ValueError, "estimator='' is not known"),
    ("estimator", None, TypeError, "estimator must be a name or a scikit-learn estimator.*None"),
    ("estimator", LinearSVC, TypeError, r"must be an \*instance\*, got the class LinearSVC: write LinearSVC\(\)"),
    ("estimator", object(), TypeError, "estimator must be a name or a scikit-learn estimator"),
    ("estimator", _Unscored(), TypeError, "it has no score method"),
    ("estimator", _NoGroups(), TypeError, "must accept a 'groups' parameter in fit"),
    ("estimator_args", {"c": 1}, TypeError, "has 'c', which estimator='svc' does not take; it takes: .*C, "),
    ("estimator_args", {"penalty": "l1"}, TypeError, "has 'penalty', which estimator='svc' fixes itself"),
    ("estimator_args", [1], TypeError, "estimator_args must be a dict or None"),
    ("scoring", "acc", ValueError, "scoring='acc' is not known.*accuracy, "),
    ("scoring", ["accuracy", "acc"], ValueError, "scoring='acc' is not known.*accuracy, "),
    ("scoring", ["accuracy", "accuracy"], ValueError, "names a scorer twice"),
    ("scoring", [accuracy_score], TypeError, "a list holds names of scorers.*in a dict"),
    ("scoring", [], ValueError, "is empty: name at least one"),
    ("scoring", {1: "accuracy"}, TypeError, "names as keys, got the key 1"),
    ("scoring", {"a": 5}, TypeError, "scoring must be None, the name of a scikit-learn scorer"),
    ("scoring", ["accuracy", "r2"], ValueError, "scoring='r2' is for regressors but the estimator is a classifier"),
    ("keep_predictions", 1, TypeError, "keep_predictions must be True or False or a folder, got 1"),
    ("keep_confusion", "yes", TypeError, "keep_confusion must be True or False, got 'yes'"),
    ("scoring", 5, TypeError, "scoring must be None, the name of a scikit-learn scorer"),
    ("scoring", "r2", ValueError, "scoring='r2' is for regressors but the estimator is a classifier"),
    ("cv", 1, ValueError, f"cv=1 {NO_CV}"),
    ("cv", 0, ValueError, f"cv=0 {NO_CV}"),
    ("cv", True, ValueError, f"cv=True {NO_CV}"),
    ("cv", 2.5, ValueError, f"cv=2.5 {NO_CV}"),
    ("cv", "logo", ValueError, f"cv='logo' {NO_CV}"),
    ("cv", object(), ValueError, NO_CV),
    ("cv", LeaveOneGroupOut, ValueError, NO_CV),
    ("cv", [3], ValueError, NO_CV),
    ("cv", [(*PAIRS, 1)], ValueError, NO_CV),
    ("cv", [], ValueError, "gave no split"),
    ("cv", 13, ValueError, "n_splits=13 cannot be greater than the number of members in each class"),
    ("cv", KFold(25), ValueError, "n_splits=25 greater than the number of samples"),
    ("cv", LeaveOneGroupOut(), ValueError, r"cv=LeaveOneGroupOut\(\) needs groups: pass groups="),
    ("cv", GroupKFold(3), ValueError, "'groups' parameter should not be None"),
    ("cv", [(np.arange(0, N, 2), np.arange(1, N, 2))], ValueError, "no fold tests a class that it trained on"),
    ("cv", [(PAIRS[0], [24])], ValueError, "cv gave test sample 24 but there are 24 volumes"),
    ("cv", [([], PAIRS[1])], ValueError, "cv gave train samples that are no list of sample numbers"),
    ("cv", [([0.5], PAIRS[1])], ValueError, "cv gave train samples that are no list of sample numbers"),
    ("n_jobs", 0, ValueError, "n_jobs=0 has no meaning"),
    ("n_jobs", "all", TypeError, "n_jobs must be an integer, got 'all'"),
    ("n_jobs", None, TypeError, "n_jobs must be an integer, got None"),
    ("n_jobs", 1.5, TypeError, "n_jobs must be an integer, got 1.5"),
    ("n_jobs", True, TypeError, "n_jobs must be an integer, got True"),
    ("verbose", None, TypeError, "verbose must be an integer"),
    ("verbose", "yes", TypeError, "verbose must be an integer"),
    ("random_state", "seed", ValueError, "random_state"),
    ("min_voxels", 0, ValueError, "min_voxels must be a whole number of at least 1, got 0"),
    ("min_voxels", 2.5, ValueError, "min_voxels must be a whole number of at least 1, got 2.5"),
    ("min_voxels", True, ValueError, "min_voxels must be a whole number of at least 1, got True"),
    ("standardize", "zscore", TypeError, "standardize must be True or False, got 'zscore'"),
    ("mask_img", None, TypeError, "input should be a NiftiLike object.*both are None"),
    ("mask_img", 1, TypeError, "mask_img: input should be a NiftiLike object.*int"),
    ("mask_img", np.ones(SHAPE), TypeError, "mask_img: input should be a NiftiLike object.*ndarray"),
    ("mask_img", "gone.nii", FileNotFoundError, "mask_img: there is no file gone.nii"),
    ("mask_img", _mask(np.zeros(SHAPE)), ValueError, "mask_img: The mask is invalid as it is empty"),
    ("mask_img", _three_values(), ValueError, "mask_img: Given mask is not made of 2 values"),
    ("mask_img", _image(), ValueError, r"mask_img: .*must be a 3-D mask, got shape \(6, 5, 4, 24\)"),
    ("process_mask_img", 1, TypeError, "process_mask_img: input should be a NiftiLike object"),
    ("process_mask_img", "gone.nii", FileNotFoundError, "process_mask_img: there is no file gone.nii"),
    ("process_mask_img", _mask(np.zeros(SHAPE)), ValueError, "process_mask_img: The mask is invalid as it is empty"),
    ("process_mask_img", _three_values(), ValueError, "process_mask_img: Given mask is not made of 2 values"),
    ("imgs", None, TypeError, "imgs: input should be a NiftiLike object.*NoneType"),
    ("imgs", _data(), TypeError, "imgs: input should be a NiftiLike object.*ndarray"),
    ("imgs", [], ValueError, "imgs is empty"),
    ("imgs", "gone.nii", FileNotFoundError, "imgs: there is no file gone.nii"),
    ("imgs", _mask(), ValueError, r"3 dimensions, shape \(6, 5, 4\)"),
    ("imgs", _image(np.zeros((*SHAPE, 2, 2))), ValueError, "5 dimensions"),
    ("y", None, TypeError, "y is missing: LinearSVC needs one label"),
    ("y", Y[1:], ValueError, "y and the images have inconsistent numbers of samples: 23 and 24"),
    ("y", [*Y, 0], ValueError, "y and the images have inconsistent numbers of samples: 25 and 24"),
    ("y", [], ValueError, "y and the images have inconsistent numbers of samples: 0 and 24"),
    ("y", np.c_[Y, Y], ValueError, r"y must be one-dimensional, one entry a volume, got shape \(24, 2\)"),
    ("y", "face", ValueError, "y must be one-dimensional"),
    ("y", _with(Y, 3, np.nan), ValueError, r"y has 1 missing .*\(Input contains NaN\), the first at volume 3"),
    ("y", _with(Y, 3, np.inf), ValueError, "y has 1 missing or infinite entries"),
    ("y", np.array(_with(["a", "b"] * 12, 3, None), object), ValueError, "y has 1 missing .* at volume 3"),
    ("y", np.zeros(N, int), ValueError, r"y holds one class only \(0\)"),
    ("y", ["face"] * N, ValueError, r"y holds one class only \('face'\)"),
    ("y", np.linspace(0, 1.5, N), ValueError, "y is continuous but LinearSVC is a classifier.*estimator='ridge'"),
    ("groups", GROUPS[1:], ValueError, r"groups and the images have inconsistent .* \(23,\), 24 entries"),
    ("groups", GROUPS[:, None], ValueError, r"groups and the images have inconsistent .* \(24, 1\), 24 entries"),
    ("groups", "run", ValueError, "groups and the images have inconsistent"),
    ("groups", _with(GROUPS, 3, np.nan), ValueError, "groups has 1 missing .* at volume 3"),
]


@pytest.fixture
def no_decoding(monkeypatch):
    def fail(*_args, **_kwargs):
        pytest.fail("spheres were decoded")

    monkeypatch.setattr("fastsl.searchlight.run_search", fail)


def _short(value):
    return value if isinstance(value, str) else type(value).__name__


def _try(argument, value, **changes):
    fit = {"imgs": _image(), "y": Y, "groups": None}
    (fit if argument in fit else changes)[argument] = value
    _searchlight(**changes).fit(**fit)


@pytest.mark.parametrize(
    ("argument", "value", "exception", "message"), BAD, ids=[f"{case[0]}-{_short(case[1])}" for case in BAD]
)
def test_a_bad_argument_is_refused_before_any_work(argument, value, exception, message, no_decoding):
    with pytest.raises(exception, match=message):
        _try(argument, value)


#: (argument, value, what goes with it, exception, message)
BAD_TOGETHER = [
    ("y", ["face", "house"] * 12, {"estimator": "ridge"}, ValueError, "RidgeCV is a regressor: give numbers"),
    ("y", ["face", "house"] * 12, {"estimator": "svr"}, ValueError, "such as 'face' but SVR is a regressor"),
    (
        "y",
        np.linspace(0, 1.5, N),
        {"estimator": BernoulliNB()},
        ValueError,
        "continuous but BernoulliNB is",
    ),
    ("y", Y[1:], {"estimator": BernoulliNB()}, ValueError, "inconsistent numbers of samples: 23 and 24"),
    ("scoring", "accuracy", {"estimator": "ridge"}, ValueError, "is for classifiers but the estimator is a regressor"),
    ("estimator_args", {"C": 1}, {"estimator": LinearSVC()}, TypeError, "only goes with an estimator name"),
    ("groups", np.ones(N), {"cv": LeaveOneGroupOut()}, ValueError, "fewer than 2 unique groups"),
    ("groups", _with(GROUPS, 3, np.nan), {"standardize": True, "cv": 3}, ValueError, "groups has 1 missing"),
    ("mask_img", _moved_mask(), {"process_mask_img": 1}, TypeError, "process_mask_img: input should be"),
]


@pytest.mark.parametrize(
    ("argument", "value", "changes", "exception", "message"),
    BAD_TOGETHER,
    ids=[f"{case[0]}-{'-'.join(case[2])}" for case in BAD_TOGETHER],
)
def test_arguments_that_do_not_go_together_are_refused_before_any_work(
    argument, value, changes, exception, message, no_decoding
):
    with pytest.raises(exception, match=message):
        _try(argument, value, **changes)


def test_good_arguments_would_be_decoded(no_decoding):
    with pytest.raises(pytest.fail.Exception, match="spheres were decoded"):
        _try("cv", 3)


@pytest.mark.parametrize(
    ("scoring", "y", "message"),
    [
        ("roc_auc", np.arange(N) % 3, "scoring='roc_auc' needs two classes, got 3"),
        ("f1", ["a", "b"] * 12, "scoring='f1' needs two classes of which one is the number 1.*f1_macro"),
        ("neg_log_loss", Y, "predict_proba"),
    ],
)
def test_a_score_that_these_labels_cannot_have_is_refused_before_any_sphere(scoring, y, message, monkeypatch):
    monkeypatch.setattr("fastsl.compiled.CompiledEngine.__call__", lambda *_: pytest.fail("spheres were decoded"))
    with pytest.raises(ValueError, match=f"no fold can be scored.*{message}"):
        _searchlight(scoring=scoring).fit(_image(), y)


def test_spheres_that_are_all_empty_are_an_error():
    far = AFFINE.copy()
    far[:3, 3] += 500
    with pytest.raises(ValueError, match="these spheres are empty: none of the 8 holds a voxel"):
        _fit(process_mask_img=nib.Nifti1Image(_centres().astype(np.uint8), far))


@pytest.mark.parametrize("estimator", ["svc", "gnb", "lda"])
@pytest.mark.parametrize("standardize", [True, False])
def test_only_what_is_near_a_centre_is_read_and_the_scores_are_the_same(phantom, few_centres, estimator, standardize):
    y, runs = phantom.labels["condition"], phantom.labels["run"]
    centres = np.zeros(phantom.mask_img.shape, bool)
    places = np.argwhere(few_centres.get_fdata() > 0)
    centres[tuple(places[[0, 1, -1]].T)] = True
    settings = {"radius": 15.0, "estimator": estimator, "cv": LeaveOneGroupOut(), "standardize": standardize}
    whole = SearchLight(phantom.mask_img, **settings, keep_predictions=True).fit(phantom.img, y, runs)
    few = nib.Nifti1Image(centres.astype(np.uint8), phantom.mask_img.affine)
    part = SearchLight(phantom.mask_img, few, **settings, keep_predictions=True).fit(phantom.img, y, runs)
    assert len(part._fitted.X) < len(whole._fitted.X) / 2
    inside = centres[whole.process_mask_]
    np.testing.assert_array_equal(part.fold_scores_, whole.fold_scores_[:, inside])
    np.testing.assert_array_equal(part.decisions_, whole.decisions_[:, inside])
    np.testing.assert_array_equal(part.decision_function(phantom.img), whole.decision_function(phantom.img)[:, inside])


@pytest.mark.parametrize(
    ("estimator", "n_permutations", "shares"),
    [
        (RidgeClassifier(), 0, True),
        (GaussianNB(), 0, False),
        (make_pipeline(StandardScaler(), GaussianNB()), 0, False),
        (NearestCentroid(), 0, False),
        (NearestCentroid(), 2, True),  # permutations share Gram products
        (CorrelationClassifier(), 0, False),
        (BernoulliNB(), 0, False),
    ],
)
@pytest.mark.filterwarnings("ignore:.*permutations:UserWarning")
def test_only_what_makes_gram_products_is_told_what_spheres_have_in_common(estimator, n_permutations, shares):
    fitted = SearchLight(
        nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE),
        radius=9.0,
        estimator=estimator,
        n_jobs=1,
        cv=KFold(3),
        n_permutations=n_permutations,
    ).fit(_image(), Y, GROUPS)
    assert bool(fitted._fitted.spheres.block(0, 1).levels.size) == shares
