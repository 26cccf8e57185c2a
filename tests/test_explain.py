"""``explain`` says what ``fit`` then does."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, LeaveOneGroupOut
from sklearn.tree import DecisionTreeClassifier

from fastsl import explain
from fastsl.search import BYTES_OF_NULL, CENTRES_A_THREAD, LARGEST_NULL

SIZE = {"n_samples": 24, "n_voxels": 7, "n_spheres": 1000, "n_jobs": 1}


@pytest.mark.parametrize(
    ("estimator", "cv", "path", "n_folds"),
    [
        ("ridge_classifier", None, "compiled", 5),
        (Ridge(), KFold(3), "compiled", 3),
        ("svc", LeaveOneGroupOut(), "compiled", 6),
        (DecisionTreeClassifier(random_state=0), 4, "general", 4),
    ],
    ids=str,
)
def test_the_path_is_the_one_that_runs(estimator, cv, path, n_folds):
    found = explain(estimator, cv=cv, **SIZE)
    assert (found.engine.path, found.n_folds, found.n_jobs) == (path, n_folds, 1)
    assert 0 < found.seconds_per_sphere < 10
    assert found.seconds == pytest.approx(1000 * found.seconds_per_sphere)
    assert f"path: {path}" in str(found)
    assert "1000 spheres of 7 voxels, 24 volumes" in str(found)


def test_memory_grows_with_the_matrix():
    few, many = (explain("ridge_classifier", 24, 7, n_spheres=n, n_jobs=1).memory_bytes for n in (10, 10**6 + 10))
    assert many - few == 10**6 * (4 * 24 + 8 * 5)


def test_memory_has_a_block_of_permuted_scores_in_it():
    """Which grows no more when it has the most scores that a block may have."""
    few, more, most, many = (
        explain("ridge_classifier", 24, 7, n_spheres=5000, n_jobs=1, n_permutations=n).memory_bytes
        for n in (0, 10, 8000, 16000)
    )
    assert more - few == BYTES_OF_NULL * 10 * CENTRES_A_THREAD
    assert most - few == many - few == BYTES_OF_NULL * LARGEST_NULL


@pytest.mark.parametrize(
    ("seconds", "said"), [(3.21, "3.2 seconds"), (150, "2.5 minutes"), (9000, "2.5 hours"), (3e5, "3.5 days")]
)
def test_durations_are_in_the_unit_that_one_would_say(seconds, said):
    from fastsl.explanation import Explanation
    from fastsl.outcome import Engine

    engine = Engine("compiled", "LinearSVC()", "LinearSVC is compiled", "accuracy")
    assert f"about {said} " in str(Explanation(engine, 5, 1, 7, 24, 2, seconds, 10**9))


BAD = {
    "n_samples": ({"n_samples": 0}, "n_samples must be a whole number of at least 1, got 0"),
    "n_voxels": ({"n_voxels": 2.5}, "n_voxels must be a whole number of at least 1, got 2.5"),
    "n_spheres": ({"n_spheres": True}, "n_spheres must be a whole number of at least 1, got True"),
    "y": ({"y": np.zeros(24, int)}, "one class only"),
    "cv": ({"cv": 1}, "cv=1 is no cross-validation"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_what_the_analysis_would_refuse_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        explain("svc", **{**SIZE, **changes})
