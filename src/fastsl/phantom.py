"""A made-up fMRI data set with a known answer, to try things on: for the demo, the documentation and the benchmark."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

#: Semi-axes of the brain in mm: 1.9 litres, as the MNI 152 brain mask has, 70,000 voxels of 3 mm.
_SEMI_AXES = (71.0, 89.0, 71.0)
_FOV = (182.0, 218.0, 182.0)
#: Where the conditions differ, in mm from the middle of the brain, and the radius of each place.
SIGNAL_CENTRES = ((36.0, -54.0, -12.0), (-33.0, -60.0, 9.0), (9.0, 45.0, 24.0))
SIGNAL_RADIUS = 9.0


@dataclass(frozen=True, eq=False)
class Phantom:
    """Images and labels of :func:`make_phantom`.

    Attributes
    ----------
    img : Nifti1Image, int16, 4-D
        Raw intensities: mean some 1,000, smooth noise of 2 %, slow drifts, an offset for each run.
    mask_img : Nifti1Image, uint8
        The brain.
    signal_img : Nifti1Image, uint8
        Where a pattern differs between the conditions: 1, 2, 3 for each place.
    labels : dict
        ``condition`` and ``run`` of every volume, as arrays.
    """

    img: nib.Nifti1Image
    mask_img: nib.Nifti1Image
    signal_img: nib.Nifti1Image
    labels: dict[str, NDArray[Any]]

    def save(self, folder: str | Path) -> Path:
        """Write bold.nii, mask.nii.gz, signal.nii.gz and labels.tsv; return the folder."""
        out = Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        nib.save(self.img, out / "bold.nii")
        nib.save(self.mask_img, out / "mask.nii.gz")
        nib.save(self.signal_img, out / "signal.nii.gz")
        rows = zip(self.labels["condition"], self.labels["run"], strict=True)
        lines = ["condition\trun", *(f"{condition}\t{run}" for condition, run in rows)]
        (out / "labels.tsv").write_text("\n".join(lines) + "\n")
        return out


def make_phantom(
    voxel_size: float = 3.0,
    n_runs: int = 6,
    volumes_per_run: int = 20,
    *,
    signal: float = 1.0,
    smoothness: float = 4.0,
    seed: int = 0,
) -> Phantom:
    """Make a brain-shaped 4-D image in which two conditions differ by a pattern in three known places.

    In those places every voxel prefers one condition at random, so that only a pattern tells them apart, not the mean.

    Parameters
    ----------
    voxel_size : float
        In mm, isotropic. 3 gives some 70,000 voxels in the brain, 2 some 235,000.
    n_runs, volumes_per_run : int
        Runs of alternating blocks of "face" and "house", ``volumes_per_run`` even.
    signal : float
        Size of the pattern, in standard deviations of the noise.
    smoothness : float
        Standard deviation of the noise's spatial smoothing, in mm.
    seed : int
        Of the random numbers.

    Returns
    -------
    Phantom

    Examples
    --------
    >>> phantom = make_phantom(voxel_size=8, n_runs=2)
    >>> phantom.img.shape
    (23, 27, 23, 40)
    """
    if volumes_per_run < 2 or volumes_per_run % 2:
        raise ValueError(f"volumes_per_run must be even and at least 2, got {volumes_per_run}.")
    if not voxel_size > 0:
        raise ValueError(f"voxel_size must be positive, in mm, got {voxel_size}.")
    rng = np.random.default_rng(seed)
    shape = tuple(round(extent / voxel_size) for extent in _FOV)
    affine = np.diag([voxel_size, voxel_size, voxel_size, 1.0])
    affine[:3, 3] = [-voxel_size * (n - 1) / 2 for n in shape]
    mm = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) @ affine[:3, :3]
    mm = mm + affine[:3, 3]
    brain = ((mm / _SEMI_AXES) ** 2).sum(-1) <= 1
    brain &= (np.abs(mm[..., 0]) > 1.5) | (mm[..., 2] < 30)  # the fissure between the hemispheres
    places = np.zeros(shape, np.uint8)
    for number, centre in enumerate(SIGNAL_CENTRES, start=1):
        places[(np.linalg.norm(mm - centre, axis=-1) <= SIGNAL_RADIUS) & brain] = number
    runs = np.repeat(np.arange(1, n_runs + 1), volumes_per_run)
    half = volumes_per_run // 2
    is_face = np.tile(np.arange(volumes_per_run) < half, n_runs) ^ (runs % 2 == 0)
    preference = np.where(places > 0, rng.choice([-1.0, 1.0], shape), 0.0)
    baseline = 1000.0 * brain * (1 + 0.1 * gaussian_filter(rng.standard_normal(shape), 10 / voxel_size))
    data = np.zeros((*shape, len(runs)), np.int16, order="F")
    sigma = smoothness / voxel_size
    for volume, (run, face) in enumerate(zip(runs, is_face, strict=True)):
        noise = gaussian_filter(rng.standard_normal(shape, np.float32), sigma)
        noise *= 20.0 / noise[brain].std()
        drift = 10.0 * run + 5.0 * (volume % volumes_per_run) / volumes_per_run
        effect = 20.0 * signal * (0.5 if face else -0.5) * preference
        data[..., volume] = np.where(brain, baseline + noise + drift + effect, 0.0)
    return Phantom(
        nib.Nifti1Image(data, affine),
        nib.Nifti1Image(brain.astype(np.uint8), affine),
        nib.Nifti1Image(places, affine),
        {"condition": np.where(is_face, "face", "house"), "run": runs},
    )
