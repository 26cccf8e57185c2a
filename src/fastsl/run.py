"""``fastsl run``: from files to files."""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneGroupOut

from fastsl.estimators import estimator_type, make_estimator
from fastsl.images import Series
from fastsl.labels import LabelTable, as_numbers
from fastsl.picture import draw_map, require_matplotlib
from fastsl.record import checksums, versions, write_json
from fastsl.searchlight import SearchLight


def _parse_cv(cv: str | None, has_groups: bool) -> Any:
    if cv is None:
        return LeaveOneGroupOut() if has_groups else None
    if cv == "logo":
        if not has_groups:
            raise ValueError("--cv logo leaves one group out: name the column of groups with --groups.")
        return LeaveOneGroupOut()
    if cv.isdecimal():
        return int(cv)
    raise ValueError(f"--cv must be 'logo' or a number of folds, got {cv!r}.")


def _select(
    table: LabelTable, arguments: argparse.Namespace, n_volumes: int
) -> tuple[NDArray[np.bool_], NDArray[Any], NDArray[Any] | None]:
    """Volumes to keep, and their targets and groups."""
    if len(table) != n_volumes:
        raise ValueError(
            f"--labels: {table.path} has {len(table)} rows but --imgs have {n_volumes} volumes; it needs one row a "
            "volume."
        )
    target: NDArray[Any] = table.column(arguments.target, "--target")
    keep = np.ones(n_volumes, bool)
    if arguments.keep is not None:
        wanted = [name.strip() for name in arguments.keep.split(",")]
        absent = [name for name in wanted if name not in target]
        if absent:
            raise ValueError(
                f"--keep: {', '.join(map(repr, absent))} not in column {arguments.target!r}, which has: "
                f"{', '.join(sorted(set(target)))}."
            )
        keep = np.isin(target, wanted)
    groups = None if arguments.groups is None else table.column(arguments.groups, "--groups")[keep]
    target = target[keep]
    if estimator_type(arguments.estimator) == "regressor":
        target = as_numbers(target, f"--target {arguments.target}")
    return keep, target, groups


def _prepare_folder(out: Path, names: list[str], overwrite: bool) -> None:
    """Find out before the work whether its results can be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".fastsl-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"--out: cannot write to {out} ({error.strerror}).") from error
    there = [name for name in names if (out / name).exists()]
    if there and not overwrite:
        raise FileExistsError(f"--out: {out} already has {', '.join(there)}; choose another folder, or --overwrite.")


def _save(image: nib.Nifti1Image, path: Path) -> None:
    part = path.with_name(f".part-{path.name}")
    nib.save(image, part)
    os.replace(part, path)


def run(arguments: argparse.Namespace) -> None:
    """Decode, write scores.nii.gz, n_voxels.nii.gz and result.json, and say what was done."""
    began = time.time()
    names = ["scores.nii.gz", "n_voxels.nii.gz", "result.json"]
    if arguments.picture:
        require_matplotlib()
        names.append("scores.png")
    out = Path(arguments.out)
    make_estimator(arguments.estimator)  # an unknown name is an error before any file is read
    series = Series(arguments.imgs)
    keep, y, groups = _select(LabelTable(arguments.labels), arguments, series.n_volumes)
    if arguments.standardize and groups is None:
        raise ValueError("--standardize works within runs: name the column of runs with --groups.")
    _prepare_folder(out, names, arguments.overwrite)
    searchlight = SearchLight(
        arguments.mask,
        arguments.process_mask,
        arguments.radius,
        arguments.estimator,
        arguments.n_jobs,
        arguments.scoring,
        _parse_cv(arguments.cv, groups is not None),
        verbose=0 if arguments.quiet else 2,
        min_voxels=arguments.min_voxels,
        standardize=arguments.standardize,
    ).fit(series.select(keep), y, groups)
    seconds = time.time() - began
    _save(searchlight.scores_img_, out / "scores.nii.gz")
    _save(searchlight.n_voxels_img_, out / "n_voxels.nii.gz")
    write_json(out / "result.json", _record(arguments, searchlight, series, y, groups, seconds))
    if arguments.picture and np.isfinite(searchlight.masked_scores_).any():
        draw_map(
            searchlight.scores_,
            searchlight.process_mask_,
            out / "scores.png",
            affine=searchlight.process_mask_affine_,
            title=f"{arguments.target}: {searchlight.engine_.estimator}, {arguments.radius:g} mm",
            label=arguments.scoring or "score",
        )
    if not arguments.quiet:
        print(_summary(searchlight, seconds, out, names))


def _record(
    arguments: argparse.Namespace,
    searchlight: SearchLight,
    series: Series,
    y: NDArray[Any],
    groups: NDArray[Any] | None,
    seconds: float,
) -> dict[str, Any]:
    inputs = [*series.names, arguments.labels, arguments.mask, arguments.process_mask]
    values, counts = np.unique(y, return_counts=True)
    scores = searchlight.masked_scores_
    return {
        "command": {name: value for name, value in vars(arguments).items() if name != "command"},
        "versions": versions(),
        "inputs_sha256": checksums(path for path in inputs if path is not None),
        "engine": vars(searchlight.engine_),
        "n_volumes": len(y),
        "targets": {str(value): int(count) for value, count in zip(values[:100], counts[:100], strict=True)},
        "groups": None if groups is None else [str(group) for group in np.unique(groups)],
        "n_folds": len(searchlight.fold_scores_),
        "n_spheres": int(searchlight.n_elements_),
        "n_nan_scores": int(np.isnan(scores).sum()),
        "sphere_sizes": [int(searchlight.n_voxels_.min()), int(searchlight.n_voxels_.max())],
        "score_mean": _of_numbers(np.mean, scores),
        "score_max": _of_numbers(np.max, scores),
        "mean_score_of_each_fold": [_of_numbers(np.mean, fold) for fold in searchlight.fold_scores_],
        "seconds": round(seconds, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _of_numbers(statistic: Callable[[NDArray[np.float64]], Any], values: NDArray[np.float64]) -> float | None:
    """Statistic of the values that are numbers; None, which JSON has a word for, where there are none."""
    numbers = values[np.isfinite(values)]
    return float(statistic(numbers)) if numbers.size else None


def _summary(searchlight: SearchLight, seconds: float, out: Path, names: list[str]) -> str:
    scores = searchlight.masked_scores_
    if not np.isfinite(scores).any():
        written = ", ".join(name for name in names if name != "scores.png")
        return (
            f"{len(scores)} spheres in {seconds:.1f} s; no sphere has a score in every fold, so the map is NaN: "
            f"see the warnings, and mean_score_of_each_fold in result.json.\nWritten to {out}: {written}"
        )
    best = int(np.nanargmax(scores))
    voxel = np.argwhere(searchlight.process_mask_)[best]
    x, y, z = nib.affines.apply_affine(searchlight.process_mask_affine_, voxel)
    return (
        f"{len(scores)} spheres in {seconds:.1f} s; mean score {np.nanmean(scores):.3f}, best {scores[best]:.3f} at "
        f"({x:.0f}, {y:.0f}, {z:.0f}) mm.\nWritten to {out}: {', '.join(names)}"
    )
