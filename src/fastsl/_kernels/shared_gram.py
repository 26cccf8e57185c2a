"""Gram products of neighbouring spheres, which have most of their voxels in common.

Centres (x, y, z) with the same x, y // 2 and z // 4 are a group of eight, of which those with the same z // 2 are a
quad, and of these those with the same y a pair. The product of a sphere is that of the voxels that all eight have, plus
that of those which its quad has besides, plus its pair, plus that of its own: of 257 voxels 92, 76, 40 and 49, the
first three for eight, four and two spheres: 100 a sphere. Sixteen, with the same y // 4, would leave 97.

Which voxels these are is a matter of the grid (``levels``: :func:`fastsl.neighbours.sphere_neighbours`), not of the
spheres that are decoded together. So every sphere is summed in the same order, whether a sum was at hand or not.
"""

import numpy as np

from fastsl._kernels.matrices import syrk, syrk_onto
from fastsl._runtime.jit import helper

#: Centres along y and z of the groups that share sums, each within the next: of level 1, 2, 3.
EXTENTS = ((1, 2), (2, 2), (2, 4))
N_LEVELS = len(EXTENTS)
_NO_GROUP = np.iinfo(np.int64).min


@helper
def sphere_gram(X, members, levels, group, B, cores, at_hand, G):
    """Upper triangle of G (n, n), the Gram matrix of the voxels ``members``.

    ``levels`` of the members are that of the largest group whose spheres all have it, or 0; there are none where
    nothing is shared. ``group`` numbers the groups of the sphere, ``cores`` (3, n, n) has what the spheres of those
    numbered ``at_hand`` (3,) share.
    """
    if levels.shape[0] == 0:
        syrk(B[: _gather(X, members, levels, 0, B)], G)
        return
    for level in range(N_LEVELS, 0, -1):
        if at_hand[level - 1] != group[level - 1]:
            k = _gather(X, members, levels, level, B)
            if level == N_LEVELS:
                syrk(B[:k], cores[level - 1])
            else:
                syrk_onto(cores[level], B[:k], cores[level - 1])
            at_hand[level - 1] = group[level - 1]
    syrk_onto(cores[0], B[: _gather(X, members, levels, 0, B)], G)


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
    n, at_hand = n_gram if shares else 0, np.empty(N_LEVELS, np.int64)
    for level in range(N_LEVELS):
        at_hand[level] = _NO_GROUP
    return np.empty((N_LEVELS, n, n)), at_hand
