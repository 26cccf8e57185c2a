"""Files of a permutation test: maps of p values, z, TFCE and clusters, the table of clusters, the nulls' maxima."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fastsl.maps import Maps

_CLUSTER_COLUMNS = ("label", "extent", "mass", "peak_value", "p_extent", "p_mass")


def names_of(command: Mapping[str, Any], suffixes: list[str]) -> list[str]:
    """Files of a command with these options; one set for each score, told apart by a suffix."""
    if not command["permutations"]:
        return []
    names = ["p_unc{}.nii.gz", "p_fwe{}.nii.gz", "z{}.nii.gz", "null_max{}.npy"]
    if command["tfce"]:
        names += ["tfce{}.nii.gz", "p_tfce{}.nii.gz"]
    if command["cluster_threshold"] is not None:
        names += ["clusters{}.nii.gz", "clusters{}.tsv"]
    whole = ["null.npy"] if command["keep_null"] else []
    return [name.format(suffix) for suffix in suffixes for name in names] + whole


def images(maps: Maps, suffix: str, score: str) -> Iterator[tuple[str, nib.Nifti1Image]]:
    """Maps of one score and their files."""
    for name, values, outside in (
        ("p_unc", maps.p_values_, 1.0),
        ("p_fwe", maps.p_values_fwe_, 1.0),
        ("z", maps.z_scores_, 0.0),
        ("tfce", maps.tfce_, 0.0),
        ("p_tfce", maps.p_values_tfce_, 1.0),
        ("clusters", maps.cluster_labels_, 0.0),
    ):
        if values is not None:
            yield f"{name}{suffix}.nii.gz", maps.to_img(_of(values, score), outside)


def write_tables(maps: Maps, out: Path, suffix: str, score: str) -> list[str]:
    """Write the largest score of each permuted map, and the table of clusters with their peaks in mm; return names."""
    if maps.null_max_ is None:
        return []
    names = [f"null_max{suffix}.npy", f"clusters{suffix}.tsv"]
    np.save(out / names[0], _of(maps.null_max_, score))
    if maps.clusters_ is None:
        return names[:1]
    clusters = _of(maps.clusters_, score)
    voxels = np.argwhere(maps.process_mask_)[clusters.peak]
    peaks = nib.affines.apply_affine(maps.process_mask_affine_, voxels.reshape(-1, 3))
    lines = ["\t".join([*_CLUSTER_COLUMNS, "x_mm", "y_mm", "z_mm"])]
    for i, peak in enumerate(peaks):
        row = [getattr(clusters, name)[i] for name in _CLUSTER_COLUMNS]
        lines.append("\t".join(f"{value:.6g}" for value in [*row, *peak]))
    (out / names[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return names


def record(maps: Maps, command: Mapping[str, Any], score: str) -> dict[str, Any] | None:
    """What ``result.json`` says of the test of one score."""
    if maps.p_values_ is None:
        return None
    found: dict[str, Any] = {
        "n_permutations": maps.n_permutations_,
        "scheme": command["scheme"],
        "seed": command["seed"],
        "null_max": None,
    }
    if maps.null_max_ is not None:
        found["null_max"] = [float(value) if np.isfinite(value) else None for value in _of(maps.null_max_, score)]
    for name, values in (
        ("p_unc", maps.p_values_),
        ("p_fwe", maps.p_values_fwe_),
        ("p_tfce", maps.p_values_tfce_),
    ):
        if values is not None:
            p = _of(values, score)
            known = p[np.isfinite(p)]
            found[name] = {
                "smallest": float(known.min()) if known.size else None,
                "n_at_most_0.05": int(np.count_nonzero(known <= 0.05)),
            }
    return found


def _of(values: Any, score: str) -> Any:
    return values[score] if isinstance(values, dict) else values
