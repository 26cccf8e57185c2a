"""Sums of rows over the members of spheres, where each voxel has a row of its own.

Members are listed in rising order, and many follow each other: stretches a..b along the volume's last axis. With prefix
sums P_v = row_s + ... + row_v, s the first row of v's segment, a stretch within a segment is

    row_a + ... + row_b = P_b - P_(a-1)

two rows to read instead of b - a + 1: 103 instead of 257 for a sphere of 257 voxels. Segments begin at fixed rows of
the data matrix, so that a sum does not depend on which other spheres are computed with it, and are short, so that the
prefix sums stay as small as what they are subtracted for.

A table holds some segments, in any order: voxel v has the row ``v + shift[v // SEGMENT]``.
"""

import numba as nb

from fastsl._runtime.jit import entry, helper

#: Rows of a segment. Measured at 257 voxels: 32, 64 and 128 take the same time.
SEGMENT = 64


@entry
def mark_segments(members, touched):
    """Set ``touched`` for every segment that a member is in. Threads that write to one place write the same."""
    for k in nb.prange(members.shape[0]):
        touched[members[k] // SEGMENT] = True


@helper
def accumulate(rows):
    """Turn the rows of one segment into their prefix sums, in place."""
    for v in range(1, rows.shape[0]):
        for j in range(rows.shape[1]):
            rows[v, j] += rows[v - 1, j]


@helper
def add_members(P, shift, members, row):
    """Add the rows of ``members``, which rise, to ``row``."""
    k, n = 0, members.shape[0]
    while k < n:
        first = last = members[k]
        k += 1
        while k < n and members[k] == last + 1 and members[k] % SEGMENT != 0:
            last += 1
            k += 1
        place = shift[first // SEGMENT]
        if first % SEGMENT == 0:
            _add(P[place + last], row)
        else:
            _add_difference(P[place + last], P[place + first - 1], row)


@helper
def _add(a, row):
    for j in range(row.shape[0]):
        row[j] += a[j]


@helper
def _add_difference(a, b, row):
    for j in range(row.shape[0]):
        row[j] += a[j] - b[j]
