"""fMRI of Haxby et al. (2001), subject 1: what is decoded from real images, and that scikit-learn agrees.

The images are no part of the project. They are looked for in the folder that FASTSL_TEST_DATA names, else beside the
repository.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import LeaveOneGroupOut, PredefinedSplit, cross_val_score
from sklearn.svm import LinearSVC

import naive
from fastsl import SearchLight, search_light, sphere_neighbours

FOLDER = Path(os.environ.get("FASTSL_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
pytestmark = pytest.mark.skipif(
    not (FOLDER / "haxby_slice" / "bold.nii.gz").exists(),
    reason="no Haxby images: set FASTSL_TEST_DATA to a folder with haxby_slice and haxby_25mm",
)

CATEGORIES = ("bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe")
CONVERGED = {"dual": True, "tol": 1e-10, "max_iter": 10**6, "random_state": 0}


@dataclass(frozen=True)
class Scan:
    """Volumes, as an image and as raw data (n_volumes, n_voxels of the mask), with a label and a run each."""

    image: nib.Nifti1Image
    mask: nib.Nifti1Image
    conditions: np.ndarray
    runs: np.ndarray

    @property
    def inside(self):
        return self.mask.get_fdata() > 0

    @property
    def raw(self):
        return np.asarray(self.image.dataobj)[self.inside].T.astype(np.float32)

    @property
    def standardised(self):
        """Every voxel z-scored in every run."""
        X = self.raw.astype(float)
        for run in np.unique(self.runs):
            X[self.runs == run] -= X[self.runs == run].mean(axis=0)
            X[self.runs == run] /= X[self.runs == run].std(axis=0)
        return X.astype(np.float32)

    def neighbours(self, radius):
        return sphere_neighbours(self.inside, self.mask.affine, radius)

    def where(self, keep):
        volumes = np.asarray(self.image.dataobj)[..., keep]
        return Scan(nib.Nifti1Image(volumes, self.image.affine), self.mask, self.conditions[keep], self.runs[keep])

    def of(self, *conditions):
        return self.where(np.isin(self.conditions, conditions))


def load(name):
    labels = np.genfromtxt(FOLDER / name / "labels.tsv", dtype=None, names=True, encoding="utf-8")
    return Scan(
        nib.load(FOLDER / name / "bold.nii.gz"),
        nib.load(FOLDER / name / "mask.nii.gz"),
        labels["condition"],
        labels["run"],
    )


@pytest.fixture(scope="module")
def slice_scan():
    return load("haxby_slice")


@pytest.fixture(scope="module")
def faces_and_houses(slice_scan):
    return slice_scan.of("face", "house")


def test_all_voxels_in_one_sphere_tell_faces_from_houses(faces_and_houses):
    scan = faces_and_houses
    assert (len(scan.runs), np.unique(scan.runs).size) == (216, 12)
    centre = np.zeros(scan.mask.shape, np.int8)
    centre[tuple(np.argwhere(scan.inside)[0])] = 1
    searchlight = SearchLight(
        scan.mask,
        nib.Nifti1Image(centre, scan.mask.affine),
        radius=1000,
        estimator=LinearSVC(),
        cv=LeaveOneGroupOut(),
        standardize=True,
        n_jobs=1,
    ).fit(scan.image, scan.conditions, scan.runs)
    assert searchlight.n_voxels_.tolist() == [530]
    assert searchlight.masked_scores_[0] >= 0.85
    expected = cross_val_score(
        LinearSVC(**CONVERGED), scan.standardised, scan.conditions, groups=scan.runs, cv=LeaveOneGroupOut()
    )
    np.testing.assert_allclose(searchlight.fold_scores_[:, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_the_map_at_10_mm_equals_scikit_learn_in_a_sample_of_spheres(faces_and_houses):
    scan = faces_and_houses
    searchlight = SearchLight(
        scan.mask, radius=10, estimator=LinearSVC(), cv=LeaveOneGroupOut(), standardize=True, n_jobs=1
    ).fit(scan.image, scan.conditions, scan.runs)
    assert searchlight.engine_.path == "compiled"
    neighbours, X = scan.neighbours(10), scan.standardised.astype(float)
    np.testing.assert_array_equal(searchlight.n_voxels_, neighbours.sizes)
    sample = np.random.default_rng(0).choice(530, 15, replace=False)
    expected = naive.fold_scores(
        X,
        scan.conditions,
        LinearSVC(**CONVERGED),
        [neighbours[int(centre)] for centre in sample],
        cv=LeaveOneGroupOut(),
        groups=scan.runs,
    )
    np.testing.assert_allclose(searchlight.fold_scores_[:, sample], expected, rtol=0, atol=1e-12)
    assert np.ptp(expected.mean(axis=0)) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    [LinearSVC(C=0.01, **CONVERGED), RidgeClassifier(), RidgeClassifierCV()],
    ids=lambda e: type(e).__name__,
)
def test_eight_categories_of_the_whole_brain_equal_scikit_learn(estimator):
    scan = load("haxby_25mm").of(*CATEGORIES)
    assert scan.conditions.size == 864
    # Every third volume and four runs a fold, for time's sake.
    scan = scan.where(np.arange(864) % 3 == 1)
    cv = PredefinedSplit((scan.runs - 1) // 4)
    neighbours, X = scan.neighbours(50), scan.standardised.astype(float)
    found = search_light(X, scan.conditions, estimator, neighbours, cv=cv, n_jobs=1)
    sample = [3, 40, 64, 100]
    expected = naive.fold_scores(X, scan.conditions, estimator, [neighbours[centre] for centre in sample], cv=cv)
    np.testing.assert_allclose(found[sample], expected.mean(axis=0), rtol=0, atol=1e-12)
    assert found.max() > 0.25, "twice chance"


def test_raw_intensities_are_decoded_at_the_optimum(faces_and_houses):
    """liblinear gives up on raw data long before the optimum, so that the reference is the twin that proves its own."""
    scan = faces_and_houses
    scan = scan.where(np.isin(scan.runs, [1, 2, 3, 4]))
    X, y = scan.raw, np.where(scan.conditions == "house", 1.0, -1.0)
    assert X.mean() > 300, "these are raw intensities"
    neighbours = scan.neighbours(10)
    cv = PredefinedSplit((scan.runs - 1) // 2)
    found = search_light(X, scan.conditions, LinearSVC(), neighbours, cv=cv, n_jobs=1, scoring="roc_auc")
    sample = np.random.default_rng(0).choice(530, 12, replace=False)
    for centre in sample:
        members = neighbours[int(centre)]
        by_fold = []
        for train, test in cv.split():
            A, B = X[np.ix_(train, members)].astype(float), X[np.ix_(test, members)].astype(float)
            f = naive.squared_hinge(A, y[train], B, C=np.ones(len(train)), s2=1.0)
            # The share of pairs in the right order, which is the area under the curve.
            by_fold.append((f[y[test] > 0][:, None] > f[y[test] < 0]).mean())
        np.testing.assert_allclose(found[centre], np.mean(by_fold), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_rest_and_task_of_1452_volumes_equal_scikit_learn(slice_scan):
    scan = slice_scan
    task = np.where(scan.conditions == "rest", 0, 1)
    cv = PredefinedSplit((scan.runs - 1) // 3)
    neighbours, X = scan.neighbours(10.5), scan.standardised
    sizes = neighbours.sizes
    centres = np.flatnonzero(sizes == sizes.max())[::40]
    assert 20 <= sizes.max() < (1452 - 363) / 2, "few voxels, many volumes: decoded on the features"
    A = neighbours.to_sparse()[centres]
    found = search_light(X, task, RidgeClassifier(), A, cv=cv, n_jobs=1)
    members = [neighbours[int(centre)] for centre in centres]
    expected = naive.fold_scores(X.astype(float), task, RidgeClassifier(), members, cv=cv)
    np.testing.assert_allclose(found, expected.mean(axis=0), rtol=0, atol=1e-12)
    assert len(centres) >= 3
