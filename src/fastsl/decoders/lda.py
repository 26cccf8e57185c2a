"""LinearDiscriminantAnalysis: shrinkage fixed or chosen by Ledoit and Wolf, and the solver ``svd`` without."""

import math
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray

from fastsl._kernels import lda, lda_null, lda_svd
from fastsl._kernels.block import Block
from fastsl._kernels.discriminant import ClassFolds, InOrder
from fastsl._kernels.labellings import Labellings
from fastsl.decoders.groups import alike
from fastsl.decoders.labellings import NullPlan, in_launches
from fastsl.decoders.plan import Plan, lay_out
from fastsl.folds import Folds
from fastsl.predictions import LogOdds

#: Smaller shrinkage leaves the result to rounding where a sphere has more voxels than training samples.
_LEAST_SHRINKAGE = 1e-8
#: Smaller tolerances of the solver ``svd`` do not tell what varies from rounding.
_LEAST_TOL = 1e-6
#: What the solver ``svd`` divides by is the training samples less this for each class: as the scikit-learn that is
#: installed does, which changed in its version 1.9.
LOST_PER_CLASS = 0 if tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 9) else 1


def refuse(estimator: Any) -> str | None:
    """Say what of this LinearDiscriminantAnalysis is not compiled; None when all is.

    The solvers ``lsqr`` and ``eigen`` are two ways to the same scores.
    """
    if estimator.covariance_estimator is not None:
        return "covariance_estimator may be anything"
    if estimator.solver == "svd":
        if estimator.shrinkage is not None:
            return "solver='svd' takes no shrinkage"
        if not _LEAST_TOL <= estimator.tol < 1.0:
            return f"tol={estimator.tol} keeps directions that hold rounding only, or none"
    elif estimator.shrinkage is None or (estimator.shrinkage != "auto" and estimator.shrinkage < _LEAST_SHRINKAGE):
        return (
            f"shrinkage={estimator.shrinkage!r} leaves the covariance matrix singular where a sphere has more voxels "
            "than training samples"
        )
    if estimator.n_components is not None and estimator.n_components > 1:
        return f"n_components={estimator.n_components} is an error in spheres with fewer voxels"
    if estimator.priors is not None:
        priors = np.asarray(estimator.priors, dtype=np.float64)
        if priors.ndim != 1 or not (priors > 0).all():
            return f"priors={priors.tolist()} are not one positive number a class"
    return None


def class_folds(y: NDArray[Any], folds: Folds, priors: Any) -> tuple[ClassFolds, list[NDArray[Any]]]:
    """Training samples of every fold sorted by class, with the priors of the classes; and each fold's classes.

    Raises
    ------
    ValueError
        Where scikit-learn's fit would: the training samples of a fold have more or fewer classes than there are
        ``priors``, or only one sample of each class.
    """
    train, ordered, fold_classes = [], [], []
    sizes: list[int] = []
    prior: list[float] = []
    of_fold = [0]
    for fold, samples in enumerate(folds.train):
        classes, which, counts = np.unique(y[samples], return_inverse=True, return_counts=True)
        fold_classes.append(classes)
        if len(classes) > 1:
            if len(classes) == len(samples):
                raise ValueError(f"fold {fold} trains on one sample of each class: none is left to tell how they vary.")
            if priors is not None and len(priors) != len(classes):
                raise ValueError(
                    f"there are {len(priors)} priors, but the training samples of fold {fold} have {len(classes)} "
                    "classes."
                )
            own = np.asarray(counts / len(samples) if priors is None else priors, dtype=np.float64)
            train.append(samples[np.argsort(which, kind="stable")])
            ordered.append(_in_order(samples, which))
            sizes.extend(counts)
            prior.extend(own / own.sum())
        of_fold.append(len(sizes))
    trained = np.zeros((len(sizes), len(y)))
    trained[np.repeat(np.arange(len(sizes)), sizes), np.concatenate([*train, np.empty(0, np.int64)]).astype(int)] = 1.0
    n_classes = np.diff(of_fold)
    n_columns = np.where(n_classes == 2, 1, n_classes)
    n_test = np.array([len(test) for test in folds.test])
    packed = ClassFolds(
        train=np.concatenate([*train, np.empty(0, np.int64)]).astype(np.int64),
        ordered=InOrder(*np.concatenate([np.empty((3, 0), np.int64), *ordered], axis=1)),
        class_ptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        of_fold=np.array(of_fold, dtype=np.int64),
        prior=np.array(prior, dtype=np.float64),
        test=np.concatenate(folds.test),
        test_ptr=np.concatenate([[0], np.cumsum(n_test)]).astype(np.int64),
        out_ptr=np.concatenate([[0], np.cumsum(n_columns * n_test)]).astype(np.int64),
        most=int(n_classes.max()),
        groups=alike(trained),
    )
    return packed, fold_classes


def _in_order(samples: NDArray[np.int64], label: NDArray[np.int64]) -> NDArray[np.int64]:
    """What :class:`InOrder` has of one fold, a row each."""
    order = np.argsort(samples)
    S = samples[order]
    ends = np.flatnonzero(np.append(np.diff(S) != 1, True)) + 1
    return np.stack([S, label[order], ends[np.searchsorted(ends, np.arange(len(S)), side="right")]])


def plan(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """Scores of the classes, or their difference for two; probabilities follow from them."""
    packed, fold_classes = class_folds(y, folds, estimator.priors)
    outputs = lay_out(
        folds,
        [0 if len(classes) < 2 else 1 if len(classes) == 2 else len(classes) for classes in fold_classes],
        tuple(fold_classes),
    )

    def run(block: Any, out: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        if estimator.solver == "svd":
            lda_svd.lda_svd(block, packed, float(estimator.tol), LOST_PER_CLASS, out, status)
        elif estimator.shrinkage == "auto":
            lda.lda_auto(block, packed, out, status)
        else:
            lda.lda_fixed(block, packed, float(estimator.shrinkage), out, status)

    return Plan(
        name="LinearDiscriminantAnalysis",
        run=run,
        outputs=outputs,
        y=y,
        folds=folds,
        kind=LogOdds,
        features_below=0.6 if estimator.shrinkage != "auto" else 0.85,
    )


def null_plan(estimator: Any, labellings: Labellings) -> NullPlan | None:
    """Fixed shrinkage for many labellings, with the classes' parts as priors."""
    if estimator.solver == "svd" or estimator.shrinkage == "auto" or estimator.priors is not None:
        return None
    n_classes, gamma = int(labellings.true.max()) + 1, float(estimator.shrinkage)

    def kernel(block: Block, part: Labellings, null: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        # All spheres by their Gram matrix: where it is singular, its eigenvalues of 0 are no loss.
        lda_null.lda_null(block._replace(features_below=0), part, n_classes, gamma, null, status)

    return NullPlan(in_launches(kernel, labellings, 1024), math.inf)
