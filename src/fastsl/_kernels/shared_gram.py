"""Gram products of neighbouring spheres, which have most of their voxels in common.

Centres (x, y, z) with the same y // 2 and z // 2 are a quad, those that differ in z alone a pair. The product of a
sphere is that of the voxels that all spheres of its quad have, plus that of those which both of its pair have besides,
plus that of its own: of 257 voxels 168, 40 and 49, the first two for four and for two spheres: 111 a sphere.

Which voxels these are is a matter of the grid (``levels``: :func:`fastsl.neighbours.sphere_neighbours`), not of the
spheres that are decoded together. So every sphere is summed in the same order, whether a sum was at hand or not.
"""

import numpy as np

from fastsl._kernels.matrices import syrk, syrk_onto
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
    quad, pair = cores[1], cores[0]
    if at_hand[1] != group[1]:
        syrk(B[: _gather(X, members, levels, 2, B)], quad)
    if at_hand[0] != group[0]:
        syrk_onto(quad, B[: _gather(X, members, levels, 1, B)], pair)
    syrk_onto(pair, B[: _gather(X, members, levels, 0, B)], G)
    at_hand[0], at_hand[1] = group[0], group[1]


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
def nothing_at_hand(n_gram, shares):
    """Work space for spheres of ``n_gram`` samples: cores and at_hand."""
    n = n_gram if shares else 0
    return np.empty((2, n, n)), np.full(2, np.iinfo(np.int64).min)
