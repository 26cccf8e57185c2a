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
from fastsl.scoring import SINGLE
from fastsl.searchlight import SearchLight


def _make_cv(cv: str | None, split: NDArray[Any] | None, has_groups: bool) -> Any:
    if split is not None:
        if cv is not None:
            raise ValueError("--split is one split by itself: leave out --cv.")
        train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
        if not (train.size and test.size):
            raise ValueError(
                f"--split: the column must say 'train' and 'test', but it says: {', '.join(sorted(set(split)))}."
            )
        return [(train, test)]
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
) -> tuple[NDArray[np.bool_], NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    """Volumes to keep, and their targets, groups and parts of the split."""
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
    split = None if arguments.split is None else table.column(arguments.split, "--split")[keep]
    target = target[keep]
    if estimator_type(arguments.estimator) == "regressor":
        target = as_numbers(target, f"--target {arguments.target}")
    return keep, target, groups, split


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


def _maps(arguments: argparse.Namespace) -> dict[str, str]:
    """File of the map of each score, by the score's name."""
    names = arguments.scoring or [SINGLE]
    if len(names) == 1:
        return {SINGLE: "scores.nii.gz"}
    return {name: f"scores_{name}.nii.gz" for name in names}


def _files(arguments: argparse.Namespace) -> list[str]:
    """Every file that will be written."""
    files = [*_maps(arguments).values(), "n_voxels.nii.gz", "result.json"]
    if arguments.keep_predictions:
        files += ["predictions.npy", "predictions.tsv"]
        files += [] if estimator_type(arguments.estimator) == "regressor" else ["decisions.npy"]
    if arguments.keep_confusion:
        files.append("confusion.npy")
    if arguments.picture:
        require_matplotlib()
        files.append("scores.png")
    return files


def run(arguments: argparse.Namespace) -> None:
    """Decode, write maps, result.json and what else was asked for, and say what was done."""
    began = time.time()
    files = _files(arguments)
    out = Path(arguments.out)
    make_estimator(arguments.estimator)  # an unknown name is an error before any file is read
    series = Series(arguments.imgs)
    keep, y, groups, split = _select(LabelTable(arguments.labels), arguments, series.n_volumes)
    if arguments.standardize and groups is None:
        raise ValueError("--standardize works within runs: name the column of runs with --groups.")
    cv = _make_cv(arguments.cv, split, groups is not None)
    _prepare_folder(out, files, arguments.overwrite)
    several = arguments.scoring is not None and len(arguments.scoring) > 1
    searchlight = SearchLight(
        arguments.mask,
        arguments.process_mask,
        arguments.radius,
        arguments.estimator,
        arguments.n_jobs,
        arguments.scoring if several or arguments.scoring is None else arguments.scoring[0],
        cv,
        verbose=0 if arguments.quiet else 2,
        min_voxels=arguments.min_voxels,
        standardize=arguments.standardize,
        keep_predictions=out if arguments.keep_predictions else False,
        keep_confusion=arguments.keep_confusion,
    ).fit(series.select(keep), y, groups)
    record = _record(arguments, searchlight, series, y, groups)
    record["seconds"] = round(time.time() - began, 3)
    _write_arrays(searchlight, out, arguments, y)
    for name, scores in _by_name(searchlight.masked_scores_).items():
        _save(searchlight.to_img(scores), out / _maps(arguments)[name])
    _save(searchlight.n_voxels_img_, out / "n_voxels.nii.gz")
    write_json(out / "result.json", record)
    first, scores = next(iter(_by_name(searchlight.masked_scores_).items()))
    if arguments.picture and np.isfinite(scores).any():
        draw_map(
            _by_name(searchlight.scores_)[first],
            searchlight.process_mask_,
            out / "scores.png",
            affine=searchlight.process_mask_affine_,
            title=f"{arguments.target}: {searchlight.engine_.estimator}, {arguments.radius:g} mm",
            label=arguments.scoring[0] if arguments.scoring else "score",
        )
    if not arguments.quiet:
        print(_summary(searchlight, first, scores, record["seconds"], out, files))


def _by_name(values: Any) -> dict[str, Any]:
    """Results of every score by name, whether one was asked for or several."""
    return values if isinstance(values, dict) else {SINGLE: values}


def _write_arrays(searchlight: SearchLight, out: Path, arguments: argparse.Namespace, y: NDArray[Any]) -> None:
    """Write what ``keep_predictions`` did not write block by block, and whose the predictions are."""
    if searchlight.confusion_ is not None and not arguments.keep_predictions:
        np.save(out / "confusion.npy", searchlight.confusion_)
    samples, folds = searchlight.prediction_samples_, searchlight.prediction_folds_
    if samples is not None and folds is not None:
        rows = [f"{i}\t{fold}\t{y[i]}" for i, fold in zip(samples, folds, strict=True)]
        header = f"volume_kept\tfold\t{arguments.target}"
        (out / "predictions.tsv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def _record(
    arguments: argparse.Namespace,
    searchlight: SearchLight,
    series: Series,
    y: NDArray[Any],
    groups: NDArray[Any] | None,
) -> dict[str, Any]:
    inputs = [*series.names, arguments.labels, arguments.mask, arguments.process_mask]
    values, counts = np.unique(y, return_counts=True)
    fold_scores = _by_name(searchlight.fold_scores_)
    return {
        "command": {name: value for name, value in vars(arguments).items() if name != "command"},
        "versions": versions(),
        "inputs_sha256": checksums(path for path in inputs if path is not None),
        "engine": vars(searchlight.engine_),
        "n_volumes": len(y),
        "targets": {str(value): int(count) for value, count in zip(values[:100], counts[:100], strict=True)},
        "classes": None if searchlight.classes_ is None else [str(label) for label in searchlight.classes_],
        "groups": None if groups is None else [str(group) for group in np.unique(groups)],
        "n_spheres": int(searchlight.n_elements_),
        "sphere_sizes": [int(searchlight.n_voxels_.min()), int(searchlight.n_voxels_.max())],
        "n_folds": len(next(iter(fold_scores.values()))),
        "scores": {
            name: {
                "n_nan": int(np.isnan(scores).sum()),
                "mean": _of_numbers(np.mean, scores),
                "max": _of_numbers(np.max, scores),
                "mean_of_each_fold": [_of_numbers(np.mean, fold) for fold in fold_scores[name]],
            }
            for name, scores in _by_name(searchlight.masked_scores_).items()
        },
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _of_numbers(statistic: Callable[[NDArray[np.float64]], Any], values: NDArray[np.float64]) -> float | None:
    """Statistic of the values that are numbers; None, which JSON has a word for, where there are none."""
    numbers = values[np.isfinite(values)]
    return float(statistic(numbers)) if numbers.size else None


def _summary(
    searchlight: SearchLight, name: str, scores: NDArray[np.float64], seconds: float, out: Path, files: list[str]
) -> str:
    if not np.isfinite(scores).any():
        written = ", ".join(file for file in files if file != "scores.png")
        return (
            f"{len(scores)} spheres in {seconds:.1f} s; no sphere has a score in every fold, so the map is NaN: "
            f"see the warnings, and mean_of_each_fold in result.json.\nWritten to {out}: {written}"
        )
    best = int(np.nanargmax(scores))
    voxel = np.argwhere(searchlight.process_mask_)[best]
    x, y, z = nib.affines.apply_affine(searchlight.process_mask_affine_, voxel)
    return (
        f"{len(scores)} spheres in {seconds:.1f} s; mean {name} {np.nanmean(scores):.3f}, best {scores[best]:.3f} at "
        f"({x:.0f}, {y:.0f}, {z:.0f}) mm.\nWritten to {out}: {', '.join(files)}"
    )
