# SPDX-License-Identifier: Apache-2.0
"""Processors: how many this process may use, and how many of them are idle."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
import os
from pathlib import Path
import time

PROBE = 0.3  # time over which idle processors are measured [s]
PROC, CGROUP = Path('/proc/stat'), Path('/sys/fs/cgroup')


def allowed_processors(cgroup: Path = CGROUP) -> int:
    """Return how many processors this process may use, by CPU affinity and cgroup quota."""
    if not hasattr(os, 'sched_getaffinity'):
        return os.cpu_count() or 1
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / 'cpu.max').read_text(encoding='ascii').split()
        return count if quota == 'max' else max(1, min(count, ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    try:  # cgroups v1
        quota, period = (
            (cgroup / 'cpu' / f'cpu.cfs_{name}_us').read_text(encoding='ascii')
            for name in ('quota', 'period')
        )
        return count if int(quota) <= 0 else max(1, min(count, ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return count


def idle_processors(
    stat: Path = PROC, wait: Callable[[float], object] = time.sleep
) -> float | None:
    """Measure how many of the allowed processors are idle; None if that is unknown."""
    before = _ticks(stat)
    wait(PROBE)
    after = _ticks(stat)
    if not before or before.keys() != after.keys():
        return None
    idle = 0.0
    for processor, (rest, whole) in after.items():
        passed = whole - before[processor][1]
        idle += (rest - before[processor][0]) / passed if passed > 0 else 1.0
    return idle


def _ticks(stat: Path) -> dict[int, tuple[int, int]]:
    """Return idle and total ticks of each allowed processor, from /proc/stat."""
    try:
        ours = os.sched_getaffinity(0)
        lines = stat.read_text(encoding='ascii').splitlines()
        found = {}
        for name, *counts in (line.split() for line in lines if line.startswith('cpu')):
            if name[3:].isdigit() and int(name[3:]) in ours:
                user, nice, system, idle, waits, irq, soft, steal = map(int, counts[:8])
                rest = idle + waits
                found[int(name[3:])] = (rest, rest + user + nice + system + irq + soft + steal)
        return found
    except (AttributeError, OSError, ValueError):
        return {}
