"""Sums of rows over the members of spheres, where each voxel has a row of its own.

Members are listed in rising order, and many follow each other: stretches a..b along the volume's last axis. With prefix
sums P_v = row_s + ... + row_v, s the first row of v's segment, a stretch within a segment is

    row_a + ... + row_b = P_b - P_(a-1)

two rows to read instead of b - a + 1: 103 instead of 257 for a sphere of 257 voxels. Segments begin at fixed rows of
the data matrix, so that a sum does not depend on which other spheres are computed with it, and are short, so that the
prefix sums stay as small as what they are subtracted for.

A table holds some segments, in any order: voxel v has the row ``v + shift[v // SEGMENT]``. A row begins with
``n_exact`` float64 values; the rest of its bytes are float32, for what needs no more digits. Sums are bound by reading
rows: with both parts in one row instead of in two tables they take a quarter less. Segments begin at multiples of
SEGMENT in the table, too.
"""

import numpy as np

from fastsl._runtime.jit import helper, kernel

#: Rows of a segment. Measured at 257 voxels: 32, 64 and 128 take the same time.
SEGMENT = 64


@kernel
def mark_segments(members, touched):
    """Set ``touched`` for every segment that a member is in. Threads that write to one place write the same."""
    for member in members:
        touched[member // SEGMENT] = True


@helper
def rough_part(row, n_exact):
    """The float32 values of a row."""
    return row[n_exact:].view(np.float32)


@helper
def accumulate(rows, n_exact):
    """Turn the rows of one segment into their prefix sums, in place."""
    for v in range(1, rows.shape[0]):
        _add(rows[v - 1], rows[v][:n_exact])
        _add(rough_part(rows[v - 1], n_exact), rough_part(rows[v], n_exact))


@helper
def typical(values):
    """What an eighth of the values of a segment exceed: the brain's, also where most voxels are background.

    By counting: np.sort alone takes 1.4 s to compile, of the 8 that tabulating takes.
    """
    rank = values.shape[0] * 7 // 8
    for value in values:
        below, same = 0, 0
        for other in values:
            below += other < value
            same += other == value
        if below <= rank < below + same:
            return value
    return np.nan


@helper
def room_for_stretches(block):
    """As many as the largest sphere can have."""
    most = 0
    for b in block.order:
        most = max(most, block.indptr[b + 1] - block.indptr[b])
    return np.empty((most, 2), np.int64)


@helper
def find_stretches(members, shift, room):
    """First and last row of the table of each stretch of ``members``, which rise: the part of ``room`` they take."""
    k, n, n_stretches = 0, members.shape[0], 0
    while k < n:
        first = last = members[k]
        k += 1
        while k < n and members[k] == last + 1 and members[k] % SEGMENT != 0:
            last += 1
            k += 1
        place = shift[first // SEGMENT]
        room[n_stretches, 0], room[n_stretches, 1] = place + first, place + last
        n_stretches += 1
    return room[:n_stretches]


@helper
def add_stretches(P, stretches, exact, rough):
    """Add the rows of all ``stretches`` to ``exact`` and ``rough``, both float64.

    One view of all rows: one of each, by :func:`rough_part`, took 2 us a sphere.
    """
    begin, floats = 2 * exact.shape[0], P.view(np.float32)
    for s in range(stretches.shape[0]):
        first, last = stretches[s, 0], stretches[s, 1]
        if first % SEGMENT == 0:
            _add(P[last], exact)
            _add(floats[last][begin:], rough)
        else:
            _add_difference(P[last], P[first - 1], exact)
            _add_difference(floats[last][begin:], floats[first - 1][begin:], rough)


@helper
def _add(a, row):
    for j in range(row.shape[0]):
        row[j] += a[j]


@helper
def _add_difference(a, b, row):
    for j in range(row.shape[0]):
        row[j] += a[j] - b[j]
