"""What fastsl finds on this machine: ``fastsl info``."""

import os
from typing import Any

import numba
import numpy as np

from fastsl._kernels.spheres import touch
from fastsl._runtime import jit
from fastsl._runtime.cpus import cpu_budget
from fastsl._runtime.launch import launching, max_threads
from fastsl.record import versions


def collect() -> dict[str, Any]:
    """Versions, processors with the reason for their number, threading layer and compile cache."""
    budget = cpu_budget()
    return {
        "versions": versions(),
        "machine_cpus": os.cpu_count(),
        "n_jobs_all": min(budget.n_cpus, max_threads()),
        "decided_by": budget.decided_by,
        "limits": dict(budget.limits),
        "numba_threads": max_threads(),
        "threading_layer": _threading_layer(),
        "compile_cache": None if jit.CACHE_FOLDER is None else str(jit.CACHE_FOLDER),
        "compiled_kernels": 0 if jit.CACHE_FOLDER is None else len(list(jit.CACHE_FOLDER.rglob("*.nbc"))),
    }


def _threading_layer() -> str:
    """Name of the layer that Numba loads: it only says so after a first launch."""
    with launching():
        touch(np.empty(1))
    return str(numba.threading_layer())


def describe(facts: dict[str, Any]) -> str:
    """Put the facts of :func:`collect` into words."""
    lines = [f"{name:14s} {version}" for name, version in facts["versions"].items()]
    limits = ", ".join(f"{source}: {n}" for source, n in facts["limits"].items())
    cache = facts["compile_cache"] or "none: the folder cannot be written, see NUMBA_CACHE_DIR"
    return "\n".join(
        [
            *lines,
            "",
            f"n_jobs=-1 uses {facts['n_jobs_all']} threads here, decided by: {facts['decided_by']} ({limits}).",
            f"The machine has {facts['machine_cpus']} processors; Numba's pool has {facts['numba_threads']} threads "
            f"(layer: {facts['threading_layer']}).",
            f"Compile cache: {cache} ({facts['compiled_kernels']} kernels in it).",
        ]
    )
