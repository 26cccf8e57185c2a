"""Which voxels belong to which sphere, in mm, for any affine. Knows nothing of decoders."""

import math
import numbers
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from fastsl._kernels import spheres as _kernels
from fastsl._runtime.launch import in_parts
from fastsl.shared import shared_levels

#: Relative slack of the radius: absorbs the rounding of affines, far below any difference between two shells.
RADIUS_TOLERANCE = 1e-6
#: Centres that are looked at, and members that are listed, at a time: several million centres are no cause for
#: temporary arrays of that size.
_POINTS, _MEMBERS = 2**16, 2**22
#: Centres that are worth a thread: a quarter of a millisecond or more.
_FEWEST = 256
#: Spheres with more members than this per voxel of the mask leave so few voxels out that looking for them does not pay.
_MEMBERS_A_VOXEL = 32


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Members of every sphere as compressed sparse rows.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n_centres + 1,)
        Sphere ``c`` has the members ``indices[indptr[c]:indptr[c + 1]]``.
    indices : ndarray of int32
        Column numbers of the data matrix (voxels of the mask in C order), rising within a sphere.
    centres : ndarray of float64, shape (n_centres, 3)
        Centres in voxel coordinates of the mask; empty, shape (n_centres, 0), where centres have no coordinates.
    n_voxels : int
        Number of columns of the data matrix that ``indices`` point into.
    levels : ndarray of int8
        For each of ``indices``, whether neighbouring spheres have that voxel too (:mod:`fastsl.shared`); empty where
        nobody looked.
    full_sphere : int
        Voxels of a sphere that nothing cuts, also where none is listed; 0 where there is no such number.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    centres: NDArray[np.float64]
    n_voxels: int
    levels: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    full_sphere: int = 0

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return f"Neighbours({len(self)} centres, {len(self.indices)} members of {self.n_voxels} voxels)"

    def __getitem__(self, centre: int) -> NDArray[np.int32]:
        """Members of one sphere."""
        if not -len(self) <= centre < len(self):
            raise IndexError(f"centre {centre} of {len(self)}")
        centre %= len(self)
        return self.indices[self.indptr[centre] : self.indptr[centre + 1]]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of voxels of each sphere, shape (n_centres,)."""
        return np.diff(self.indptr)

    def block(self, start: int, stop: int) -> "Neighbours":
        """Return the spheres ``start`` to ``stop - 1``, members unchanged."""
        first, last = self.indptr[start], self.indptr[stop]
        return Neighbours(
            self.indptr[start : stop + 1] - first,
            self.indices[first:last],
            self.centres[start:stop],
            self.n_voxels,
            self.levels[first:last],
            self.full_sphere,
        )

    def take(self, centres: ArrayLike) -> "Neighbours":
        """Return the spheres numbered ``centres``, in that order, members unchanged."""
        chosen = np.asarray(centres, dtype=np.int64)
        places = [np.arange(self.indptr[c], self.indptr[c + 1]) for c in chosen]
        members = np.concatenate([np.empty(0, np.int64), *places])
        return Neighbours(
            np.cumsum([0, *map(len, places)]),
            self.indices[members],
            self.centres[chosen],
            self.n_voxels,
            self.levels[members] if len(self.levels) else self.levels,
            self.full_sphere,
        )

    def to_sparse(self) -> sparse.csr_array:
        """Boolean matrix of shape (n_centres, n_voxels)."""
        return sparse.csr_array(
            (np.ones(len(self.indices), bool), self.indices, self.indptr),
            shape=(len(self), self.n_voxels),
        )

    @classmethod
    def from_sparse(cls, A: Any) -> "Neighbours":
        """Neighbourhoods from any scipy sparse matrix (n_centres, n_voxels): whatever is stored is a member.

        Examples
        --------
        >>> from scipy import sparse
        >>> Neighbours.from_sparse(sparse.lil_array([[1, 1, 0], [0, 1, 1]]))[1]
        array([1, 2], dtype=int32)
        """
        A = sparse.csr_array(A)
        if not A.has_canonical_format:
            A = A.copy()
            A.sum_duplicates()
        return cls(
            A.indptr.astype(np.int64),
            A.indices.astype(np.int32),
            np.empty((A.shape[0], 0)),
            A.shape[1],
        )


class VoxelCentres:
    """Coordinates of the voxels of a mask, in C order, made for those that are asked for.

    All of them are 22 MB of a 0.8 mm brain. Those of the last two planes are kept: blocks of centres follow each other,
    and a plane has many.
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self._mask = mask
        self._ends = np.cumsum([np.count_nonzero(plane) for plane in mask])
        self._last = 0, 0, voxel_coordinates(mask, 0, 0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, some: slice) -> NDArray[np.signedinteger[Any]]:
        """Shape (n, 3)."""
        start, stop, _ = some.indices(len(self))
        first, last = np.searchsorted(self._ends, [start, max(start, stop - 1)], side="right").tolist()
        held, until, coordinates = self._last
        if not held <= first <= last < until:
            held, coordinates = first, voxel_coordinates(self._mask, first, last + 1)
            if last <= first + 1:
                self._last = held, last + 1, coordinates
        before = int(self._ends[held - 1]) if held else 0
        return coordinates[start - before : stop - before]


@dataclass(frozen=True, eq=False)
class Spheres:
    """Spheres not yet listed: :meth:`block` lists as many as fit in memory.

    Use :func:`sphere_neighbours` for the whole list, :func:`plan_spheres` to make one of these.
    """

    centres: NDArray[Any] | VoxelCentres  # signed integers where all are whole
    n_voxels: int
    _inside: NDArray[np.bool_] = field(repr=False)
    _search: tuple[Any, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.centres)

    def between(self, start: int, stop: int) -> "Spheres":
        """The spheres ``start`` to ``stop - 1``, not yet listed."""
        if (start, stop) == (0, len(self)):
            return self
        return replace(self, centres=self.centres[start:stop])

    @property
    def are_single_voxels(self) -> bool:
        """Whether no sphere can hold more than the voxel that it is centred on."""
        _, _, _, exact, _, wide, *_ = self._search
        return len(exact) == 1 and wide is exact

    def are_whole_mask(self) -> bool:
        """Whether the outermost spheres hold all voxels of the mask, so that all of several spheres are alike.

        Outermost in the thirteen directions of a cube's faces, edges and corners: these few are counted, not all.
        """
        if len(self) < 2 or self.n_voxels < 2 or self.between(0, 1).sizes()[0] < self.n_voxels:
            return False
        ways, centres = [way for way in np.ndindex(3, 3, 3) if way > (1, 1, 1)], self.centres[:]
        heights = (centres @ (np.array(way) - 1) for way in ways)
        ends = {int(end) for height in heights for end in (height.argmin(), height.argmax())}
        return bool((replace(self, centres=centres[sorted(ends)]).sizes() == self.n_voxels).all())

    def reached(self, segment: int = 1) -> NDArray[np.bool_]:
        """Voxels (nx, ny, nz) that the spheres can need: all of the mask, or those around few centres.

        Their rows in the data matrix are whole segments of so many rows of the matrix of all voxels, in the same
        order: what is summed by segments (:func:`fastsl.decoders.segment_of`) is the same to the last bit.
        """
        _, _, _, exact, _, wide, *_ = self._search
        if len(self) * max(len(exact), len(wide)) > _MEMBERS_A_VOXEL * self.n_voxels:
            return self._inside
        touched = np.zeros(-(-self.n_voxels // segment), bool)
        step = max(1, _MEMBERS // max(1, len(exact), len(wide)))
        for start in range(0, len(self), step):
            touched[self.block(start, start + step).indices // segment] = True
        if not touched.any():
            return self._inside
        reached = np.zeros(self._inside.shape, bool)
        reached[self._inside] = np.repeat(touched, segment)[: self.n_voxels]
        return reached

    def alone(self) -> "Spheres":
        """The same spheres, of which nobody says what neighbours have in common: for what shares no Gram products."""
        *search, shared_by = self._search
        return replace(self, _search=(*search, shared_by[:, :0]))

    def within(self, part: NDArray[np.bool_]) -> "Spheres":
        """The same spheres on the data matrix of the voxels of ``part``, which has all that are in any of them."""
        n_voxels = int(np.count_nonzero(part))
        return replace(self, n_voxels=n_voxels, _inside=part, _search=(*_number_rows(part), *self._search[3:]))

    def sizes(self) -> NDArray[np.int64]:
        """Count the voxels of every sphere, shape (n_centres,), without listing them."""
        counts, indptr = np.empty(len(self), np.int64), np.zeros(_POINTS + 1, np.int64)
        for start in range(0, len(self), _POINTS):
            centres = np.asarray(self.centres[start : start + _POINTS], np.float64)
            some = slice(start, start + len(centres))
            self._list(centres, indptr, *_no_members(), counts[some])
        return counts

    def _list(self, centres: NDArray[np.float64], *rows: NDArray[Any]) -> None:
        """Count or list what is around ``centres``: see :func:`fastsl._kernels.spheres.list_members`."""
        box, tables = self._search[:3], self._search[4:]

        def work(part: slice) -> None:
            _kernels.list_members(part.start, part.stop, *box, centres, *tables, *rows)

        in_parts(len(centres), _FEWEST, work)

    def block(self, start: int, stop: int) -> Neighbours:
        """List the spheres ``start`` to ``stop - 1``."""
        centres = np.asarray(self.centres[start:stop], np.float64)
        _, _, _, exact, *_, shared_by = self._search
        counts, indptr = np.empty(len(centres), np.int64), np.zeros(len(centres) + 1, np.int64)
        indices, levels = _no_members()
        self._list(centres, indptr, indices, levels, counts)
        np.cumsum(counts, out=indptr[1:])
        indices = np.empty(indptr[-1], np.int32)
        levels = np.empty(indptr[-1] if shared_by.size else 0, np.int8)
        self._list(centres, indptr, indices, levels, counts)
        return Neighbours(indptr, indices, centres, self.n_voxels, levels, len(exact))


def _no_members() -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    return np.empty(0, np.int32), np.empty(0, np.int8)


def check_radius(radius: object) -> float:
    """Return the radius in mm as a float; raise where it is none."""
    if isinstance(radius, bool) or not isinstance(radius, numbers.Real):
        raise TypeError(f"radius must be a number of mm, got {radius!r}.")
    value = float(radius)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"radius must be finite and not negative, got {value} mm; 0 takes the centre voxel alone.")
    return value


def _check_affine(affine: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"affine must have shape (4, 4), got {matrix.shape}.")
    A = np.ascontiguousarray(matrix[:3, :3])
    if not np.isfinite(matrix).all() or np.linalg.matrix_rank(A) < 3:
        raise ValueError(f"affine must be finite and invertible, got\n{matrix}\nCheck the image header (sform, qform).")
    return A


def sphere_offsets(A: NDArray[np.float64], radius: float, farthest: NDArray[np.float64]) -> NDArray[np.int32]:
    """Voxel offsets ``o`` with ``||A o|| <= radius``, none ``> farthest``, in lexicographic order, (n_offsets, 3)."""
    # The largest |o_i| of the ellipsoid ||A o|| <= r is r times the norm of row i of A^-1.
    reach = np.floor(np.linalg.norm(np.linalg.inv(A), axis=1) * radius + 1e-9)
    reach = np.minimum(reach, farthest).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    inside = np.linalg.norm(grid @ A.T, axis=1) <= radius
    return np.ascontiguousarray(grid[inside], dtype=np.int32)


def _lines(offsets: NDArray[np.int32]) -> NDArray[np.int64]:
    """Offsets in lexicographic order as lines along the last axis: see :func:`fastsl._kernels.spheres.list_members`."""
    begins = np.ones(len(offsets), bool)
    begins[1:] = (np.diff(offsets, axis=0) != [0, 0, 1]).any(axis=1)
    first = np.flatnonzero(begins)
    return np.column_stack([offsets[first], first, np.diff(first, append=len(offsets))])


def voxel_coordinates(
    mask: NDArray[np.bool_], first: int = 0, stop: int | None = None
) -> NDArray[np.signedinteger[Any]]:
    """``np.argwhere(mask)`` in as few bytes as the shape allows, without a second array of that size.

    Of the planes ``first`` to ``stop - 1`` of the first axis.
    """
    planes = mask[first:stop]
    coordinates = np.empty((np.count_nonzero(planes), 3), np.int16 if max(mask.shape) < 2**15 else np.int32)
    start = 0
    for x, plane in enumerate(planes, first):
        inside = np.argwhere(plane)
        part = coordinates[start : start + len(inside)]
        part[:, 0], part[:, 1:] = x, inside
        start += len(inside)
    return coordinates


def _check_centres(centres: ArrayLike | None, mask: NDArray[np.bool_]) -> NDArray[Any] | VoxelCentres:
    if centres is None:
        return VoxelCentres(mask)
    given = np.asarray(centres)
    if given.dtype == bool:
        if given.shape != mask.shape:
            raise ValueError(
                f"centres is a mask of shape {given.shape}, the mask has shape {mask.shape}; they must share a grid."
            )
        return VoxelCentres(given)
    if given.ndim != 2 or given.shape[1] != 3:
        raise ValueError(
            f"centres must be a boolean array of the mask's shape {mask.shape} or voxel coordinates of shape "
            f"(n_centres, 3), got shape {given.shape}."
        )
    if given.dtype.kind not in "iuf" or not np.isfinite(given).all():
        raise ValueError("centres must be finite numbers: voxel coordinates of the mask.")
    return np.ascontiguousarray(given, dtype=None if given.dtype.kind == "i" else np.float64)


def _number_rows(inside: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Where the voxels of the box around the mask are in the data matrix, and the box's first voxel.

    The first row (nx, ny) of each line along the last axis, and the place (nx, ny, nz) in that line of each voxel of
    the mask, -1 of all others. Of int16 they take half the memory of rows: 14 MB less of a 0.8 mm brain.
    """
    along = [np.flatnonzero(inside.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    inside = inside[tuple(slice(places[0], places[-1] + 1) for places in along)]
    place_in = np.cumsum(inside, axis=2, dtype=np.int16 if inside.shape[2] < 2**15 else np.int32)
    counts = place_in[:, :, -1].astype(np.int32)
    place_in -= 1
    place_in[~inside] = -1
    line = (np.cumsum(counts, dtype=np.int32) - counts.ravel()).reshape(counts.shape)
    return line, place_in, np.array([places[0] for places in along])


def _are_whole(points: NDArray[Any]) -> bool:
    return points.dtype.kind == "i" or bool((points == np.rint(points)).all())


def plan_spheres(mask: ArrayLike, affine: ArrayLike, radius: float, centres: ArrayLike | None = None) -> Spheres:
    """Prepare what :func:`sphere_neighbours` computes, without listing a single sphere. Same arguments."""
    volume = np.asarray(mask)
    if volume.ndim != 3:
        raise ValueError(f"mask must be a 3-D array, got shape {volume.shape}.")
    inside = volume.astype(bool, copy=False)
    if not inside.any():
        raise ValueError("mask is empty: no voxel is true, so no sphere can have a member.")
    A = _check_affine(affine)
    limit = check_radius(radius) * (1 + RADIUS_TOLERANCE)
    points = _check_centres(centres, inside)
    # No voxel of the volume is farther from a centre than this, however large the radius.
    farthest, on_grid = np.array(inside.shape, np.float64), True
    if not isinstance(points, VoxelCentres):
        highest, lowest = points.max(axis=0, initial=0), points.min(axis=0, initial=0)
        farthest = np.ceil(np.maximum(highest, inside.shape) - lowest)
        on_grid = all(_are_whole(points[start : start + _POINTS]) for start in range(0, len(points), _POINTS))
    exact = sphere_offsets(A, limit, farthest)
    # Around a centre between voxels the nearest voxel may be half a voxel's diagonal away.
    corners = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3), axis=-1).reshape(-1, 3)
    half_diagonal = np.linalg.norm(corners @ A.T, axis=1).max()
    wide = exact if on_grid else sphere_offsets(A, limit + half_diagonal, farthest)
    search = (*_number_rows(inside), exact, _lines(exact), wide, A, limit, shared_levels(exact))
    return Spheres(points, int(np.count_nonzero(inside)), inside, search)


def sphere_neighbours(
    mask: ArrayLike, affine: ArrayLike, radius: float, centres: ArrayLike | None = None
) -> Neighbours:
    """List the voxels of ``mask`` within ``radius`` mm of every centre.

    Voxel ``v`` belongs to the sphere around ``c`` when ``||affine[:3, :3] @ (v - c)|| <= radius``, the boundary
    included, with a relative tolerance of 1e-6. The distances of voxel offsets are computed once and serve
    every centre, so that all interior spheres have the same shape, for any affine: anisotropic, oblique, flipped.

    Parameters
    ----------
    mask : array_like, shape (nx, ny, nz)
        Voxels that may be members; non-zero is inside. Spheres are truncated at its edge.
    affine : array_like, shape (4, 4)
        Voxel to mm.
    radius : float
        In mm, not negative; 0 takes the centre voxel alone.
    centres : array_like, optional
        Where spheres are centred: a boolean array of the mask's shape, or voxel coordinates of shape
        (n_centres, 3), which may lie outside the mask or between voxels. All voxels of ``mask`` by default, in C order.

    Returns
    -------
    Neighbours
        Members of each sphere, in the order of ``centres``; a sphere may be empty.

    Raises
    ------
    TypeError, ValueError
        For an empty mask, a radius that is no finite non-negative number, a singular affine, misshapen centres.

    Notes
    -----
    nilearn compares rounded absolute coordinates instead: on grids whose voxel size is no binary fraction and for a
    radius that is an exact multiple of it, its spheres differ from voxel to voxel (27 to 33 members at 2.4 mm voxels
    and 4.8 mm radius; here always 33).

    Examples
    --------
    >>> import numpy as np
    >>> neighbours = sphere_neighbours(np.ones((5, 5, 5)), np.diag([3, 3, 3, 1]), radius=3)
    >>> neighbours.sizes.max()  # the centre and its six neighbours
    np.int64(7)
    >>> neighbours[0]
    array([ 0,  1,  5, 25], dtype=int32)
    """
    search = plan_spheres(mask, affine, radius, centres)
    return search.block(0, len(search))
