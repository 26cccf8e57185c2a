"""Rows of matrices.

``target[:] = row`` in a kernel compiles a check of shapes with its message, one for overlap, and a copy: two seconds
for the first in a process, 0.2 s for each that follows, and more code in everything that it is compiled into.
"""

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from fastsl._kernels.vectors import INDEX, WIDTH, Writer
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


def dot(a, b):
    """Scalar product of rows of the same length."""
    return sum(a * b)


def _plain_dot(a, b):
    total = 0.0
    for q in range(a.shape[0]):
        total += a[q] * b[q]
    return total


@overload(dot)
def _dot_compiled(a, b):
    plain = any(kind.layout == "A" or kind.dtype != types.float64 for kind in (a, b))
    if plain or numba.config.BOUNDSCHECK:  # vectors are read without looking at the length of b
        return _plain_dot

    def implementation(a, b):
        return _dot(a, b)

    return implementation


@intrinsic
def _dot(typing_context, a, b):
    """Sixteen sums at a time, 20 ns for 120 numbers; four that LLVM makes no vector of take 49."""

    def codegen(context, builder, signature, arguments):
        write = Writer(context, builder, WIDTH)
        pairs = zip(signature.args, arguments, strict=True)
        arrays = [context.make_array(kind)(context, builder, value) for kind, value in pairs]
        n = builder.extract_value(arrays[0].shape, 0)
        whole = builder.and_(n, INDEX(-2 * WIDTH))
        totals = [cgutils.alloca_once_value(builder, ir.Constant(write.vector, [0.0] * WIDTH)) for _ in range(2)]

        def add(first, inside):
            for part, total in enumerate(totals):
                start = builder.add(first, INDEX(part * WIDTH))
                places = builder.icmp_signed("<", write.places(start), write.spread(n)) if inside else None
                x, y = (write.load(builder.gep(array.data, [start]), places) for array in arrays)
                builder.store(write.multiply_add(x, y, builder.load(total)), total)

        with cgutils.for_range_slice(builder, INDEX(0), whole, INDEX(2 * WIDTH), intp=INDEX) as (first, _):
            add(first, False)
        with builder.if_then(builder.icmp_signed("<", whole, n)):
            add(whole, True)
        return write.sum(builder.fadd(*[builder.load(total) for total in totals]))

    return types.float64(a, b), codegen


@helper
def cut(flat, n_rows, n_columns):
    """A matrix without gaps from the beginning of ``flat``."""
    return flat[: n_rows * n_columns].reshape(n_rows, n_columns)
