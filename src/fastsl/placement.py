"""Where spheres are on the grid of the images: what may enter them, what has to be read, which of them a shard has."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastsl.checkpoints.shards import WHOLE, Shard
from fastsl.images import Grid, Mask, centres_on_grid, mask_on_grid
from fastsl.neighbours import Spheres, plan_spheres


@dataclass(frozen=True, eq=False)
class Placement:
    """Spheres, and the voxels of the images that they need.

    Attributes
    ----------
    inside : ndarray of bool, shape (nx, ny, nz)
        Voxels that may enter a sphere.
    needed : ndarray of bool, shape (nx, ny, nz)
        Those of them that are near a centre: the rows of the data matrix.
    spheres : Spheres
        Around all centres, whose members are such rows.
    first, stop : int
        Centres of the shard.
    """

    inside: NDArray[np.bool_]
    needed: NDArray[np.bool_]
    spheres: Spheres
    first: int
    stop: int

    @property
    def reads_all(self) -> bool:
        """Whether every voxel inside is needed."""
        return self.needed is self.inside


def place_spheres(
    mask: Mask | None, process_mask: Mask, grid: Grid, radius: float, part: Shard, segment: int
) -> Placement:
    """Place spheres of ``radius`` mm, in the voxels of ``mask`` or in all, around the centres of ``process_mask``.

    What is needed is whole segments of ``segment`` voxels, as :func:`fastsl.decoders.segment_of` says, and those of all
    centres, also where a shard has few of them: a checkpoint knows the analysis by its matrix.
    """
    inside = np.ones(grid.shape, bool) if mask is None else mask_on_grid(mask, grid)
    spheres = plan_spheres(inside, grid.affine, radius, centres_on_grid(process_mask, grid))
    _warn_of_radius(spheres, radius, grid)
    first, stop = (0, len(spheres)) if part == WHOLE else part.centres(spheres.sizes())
    needed = inside if process_mask is mask else spheres.reached(segment)
    if np.array_equal(needed, inside):
        return Placement(inside, inside, spheres, first, stop)
    return Placement(inside, needed, spheres.within(needed), first, stop)


def _warn_of_radius(spheres: Spheres, radius: float, grid: Grid) -> None:
    """Warn of spheres that are no spheres, as where the radius was meant in voxels or the header is in other units."""
    sizes = " x ".join(f"{size:.4g}" for size in np.linalg.norm(grid.affine[:3, :3], axis=0))
    if radius > 0 and spheres.are_single_voxels:
        text = f"hold the centre voxel alone, since voxels are {sizes} mm: take a larger radius, or 0 if that is meant."
    elif spheres.are_whole_mask():
        text = (
            f"hold the whole mask, all its {spheres.n_voxels} voxels of {sizes} mm, so that all scores are alike: take "
            "a smaller radius."
        )
    else:
        return
    warnings.warn(f"radius: spheres of {radius:g} mm {text}", UserWarning, stacklevel=4)
