"""Instructions of LLVM for vectors of float64.

LLVM makes vectors of a loop over an array where every number has a sum of its own. It makes none where they have one
in common, as scalar products do (without ``fastmath``, which would leave their order to it), nor of loops over tiles
of a matrix. Those are written with these: of eight numbers, for which LLVM takes one register or two or four, as the
processor has them, and of products that it joins with a sum where the processor can.
"""

from llvmlite import ir
from numba.core import cgutils

#: Numbers of a vector.
WIDTH = 8

INT, INDEX, FLOAT = ir.IntType(32), ir.IntType(64), ir.DoubleType()


class Writer:
    """Writes instructions for vectors of ``width`` numbers of float64 matrices, whose rows have no gaps."""

    def __init__(self, context, builder, width):
        self.context, self.builder, self.width = context, builder, width
        self.vector = ir.VectorType(FLOAT, width)

    def call(self, name, result, *arguments):
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def matrix(self, kind, value):
        """What ``address`` wants: where the first number is, and how many there are from row to row."""
        array = self.context.make_array(kind)(self.context, self.builder, value)
        return array.data, self.builder.sdiv(self.builder.extract_value(array.strides, 0), INDEX(8))

    def address(self, matrix, row, column):
        return self.builder.gep(matrix[0], [self.builder.add(self.builder.mul(row, matrix[1]), column)])

    def spread(self, number):
        """The vector that has this number in every place."""
        nothing = ir.Constant(ir.VectorType(number.type, self.width), ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(INT, self.width), [0] * self.width)
        return self.builder.shuffle_vector(self.builder.insert_element(nothing, number, INT(0)), nothing, everywhere)

    def places(self, column):
        """The columns of a vector that begins at this one."""
        count = ir.Constant(ir.VectorType(INDEX, self.width), list(range(self.width)))
        return self.builder.add(self.spread(column), count)

    def load(self, address, places):
        """The vector at an address, zero where ``places``, unless it is None, is false."""
        address = self.builder.bitcast(address, ir.PointerType(self.vector))
        if places is None:
            vector = self.builder.load(address)
            vector.align = 8
            return vector
        zeros = ir.Constant(self.vector, [0.0] * self.width)
        return self.call(f"llvm.masked.load.v{self.width}f64.p0", self.vector, address, INT(8), places, zeros)

    def store(self, vector, address, places):
        address = self.builder.bitcast(address, ir.PointerType(self.vector))
        if places is None:
            self.builder.store(vector, address).align = 8
        else:
            self.call(f"llvm.masked.store.v{self.width}f64.p0", ir.VoidType(), vector, address, INT(8), places)

    def multiply_add(self, a, b, total):
        return self.call(f"llvm.fmuladd.v{self.width}f64", self.vector, a, b, total)

    def add_product(self, number, vector, total):
        return self.multiply_add(self.spread(number), vector, total)

    def divide_negated(self, vector, d, r):
        """-d[r] vector, which negates a sum that :meth:`add_products` made of negated values.

        To negate each number on its way into a sum keeps LLVM from reading and spreading it at once: a factor of order
        100 took 18.5 us instead of 11.
        """
        return self.builder.fmul(self.spread(self.builder.fneg(self.builder.extract_value(d, r))), vector)

    def add_products(self, A, B, i, j, first, stop, places, totals, across=False):
        """totals[r] + sum_k A[k, i + r] B[k, j:j + width] over first <= k < stop; A[i + r, k] ``across``."""
        builder = self.builder
        slots = [cgutils.alloca_once_value(builder, total) for total in totals]  # which LLVM makes registers
        with cgutils.for_range_slice(builder, first, stop, INDEX(1), intp=INDEX) as (k, _):
            vector = self.load(self.address(B, k, j), places)
            for r, slot in enumerate(slots):
                row = builder.add(i, INDEX(r))
                number = builder.load(self.address(A, row, k) if across else self.address(A, k, row))
                builder.store(self.add_product(number, vector, builder.load(slot)), slot)
        return [builder.load(slot) for slot in slots]

    def sum(self, vector):
        """The sum of a vector's numbers, whose other half is added to each half of it."""
        width = self.width
        while width > 1:
            width //= 2
            halves = [
                self.builder.shuffle_vector(
                    vector, vector, ir.Constant(ir.VectorType(INT, width), list(range(i, i + width)))
                )
                for i in (0, width)
            ]
            vector = self.builder.fadd(*halves)
        return self.builder.extract_element(vector, INT(0))
