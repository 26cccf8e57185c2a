"""``fastsl warmup``: compile what a run would compile, so that many jobs that start at once find it in the cache."""

import argparse
import time

import numpy as np
from sklearn.base import is_regressor

from fastsl._runtime import jit
from fastsl.analysis import Permutations, plan_analysis
from fastsl.estimators import make_estimator
from fastsl.explanation import time_made_up_spheres
from fastsl.inputs import make_cv, one_or_list, select
from fastsl.labels import LabelTable
from fastsl.neighbours import sphere_neighbours

#: Voxels in the made-up spheres: fewer than a fold has samples, and more, since that may be two kernels.
_FEW, _MANY = 7, 257


def warm_up(arguments: argparse.Namespace) -> None:
    """Decode made-up spheres with the decoder, scores, labels and folds of a run, or with labels that alternate."""
    began = time.perf_counter()
    model = make_estimator(arguments.estimator)
    if arguments.labels is None:
        n = 60
        y = np.random.default_rng(0).standard_normal(n) if is_regressor(model) else np.arange(n) % 2
        groups = None if arguments.groups is None else np.arange(n) * 6 // n
        cv = make_cv(arguments.cv, None, groups is not None)
    else:
        if arguments.target is None:
            raise ValueError("--labels: name the column to decode with --target.")
        table = LabelTable(arguments.labels)
        _, y, groups, split = select(table, arguments, len(table))
        cv = make_cv(arguments.cv, split, groups is not None)
    analysis = plan_analysis(
        y,
        len(y),
        arguments.estimator,
        groups=groups,
        scoring=one_or_list(arguments.scoring),
        cv=cv,
        # Of any kind: the kernels are the same. "free" because labels may be constant within groups.
        permutations=Permutations(2, "free") if arguments.permutations else None,
    )
    sphere_neighbours(np.ones((3, 3, 3)), np.eye(4), 1)
    for n_voxels in (_FEW, _MANY):
        time_made_up_spheres(analysis, len(y), n_voxels, 2, 1)
    if not arguments.quiet:
        cache = "no cache, since its folder cannot be written" if jit.CACHE_FOLDER is None else str(jit.CACHE_FOLDER)
        print(f"{analysis.engine}\ncompiled in {time.perf_counter() - began:.1f} s to {cache}")
