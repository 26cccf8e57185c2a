"""How many processors this process may use, who says so, and which they are."""

import os
import platform
import warnings
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class CpuBudget:
    """Processors for this process: the smallest of all ``limits`` (source, number), and which one that is."""

    n_cpus: int
    decided_by: str
    limits: tuple[tuple[str, int], ...]


def _affinity() -> int | None:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity mask to read
        return None


def _cgroup_quota(root: Path = _CGROUP, membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """Whole processors that the cgroup's CPU quota (v2 ``cpu.max``, v1 ``cpu.cfs_*``) leaves, rounded up."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            quotas += [_read_v2(folder) for folder in _upwards(root, path)]
        elif "cpu" in controllers.split(","):
            for mount in (root / "cpu", root / controllers):
                quotas += [_read_v1(folder) for folder in _upwards(mount, path)]
    found = [quota for quota in quotas if quota is not None]
    return min(found) if found else None


def _upwards(root: Path, path: str) -> list[Path]:
    """The cgroup's folder and its parents, since a limit on any of them holds; a container may see the root only."""
    folder = root / path.lstrip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _read_v2(folder: Path) -> int | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()[:2]
        return None if quota == "max" else max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return None


def _read_v1(folder: Path) -> int | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return None if quota <= 0 else max(1, -(-quota // period))
    except (OSError, ValueError):
        return None


def _slurm() -> tuple[str, int] | None:
    """What SLURM gave to this task; where ``--cpus-per-task`` was not said, a single task has what the job has."""
    sources = ["SLURM_CPUS_PER_TASK"]
    if all(os.environ.get(name, "1") == "1" for name in ("SLURM_NTASKS", "SLURM_TASKS_PER_NODE")):
        sources.append("SLURM_CPUS_ON_NODE")
    for source in sources:
        given = os.environ.get(source, "")
        if given.isdecimal() and int(given) > 0:
            return source, int(given)
    return None


def cpu_budget() -> CpuBudget:
    """The number that ``n_jobs=-1`` means: min(affinity mask, cgroup quota, what SLURM gave to the job)."""
    limits: list[tuple[str, int]] = []
    affinity = _affinity()
    limits.append(("affinity mask", affinity) if affinity else ("processors of the machine", os.cpu_count() or 1))
    quota = _cgroup_quota()
    if quota is not None:
        limits.append(("cgroup CPU quota", quota))
    slurm = _slurm()
    if slurm is not None:
        limits.append(slurm)
    decided_by, n_cpus = min(limits, key=lambda limit: limit[1])
    return CpuBudget(n_cpus, decided_by, tuple(limits))


def resolve_n_jobs(n_jobs: int, most: int | None = None) -> int:
    """Turn joblib's convention (-1 all, -2 all but one, ...) into a number of threads, at least 1.

    "All" is never more than ``most``, the size of the thread pool; an explicit number is taken as it is, with a warning
    where it is more than this job was given.
    """
    if isinstance(n_jobs, bool) or not hasattr(n_jobs, "__index__"):
        raise TypeError(f"n_jobs must be an integer, got {n_jobs!r}; -1 uses every processor that this job may use.")
    n_jobs = int(n_jobs)
    if n_jobs == 0:
        raise ValueError("n_jobs=0 has no meaning; use 1 for a single thread or -1 for all.")
    budget = cpu_budget()
    if n_jobs > budget.n_cpus:
        limits = ", ".join(f"{source}: {n}" for source, n in budget.limits)
        warnings.warn(
            f"n_jobs={n_jobs} asks for more processors than the {budget.n_cpus} that this job may use ({limits}): its "
            "threads will wait for each other. Take n_jobs=-1, or ask the machine for more (--cpus-per-task in SLURM).",
            RuntimeWarning,
            stacklevel=3,
        )
    if n_jobs > 0:
        return n_jobs
    return max(1, min(budget.n_cpus, most or budget.n_cpus) + 1 + n_jobs)


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Model of the processor, such as "AMD EPYC 7763 64-Core Processor"."""
    try:
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    except OSError:  # no Linux
        pass
    return platform.processor() or platform.machine() or "unknown"
