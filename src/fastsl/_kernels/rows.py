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
def add(factor, row, total):
    """total += factor row; a loop of its own, that LLVM vectorises."""
    for i in range(total.shape[0]):
        total[i] += factor * row[i]
