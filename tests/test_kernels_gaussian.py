"""Sums over voxels against their definitions. Also run as plain Python (NUMBA_DISABLE_JIT=1), hence the small sizes."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import get_scorer
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.svm import LinearSVC

import naive
from fastsl import metrics, search_light
from fastsl._kernels import bayes, centroid
from fastsl._kernels.additive import SEGMENT, accumulate, add_stretches, find_stretches, typical
from fastsl._kernels.bayes_classes import RoundedSums, largest_error
from fastsl._kernels.block import Block
from fastsl._runtime.launch import kernel_threads
from fastsl.block_metric import BlockMetric
from fastsl.decoders import REGISTRY, local
from fastsl.decoders.additive import bayes_rows, class_folds, plan_bayes, plan_centroid
from fastsl.decoders.plan import row_length
from fastsl.decoders.prefix_sums import BySums, ExactRows
from fastsl.folds import Folds
from fastsl.predictions import ClassesAlone

N, P = 15, 9
rng = np.random.default_rng(0)
Y = np.arange(N) % 3
FOLDS = Folds(
    N,
    (np.arange(4, 15), np.array([0, 1, 3, 4, 6, 7]), np.array([2, 5, 8]), np.arange(N)),
    (np.arange(4), np.array([2, 14, 2]), np.arange(3), np.array([5])),
)
#: The second fold knows two classes, the third one.
SPHERES = [np.arange(P), np.array([7, 2]), np.array([], int), np.array([4, 5, 6, 8])]


MEANS = np.where(np.arange(P) % 2, 0.0, 100.0)


def block_of(shifted, min_voxels=1):
    """Data (n_samples, n_voxels) of which MEANS were subtracted, as kernels get them."""
    return Block(
        np.ascontiguousarray(shifted.T),
        MEANS,
        np.concatenate([[0], np.cumsum([len(members) for members in SPHERES])]),
        np.concatenate(SPHERES).astype(np.int32),
        np.inf,
        0,
        min_voxels,
    )


def make_data(scale=1.0):
    return (scale * (rng.standard_normal((N, P)) + rng.standard_normal((3, P))[Y])).astype(np.float32)


def raw(shifted):
    return shifted.astype(float) + MEANS


def zeros(entries):
    return np.zeros(len(entries.size))


def launch(tabulate, kernel, X, planned, rows, *arguments, **options):
    entries, outputs = planned
    out = np.full((len(SPHERES), row_length(outputs, FOLDS)), 99.0)
    status = np.full(len(SPHERES), 99, np.int8)
    made = [make(entries) for make in arguments]

    def decode(part, table, out, status):
        kernel(part, table.shift, table.voxels, table.sums, entries, *made, out, status)

    with kernel_threads(1):
        BySums(entries, rows, tabulate, decode)(block_of(X, **options), out, status)
    return out, status, outputs


def launch_bayes(X, *, smoothing, **options):
    planned = class_folds(Y, FOLDS, 1, None, 1)
    rows = bayes_rows(planned[0])
    return launch(bayes.tabulate_bayes, bayes.naive_bayes, X, planned, rows, zeros, lambda _: smoothing, **options)


def launch_centroid(X, *arguments):
    planned = class_folds(Y, FOLDS, 2, None, 2, contrast=True)
    rows = ExactRows(row_length(planned[1], FOLDS), 0)
    return launch(centroid.tabulate_centroids, centroid.nearest_centroid, X, planned, rows, *arguments)


def naive_bayes(X, fold, smoothing):
    """Joint log-likelihoods (n_classes, n_test), equal priors."""
    train, test = FOLDS.train[fold], FOLDS.test[fold]
    added = smoothing * X[train].var(axis=0).max()
    rows = []
    for label in np.unique(Y[train]):
        part = X[train][Y[train] == label]
        var = part.var(axis=0) + added
        rows.append(-0.5 * (np.log(2 * np.pi * var) + (X[test] - part.mean(axis=0)) ** 2 / var).sum(axis=1))
    return np.array(rows)


def ratios(joint):
    """Joint log-likelihoods (n_classes, n_test) as kernels have them: the first, and what the others exceed it by."""
    return np.concatenate([joint[:1], joint[1:] - joint[0]])


def assert_ratios_equal(found, expected, rtol):
    """What tells classes apart at ``rtol`` of the joint log-likelihood, which itself is as float32 has it.

    It has no meaning but how probabilities are rounded (its binade); it is summed in float32 where the rest is not.
    """
    np.testing.assert_allclose(found[1:] + expected[0], expected[1:] + expected[0], rtol=rtol)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)


@pytest.mark.parametrize("smoothing", [1e-9, 0.3])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e12], ids=["plain", "small", "products beyond float64"])
def test_naive_bayes_by_its_formula(smoothing, scale):
    X = make_data(scale)
    found, status, outputs = launch_bayes(X, smoothing=smoothing)
    np.testing.assert_array_equal(status, [0, 0, -1, 0])
    assert np.isnan(found[2]).all()
    for c, members in enumerate(SPHERES):
        for fold, output in enumerate(outputs):
            if len(members):
                expected = naive_bayes(raw(X)[:, members], fold, smoothing)
                row = found[c, output.start : output.start + expected.size].reshape(expected.shape)
                assert_ratios_equal(row, ratios(expected), rtol=1e-8)


def test_a_voxel_without_variance_fails_without_smoothing():
    X = make_data()
    X[:, 2] = 5.0
    found, status, _ = launch_bayes(X, smoothing=0.0)
    np.testing.assert_array_equal(status, [1, 1, -1, 0])
    assert np.isnan(found[:3]).all()
    _, status, _ = launch_bayes(X, smoothing=1e-9)
    np.testing.assert_array_equal(status, [0, 0, -1, 0])


@pytest.mark.parametrize("by_distance", [True, False])
def test_centroids_by_their_formula(by_distance):
    X = make_data()
    prior = lambda entries: np.log(0.1 + 0.2 * (np.arange(len(entries.size)) % 2))  # noqa: E731
    flags = lambda entries: np.full(len(entries.first) - 1, by_distance)  # noqa: E731
    found, status, outputs = launch_centroid(X, prior, flags)
    np.testing.assert_array_equal(status, [0, 0, -1, 0])
    assert outputs[2] is None, "one class"
    entry = 0
    for fold, output in enumerate(outputs):
        train, test = FOLDS.train[fold], FOLDS.test[fold]
        classes = np.unique(Y[train])
        if output is None:
            continue
        log_prior = np.log(0.1 + 0.2 * ((entry + np.arange(len(classes))) % 2))
        entry += len(classes)
        for c, members in enumerate(SPHERES):
            if not len(members):
                continue
            A = raw(X)[np.ix_(train, members)]
            centroids = np.array([A[Y[train] == label].mean(axis=0) for label in classes])
            within = ((A - centroids[np.searchsorted(classes, Y[train])]) ** 2).sum(axis=0) / (len(A) - len(classes))
            squares = (raw(X)[np.ix_(test, members)][None] - centroids[:, None]) ** 2
            scores = -(squares / within).sum(axis=2) + 2 * log_prior[:, None]
            first = -squares.sum(axis=2) if by_distance else scores
            if len(classes) == 2:
                first, scores = np.diff(first, axis=0), np.diff(scores, axis=0)
            expected = np.concatenate([first, scores])
            row = found[c, output.start : output.start + expected.size].reshape(expected.shape)
            np.testing.assert_allclose(row, expected, rtol=1e-9)


def test_a_sphere_where_nothing_varies_fails():
    flat = np.full((N, P), 3.0, np.float32)
    _, status, _ = launch_centroid(flat, zeros, lambda entries: np.ones(len(entries.first) - 1, bool))
    np.testing.assert_array_equal(status, [1, 1, -1, 1])


@pytest.mark.parametrize("smoothing", [1e-9, 0.5], ids=["by sums", "by voxels"])
def test_equal_classes_tie(smoothing):
    """Contrasts of classes with the same samples are exactly 0, so that the first class wins, as in scikit-learn."""
    labels, X = np.arange(24) % 2, np.repeat(np.random.default_rng(3).standard_normal((12, P)), 2, axis=0)
    folds = Folds(24, (np.arange(8, 24), np.arange(16)), (np.arange(8), np.arange(16, 24)))
    X = np.ascontiguousarray(X.T, np.float32)
    block = Block(X, np.zeros(P), np.array([0, P]), np.arange(P, dtype=np.int32), np.inf, 0, 1)
    for plan in (
        plan_bayes(GaussianNB(var_smoothing=smoothing), labels, folds),
        plan_centroid(NearestCentroid(), labels, folds),
    ):
        out, status = np.empty((1, plan.n_out)), np.empty(1, np.int8)
        with kernel_threads(1):
            plan.run(block, out, status)
        for held_out in plan.held_out(out):
            assert not held_out.predicted.any()
            np.testing.assert_array_equal(held_out.probability[:, :, 0], held_out.probability[:, :, 1])
    for held_out in classes_alone(GaussianNB(var_smoothing=smoothing), labels, folds, block)[1]:
        np.testing.assert_array_equal(held_out.values, 0.0)
        assert not held_out.predicted.any()


def classes_alone(estimator, y, folds, block):
    """Statuses of spheres, and a fold's predicted classes and contrasts."""
    plan = plan_bayes(estimator, y, folds).for_metrics([metrics.accuracy])
    out, status = np.empty((len(block.indptr) - 1, plan.n_out)), np.empty(len(block.indptr) - 1, np.int8)
    with kernel_threads(1):
        plan.run(block, out, status)
    return status, list(plan.held_out(out))


def spoil(X):
    """Voxels that are left out of sums, each for another reason."""
    X[3, 90] = 1e4  # a sample that is far off
    X[:, 40] *= 1e-3
    X[:, 104] = 5.0
    return X


@pytest.mark.parametrize("smoothing", [0.0, 1e-9, 1e-3, 0.5])
@pytest.mark.parametrize("change", [np.asarray, spoil], ids=["plain", "spoilt"])
def test_classes_alone_are_those_of_all_numbers(smoothing, change):
    block = wide_block(
        change(wide_data(150)), [np.arange(30), np.arange(20, 60), np.arange(80, 100), np.arange(100, 150)]
    )
    for estimator in (GaussianNB(var_smoothing=smoothing), GaussianNB(priors=[0.2, 0.8], var_smoothing=smoothing)):
        y = Y if estimator.priors is None else np.minimum(Y, 1)  # one fold has one class then
        plan = plan_bayes(estimator, y, FOLDS)
        out, status = np.empty((4, plan.n_out)), np.empty(4, np.int8)
        with kernel_threads(1):
            plan.run(block, out, status)
        found, alone = classes_alone(estimator, y, FOLDS, block)
        np.testing.assert_array_equal(found, status)
        for everything, classes in zip(plan.held_out(out), alone, strict=True):
            if everything is None:
                assert classes is None
                continue
            np.testing.assert_array_equal(classes.failed, status != 0)
            np.testing.assert_array_equal(classes.predicted[status == 0], everything.predicted[status == 0])
            assert classes.decision is None
            assert classes.probability is None


def joint_of_sphere(A, y, train, test, smoothing):
    """Joint log-likelihoods (n_classes, n_test) in long double, equal priors."""
    A = A.astype(np.longdouble)
    added = smoothing * A[train].var(axis=0).max()
    rows = []
    for k in np.unique(y[train]):
        part = A[train][y[train] == k]
        var = part.var(axis=0) + added
        rows.append(-0.5 * (np.log(var) + (A[test] - part.mean(axis=0)) ** 2 / var).sum(axis=1))
    return np.array(rows)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("smoothing", [0.0, 1e-3])
def test_classes_that_float32_cannot_tell_apart(n_classes, smoothing):
    """Following voxels have the same samples with classes exchanged: in a sphere of whole turns all classes tie.

    But for some noise, the contrasts of which are of the size of what float32 leaves of their sums.
    """
    rng, n_each, n_test, n_turns = np.random.default_rng(5), 8, 40, 6 * SEGMENT // n_classes
    y = np.concatenate([np.repeat(np.arange(n_classes), n_each), np.arange(n_test) % n_classes])
    train, test = np.arange(n_classes * n_each), np.arange(n_classes * n_each, len(y))
    given = rng.standard_normal((len(y), n_turns))
    voxels = []
    for turn in range(n_classes):
        rolled = np.roll(train.reshape(n_classes, n_each), turn, axis=0).ravel()
        voxels.append(np.concatenate([given[rolled], given[test]]))
    X = np.stack(voxels, axis=2).reshape(len(y), -1)
    X = (X + 5e-8 * rng.standard_normal(X.shape)).astype(np.float32)
    folds = Folds(len(y), (train,), (test,))
    turns = np.arange(60).reshape(-1, n_classes) + 2 * n_classes * np.arange(60 // n_classes)[:, None]  # many stretches
    spheres = [n_classes * start + turns.ravel() for start in range(0, n_turns - turns.max() // n_classes, 2)]
    _, (held_out,) = classes_alone(GaussianNB(var_smoothing=smoothing), y, folds, wide_block(X, spheres))
    n_close = 0
    for c, sphere in enumerate(spheres):
        joint = joint_of_sphere(X[:, sphere], y, train, test, smoothing)
        second, first = np.sort(joint, axis=0)[-2:]
        told = first - second > 1e-11  # in float64
        np.testing.assert_array_equal(held_out.predicted[c][told], joint.argmax(axis=0)[told])
        n_close += np.count_nonzero(told & (first - second < 1e-5))
    assert n_close > 100


def test_the_largest_error_is_one():
    """Rows are just above a power of two, where rounding is largest, on both sides of each stretch."""
    rng, members, n_columns = np.random.default_rng(6), np.array([1, 3, 64]), 20_000
    exact = (
        rng.uniform(1.0, 1.0001, (2 * SEGMENT, n_columns)) * np.where(np.arange(2 * SEGMENT) % 2, 1.0, -1.0)[:, None]
    )
    zero = np.zeros(len(exact))
    sums = RoundedSums(exact.astype(np.float32), np.abs(exact).max(axis=1), zero, zero)
    found, shift = np.zeros(n_columns), np.zeros(2, np.int64)
    stretches = find_stretches(members, shift, np.empty((3, 2), np.int64))
    add_stretches(sums.rows, stretches, found[:0], found)
    expected = exact[1] - exact[0] + exact[3] - exact[2] + exact[64]
    largest = np.abs(found - expected).max()
    assert largest <= largest_error(stretches, sums, 0.0)
    assert largest > 0.5 * largest_error(stretches, sums, 0.0)


@pytest.mark.parametrize("scoring", ["accuracy", "balanced_accuracy", "f1_macro"])
@pytest.mark.parametrize("only", [0, 1])
def test_a_fold_of_one_class_predicts_it(scoring, only):
    X, y = np.random.default_rng(0).standard_normal((12, 20)), np.arange(12) % 2
    cv = [(np.flatnonzero(y == only)[:4], np.arange(8, 12)), (np.arange(8), np.arange(8, 12))]
    A = sparse.csr_array(np.tril(np.triu(np.ones((20, 20)), -2), 2))
    found = search_light(X, y, GaussianNB(), A, cv=cv, scoring=scoring, n_jobs=1)
    both = search_light(X, y, GaussianNB(), A, cv=cv, scoring=[scoring, "f1_micro"], n_jobs=1)
    for sphere in range(20):
        members, scorer = np.flatnonzero(A.toarray()[sphere]), get_scorer(scoring)
        each = [
            scorer(GaussianNB().fit(X[train][:, members], y[train]), X[test][:, members], y[test]) for train, test in cv
        ]
        np.testing.assert_allclose(found[sphere], np.mean(each), rtol=1e-12)
    np.testing.assert_array_equal(both[scoring], found)


def test_what_is_ranked_or_kept_takes_all_numbers():
    plan = plan_bayes(GaussianNB(), Y, FOLDS)
    assert plan.for_metrics([metrics.accuracy], keep=True) is plan
    for asked in ([metrics.accuracy, metrics.roc_auc], [metrics.neg_log_loss], [BlockMetric(metrics.accuracy)]):
        assert plan.for_metrics(asked) is plan
    for asked in ([metrics.accuracy], [metrics.balanced_accuracy, metrics.METRICS["f1_macro"]]):
        assert plan.for_metrics(asked).kind is ClassesAlone
    linear = REGISTRY[LinearSVC].plan(LinearSVC(), Y, FOLDS)
    assert linear.for_metrics([metrics.accuracy]) is linear


def test_small_spheres_are_left_out():
    _, status, _ = launch_bayes(make_data(), smoothing=1e-9, min_voxels=4)
    np.testing.assert_array_equal(status, [0, -1, -1, 0])


def test_sums_of_members_from_prefix_sums():
    n, width = 3 * SEGMENT, 4
    rows = np.random.default_rng(1).standard_normal((n, 2 * width))
    held = [2, 0, 1]  # segments in another order than in the data
    shift = np.array([(place - segment) * SEGMENT for segment, place in enumerate(np.argsort(held))])
    P = np.zeros((n, width + width // 2))
    for place, segment in enumerate(held):
        own, given = slice(place * SEGMENT, (place + 1) * SEGMENT), rows[segment * SEGMENT : (segment + 1) * SEGMENT]
        P[own, :width] = given[:, :width]
        P[own].view(np.float32)[:, 2 * width :] = given[:, width:]
        accumulate(P[own], width)
    for members in (
        np.array([0]),
        np.array([5, 6, 7, 20]),
        np.arange(SEGMENT - 2, SEGMENT + 2),
        np.array([SEGMENT, 2 * SEGMENT - 1, 2 * SEGMENT]),
        np.arange(n),
    ):
        exact, rough = np.full(width, 7.0), np.full(width, 7.0)
        stretches = find_stretches(members, shift, np.empty((len(members), 2), np.int64))
        listed = np.concatenate([np.arange(first, last + 1) for first, last in stretches])
        np.testing.assert_array_equal(listed, members + shift[members // SEGMENT])
        add_stretches(P, stretches, exact, rough)
        expected = 7.0 + rows[members].sum(axis=0)
        np.testing.assert_allclose(exact, expected[:width], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(rough, expected[width:], rtol=1e-5, atol=1e-5)


def wide_data(n_voxels):
    noise = np.random.default_rng(2).standard_normal((N, n_voxels))
    return (noise + 0.5 * Y[:, None]).astype(np.float32)


def wide_block(X, members):
    n = X.shape[1]
    indptr = np.concatenate([[0], np.cumsum([len(one) for one in members])])
    return Block(np.ascontiguousarray(X.T), np.zeros(n), indptr, np.concatenate(members).astype(np.int32), np.inf, 0, 1)


def rows_of(blocks, run, n_out):
    """Rows of the spheres of several blocks, by one table."""
    rows = []
    with kernel_threads(1):
        for block in blocks:
            out, status = np.empty((len(block.indptr) - 1, n_out)), np.empty(len(block.indptr) - 1, np.int8)
            run(block, out, status)
            rows.append(out)
    return np.concatenate(rows)


def run_bayes(blocks, smoothing=1e-9):
    entries, outputs = class_folds(Y, FOLDS, 1, None, 1)

    def decode(part, table, out, status):
        bayes.naive_bayes(part, table.shift, table.voxels, table.sums, entries, zeros(entries), smoothing, out, status)

    run = BySums(entries, bayes_rows(entries), bayes.tabulate_bayes, decode)
    return rows_of(blocks, run, row_length(outputs, FOLDS))


def run_centroid(blocks):
    """The same for centroids: what predicts, and the scores."""
    entries, outputs = class_folds(Y, FOLDS, 2, None, 2, contrast=True)
    n_out, by_distance = row_length(outputs, FOLDS), np.ones(len(FOLDS), bool)

    def decode(part, table, out, status):
        centroid.nearest_centroid(
            part, table.shift, table.voxels, table.sums, entries, zeros(entries), by_distance, out, status
        )

    return rows_of(blocks, BySums(entries, ExactRows(n_out, 0), centroid.tabulate_centroids, decode), n_out)


@pytest.mark.parametrize("table_bytes", [1, 3 * 64 * 1000, 10**9], ids=["one sphere", "some segments", "all"])
def test_results_do_not_depend_on_the_room_for_tables(table_bytes, monkeypatch):
    X = wide_data(5 * SEGMENT + 7)
    members = [np.arange(start, start + 90, 1 + start % 3) for start in (0, 230, 60, 200, 0, 237)]
    expected = run_bayes([wide_block(X, members)])
    monkeypatch.setattr(local, "TABLE_BYTES", table_bytes)
    block = wide_block(X, members)
    halves = [block._replace(indptr=block.indptr[a : b + 1]) for a, b in ((0, 2), (2, 5), (5, 6))]
    np.testing.assert_array_equal(run_bayes(halves), expected)
    plan = plan_bayes(GaussianNB(), Y, FOLDS).for_metrics([metrics.accuracy])
    in_parts = rows_of(halves, plan.run, plan.n_out)
    monkeypatch.undo()
    np.testing.assert_array_equal(in_parts, rows_of([block], plan.run, plan.n_out))


@pytest.mark.parametrize("smoothing", [0.0, 1e-9, 1e-6])
def test_sums_agree_with_voxel_by_voxel(smoothing, monkeypatch):
    X = wide_data(150)
    X[:, 40] *= 1e-3  # its variance is a millionth of the others': the sphere that has it is computed by voxels
    X[3, 90] = 1e4  # a sample that is far off: left out of the sums
    members = [np.arange(30), np.arange(20, 60), np.arange(80, 100), np.arange(100, 150)]
    found = run_bayes([wide_block(X, members)], smoothing)
    for c, sphere in enumerate(members):
        for fold, output in enumerate(class_folds(Y, FOLDS, 1, None, 1)[1]):
            expected = naive_bayes(X[:, sphere].astype(float), fold, smoothing)
            row = found[c, output.start : output.start + expected.size].reshape(expected.shape)
            assert_ratios_equal(row, ratios(expected), rtol=1e-9)


def test_voxels_of_another_scale_cost_their_neighbours_nothing():
    X = wide_data(2 * SEGMENT)
    members = [np.arange(10, 40), np.arange(50, 60), np.arange(70, 100)]
    expected = run_bayes([wide_block(X, members)], 1e-6), run_centroid([wide_block(X, members)])
    X[:, 5] *= 1e-17  # its derivative is beyond float32
    X[:, 66] *= 1e-5
    X[:, 45] *= 1e8
    found = run_bayes([wide_block(X, members)], 1e-6), run_centroid([wide_block(X, members)])
    assert_rows_equal(found[0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-12)
    inside = [np.array([3, 5, 7]), np.arange(40, 70)]
    for c, sphere in enumerate(inside):
        alone = [wide_block(np.ascontiguousarray(X[:, sphere]), [np.arange(len(sphere))])]
        whole = [wide_block(X, inside)]
        assert_rows_equal(run_bayes(whole)[c : c + 1], run_bayes(alone), rtol=1e-9)
        np.testing.assert_allclose(run_centroid(whole)[c], run_centroid(alone)[0], rtol=1e-9)


@pytest.mark.parametrize("quiet", [1e-1, 1e-3, 1e-6, 1e-9])
def test_a_quiet_sphere_beside_louder_voxels_is_decoded_as_alone(quiet):
    X, sphere = wide_data(SEGMENT), np.arange(44, 60)
    X[:, sphere] *= quiet
    alone = [wide_block(np.ascontiguousarray(X[:, sphere]), [np.arange(len(sphere))])]
    np.testing.assert_allclose(run_centroid([wide_block(X, [sphere])]), run_centroid(alone), rtol=1e-9)


@pytest.mark.parametrize("background", [1e-1, 1e-3, 1e-6, 0.0])
def test_a_sphere_beside_mostly_background_is_decoded_as_alone(background):
    X, sphere = wide_data(SEGMENT), np.arange(44, 60)
    X[:, :40] *= background
    alone = [wide_block(np.ascontiguousarray(X[:, sphere]), [np.arange(len(sphere))])]
    assert_rows_equal(run_bayes([wide_block(X, [sphere])]), run_bayes(alone), rtol=1e-9)


def assert_rows_equal(found, expected, rtol):
    for output, test in zip(class_folds(Y, FOLDS, 1, None, 1)[1], FOLDS.test, strict=True):
        columns = slice(output.start, output.start + output.n_columns * len(test))
        for row, other in zip(found[:, columns], expected[:, columns], strict=True):
            assert_ratios_equal(*(one.reshape(output.n_columns, -1) for one in (row, other)), rtol)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 64])
def test_the_typical_value_of_a_segment(n):
    values = rng.integers(0, 5, n).astype(float)  # with ties
    assert typical(values) == naive.typical(values)
    assert typical(np.append(values, np.inf)) == naive.typical(np.append(values, np.inf))
