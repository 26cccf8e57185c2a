"""A tile of a product of matrices: four rows by eight columns, summed in registers.

A library's product prepares for large matrices: it packs its operands, chooses among kernels, calls itself for parts.
Up to a few hundred rows, as samples of a sphere are, that takes longer than the arithmetic. A tile is read once, stays
in registers for the whole sum, and is written once. LLVM makes no such loop of loops over arrays, so it is written
in LLVM's own language: vectors of eight float64, for which it takes one register or two or four, as the processor has
them, and multiplications that it joins with the addition where the processor can.

Without JIT (``NUMBA_DISABLE_JIT=1``) the plain numpy definitions below run instead; they are also the statement of what
each tile is. No index is checked: :mod:`fastsl._kernels.matrices` is all that uses them.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

ROWS, WIDTH = 4, 8

_INT, _INDEX, _BIT, _FLOAT = ir.IntType(32), ir.IntType(64), ir.IntType(1), ir.DoubleType()


class _Writer:
    """Writes instructions for vectors of ``width`` numbers of float64 matrices, whose rows have no gaps."""

    def __init__(self, context, builder, width):
        self.context, self.builder, self.width = context, builder, width
        self.vector = ir.VectorType(_FLOAT, width)

    def call(self, name, result, *arguments):
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def matrix(self, kind, value):
        """What ``address`` wants: where the first number is, and how many there are from row to row."""
        array = self.context.make_array(kind)(self.context, self.builder, value)
        return array.data, self.builder.sdiv(self.builder.extract_value(array.strides, 0), _INDEX(8))

    def address(self, matrix, row, column):
        return self.builder.gep(matrix[0], [self.builder.add(self.builder.mul(row, matrix[1]), column)])

    def spread(self, number):
        """The vector that has this number in every place."""
        nothing = ir.Constant(ir.VectorType(number.type, self.width), ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(_INT, self.width), [0] * self.width)
        return self.builder.shuffle_vector(self.builder.insert_element(nothing, number, _INT(0)), nothing, everywhere)

    def places(self, column):
        """The columns of a vector that begins at this one."""
        count = ir.Constant(ir.VectorType(_INDEX, self.width), list(range(self.width)))
        return self.builder.add(self.spread(column), count)

    def load(self, address, places):
        """The vector at an address, zero where ``places``, unless it is None, is false."""
        address = self.builder.bitcast(address, ir.PointerType(self.vector))
        if places is None:
            vector = self.builder.load(address)
            vector.align = 8
            return vector
        zeros = ir.Constant(self.vector, [0.0] * self.width)
        return self.call(f"llvm.masked.load.v{self.width}f64.p0", self.vector, address, _INT(8), places, zeros)

    def store(self, vector, address, places):
        address = self.builder.bitcast(address, ir.PointerType(self.vector))
        if places is None:
            self.builder.store(vector, address).align = 8
        else:
            self.call(f"llvm.masked.store.v{self.width}f64.p0", ir.VoidType(), vector, address, _INT(8), places)

    def add_product(self, number, vector, total):
        return self.call(f"llvm.fmuladd.v{self.width}f64", self.vector, self.spread(number), vector, total)

    def divide_negated(self, vector, d, r):
        """-d[r] vector, which negates a sum that :meth:`add_products` made of negated values.

        To negate each number on its way into a sum keeps LLVM from reading and spreading it at once: a factor of order
        100 took 18.5 us instead of 13.
        """
        return self.builder.fmul(self.spread(self.builder.fneg(self.builder.extract_value(d, r))), vector)

    def add_products(self, A, B, i, j, first, stop, places, totals, across=False):
        """totals[r] + sum_k A[k, i + r] B[k, j:j + width] over first <= k < stop; A[i + r, k] ``across``."""
        builder = self.builder
        slots = [cgutils.alloca_once_value(builder, total) for total in totals]  # which LLVM makes registers
        with cgutils.for_range_slice(builder, first, stop, _INDEX(1), intp=_INDEX) as (k, _):
            vector = self.load(self.address(B, k, j), places)
            for r, slot in enumerate(slots):
                row = builder.add(i, _INDEX(r))
                number = builder.load(self.address(A, row, k) if across else self.address(A, k, row))
                builder.store(self.add_product(number, vector, builder.load(slot)), slot)
        return [builder.load(slot) for slot in slots]


def _products(width, sign, whole):
    """The tile of :func:`add_tile`; ``whole`` where all of it is read and written."""

    def signed(builder, total):
        return total if sign > 0 else builder.fneg(total)

    @intrinsic
    def tile(typing_context, B, C, i, j, first, stop, low, end, fresh):
        def codegen(context, builder, signature, arguments):
            write = _Writer(context, builder, width)
            B, C = (write.matrix(*pair) for pair in zip(signature.args[:2], arguments[:2], strict=True))
            i, j, first, stop, low, end, fresh = arguments[2:]
            rows = [builder.add(i, _INDEX(r)) for r in range(ROWS)]
            inside, kept = None, [None] * ROWS
            if not whole:
                columns = write.places(j)
                inside = builder.icmp_signed("<", columns, write.spread(end))
                for r, row in enumerate(rows):
                    above = builder.and_(inside, builder.icmp_signed(">=", columns, write.spread(row)))
                    kept[r] = builder.and_(above, write.spread(builder.icmp_signed(">=", row, low)))
            targets = [write.address(C, row, j) for row in rows]
            zeros = ir.Constant(write.vector, [0.0] * width)
            before = [builder.select(fresh, zeros, write.load(*pair)) for pair in zip(targets, kept, strict=True)]
            after = write.add_products(B, B, i, j, first, stop, inside, [signed(builder, total) for total in before])
            for total, target, places in zip(after, targets, kept, strict=True):
                write.store(signed(builder, total), target, places)
            return context.get_dummy_value()

        return types.void(B, C, *[types.intp] * 6, types.boolean), codegen

    return tile


def _solution(whole):
    """The tile of :func:`solve_tile`; ``whole`` where all of it is read and written."""

    @intrinsic
    def tile(typing_context, R, X, i, j, first, end, d):
        def codegen(context, builder, signature, arguments):
            write = _Writer(context, builder, WIDTH)
            R, X = (write.matrix(*pair) for pair in zip(signature.args[:2], arguments[:2], strict=True))
            i, j, first, end, d = arguments[2:]
            rows = [builder.add(i, _INDEX(r)) for r in range(ROWS)]
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
        write = _Writer(context, builder, WIDTH)
        R, X = (write.matrix(*pair) for pair in zip(signature.args[:2], arguments[:2], strict=True))
        i, m, d = arguments[2:]
        rows = [builder.add(i, _INDEX(r)) for r in range(ROWS)]
        targets = [write.address(X, row, _INDEX(0)) for row in rows]
        x = [builder.fneg(write.load(target, None)) for target in targets]
        x = write.add_products(R, X, i, _INDEX(0), builder.add(i, _INDEX(ROWS)), m, None, x, across=True)
        for r in reversed(range(ROWS)):
            for q in range(r + 1, ROWS):
                x[r] = write.add_product(builder.load(write.address(R, rows[r], rows[q])), x[q], x[r])
            x[r] = write.divide_negated(x[r], d, r)
            write.store(x[r], targets[r], None)
        return context.get_dummy_value()

    return types.void(R, X, types.intp, types.intp, types.UniTuple(types.float64, ROWS)), codegen


_add, _add_whole = _products(WIDTH, 1, False), _products(WIDTH, 1, True)
_subtract = _products(ROWS, -1, False)
_solve, _solve_whole = _solution(False), _solution(True)


def _add_to(B, C, i, j, width, first, stop, low, end, fresh, sign):
    product = sign * (B[first:stop, i : i + ROWS].T @ B[first:stop, j : min(j + width, end)])
    for r in range(max(i, low), i + ROWS):
        kept = slice(max(j, r), min(j + width, end))
        C[r, kept] = product[r - i, kept.start - j :] + (0.0 if fresh else C[r, kept])


def add_tile(B, C, i, j, first, stop, low, end, fresh):
    """C += B[first:stop].T @ B[first:stop]; = where it is ``fresh``.

    Written are rows i to i + 4, from row ``low``, and columns j to j + 8, before ``end``, on and right of the diagonal.
    """
    _add_to(B, C, i, j, WIDTH, first, stop, low, end, fresh, 1.0)


@overload(add_tile, inline="always")
def _add_tile_compiled(B, C, i, j, first, stop, low, end, fresh):
    def implementation(B, C, i, j, first, stop, low, end, fresh):
        if low <= i and j >= i + ROWS - 1 and j + WIDTH <= end:
            _add_whole(B, C, i, j, first, stop, low, end, fresh)
        else:
            _add(B, C, i, j, first, stop, low, end, fresh)

    return implementation


def subtract_corner(A, i, stop, low):
    """A -= A[:stop].T @ A[:stop] in rows and columns i to i + 4, from row ``low``, on and right of the diagonal."""
    _add_to(A, A, i, i, ROWS, 0, stop, low, i + ROWS, False, -1.0)


@overload(subtract_corner, inline="always")
def _subtract_corner_compiled(A, i, stop, low):
    def implementation(A, i, stop, low):
        _subtract(A, A, i, i, 0, stop, low, i + ROWS, False)

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
