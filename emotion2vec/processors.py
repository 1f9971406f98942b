"""Processors that this process may really use, and no more threads than that.

PyTorch counts those that the scheduler allows, and OMP_NUM_THREADS may override it; neither knows a container's quota.
More threads than processors wait for each other in every operation.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

logger = logging.getLogger(__name__)

CGROUPS = Path("/sys/fs/cgroup")


def available_processors(cgroups: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Processors that the scheduler's affinity and the quota of every control group above the process leave to it.

    Args:
        cgroups: where control groups are mounted (version 2; version 1 below `cpu`).
        own: the file that names the process's own groups.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(quota) for quota in _quotas(cgroups, own))]))


def default_workers() -> int:
    """Threads to decode audio with: one per processor, at most 8."""
    return min(available_processors(), 8)


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """Processors that each group allows, of the groups that set a limit."""
    for line in (_read(own) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        inside = PurePosixPath(path.lstrip("/"))
        for group in [inside, *inside.parents]:
            if controllers == "":
                quota, _, period = (_read(cgroups / group / "cpu.max") or "").partition(" ")
            elif "cpu" in controllers.split(","):
                quota = _read(cgroups / "cpu" / group / "cpu.cfs_quota_us") or ""
                period = _read(cgroups / "cpu" / group / "cpu.cfs_period_us") or ""
            else:
                continue
            if quota.strip().isdecimal() and period.strip().isdecimal():  # else "max", -1 or nothing
                yield int(quota) / int(period)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None


@contextmanager
def threads_within_processors() -> Iterator[None]:
    """Lower PyTorch's number of threads to the processors there are, say so, and set it back at the end."""
    import torch

    before, most = torch.get_num_threads(), available_processors()
    if before > most:
        logger.warning(
            "%d threads on %d processor%s would wait for each other: using %d", before, most, "s" * (most > 1), most
        )
        torch.set_num_threads(most)
    try:
        yield
    finally:
        if before > most:
            torch.set_num_threads(before)
