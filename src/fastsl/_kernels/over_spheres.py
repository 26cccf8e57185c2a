"""The decorator of every kernel that goes over the spheres of a block, which threads share between them."""

import functools
from collections.abc import Callable
from typing import Any

from fastsl._kernels.block import Block
from fastsl._runtime.jit import worker
from fastsl._runtime.launch import in_parts

#: Fewest spheres that are worth a part: allocation of its work space does not show, and threads end together.
FEWEST = 8


def over_spheres(kernel: Callable[..., Any]) -> Callable[..., None]:
    """Compile ``kernel(block, ..., out, status)`` for one thread, and call it for parts of a block on all threads.

    ``out`` and ``status`` have a row for each sphere. A sphere's result may depend on no other, nor on where in the
    block it is: a part has the indptr of its own spheres, while ``indices``, and the places in them, are the block's.
    """
    compiled = worker(kernel)

    @functools.wraps(kernel)
    def share(block: Block, *arguments: Any) -> None:
        *given, out, status = arguments

        def work(part: slice) -> None:
            own = block._replace(indptr=block.indptr[part.start : part.stop + 1])
            compiled(own, *given, out[part], status[part])

        in_parts(len(status), FEWEST, work)

    share.__wrapped__ = compiled
    return share
