"""Gram products of neighbouring spheres, which have most of their voxels in common.

Centres (x, y, z) with the same y // 2 and z // 2 are a quad, those that differ in z alone a pair. The product of a
sphere is that of the voxels that all spheres of its quad have, plus that of those which both of its pair have besides,
plus that of its own: of 257 voxels 168, 40 and 49, the first two for four and for two spheres: 111 a sphere.

Which voxels these are is a matter of the grid (``levels``: :func:`fastsl.neighbours.sphere_neighbours`), not of the
spheres that are decoded together. So every sphere is summed in the same order, whether a sum was at hand or not.
"""

import numpy as np

from fastsl._kernels.matrices import add_syrk, syrk
from fastsl._runtime.jit import helper


@helper
def sphere_gram(X, members, levels, group, B, cores, at_hand, G):
    """Upper triangle of G (n, n), the Gram matrix of the voxels ``members``.

    ``levels`` of the members are 2 (all of the quad have it), 1 (the pair) or 0; there are none where nothing is
    shared. ``group`` numbers pair and quad, ``cores`` (2, n, n) has what those numbered ``at_hand`` (2,) share.
    """
    if levels.shape[0] == 0:
        syrk(B[: _gather(X, members, levels, 0, B)], G)
        return
    for level in (2, 1):
        if at_hand[level - 1] != group[level - 1]:
            if level == 2:
                cores[1] = 0.0
            else:
                _copy_triangle(cores[1], cores[0])
            _add(X, members, levels, level, B, cores[level - 1])
            at_hand[level - 1] = group[level - 1]
    _copy_triangle(cores[0], G)
    _add(X, members, levels, 0, B, G)


@helper
def _add(X, members, levels, level, B, G):
    n_voxels = _gather(X, members, levels, level, B)
    if n_voxels > 0:
        add_syrk(B[:n_voxels], G)


@helper
def _gather(X, members, levels, level, B):
    """Rows of X of the members of that level, or of all where there are no levels; returns how many."""
    k = 0
    for q in range(members.shape[0]):
        if levels.shape[0] == 0 or levels[q] == level:
            # With the rows named first, LLVM vectorises the conversion: 4 us instead of 21.
            voxel, row = X[members[q]], B[k]
            for i in range(voxel.shape[0]):
                row[i] = voxel[i]
            k += 1
    return k


@helper
def _copy_triangle(A, B):
    for i in range(A.shape[0]):
        source, target = A[i], B[i]
        for j in range(i, A.shape[0]):
            target[j] = source[j]


@helper
def nothing_at_hand(n_gram, shares):
    """Work space for spheres of ``n_gram`` samples: cores and at_hand."""
    n = n_gram if shares else 0
    return np.empty((2, n, n)), np.full(2, np.iinfo(np.int64).min)
