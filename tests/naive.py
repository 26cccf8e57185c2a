"""Slow twins of what is compiled: each is a definition, written down in numpy, that checks its own optimality."""

import numpy as np
from scipy.ndimage import generate_binary_structure, label
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv

#: Whether this platform's long double has more digits than a double (it has not on Windows and on some ARM).
LONG_DOUBLE_IS_LONGER = np.finfo(np.longdouble).eps < 1e-18


def typical(values):
    """The value of seven eighths of all, rounded down, in rising order."""
    return np.sort(values)[len(values) * 7 // 8]


def kernel_matrix(X, s2):
    """K = x_i . x_j + s2, for a finite s2."""
    return X @ X.T + s2


def augmented(X, s2):
    """X with one more column that stands for the intercept, and which columns are penalised."""
    if s2 == 0:
        return X, np.ones(X.shape[1])
    column = 1.0 if np.isinf(s2) else np.sqrt(s2)
    penalised = np.ones(X.shape[1] + 1)
    penalised[-1] = not np.isinf(s2)
    return np.column_stack([X, np.full(len(X), column)]), penalised


def ridge(X, t, X_test, *, s2=np.inf, weights=None, alpha=1.0):
    """Predictions of argmin sum_i w_i (t_i - x_i b)^2 + alpha |b|^2, by least squares on the stacked problem."""
    weights = np.ones(len(X)) if weights is None else weights
    A, penalised = augmented(X, s2)
    root = np.sqrt(weights)[:, None]
    t = t.reshape(len(X), -1)
    stacked = np.vstack([root * A, np.diag(np.sqrt(alpha * penalised))])
    b = np.linalg.lstsq(stacked, np.vstack([root * t, np.zeros((A.shape[1], t.shape[1]))]), rcond=None)[0]
    return augmented(X_test, s2)[0] @ b


def ridge_loo_errors(X, t, alphas, *, s2=np.inf, weights=None):
    """Weighted sum of squared leave-one-out errors of each alpha, one refit a sample."""
    weights = np.ones(len(X)) if weights is None else weights
    t = t.reshape(len(X), -1)
    errors = []
    for alpha in alphas:
        total = 0.0
        for i in range(len(X)):
            rest = np.arange(len(X)) != i
            f = ridge(X[rest], t[rest], X[[i]], s2=s2, weights=weights[rest], alpha=alpha)
            total += weights[i] * ((t[i] - f) ** 2).sum()
        errors.append(total)
    return np.array(errors)


def ridge_cv(X, t, X_test, alphas, *, s2=np.inf, weights=None):
    """Ridge with the alpha whose leave-one-out error is smallest."""
    errors = ridge_loo_errors(X, t, alphas, s2=s2, weights=weights)
    return ridge(X, t, X_test, s2=s2, weights=weights, alpha=alphas[int(errors.argmin())])


def squared_hinge(X, y, X_test, *, C, s2):
    """Decision values of min |w|^2 / 2 + sum_i C_i max(0, 1 - y_i w.x_i)^2; C is one number a sample.

    Newton steps (each a least-squares problem on the samples inside the margin), halved until the objective falls.
    The objective is strongly convex, so a vanishing gradient proves the result.
    """
    A = augmented(X, s2)[0]

    def objective(w):
        return 0.5 * w @ w + (C * np.maximum(0.0, 1.0 - y * (A @ w)) ** 2).sum()

    w = np.zeros(A.shape[1])
    for _ in range(500):
        inside = y * (A @ w) < 1
        root = np.sqrt(2.0 * C[inside])
        stacked = np.vstack([root[:, None] * A[inside], np.eye(len(w))])
        step = np.linalg.lstsq(stacked, np.r_[root * y[inside], np.zeros(len(w))], rcond=None)[0] - w
        length = 1.0
        while objective(w + length * step) > objective(w) and length > 1e-12:
            length /= 2
        w = w + length * step
        if ((y * (A @ w) < 1) == inside).all() and length == 1.0:
            break
    slack = 2.0 * C * np.maximum(0.0, 1.0 - y * (A @ w)) * y
    assert np.abs(w - A.T @ slack).max() <= 1e-9 * (1.0 + np.abs(A).T @ np.abs(slack)).max()
    return augmented(X_test, s2)[0] @ w


def hinge(X, y, X_test, *, C, s2):
    """Decision values of min |w|^2 / 2 + sum_i C_i max(0, 1 - y_i w.x_i); C is one number a sample.

    Coordinate descent on the dual finds which multipliers are free; these then solve a linear system. The distance
    between primal and dual objective bounds |w - w*|^2 / 2, so a vanishing one proves the result.
    """
    A = augmented(X, s2)[0]
    Z = y[:, None] * A
    Q = Z @ Z.T
    a = np.zeros(len(y))
    for _ in range(400):
        for _ in range(25):
            for i in range(len(y)):
                a[i] = np.clip(a[i] - (Q[i] @ a - 1.0) / Q[i, i], 0.0, C[i])
        free = (a > 0) & (a < C)
        exact = a.copy()
        # The smallest change that solves for the free multipliers: they are not unique where samples repeat.
        exact[free] += np.linalg.lstsq(Q[np.ix_(free, free)], 1.0 - Q[free] @ a, rcond=None)[0]
        exact = np.clip(exact, 0.0, C)
        w = Z.T @ exact
        primal = 0.5 * w @ w + (C * np.maximum(0.0, 1.0 - Z @ w)).sum()
        gap = primal - (exact.sum() - 0.5 * w @ w)
        if gap <= 1e-13 * (1.0 + primal):
            return augmented(X_test, s2)[0] @ w
    raise AssertionError(f"the twin did not converge: gap {gap}")


def both_terms(sphere):
    """K of a sphere, without its free intercept."""
    return sphere.Z + (np.outer(sphere.u, sphere.u) / sphere.inv_c if 0.0 < sphere.inv_c < np.inf else 0.0)


def states_solve(K, D, t, low, high, states, free_intercept, tolerance=1e-9):
    """Whether there is a solution of the hinge loss with these states: 0 zero, +-1 free, +-2 at the bound."""
    free, bound = np.abs(states) == 1, np.abs(states) == 2
    beta = np.where(bound, np.where(states > 0, high, low), 0.0)
    m = np.count_nonzero(free)
    A, b = (K + np.diag(D))[np.ix_(free, free)], t[free] - K[free] @ beta
    if free_intercept:
        A, b = np.block([[A, np.ones((m, 1))], [np.ones((1, m)), np.zeros((1, 1))]]), np.append(b, -beta.sum())
    solution = np.linalg.lstsq(A, b, rcond=None)[0]
    if np.abs(A @ solution - b).max(initial=0.0) > tolerance:
        return False
    beta[free] = solution[:m]
    inside = (beta > low + tolerance) & (beta < high - tolerance)  # next to a bound it is another state's solution
    if (free & ~inside).any():
        return False
    rest = K @ beta + D * beta - t  # without the intercept
    side = np.where(high > 0.0, 1, -1) * np.where(bound, -1, 1)  # where f - t has to lie
    if free_intercept and m == 0:
        return bool((-rest[side > 0]).max(initial=-np.inf) <= (-rest[side < 0]).min(initial=np.inf) + tolerance)
    g = solution[m] if free_intercept else 0.0
    return bool((side * (rest + g))[~free].min(initial=0.0) >= -tolerance)


def solve_long(A, b):
    """Solve A x = b in long double by Cholesky."""
    A, b = A.astype(np.longdouble), b.astype(np.longdouble)
    L = np.zeros_like(A)
    n = len(b)
    for k in range(n):
        L[k, k] = np.sqrt(A[k, k] - (L[k, :k] ** 2).sum())
        L[k + 1 :, k] = (A[k + 1 :, k] - L[k + 1 :, :k] @ L[k, :k]) / L[k, k]
    z, x = np.zeros_like(b), np.zeros_like(b)
    for i in range(n):
        z[i] = (b[i] - L[i, :i] @ z[:i]) / L[i, i]
    for i in range(n - 1, -1, -1):
        x[i] = (z[i] - L[i + 1 :, i] @ x[i + 1 :]) / L[i, i]
    return x


def weighted_ridge_long(X, t, S, D, s2):
    """Decision values at all samples of ridge fitted on the samples S, in long double."""
    K = kernel_matrix(X.astype(np.longdouble), np.longdouble(s2))
    return K[:, S] @ solve_long(K[np.ix_(S, S)] + np.diag(D[S]), t[S])


def squared_hinge_long(X, y, train, D, s2):
    """Decision values at all samples, in long double, by the active set; D = 1 / (2 C).

    A set S that reproduces itself is the optimum; the assertion says that it did.
    """
    S = np.flatnonzero(train)
    for _ in range(100):
        f = weighted_ridge_long(X, y, S, D, s2)
        following = np.flatnonzero(train & (y * f < 1))
        if np.array_equal(following, S):
            return f
        S = following
    raise AssertionError("the active set did not come to a standstill")


def epi_like(n_samples, n_voxels, seed=0, *, mean=1e4, sd=1e2, smooth=2.0):
    """Raw-EPI-like float32 data (n_samples, n_voxels): neighbouring voxels are alike, every voxel has its own mean."""
    rng = np.random.default_rng(seed)
    x = np.arange(n_voxels)
    kernel = np.exp(-0.5 * ((x[:, None] - x) / smooth) ** 2)
    noise = rng.standard_normal((n_samples, n_voxels)) @ kernel
    voxel_means = mean * (1.0 + 0.1 * rng.standard_normal(n_voxels))
    return (voxel_means + sd * noise / noise.std()).astype(np.float32)


def fold_scores(X, y, estimator, members, *, cv, groups=None, scoring=None):
    """The searchlight as everybody writes it first: (n_folds, n_centres)."""
    splits = list(check_cv(cv, y, classifier=is_classifier(estimator)).split(X, y, groups))
    scorer = check_scoring(estimator, scoring=scoring)
    scores = np.full((len(splits), len(members)), np.nan)
    for centre, voxels in enumerate(members):
        for fold, (train, test) in enumerate(splits):
            fitted = clone(estimator).fit(X[np.ix_(train, voxels)], y[train])
            scores[fold, centre] = scorer(fitted, X[np.ix_(test, voxels)], y[test])
    return scores


def ledoit_wolf(X):
    """Shrinkage of centred samples X towards mu I, element by element of the covariance matrix."""
    n, p = X.shape
    if p == 1:
        return 0.0
    S = X.T @ X / n
    target = np.trace(S) / p * np.eye(p)
    delta = ((S - target) ** 2).sum()
    beta = min(sum(((np.outer(x, x) - S) ** 2).sum() for x in X) / n**2, delta)
    return beta / delta if beta > 0 else 0.0


def lda_scores(X, y, X_test, *, shrinkage, priors):
    """One column a class k: x' S^-1 m_k - m_k' S^-1 m_k / 2 + log pi_k, from the shrunk covariance matrix S itself."""
    classes, p = np.unique(y), X.shape[1]
    means = np.array([X[y == k].mean(axis=0) for k in classes])
    S = np.zeros((p, p))
    for k, mean, prior in zip(classes, means, priors, strict=True):
        R = X[y == k] - mean
        sd = R.std(axis=0) if shrinkage == "auto" else np.ones(p)
        R = R / np.where(sd > 0, sd, 1.0)
        C = R.T @ R / len(R)
        g = ledoit_wolf(R) if shrinkage == "auto" else shrinkage
        S += (
            prior
            * np.diag(np.where(sd > 0, sd, 1.0))
            @ ((1 - g) * C + g * np.trace(C) / p * np.eye(p))
            @ np.diag(np.where(sd > 0, sd, 1.0))
        )
    weights = np.linalg.solve(S, means.T)
    return X_test @ weights - 0.5 * np.einsum("kv,vk->k", means, weights) + np.log(priors)


def lda_svd_scores(X, y, X_test, *, tol, priors, lost):
    """One column a class, by singular value decompositions of the scaled samples and of the scaled means."""
    classes = np.unique(y)
    means = np.array([X[y == k].mean(axis=0) for k in classes])
    centre = priors @ means
    R = X - means[np.searchsorted(classes, y)]
    sd = np.sqrt((R**2).mean(axis=0))
    sd = np.where(sd > 0, sd, 1.0)
    _, sigma, V = np.linalg.svd(R / sd / np.sqrt(len(X) - lost * len(classes)), full_matrices=False)
    scaling = (V[sigma > tol] / sd).T / sigma[sigma > tol]
    between = (np.sqrt(priors)[:, None] * (means - centre)) @ scaling
    _, sigma, V = np.linalg.svd(between, full_matrices=False)
    scaling = scaling @ V[sigma > tol * sigma[0]].T
    a, b = (X_test - centre) @ scaling, (means - centre) @ scaling
    return a @ b.T - 0.5 * (b**2).sum(axis=1) + np.log(priors)


def nearer_than_first(X, y, X_test):
    """By how much each class's mean is nearer than the first's, in squares: (n_test, n_classes), voxel by voxel."""
    X, X_test = X.astype(np.float64), X_test.astype(np.float64)
    parts = np.array([(X_test - X[y == k].mean(axis=0)) ** 2 for k in np.unique(y)])
    return (parts[0] - parts).sum(axis=2).T


def structure(connectivity):
    """Neighbours within a 3 x 3 x 3 cube, as scipy.ndimage wants them."""
    return generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])


def tfce(volume, connectivity, heights, factor, *, E=0.5, H=2.0):
    """sum over the heights of extent^E height^H factor, by labelling the volume at every height."""
    total = np.where(np.isnan(volume), np.nan, 0.0)
    for height in heights:
        labels, _ = label(volume >= height, structure(connectivity))
        extents = np.bincount(labels.ravel())
        total += np.where(labels > 0, extents[labels] ** E * height**H * factor, 0.0)
    return total


def multiples(volume, dh):
    """dh, 2 dh, ... up to the largest value, each by one product."""
    most = int(np.nanmax(volume, initial=0.0) / dh) + 2
    heights = np.arange(1, most + 1) * dh
    return heights[heights <= np.nanmax(volume, initial=0.0)]


def clusters(volume, connectivity, threshold):
    """Labels of what lies above a threshold; extent and sum of (value - threshold) of each, by scipy."""
    labels, n = label(volume > threshold, structure(connectivity))
    members = [labels == number for number in range(1, n + 1)]
    return labels, [int(m.sum()) for m in members], [float((volume[m] - threshold).sum()) for m in members]
