"""Files of results: maps, arrays, a picture, the record, and the sentence at the end. Of a run, and of a merge."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fastsl import permutation_files
from fastsl.estimators import estimator_type
from fastsl.maps import Maps
from fastsl.picture import draw_map, require_matplotlib
from fastsl.record import check_writable, now, versions, write_json
from fastsl.scoring import SINGLE

#: Arrays that the search itself writes, into a folder from which they move to the results when all is done.
_ARRAYS = ("predictions.npy", "decisions.npy", "confusion.npy", "null.npy")


def _maps(command: Mapping[str, Any]) -> dict[str, str]:
    """File of the map of each score, by the score's name."""
    names = command["scoring"] or [SINGLE]
    if len(names) == 1:
        return {SINGLE: "scores.nii.gz"}
    return {name: f"scores_{name}.nii.gz" for name in names}


def _suffix(command: Mapping[str, Any], score: str) -> str:
    """What tells the files of a score from those of the others."""
    return "" if len(_maps(command)) == 1 else f"_{score}"


def files_of(command: Mapping[str, Any]) -> list[str]:
    """Every file that a command with these options writes."""
    files = [*_maps(command).values(), "n_voxels.nii.gz", "result.json"]
    files += permutation_files.names_of(command, [_suffix(command, score) for score in _maps(command)])
    if command["keep_predictions"]:
        files += ["predictions.npy", "predictions.tsv"]
        files += [] if estimator_type(command["estimator"]) == "regressor" else ["decisions.npy"]
    if command["keep_confusion"]:
        files.append("confusion.npy")
    if command["picture"]:
        require_matplotlib()
        files.append("scores.png")
    return files


def prepare_folder(out: Path, names: list[str], overwrite: bool) -> None:
    """Find out before the work whether its results can be written, and whether there are some already."""
    check_writable(out, "--out")
    there = [name for name in names if (out / name).exists()]
    if there and not overwrite:
        raise FileExistsError(f"--out: {out} already has {', '.join(there)}; choose another folder, or --overwrite.")


def write(maps: Maps, out: Path, arrays: Path, about: Mapping[str, Any], extra: Mapping[str, Any]) -> list[str]:
    """Write everything; return the names of the files. ``result.json`` is the last: where it is, all is there.

    What is not there, such as family-wise p values of a map with holes, is not written, and removed where an earlier
    command has left it: files that stand side by side belong together.

    Parameters
    ----------
    maps : Maps
        The results.
    out, arrays : Path
        Folder for them, and the one that the search wrote its large arrays to.
    about : dict
        What the command line noted before the work.
    extra : dict
        For the record, beside that.
    """
    command = about["command"]
    written = {"result.json"}
    for name in _ARRAYS:
        if (arrays / name).exists():
            os.replace(arrays / name, out / name)
            written.add(name)
    if maps.confusion_ is not None and not isinstance(maps.confusion_, np.memmap):
        np.save(out / "confusion.npy", maps.confusion_)
        written.add("confusion.npy")
    if maps.prediction_samples_ is not None and maps.prediction_folds_ is not None:
        rows = [
            f"{i}\t{fold}\t{about['y'][i]}"
            for i, fold in zip(maps.prediction_samples_, maps.prediction_folds_, strict=True)
        ]
        header = f"volume_kept\tfold\t{command['target']}"
        (out / "predictions.tsv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        written.add("predictions.tsv")
    for name, scores in _by_name(maps.masked_scores_).items():
        suffix = _suffix(command, name)
        images = {_maps(command)[name]: maps.to_img(scores), **dict(permutation_files.images(maps, suffix, name))}
        for file, image in images.items():
            _save(image, out / file)
        written.update(images, permutation_files.write_tables(maps, out, suffix, name))
    _save(maps.n_voxels_img_, out / "n_voxels.nii.gz")
    written.add("n_voxels.nii.gz")
    first, scores = next(iter(_by_name(maps.masked_scores_).items()))
    if command["picture"] and np.isfinite(scores).any():
        draw_map(
            _by_name(maps.scores_)[first],
            maps.process_mask_,
            out / "scores.png",
            affine=maps.process_mask_affine_,
            title=f"{command['target']}: {maps.engine_.estimator}, {command['radius']:g} mm",
            label=command["scoring"][0] if command["scoring"] else "score",
            chance=_chance(command["scoring"], maps.classes_, about["targets"]),
        )
        written.add("scores.png")
    for name in set(files_of(command)) - written:
        (out / name).unlink(missing_ok=True)
    write_json(out / "result.json", _record(maps, about, extra))
    return [name for name in files_of(command) if name in written]


def _chance(scoring: list[str] | None, classes: Any, counts: Mapping[str, int]) -> float | None:
    """Score of guessing, where the classes alone say it: of accuracy, where there are as many samples of each."""
    name = scoring[0] if scoring else "accuracy"
    if classes is None:
        return None
    if name == "roc_auc":
        return 0.5
    if name == "balanced_accuracy" or (name == "accuracy" and len(set(counts.values())) == 1):
        return 1 / len(classes)
    return None


def _save(image: nib.Nifti1Image, path: Path) -> None:
    part = path.with_name(f".part-{path.name}")
    nib.save(image, part)
    os.replace(part, path)


def _by_name(values: Any) -> dict[str, Any]:
    """Results of every score by name, whether one was asked for or several."""
    return values if isinstance(values, dict) else {SINGLE: values}


def _record(maps: Maps, about: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    fold_scores = _by_name(maps.fold_scores_)
    return {
        "command": about["command"],
        "versions": versions(),
        "inputs_sha256": about["inputs_sha256"],
        "engine": vars(maps.engine_),
        "n_volumes": len(about["y"]),
        "targets": about["targets"],
        "classes": None if maps.classes_ is None else [str(label) for label in maps.classes_],
        "groups": about["groups"],
        "n_spheres": int(maps.n_elements_),
        "sphere_sizes": [int(maps.n_voxels_.min()), int(maps.n_voxels_.max())],
        "n_folds": len(next(iter(fold_scores.values()))),
        "scores": {
            name: {
                "n_nan": int(np.isnan(scores).sum()),
                "mean": _of_numbers(np.mean, scores),
                "max": _of_numbers(np.max, scores),
                "mean_of_each_fold": [_of_numbers(np.mean, fold) for fold in fold_scores[name]],
                "permutations": permutation_files.record(maps, about["command"], name),
            }
            for name, scores in _by_name(maps.masked_scores_).items()
        },
        **extra,
        "finished": now(),
    }


def _of_numbers(statistic: Callable[[NDArray[np.float64]], Any], values: NDArray[np.float64]) -> float | None:
    """Statistic of the values that are numbers; None, which JSON has a word for, where there are none."""
    numbers = values[np.isfinite(values)]
    return float(statistic(numbers)) if numbers.size else None


def summary(maps: Maps, how_long: str, out: Path, files: list[str]) -> str:
    """What was done, in two lines."""
    name, scores = next(iter(_by_name(maps.masked_scores_).items()))
    if not np.isfinite(scores).any():
        return (
            f"{len(scores)} spheres {how_long}; no sphere has a score in every fold, so the map is NaN: "
            f"see the warnings, and mean_of_each_fold in result.json.\nWritten to {out}: {', '.join(files)}"
        )
    best = int(np.nanargmax(scores))
    voxel = np.argwhere(maps.process_mask_)[best]
    x, y, z = nib.affines.apply_affine(maps.process_mask_affine_, voxel)
    return (
        f"{len(scores)} spheres {how_long}; mean {name} {np.nanmean(scores):.3f}, best {scores[best]:.3f} at "
        f"({x:.0f}, {y:.0f}, {z:.0f}) mm{_significant(maps, name)}.\nWritten to {out}: {', '.join(files)}"
    )


def _significant(maps: Maps, name: str) -> str:
    """How many spheres are significant, in a few words; nothing where that was not tested."""
    if maps.p_values_fwe_ is None:
        return ""
    p = _by_name(maps.p_values_fwe_)[name if isinstance(maps.p_values_fwe_, dict) else SINGLE]
    return f"; {np.count_nonzero(p <= 0.05)} spheres with p <= 0.05, family-wise ({maps.n_permutations_} permutations)"
