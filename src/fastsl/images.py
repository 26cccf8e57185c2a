"""Images and masks: from what researchers have on disk to the matrix and the grids that the search works on.

The only module that imports nibabel, together with what writes result images.
"""

import copy
import glob
import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage
from numpy.typing import NDArray
from scipy import ndimage

from fastsl._runtime.launch import in_parts
from fastsl.neighbours import voxel_coordinates

#: Two grids are the same when no corner moves by more than this part of a voxel: float32 headers differ in the
#: fourth decimal.
GRID_TOLERANCE = 0.01
#: Volumes are read a few at a time, about this many bytes. With 8 MB images in memory take twice the time of 32.
_CHUNK_BYTES = 16 * 2**20
#: Fewest voxels whose values are worth a part.
_FEWEST = 2**13
#: Voxels whose coordinates are held at a time.
_PLACES = 2**20
_READ_ERRORS = (OSError, EOFError, zlib.error, ImageFileError, HeaderDataError, ValueError)


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and affine of a volume."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __str__(self) -> str:
        sizes = np.linalg.norm(self.affine[:3, :3], axis=0)
        origin = self.affine[:3, 3]
        return (
            f"shape {'x'.join(map(str, self.shape))}, voxels {'x'.join(f'{s:.4g}' for s in sizes)} mm, "
            f"origin ({', '.join(f'{o:.5g}' for o in origin)}) mm"
        )

    def matches(self, other: "Grid") -> bool:
        """Same shape, and no corner further than 1 % of a voxel from the other's."""
        if self.shape != other.shape:
            return False
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"), -1).reshape(-1, 3)
        moved = nib.affines.apply_affine(np.linalg.inv(self.affine) @ other.affine, corners) - corners
        return bool(np.abs(moved).max() <= GRID_TOLERANCE)


def open_image(image: Any, what: str) -> SpatialImage:
    """Return a nibabel image for a path or an image; nothing but the header is read."""
    if isinstance(image, str | os.PathLike):
        path = Path(image).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"{what}: there is no file {path}.")
        try:
            # One handle for all reads: a gzip stream is then decompressed once, front to back.
            opened = nib.load(path, keep_file_open=True)
        except _READ_ERRORS as error:
            raise ValueError(f"{what}: {path} is not an image that nibabel can read ({error}).") from error
        image = opened
    if not isinstance(image, SpatialImage):
        raise TypeError(
            f"{what}: input should be a NiftiLike object: a path or a nibabel image; got {type(image).__name__}."
        )
    return image


def _expand(imgs: Any) -> list[Any]:
    """Turn one image, a wildcard or a sequence of images into a list."""
    if isinstance(imgs, str | os.PathLike):
        text = str(Path(imgs).expanduser())
        if not os.path.exists(text) and glob.has_magic(text):
            found = sorted(glob.glob(text))
            if not found:
                raise FileNotFoundError(f"imgs: no file matches {text}.")
            return list(found)
        return [imgs]
    if isinstance(imgs, SpatialImage):
        return [imgs]
    if isinstance(imgs, Sequence) or (hasattr(imgs, "__iter__") and not isinstance(imgs, np.ndarray)):
        items = [item for image in imgs for item in _expand(image)]
        if not items:
            raise ValueError("imgs is empty: give at least one image.")
        return items
    raise TypeError(
        f"imgs: input should be a NiftiLike object: a path, a wildcard, a nibabel image or a list of these; got "
        f"{type(imgs).__name__}."
    )


class Series:
    """Volumes in time: one 4-D image, or several 3-D or 4-D ones on one grid, in order."""

    def __init__(self, imgs: Any) -> None:
        items = _expand(imgs)
        single = not isinstance(imgs, list | tuple) and len(items) == 1
        self._images: list[SpatialImage] = []
        self.n_volumes = 0
        self.names: list[str] = []
        for item in items:
            image = open_image(item, "imgs")
            name = image.get_filename() or type(image).__name__
            shape = image.shape
            if len(shape) not in (3, 4) or (single and len(shape) == 3):
                raise ValueError(
                    f"imgs: {name} has {len(shape)} dimensions, shape {shape}: give a 4-D image, or a list of 3-D or "
                    "4-D ones."
                )
            grid = Grid(tuple(int(n) for n in shape[:3]), np.asarray(image.affine, dtype=np.float64))  # type: ignore[arg-type]
            if not self._images:
                self.grid = grid
            elif not self.grid.matches(grid):
                raise ValueError(
                    f"imgs: {name} is on another grid ({grid}) than the first image ({self.grid}); resample them to "
                    "one."
                )
            self._images.append(image)
            self.names.append(name)
            self.n_volumes += shape[3] if len(shape) == 4 else 1
        if self.n_volumes == 0:
            raise ValueError("imgs has no volume.")
        self._keep = np.ones(self.n_volumes, bool)

    def select(self, keep: NDArray[np.bool_]) -> "Series":
        """Return the series of the volumes where ``keep`` is true; the others are never held in memory."""
        chosen = copy.copy(self)
        chosen._keep = self._keep.copy()
        chosen._keep[self._keep] = keep
        chosen.n_volumes = int(np.count_nonzero(keep))
        if chosen.n_volumes == 0:
            raise ValueError("no volume is left to decode.")
        return chosen

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 where nilearn would have it (float64 files, scaled integers), else float32."""
        for image in self._images:
            proxy = image.dataobj
            if _is_scaled(proxy) or (np.dtype(proxy.dtype).itemsize == 8 and np.dtype(proxy.dtype).kind == "f"):
                return np.dtype(np.float64)
        return np.dtype(np.float32)

    def read(self, mask: NDArray[np.bool_], dtype: Any) -> NDArray[Any]:
        """Return the voxels of ``mask`` as (n_voxels, n_samples), C order; a few volumes are held at a time.

        NaN and infinite values become 0, with one warning that counts them.
        """
        X = np.empty((np.count_nonzero(mask), self.n_volumes), dtype)
        order, places = "", np.empty(0, np.int64)
        time, column, bad = 0, 0, 0
        for image, name in zip(self._images, self.names, strict=True):
            for volumes in _chunks(image, name):
                # Voxels are picked in the order in which they lie, which is Fortran's in a file: no volume is copied.
                if order != _order(volumes):
                    order = _order(volumes)
                    places = _places(mask, order)
                keep = self._keep[time : time + volumes.shape[3]]
                time += len(keep)
                if not keep.any():
                    continue
                n_kept = np.count_nonzero(keep)
                bad += _pick(
                    volumes.reshape(mask.size, len(keep), order=order), places, keep, X[:, column : column + n_kept]
                )
                del volumes  # before the next are read
                column += n_kept
        if bad:
            warnings.warn(
                f"imgs has {bad} NaN or infinite values inside the mask (of {X.size}); they are taken as 0.",
                RuntimeWarning,
                stacklevel=3,
            )
        return X


def _pick(values: NDArray[Any], places: NDArray[np.intp], keep: NDArray[np.bool_], out: NDArray[Any]) -> int:
    """Copy the rows ``places`` and columns ``keep`` of ``values`` to ``out``, on all threads; NaN and infinite as 0.

    Returns how many of those there were. Two threads read a whole brain of 2 mm from memory in 0.18 s, one in 0.3.
    """
    bad: list[int] = []

    def pick(part: slice) -> None:
        chosen = values[places[part]]
        with np.errstate(over="ignore"):  # counted below as infinite
            chosen = (chosen if keep.all() else chosen[:, keep]).astype(out.dtype, copy=False)
        if values.dtype.kind not in "biu":
            finite = np.isfinite(chosen)
            if not finite.all():
                bad.append(chosen.size - np.count_nonzero(finite))
                chosen[~finite] = 0
        out[part] = chosen

    in_parts(len(places), _FEWEST, pick)
    return sum(bad)


def _order(volumes: NDArray[Any]) -> Literal["C", "F"]:
    """Whether the last or the first axis of space lies closest together."""
    return "F" if abs(volumes.strides[0]) <= abs(volumes.strides[2]) else "C"


def _places(mask: NDArray[np.bool_], order: Literal["C", "F"]) -> NDArray[np.intp]:
    """Where the voxels of a mask, in its C order, are in a volume that lies in ``order``."""
    places = np.flatnonzero(mask)
    if order == "F":
        for start in range(0, len(places), _PLACES):
            part = places[start : start + _PLACES]
            part[:] = np.ravel_multi_index(np.unravel_index(part, mask.shape), mask.shape, order="F")
    return places


def _chunks(image: SpatialImage, name: str) -> Iterator[NDArray[Any]]:
    """Read an image front to back, a few volumes (x, y, z, t) at a time."""
    shape = image.shape
    n = shape[3] if len(shape) == 4 else 1
    data: Any = image.dataobj
    if image.in_memory and nib.is_proxy(data):
        data = image.get_fdata(caching="unchanged")  # what the user sees, and may have changed, in memory
    size = max(1, int(_CHUNK_BYTES / (_bytes_per_value(data) * np.prod(shape[:3]))))
    for start in range(0, n, size):
        try:
            part = np.asanyarray(data[..., start : start + size] if len(shape) == 4 else data[...])
        except _READ_ERRORS as error:
            raise ValueError(
                f"imgs: {name} cannot be read from volume {start} on; is the file truncated? ({error})"
            ) from error
        if part.ndim == 3:
            part = part[..., None]
        yield part
        del part  # before the next is read


def _bytes_per_value(data: Any) -> int:
    """Of volumes in memory: what is scaled becomes float64, and what is picked of small integers float32."""
    return 8 if _is_scaled(data) else max(4, np.dtype(data.dtype).itemsize)


def _is_scaled(data: Any) -> bool:
    return getattr(data, "slope", 1.0) != 1.0 or getattr(data, "inter", 0.0) != 0.0


@dataclass(frozen=True, eq=False)
class Mask:
    """A binary volume."""

    image: SpatialImage
    inside: NDArray[np.bool_]
    grid: Grid


def load_mask(mask_img: Any, what: str) -> Mask:
    """Read a mask: 3-D, two values of which one is 0 (or one value that is not).

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        For what is no image, not there, not readable, not 3-D, not binary or empty.
    """
    image = open_image(mask_img, what)
    name = image.get_filename() or "it"
    shape = image.shape[:3] if image.ndim == 4 and image.shape[3] == 1 else image.shape
    if len(shape) != 3:
        raise ValueError(f"{what}: {name} must be a 3-D mask, got shape {image.shape}.")
    try:
        data = np.asanyarray(image.dataobj).reshape(shape)
    except _READ_ERRORS as error:
        raise ValueError(f"{what}: {name} cannot be read; is the file truncated? ({error})") from error
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        warnings.warn(f"{what}: NaN or infinite values are taken as outside.", RuntimeWarning, stacklevel=4)
        data = np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0)
    inside = data != 0
    chosen = data[inside]
    if chosen.size and chosen.min() != chosen.max():
        values = np.unique(data)
        raise ValueError(
            f"{what}: Given mask is not made of 2 values: {name} has {len(values)} ({values[:5].tolist()}...). "
            "Threshold it first; 0 is outside."
        )
    if not chosen.size:
        raise ValueError(f"{what}: The mask is invalid as it is empty: every voxel of {name} is 0.")
    grid = Grid(tuple(int(n) for n in shape), np.asarray(image.affine, dtype=np.float64))  # type: ignore[arg-type]
    return Mask(image, inside, grid)


def mask_on_grid(mask: Mask, grid: Grid) -> NDArray[np.bool_]:
    """Return the mask on ``grid``; resampled to the nearest voxel, with a warning, where the grids differ."""
    if mask.grid.matches(grid):
        return mask.inside
    warnings.warn(
        f"mask_img is on another grid than imgs and is resampled to it (nearest voxel). mask_img: {mask.grid}; imgs: "
        f"{grid}.",
        UserWarning,
        stacklevel=4,
    )
    to_mask = np.linalg.inv(mask.grid.affine) @ grid.affine
    resampled = ndimage.affine_transform(
        mask.inside.astype(np.uint8),
        to_mask[:3, :3],
        to_mask[:3, 3],
        output_shape=grid.shape,
        order=0,
        mode="grid-constant",  # "constant" loses the outermost voxels to rounding: -1e-17 would be outside
    ).astype(bool)
    if not resampled.any():
        raise ValueError(
            f"mask_img does not overlap imgs: on the grid of imgs it is empty. mask_img: {mask.grid}; imgs: {grid}."
        )
    return resampled


def centres_on_grid(mask: Mask, grid: Grid) -> NDArray[Any]:
    """Where on ``grid`` the voxels of ``mask`` are: itself where the grids match, else coordinates, in its C order."""
    if mask.grid.matches(grid):
        return mask.inside
    to_grid = np.linalg.inv(grid.affine) @ mask.grid.affine
    coordinates = nib.affines.apply_affine(to_grid, voxel_coordinates(mask.inside))
    # Grids that share a lattice give whole numbers up to the rounding of affines: those centres are on the grid.
    whole = np.rint(coordinates)
    return np.where(np.abs(coordinates - whole) <= GRID_TOLERANCE, whole, coordinates)


def map_image(
    values: NDArray[Any], inside: NDArray[np.bool_], affine: NDArray[np.float64], outside: float = 0.0
) -> nib.Nifti1Image:
    """Put values (n_centres,) or (n_centres, n) on the volume, ``outside`` elsewhere; saving them loses nothing."""
    volume = np.full((*inside.shape, *values.shape[1:]), outside, values.dtype)
    volume[inside] = values
    return nib.Nifti1Image(volume, affine)


def part_of_mask(inside: NDArray[np.bool_], first: int, stop: int) -> NDArray[np.bool_]:
    """Only the voxels ``first`` to ``stop - 1`` of a mask, counted in C order."""
    part = np.zeros(inside.shape, bool)
    part.ravel()[np.flatnonzero(inside)[first:stop]] = True
    return part
