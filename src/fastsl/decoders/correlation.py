"""CorrelationClassifier: sums over the voxels of a sphere."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels import correlation
from fastsl._kernels.block import Block
from fastsl.decoders.additive import class_folds, measured
from fastsl.decoders.plan import Plan
from fastsl.folds import Folds
from fastsl.predictions import Similarities


def refuse(estimator: Any) -> str | None:
    """All of CorrelationClassifier is compiled."""
    return None


def plan(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """A correlation for each class of a fold."""
    entries, outputs = class_folds(y, folds, 2, None, 1)

    def run(block: Block, out: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        local, voxels, tested = measured(block, entries)
        shared = np.empty((len(voxels.mean), len(folds)))
        for fold in range(len(folds)):
            own = voxels.mean[:, entries.first[fold] : entries.first[fold + 1]]
            # Voxels are without their means here, which belong to the patterns unless the shared pattern goes.
            shared[:, fold] = own.mean(axis=1) if estimator.centre and own.size else -local.means
        correlation.correlations(local, voxels, tested, shared, entries, out, status)

    return Plan("CorrelationClassifier", run, outputs, y, folds, Similarities)
