"""The processors: what they are, and those that this process may really use, with no more threads than that.

PyTorch counts those that the scheduler allows, and OMP_NUM_THREADS may override it; neither knows a container's quota.
More threads than processors wait for each other in every operation.
"""

from __future__ import annotations

import logging
import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath

logger = logging.getLogger(__name__)

CGROUPS = Path("/sys/fs/cgroup")

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_ARM_INSTRUCTIONS = ("asimd", "sve", "bf16", "i8mm")


@cache
def processor() -> str:
    """The processor's name, as it calls itself."""
    return _cpu_facts().get("model name") or platform.processor() or platform.machine()


@cache
def instruction_sets() -> tuple[str, ...]:
    """What of its instructions decides the speed of products."""
    facts = _cpu_facts()
    flags = set(facts.get("flags", "").split()), set(facts.get("Features", "").split())
    return tuple(n for n in _INSTRUCTIONS if n in flags[0]) + tuple(n for n in _ARM_INSTRUCTIONS if n in flags[1])


@cache
def _cpu_facts() -> dict[str, str]:
    """What Linux knows of the first processor; nothing on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


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
