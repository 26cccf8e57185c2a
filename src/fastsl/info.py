"""What fastsl finds on this machine: ``fastsl info``."""

import os
from typing import Any

from fastsl._runtime import jit
from fastsl._runtime.cpus import cpu_budget
from fastsl._runtime.launch import max_threads
from fastsl.record import versions


def collect() -> dict[str, Any]:
    """Versions, processors with the reason for their number, and compile cache."""
    budget = cpu_budget()
    return {
        "versions": versions(),
        "machine_cpus": os.cpu_count(),
        "n_jobs_all": min(budget.n_cpus, max_threads()),
        "decided_by": budget.decided_by,
        "limits": dict(budget.limits),
        "numba_threads": max_threads(),
        "compile_cache": None if jit.CACHE_FOLDER is None else str(jit.CACHE_FOLDER),
        "compiled_kernels": 0 if jit.CACHE_FOLDER is None else len(list(jit.CACHE_FOLDER.rglob("*.nbc"))),
    }


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
            f"The machine has {facts['machine_cpus']} processors; NUMBA_NUM_THREADS is {facts['numba_threads']}.",
            f"Compile cache: {cache} ({facts['compiled_kernels']} kernels in it).",
        ]
    )
