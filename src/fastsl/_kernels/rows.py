"""Rows of matrices.

``target[:] = row`` in a kernel compiles a check of shapes with its message, one for overlap, and a copy: two seconds
for the first in a process, 0.2 s for each that follows, and more code in everything that it is compiled into.
"""

from fastsl._runtime.jit import helper


@helper
def copy_row(row, target):
    """target = row"""
    for i in range(target.shape[0]):
        target[i] = row[i]


@helper
def clear(A):
    """A = 0, its upper triangle"""
    for i in range(A.shape[0]):
        for j in range(i, A.shape[1]):
            A[i, j] = 0.0


@helper
def add(factor, row, total):
    """total += factor row; a loop of its own, that LLVM vectorises."""
    for i in range(total.shape[0]):
        total[i] += factor * row[i]


@helper
def dot(a, b):
    """Scalar product, in four sums that do not wait for each other."""
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    n = a.shape[0] // 4 * 4
    for q in range(0, n, 4):
        s0 += a[q] * b[q]
        s1 += a[q + 1] * b[q + 1]
        s2 += a[q + 2] * b[q + 2]
        s3 += a[q + 3] * b[q + 3]
    for q in range(n, a.shape[0]):
        s0 += a[q] * b[q]
    return (s0 + s1) + (s2 + s3)


@helper
def cut(flat, n_rows, n_columns):
    """A matrix without gaps from the beginning of ``flat``."""
    return flat[: n_rows * n_columns].reshape(n_rows, n_columns)
