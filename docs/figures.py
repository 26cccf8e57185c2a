"""Make the pictures of README.md: ``python docs/figures.py``."""

from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure
from sklearn.model_selection import LeaveOneGroupOut

from fastsl import SearchLight, make_phantom
from fastsl.picture import draw_map

IMAGES = Path(__file__).parent / "img"
N_PARTS = 6
RADIUS = 9.0


def fit(phantom, mask_img, process_mask_img, img):
    searchlight = SearchLight(mask_img, process_mask_img, RADIUS, cv=LeaveOneGroupOut(), standardize=True)
    return searchlight.fit(img, phantom.labels["condition"], phantom.labels["run"])


def slabs(n):
    return [slice(part[0], part[-1] + 1) for part in np.array_split(np.arange(n), N_PARTS)]


def by_process_mask(phantom):
    """Every slab of centres on its own, spheres reach beyond it: what to do."""
    mask = phantom.mask_img.get_fdata() > 0
    scores, sizes = np.zeros(mask.shape), np.zeros(mask.shape)
    for slab in slabs(mask.shape[2]):
        centres = np.zeros(mask.shape, np.uint8)
        centres[:, :, slab] = mask[:, :, slab]
        part = fit(phantom, phantom.mask_img, nib.Nifti1Image(centres, phantom.mask_img.affine), phantom.img)
        scores += part.scores_
        sizes += part.n_voxels_img_.get_fdata()
    return scores, sizes


def by_cutting_images(phantom):
    """Every slab of the image on its own: spheres end at the cut."""
    scores, sizes = [], []
    for slab in slabs(phantom.mask_img.shape[2]):
        mask_img, img = phantom.mask_img.slicer[:, :, slab], phantom.img.slicer[:, :, slab]
        part = fit(phantom, mask_img, None, img)
        scores.append(part.scores_)
        sizes.append(part.n_voxels_img_.get_fdata())
    return np.concatenate(scores, axis=2), np.concatenate(sizes, axis=2)


def section(axis, volume, mask, x, title, **colours):
    shown = np.where(mask, volume, np.nan)[x].T
    axis.set_title(title, fontsize=9)
    axis.axis("off")
    return axis.imshow(shown, origin="lower", **colours)


def slices_figure(phantom, whole):
    mask = phantom.mask_img.get_fdata() > 0
    ways = {
        "one run": (whole.scores_, whole.n_voxels_img_.get_fdata()),
        f"{N_PARTS} parts through process_mask_img": by_process_mask(phantom),
        f"the image cut into {N_PARTS} slabs": by_cutting_images(phantom),
    }
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(3, 3)
    x = int(np.argwhere(phantom.signal_img.get_fdata() > 0)[:, 0].max()) - 2
    for column, (name, (scores, sizes)) in enumerate(ways.items()):
        changed = mask & (scores != whole.scores_)
        most = np.abs(scores - whole.scores_).max()
        print(f"{name}: {changed.sum()} of {mask.sum()} scores differ, by up to {most:.2f}")
        size = section(axes[0, column], sizes, mask, x, name, cmap="viridis", vmin=0, vmax=sizes.max())
        score = section(axes[1, column], scores, mask, x, "", cmap="inferno", vmin=0.4, vmax=1)
        title = f"{changed.sum():,} of {mask.sum():,} scores differ"
        change = section(axes[2, column], scores - whole.scores_, mask, x, title, cmap="RdBu_r", vmin=-0.2, vmax=0.2)
    for row, (drawn, label) in enumerate(
        [(size, "voxels in the sphere"), (score, "accuracy"), (change, "difference from one run")]
    ):
        figure.colorbar(drawn, ax=list(axes[row]), label=label, shrink=0.8)
    figure.savefig(IMAGES / "slices.png", dpi=110)


def main():
    IMAGES.mkdir(exist_ok=True)
    phantom = make_phantom(3.0, signal=0.6)
    whole = fit(phantom, phantom.mask_img, None, phantom.img)
    draw_map(
        whole.scores_, whole.process_mask_, IMAGES / "map.png", affine=whole.process_mask_affine_, label="accuracy"
    )
    slices_figure(phantom, whole)


if __name__ == "__main__":
    main()
