"""The correlation classifier, as an estimator of its own; its kernel against the definition."""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import pearsonr
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastsl import CorrelationClassifier, search_light, sphere_neighbours


# A list: parametrize_with_checks of older versions hands pytest a generator, which it does not take any more.
@pytest.mark.parametrize(("estimator", "check"), list(estimator_checks_generator(CorrelationClassifier())))
def test_it_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_correlations_are_pearsons_with_the_mean_patterns(centre, n_classes):
    rng = np.random.default_rng(0)
    y = np.array(["a", "b", "c"])[np.arange(20) % n_classes]
    X = rng.standard_normal((20, 6)) + 3 * rng.standard_normal(6)
    classes = np.unique(y)
    means = [X[y == label].mean(axis=0) for label in classes]
    shared = np.mean(means, axis=0) if centre else np.zeros(6)
    expected = np.array([[pearsonr(x - shared, m - shared)[0] for m in means] for x in X])
    fitted = CorrelationClassifier(centre=centre).fit(X, y)
    np.testing.assert_allclose(fitted.correlations(X), expected, atol=1e-12)
    np.testing.assert_array_equal(fitted.predict(X), classes[expected.argmax(axis=1)])
    decision = expected[:, 1] - expected[:, 0] if n_classes == 2 else expected
    np.testing.assert_allclose(fitted.decision_function(X), decision, atol=1e-12)


def test_one_class_or_one_voxel_is_an_error():
    X = np.random.default_rng(0).standard_normal((6, 3))
    with pytest.raises(ValueError, match=r"needs two classes or more, got one class: 'face'"):
        CorrelationClassifier().fit(X, ["face"] * 6)
    with pytest.raises(ValueError, match="minimum of 2 is required by CorrelationClassifier"):
        CorrelationClassifier().fit(X[:, :1], [0, 1] * 3)


def test_a_sphere_without_a_correlation_is_nan_and_counted():
    """A voxel alone, and two voxels with the same values."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((12, 5))
    X[:, 4] = X[:, 3]
    mask = np.array([1, 0, 1, 1, 0, 1, 1], bool).reshape(7, 1, 1)
    A = sphere_neighbours(mask, np.eye(4), radius=1)
    with pytest.warns(RuntimeWarning, match=r"3 of 5 spheres failed and score NaN \(3: its solution is not a number\)"):
        scores = search_light(X, np.arange(12) % 2, "correlation", A, cv=3, n_jobs=1)
    np.testing.assert_array_equal(np.isnan(scores), [True, False, False, True, True])


def test_it_warns_of_no_custom_estimator_and_runs_compiled(recwarn):
    X = np.random.default_rng(2).standard_normal((12, 4))
    search_light(X, np.arange(12) % 2, CorrelationClassifier(), sparse.csr_array(np.ones((1, 4), bool)), cv=3, n_jobs=1)
    assert not recwarn.list
