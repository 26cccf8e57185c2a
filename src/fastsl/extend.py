"""What a package that extends fastsl needs: see docs/extending.md.

>>> from fastsl.extend import Block, BlockMetric, HeldOut, Neighbours, Plan, lay_out, register_decoder
"""

from collections.abc import Callable
from typing import Any

from fastsl._kernels.block import Block
from fastsl.block_metric import BlockMetric
from fastsl.decoders import REGISTRY, Decoder
from fastsl.decoders.plan import Output, Plan, PlanFunction, lay_out
from fastsl.neighbours import Neighbours
from fastsl.predictions import HeldOut, LogLikelihoods, LogOdds, Votes

__all__ = [
    "Block",
    "BlockMetric",
    "HeldOut",
    "LogLikelihoods",
    "LogOdds",
    "Neighbours",
    "Output",
    "Plan",
    "Votes",
    "lay_out",
    "register_decoder",
]


def register_decoder(kind: type, plan: PlanFunction, refuse: Callable[[Any], str | None] | None = None) -> None:
    """Make estimators of type ``kind`` run compiled in this process.

    Parameters
    ----------
    kind : type
        A scikit-learn estimator class. Its own ``fit`` and ``predict`` stay the definition, and run where the plan
        does not apply.
    plan : callable
        ``plan(estimator, y, folds) -> Plan``: makes ready what is fitted in every sphere.
    refuse : callable, optional
        ``refuse(estimator)`` says why an estimator's parameters are not compiled; None when they are.

    Raises
    ------
    TypeError
        When ``kind`` is no estimator class.
    ValueError
        When ``kind`` is registered already.
    """
    if not (isinstance(kind, type) and hasattr(kind, "fit") and hasattr(kind, "get_params")):
        raise TypeError(f"kind must be a scikit-learn estimator class, got {kind!r}.")
    if kind in REGISTRY:
        raise ValueError(f"{kind.__name__} has a compiled decoder already.")
    REGISTRY[kind] = Decoder(refuse or _refuse_nothing, plan)


def _refuse_nothing(estimator: Any) -> str | None:
    return None
