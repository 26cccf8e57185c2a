"""Last step of `make demo`: where the signal was found against where it was planted."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from scipy.ndimage import distance_transform_edt

from fastsl.phantom import SIGNAL_CENTRES


def main(folder: Path) -> None:
    scores_img = nib.load(folder / "results" / "scores.nii.gz")
    scores = scores_img.get_fdata()
    brain = nib.load(folder / "data" / "mask.nii.gz").get_fdata() > 0
    planted = nib.load(folder / "data" / "signal.nii.gz").get_fdata().astype(int)
    record = json.loads((folder / "results" / "result.json").read_text())
    voxel = np.linalg.norm(scores_img.affine[:3, :3], axis=0)
    out_of_reach = distance_transform_edt(planted == 0, sampling=voxel) > record["command"]["radius"]
    elsewhere = scores[brain & out_of_reach]  # spheres here hold no planted voxel
    limit = np.quantile(elsewhere, 0.999)
    print("\nplanted at (mm)      best score  found at (mm)        off by    planted voxels above 99.9 % of elsewhere")
    for number, centre in enumerate(SIGNAL_CENTRES, start=1):
        here = planted == number
        top = scores[here].max()
        voxels = np.argwhere(here & (scores == top))
        found = apply_affine(scores_img.affine, voxels).mean(axis=0)
        above = (scores[here] > limit).mean()
        off = np.linalg.norm(found - centre)
        print(f"{_mm(centre):20s} {top:10.2f}  {_mm(found):20s} {off:4.1f} mm    {above:6.1%}")
    print(f"elsewhere: mean {elsewhere.mean():.3f}, chance is 0.500")
    took = f"{record['seconds']:.0f} s, compiling included"
    print(f"\n{record['n_spheres']} spheres in {took} ({record['engine']['reason']})")
    print("files:", *sorted(str(path) for path in (folder / "results").iterdir()), sep="\n  ")


def _mm(point: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in point) + ")"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
