"""``fastsl warmup``: compile what a run would compile, so that many jobs that start at once find it in the cache."""

import argparse
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor

from fastsl._runtime import jit
from fastsl._runtime.cpus import resolve_n_jobs
from fastsl.analysis import Analysis, Permutations, plan_analysis
from fastsl.estimators import make_estimator
from fastsl.explanation import time_made_up_spheres
from fastsl.inputs import make_cv, one_or_list, select
from fastsl.kept import Keep
from fastsl.labels import LabelTable
from fastsl.neighbours import sphere_neighbours

#: Voxels in the made-up spheres: fewer than a fold has samples, and more, since that may be two kernels.
_FEW, _MANY = 7, 257
#: Samples where no labels are given: kernels for few may be others than for many.
_SHORT, _LONG = 60, 180


def warm_up(arguments: argparse.Namespace) -> None:
    """Decode made-up spheres with the decoder, scores, labels and folds of a run, or with labels that alternate."""
    began = time.perf_counter()
    if arguments.labels is None:
        analyses = [_analysis(*_made_up(n, arguments), arguments) for n in (_SHORT, _LONG)]
    else:
        if arguments.target is None:
            raise ValueError("--labels: name the column to decode with --target.")
        table = LabelTable(arguments.labels)
        _, y, groups, split = select(table, arguments, len(table))
        analyses = [_analysis(y, groups, split, arguments)]
    sphere_neighbours(np.ones((3, 3, 3)), np.eye(4), 1)
    keep = Keep(arguments.keep_predictions, arguments.keep_confusion)
    threads = min(2, resolve_n_jobs(-1))  # the second has another process compile, too
    for analysis in analyses:
        for n_voxels in (_FEW, _MANY):
            time_made_up_spheres(analysis, len(analysis.y), n_voxels, 2, threads, keep)
    if not arguments.quiet:
        cache = "no cache, since its folder cannot be written" if jit.CACHE_FOLDER is None else str(jit.CACHE_FOLDER)
        print(f"{analyses[0].engine}\ncompiled in {time.perf_counter() - began:.1f} s to {cache}")


def _made_up(n: int, arguments: argparse.Namespace) -> tuple[NDArray[Any], NDArray[Any] | None, None]:
    """Labels, groups and no column of folds."""
    regression = is_regressor(make_estimator(arguments.estimator))
    y = np.random.default_rng(0).standard_normal(n) if regression else np.arange(n) % 2
    return y, None if arguments.groups is None else np.arange(n) * 6 // n, None


def _analysis(y: NDArray[Any], groups: Any, split: Any, arguments: argparse.Namespace) -> Analysis:
    return plan_analysis(
        y,
        len(y),
        arguments.estimator,
        groups=groups,
        scoring=one_or_list(arguments.scoring),
        cv=make_cv(arguments.cv, split, groups is not None),
        # Of any kind: the kernels are the same. "free" because labels may be constant within groups.
        permutations=Permutations(2, "free") if arguments.permutations else None,
    )
