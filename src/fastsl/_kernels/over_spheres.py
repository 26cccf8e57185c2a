"""The decorator of every kernel that goes over the spheres of a block, which threads share between them."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastsl._kernels.block import Block
from fastsl._kernels.named import make_ready
from fastsl._runtime import jit
from fastsl._runtime.launch import in_parts

#: Fewest spheres that are worth a part: allocation of its work space does not show, and threads end together.
FEWEST = 8


def over_spheres(kernel: Callable[..., Any]) -> Callable[..., None]:
    """Compile ``kernel(block, ..., out, status)`` for one thread, and call it for parts of a block on all threads.

    ``out`` and ``status`` have a row for each sphere; a part fills those of its ``block.order``. A sphere's result may
    depend on no other, nor on where in the block it is.
    """
    compiled = jit.kernel(kernel)

    @functools.wraps(kernel)
    def share(block: Block, *arguments: Any) -> None:
        n = len(block.indptr) - 1
        order = block.order if len(block.order) else np.arange(n)
        if len(order) != n:  # a kernel would read what is not there
            raise ValueError(f"block.order has {len(order)} spheres, the block {n}.")

        make_ready(compiled, (block._replace(order=order[:0]), *arguments))

        def work(part: slice) -> None:
            compiled(block._replace(order=order[part]), *arguments)

        in_parts(len(order), FEWEST, work)

    share.__wrapped__ = compiled
    return share
