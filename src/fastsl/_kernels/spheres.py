"""Members of spheres: voxels of a mask within a radius, in mm, of given centres.

    member(v, c)  <=>  || A (v - c) || <= radius

``A`` is the 3 x 3 part of the affine, ``v`` and ``c`` are voxel coordinates.
"""

import numpy as np

from fastsl._kernels.shared_gram import EXTENTS
from fastsl._runtime.jit import helper, kernel


@helper
def _sphere(line, place_in, corner, centre, exact, wide, A, limit, shared_by, out, levels):
    """Write the rows of one sphere to ``out`` in rising order (only count where ``out`` is empty); return how many.

    A centre on the grid uses the table ``exact`` of offsets, which was computed once: the same shape everywhere. A
    centre between voxels tests every offset of the table ``wide`` by its own distance. ``levels`` gets what
    ``shared_by`` says of an offset, where both have room.
    """
    nearest = np.rint(centre)
    shift = centre - nearest
    on_grid = shift[0] == 0.0 and shift[1] == 0.0 and shift[2] == 0.0
    offsets = exact if on_grid else wide
    n, place = 0, int(nearest[1]) % EXTENTS[-1][0] * EXTENTS[-1][1] + int(nearest[2]) % EXTENTS[-1][1]
    x_0, y_0, z_0 = int(nearest[0]) - corner[0], int(nearest[1]) - corner[1], int(nearest[2]) - corner[2]
    for k in range(offsets.shape[0]):
        x, y, z = x_0 + offsets[k, 0], y_0 + offsets[k, 1], z_0 + offsets[k, 2]
        if x < 0 or y < 0 or z < 0 or x >= place_in.shape[0] or y >= place_in.shape[1] or z >= place_in.shape[2]:
            continue
        if place_in[x, y, z] < 0:
            continue
        if not on_grid:
            squared = 0.0
            for i in range(3):
                step = 0.0
                for j in range(3):
                    step += A[i, j] * (offsets[k, j] - shift[j])
                squared += step * step
            if squared > limit * limit:
                continue
        if out.size:
            out[n] = line[x, y] + place_in[x, y, z]
        if levels.size:
            levels[n] = shared_by[place, k] if on_grid else 0
        n += 1
    return n


@kernel
def list_members(
    first, last, line, place_in, corner, centres, exact, wide, A, limit, shared_by, indptr, indices, levels, counts
):
    """Sphere sizes ``counts[c]``, and members ``indices[indptr[c]:indptr[c + 1]]`` where that has room for them.

    A voxel's row in the data matrix is ``line[x, y] + place_in[x, y, z]``, of the box around the mask that begins at
    the voxel ``corner``; places of voxels outside the mask are negative. ``centres`` (n_centres, 3) are float64
    voxel coordinates; those from ``first`` to ``last - 1`` are looked at. Called twice: without room, to count, then
    to fill. One kernel for both, because each takes a second to compile.
    """
    for c in range(first, last):
        out, levels_of = indices[indptr[c] : indptr[c + 1]], levels[indptr[c] : indptr[c + 1]]
        counts[c] = _sphere(line, place_in, corner, centres[c], exact, wide, A, limit, shared_by, out, levels_of)
