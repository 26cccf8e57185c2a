"""LinearSVC with an l2 penalty, one against the rest."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl._kernels import svm, svm_null
from fastsl._kernels.block import Block
from fastsl._kernels.labellings import Labellings
from fastsl.decoders import support
from fastsl.decoders.groups import alike
from fastsl.decoders.labellings import NullPlan, in_launches
from fastsl.decoders.plan import Plan
from fastsl.decoders.problems import classification_problems, outputs_of
from fastsl.folds import Folds

#: Up to so many samples, and from so many voxels in a sphere that nothing cuts, every sphere is decoded from its Gram
#: matrix, so that the kernel is compiled without the other form. 120 volumes and 7, 19, 27 and 33 voxels take 38, 63,
#: 86 and 108 us from features, 97, 104, 109 and 114 from the Gram matrix; 216 volumes and 30 voxels 118 and 391.
_FEW_SAMPLES, _FEW_VOXELS = 128, 33


def refuse(estimator: Any) -> str | None:
    """Say what of this LinearSVC is not compiled; None when all is."""
    if estimator.penalty != "l2":
        return f"penalty={estimator.penalty!r} is not a ridge penalty"
    if estimator.multi_class != "ovr":
        return f"multi_class={estimator.multi_class!r} is one joint problem"
    return None


def plan(estimator: Any, y: NDArray[Any], folds: Folds) -> Plan:
    """Solve to the optimum, whatever ``tol``, ``max_iter``, ``dual`` and ``random_state`` say.

    liblinear's objective: the intercept is a feature of constant value ``intercept_scaling`` and is penalised.
    """
    if estimator.loss == "hinge":
        return support.plan_linear_svc(estimator, y, folds)
    problems, fold_classes = classification_problems(
        y, folds, estimator.class_weight, C=estimator.C, rest_weighted=False
    )
    groups = alike(2.0 * problems.train[problems.fold] / problems.ridge)
    return Plan(
        name="LinearSVC",
        run=lambda block, out, status: svm.svc_squared_hinge(block, problems, groups, out, status),
        outputs=outputs_of(problems, folds, fold_classes),
        y=y,
        folds=folds,
        intercept=float(estimator.intercept_scaling) ** 2 if estimator.fit_intercept else 0.0,
        features_below=0.4,
        all_gram_from=_FEW_VOXELS if len(y) <= _FEW_SAMPLES else math.inf,
    )


def null_plan(estimator: Any, labellings: Labellings) -> NullPlan | None:
    """The squared hinge loss for many labellings, without weights of classes."""
    if estimator.class_weight is not None or estimator.loss == "hinge":
        return None
    D = 0.5 / float(estimator.C)

    def kernel(block: Block, part: Labellings, null: NDArray[np.float64], status: NDArray[np.int8]) -> None:
        svm_null.svc_squared_hinge_null(block, part, D, null, status)

    # 0.1 ms of a core a labelling: 32 spheres of 256 labellings take a second.
    return NullPlan(
        in_launches(kernel, labellings, 256),
        float(estimator.intercept_scaling) ** 2 if estimator.fit_intercept else 0.0,
    )
