"""A tile of a product of matrices: four rows by eight columns, summed in registers.

A library's product prepares for large matrices: it packs its operands, chooses among kernels, calls itself for parts.
Up to a few hundred rows, as samples of a sphere are, that takes longer than the arithmetic. A tile is read once, stays
in registers for the whole sum, and is written once.

Without JIT (``NUMBA_DISABLE_JIT=1``) the plain numpy definitions below run instead; they are also the statement of what
each tile is. No index is checked: :mod:`fastsl._kernels.matrices` is all that uses them.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from fastsl._kernels.vectors import INDEX, WIDTH, Writer

ROWS = 4


def _products(width, sign, whole):
    """The tile of :func:`add_tile`; ``whole`` where all of it is read and written."""

    def signed(builder, total):
        return total if sign > 0 else builder.fneg(total)

    @intrinsic
    def tile(typing_context, B, A, C, i, j, first, stop, low, end, fresh):
        def codegen(context, builder, signature, arguments):
            write = Writer(context, builder, width)
            B, A, C = (write.matrix(*pair) for pair in zip(signature.args[:3], arguments[:3], strict=True))
            i, j, first, stop, low, end, fresh = arguments[3:]
            rows = [builder.add(i, INDEX(r)) for r in range(ROWS)]
            inside, kept = None, [None] * ROWS
            if not whole:
                columns = write.places(j)
                inside = builder.icmp_signed("<", columns, write.spread(end))
                for r, row in enumerate(rows):
                    above = builder.and_(inside, builder.icmp_signed(">=", columns, write.spread(row)))
                    kept[r] = builder.and_(above, write.spread(builder.icmp_signed(">=", row, low)))
            sources, targets = ([write.address(matrix, row, j) for row in rows] for matrix in (A, C))
            zeros = ir.Constant(write.vector, [0.0] * width)
            before = [builder.select(fresh, zeros, write.load(*pair)) for pair in zip(sources, kept, strict=True)]
            after = write.add_products(B, B, i, j, first, stop, inside, [signed(builder, total) for total in before])
            for total, target, places in zip(after, targets, kept, strict=True):
                write.store(signed(builder, total), target, places)
            return context.get_dummy_value()

        return types.void(B, A, C, *[types.intp] * 6, types.boolean), codegen

    return tile


def _solution(whole):
    """The tile of :func:`solve_tile`; ``whole`` where all of it is read and written."""

    @intrinsic
    def tile(typing_context, R, X, i, j, first, end, d):
        def codegen(context, builder, signature, arguments):
            write = Writer(context, builder, WIDTH)
            R, X = (write.matrix(*pair) for pair in zip(signature.args[:2], arguments[:2], strict=True))
            i, j, first, end, d = arguments[2:]
            rows = [builder.add(i, INDEX(r)) for r in range(ROWS)]
            inside = None if whole else builder.icmp_signed("<", write.places(j), write.spread(end))
            targets = [write.address(X, row, j) for row in rows]
            x = [builder.fneg(write.load(target, inside)) for target in targets]
            x = write.add_products(R, X, i, j, first, i, inside, x)
            for r, row in enumerate(rows):
                for q in range(r):
                    x[r] = write.add_product(builder.load(write.address(R, rows[q], row)), x[q], x[r])
                x[r] = write.divide_negated(x[r], d, r)
                write.store(x[r], targets[r], inside)
            return context.get_dummy_value()

        return types.void(R, X, *[types.intp] * 4, types.UniTuple(types.float64, ROWS)), codegen

    return tile


@intrinsic
def _solve_back(typing_context, R, X, i, m, d):
    """The tile of :func:`solve_tile_back`."""

    def codegen(context, builder, signature, arguments):
        write = Writer(context, builder, WIDTH)
        R, X = (write.matrix(*pair) for pair in zip(signature.args[:2], arguments[:2], strict=True))
        i, m, d = arguments[2:]
        rows = [builder.add(i, INDEX(r)) for r in range(ROWS)]
        targets = [write.address(X, row, INDEX(0)) for row in rows]
        x = [builder.fneg(write.load(target, None)) for target in targets]
        x = write.add_products(R, X, i, INDEX(0), builder.add(i, INDEX(ROWS)), m, None, x, across=True)
        for r in reversed(range(ROWS)):
            for q in range(r + 1, ROWS):
                x[r] = write.add_product(builder.load(write.address(R, rows[r], rows[q])), x[q], x[r])
            x[r] = write.divide_negated(x[r], d, r)
            write.store(x[r], targets[r], None)
        return context.get_dummy_value()

    return types.void(R, X, types.intp, types.intp, types.UniTuple(types.float64, ROWS)), codegen


@intrinsic
def _solve_row_back(typing_context, R, x, i, m, d):
    """What :func:`solve_row_back` says, four sums of vectors along the rows."""

    def codegen(context, builder, signature, arguments):
        write = Writer(context, builder, WIDTH)
        R = write.matrix(signature.args[0], arguments[0])
        x = context.make_array(signature.args[1])(context, builder, arguments[1]).data
        i, m, d = arguments[2:]
        rows = [builder.add(i, INDEX(r)) for r in range(ROWS)]
        totals = [cgutils.alloca_once_value(builder, ir.Constant(write.vector, [0.0] * WIDTH)) for _ in rows]
        first = builder.add(i, INDEX(ROWS))
        whole = builder.sub(m, builder.and_(builder.sub(m, first), INDEX(WIDTH - 1)))

        def add(k, places):
            vector = write.load(builder.gep(x, [k]), places)
            for row, total in zip(rows, totals, strict=True):
                numbers = write.load(write.address(R, row, k), places)
                builder.store(write.multiply_add(numbers, vector, builder.load(total)), total)

        with cgutils.for_range_slice(builder, first, whole, INDEX(WIDTH), intp=INDEX) as (k, _):
            add(k, None)
        with builder.if_then(builder.icmp_signed("<", whole, m)):
            add(whole, builder.icmp_signed("<", write.places(whole), write.spread(m)))
        solved = {}
        for r in reversed(range(ROWS)):
            target = builder.gep(x, [rows[r]])
            left = builder.fsub(builder.load(target), write.sum(builder.load(totals[r])))
            for q in range(r + 1, ROWS):
                product = builder.fmul(builder.load(write.address(R, rows[r], rows[q])), solved[q])
                left = builder.fsub(left, product)
            solved[r] = builder.fmul(builder.extract_value(d, r), left)
            builder.store(solved[r], target)
        return context.get_dummy_value()

    return types.void(R, x, types.intp, types.intp, types.UniTuple(types.float64, ROWS)), codegen


_add, _add_whole = _products(WIDTH, 1, False), _products(WIDTH, 1, True)
_subtract = _products(ROWS, -1, False)
_solve, _solve_whole = _solution(False), _solution(True)


def _add_to(B, A, C, i, j, width, first, stop, low, end, fresh, sign):
    product = sign * (B[first:stop, i : i + ROWS].T @ B[first:stop, j : min(j + width, end)])
    for r in range(max(i, low), i + ROWS):
        kept = slice(max(j, r), min(j + width, end))
        C[r, kept] = product[r - i, kept.start - j :] + (0.0 if fresh else A[r, kept])


def add_tile(B, A, C, i, j, first, stop, low, end, fresh):
    """C = A + B[first:stop].T @ B[first:stop]; without A where it is ``fresh``.

    Written are rows i to i + 4, from row ``low``, and columns j to j + 8, before ``end``, on and right of the diagonal.
    """
    _add_to(B, A, C, i, j, WIDTH, first, stop, low, end, fresh, 1.0)


@overload(add_tile, inline="always")
def _add_tile_compiled(B, A, C, i, j, first, stop, low, end, fresh):
    def implementation(B, A, C, i, j, first, stop, low, end, fresh):
        if low <= i and j >= i + ROWS - 1 and j + WIDTH <= end:
            _add_whole(B, A, C, i, j, first, stop, low, end, fresh)
        else:
            _add(B, A, C, i, j, first, stop, low, end, fresh)

    return implementation


def subtract_corner(A, i, stop, low):
    """A -= A[:stop].T @ A[:stop] in rows and columns i to i + 4, from row ``low``, on and right of the diagonal."""
    _add_to(A, A, A, i, i, ROWS, 0, stop, low, i + ROWS, False, -1.0)


@overload(subtract_corner, inline="always")
def _subtract_corner_compiled(A, i, stop, low):
    def implementation(A, i, stop, low):
        _subtract(A, A, A, i, i, 0, stop, low, i + ROWS, False)

    return implementation


def solve_tile(R, X, i, j, first, end, d):
    """Rows i to i + 4 of ``R.T @ X = B`` from those above, in place of B, in columns j to j + 8 before ``end``.

    Rows of X above ``first`` are zero there. R is upper, ``d`` its inverse diagonal in these rows.
    """
    columns, rows = slice(j, min(j + WIDTH, end)), range(i, i + ROWS)
    X[i : i + ROWS, columns] -= R[first:i, i : i + ROWS].T @ X[first:i, columns]
    for r in rows:
        X[r, columns] = d[r - i] * (X[r, columns] - R[i:r, r] @ X[i:r, columns])


@overload(solve_tile, inline="always")
def _solve_tile_compiled(R, X, i, j, first, end, d):
    def implementation(R, X, i, j, first, end, d):
        if j + WIDTH <= end:
            _solve_whole(R, X, i, j, first, end, d)
        else:
            _solve(R, X, i, j, first, end, d)

    return implementation


def solve_tile_back(R, X, i, m, d):
    """Rows i to i + 4 of ``R @ X = B`` from those below, m in all, in place of B, in the first 8 columns.

    R is upper, ``d`` its inverse diagonal in these rows.
    """
    X[i : i + ROWS, :WIDTH] -= R[i : i + ROWS, i + ROWS : m] @ X[i + ROWS : m, :WIDTH]
    for r in reversed(range(i, i + ROWS)):
        X[r, :WIDTH] = d[r - i] * (X[r, :WIDTH] - R[r, r + 1 : i + ROWS] @ X[r + 1 : i + ROWS, :WIDTH])


@overload(solve_tile_back, inline="always")
def _solve_tile_back_compiled(R, X, i, m, d):
    def implementation(R, X, i, m, d):
        _solve_back(R, X, i, m, d)

    return implementation


def solve_row_back(R, x, i, m, d):
    """Numbers i to i + 4 of ``R @ x = b`` from those after them, m in all, in place of b; ``d`` as above."""
    x[i : i + ROWS] -= R[i : i + ROWS, i + ROWS : m] @ x[i + ROWS : m]
    for r in reversed(range(i, i + ROWS)):
        x[r] = d[r - i] * (x[r] - R[r, r + 1 : i + ROWS] @ x[r + 1 : i + ROWS])


@overload(solve_row_back, inline="always")
def _solve_row_back_compiled(R, x, i, m, d):
    def implementation(R, x, i, m, d):
        _solve_row_back(R, x, i, m, d)

    return implementation
