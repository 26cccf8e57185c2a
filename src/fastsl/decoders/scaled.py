"""``make_pipeline(StandardScaler(), decoder)``: voxels are scaled by the training samples of each fold.

Scaling changes the Gram matrix from fold to fold, but what it does to a voxel does not depend on the sphere: the voxels
of a whole block of spheres are scaled once a fold, by scikit-learn itself and in its precision (float32 data stay
float32), and the decoder runs fold by fold on them.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from fastsl._kernels.block import Block
from fastsl.decoders.local import localise_segments
from fastsl.decoders.plan import Plan, PlanFunction
from fastsl.folds import Folds
from fastsl.matrix import subtract_means


def is_scaled(estimator: Any) -> bool:
    """Whether ``estimator`` is a pipeline of a StandardScaler and one estimator more."""
    return (
        type(estimator) is Pipeline
        and len(estimator.steps) == 2
        and type(estimator[0]) is StandardScaler
        and estimator.memory is None
    )


def plan(plan_decoder: PlanFunction, estimator: Pipeline, y: NDArray[Any], folds: Folds) -> Plan:
    """One plan of the decoder for each fold, each on voxels scaled by the samples that it trains on."""
    scaler, decoder = estimator[0], estimator[1]
    parts = [plan_decoder(decoder, y, Folds(folds.n_samples, (train,), (test,))) for train, test in folds]
    made = _plan(scaler, parts, y, folds)
    alone = [part.classes_alone for part in parts if part.classes_alone is not None]
    if len(alone) < len(parts):
        return made
    return replace(made, classes_alone=lambda: _plan(scaler, [make() for make in alone], y, folds))


def _plan(scaler: StandardScaler, parts: list[Plan], y: NDArray[Any], folds: Folds) -> Plan:
    starts = np.concatenate([[0], np.cumsum([part.n_out for part in parts])])
    outputs = [part.outputs[0] for part in parts]

    def run(block: Block, out: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        voxels, indices = localise_segments(block)
        raw = block.X[voxels] + block.means[voxels, None].astype(np.float32)
        local = block._replace(indices=indices)
        status[:] = np.where(np.diff(block.indptr) < block.min_voxels, -1, 0)
        code = np.empty_like(status)
        for part, start, train in zip(parts, starts, folds.train, strict=False):
            if part.n_out:
                X, means = _scale(scaler, raw, train)
                columns = np.empty((len(out), part.n_out))
                part.run(local._replace(X=X, means=means), columns, code)
                out[:, start : start + part.n_out] = columns
                status[status == 0] = code[status == 0]
        out[status != 0] = np.nan

    return Plan(
        name=parts[0].name,
        run=run,
        outputs=tuple(
            None if output is None else output._replace(start=int(start))
            for output, start in zip(outputs, starts, strict=False)
        ),
        y=y,
        folds=folds,
        kind=parts[0].kind,
        intercept=parts[0].intercept,
        features_below=parts[0].features_below,
    )


def _scale(
    scaler: StandardScaler, raw: NDArray[np.float32], train: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Voxels (n_voxels, n_samples) scaled by the samples ``train``, less the means that are returned."""
    if raw.size == 0:
        return raw, np.zeros(0)
    scaled = clone(scaler).fit(raw[:, train].T).transform(raw.T)
    X = np.ascontiguousarray(scaled.T, dtype=np.float32)
    return X, subtract_means(X)
