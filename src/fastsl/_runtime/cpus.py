"""How many processors this process may use, and who says so."""

import os
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


def cpu_budget() -> CpuBudget:
    """The number that ``n_jobs=-1`` means: min(affinity mask, cgroup quota, SLURM_CPUS_PER_TASK)."""
    limits: list[tuple[str, int]] = []
    affinity = _affinity()
    limits.append(("affinity mask", affinity) if affinity else ("processors of the machine", os.cpu_count() or 1))
    quota = _cgroup_quota()
    if quota is not None:
        limits.append(("cgroup CPU quota", quota))
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdecimal() and int(slurm) > 0:
        limits.append(("SLURM_CPUS_PER_TASK", int(slurm)))
    decided_by, n_cpus = min(limits, key=lambda limit: limit[1])
    return CpuBudget(n_cpus, decided_by, tuple(limits))


def resolve_n_jobs(n_jobs: int, most: int | None = None) -> int:
    """Turn joblib's convention (-1 all, -2 all but one, ...) into a number of threads, at least 1.

    "All" is never more than ``most``, the size of the thread pool; an explicit number is taken as it is.
    """
    if isinstance(n_jobs, bool) or not hasattr(n_jobs, "__index__"):
        raise TypeError(f"n_jobs must be an integer, got {n_jobs!r}; -1 uses every processor that this job may use.")
    n_jobs = int(n_jobs)
    if n_jobs == 0:
        raise ValueError("n_jobs=0 has no meaning; use 1 for a single thread or -1 for all.")
    if n_jobs > 0:
        return n_jobs
    n_cpus = cpu_budget().n_cpus
    return max(1, min(n_cpus, most or n_cpus) + 1 + n_jobs)
