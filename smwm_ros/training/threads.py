# SPDX-License-Identifier: Apache-2.0
"""
How many threads compute: all where processors are idle, else what is faster beside others.

A step of training ends when its last thread does. Where another program has the processor of one
of them, all others wait: those that spin made a step many times as long as it takes one thread
alone. Those that sleep may still be faster, for many threads get more of a processor that is
shared. So both are tried, in the first steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
import os
from pathlib import Path
from statistics import median
import time

from smwm_ros.text import count_of
import torch

PROBE = 0.3  # how long processors are watched [s]
SPARE = 0.3  # of a processor: what others may use of one that counts as idle
SLOW, IN_A_ROW = 3.0, 5  # steps that take so many times as long as usual
TRIES = 4  # steps with each number; the first is not counted
USUAL = 10  # steps whose median is the usual time
PATIENCE = 10.0  # between two looks at slow steps [s]
HOPE = 60.0  # until a look whether others are gone [s]
PROC, CGROUP = Path('/proc/stat'), Path('/sys/fs/cgroup')


class Threads:
    """The number of threads of this process, chosen anew when steps become far slower."""

    def __init__(
        self,
        wanted: int,  # 0 to choose
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        idle: Callable[[], float | None] | None = None,
    ) -> None:
        self._say, self._clock = say, clock
        self._times: list[float] = []  # the first few steps, then the latest ones [s]
        self._last = self._looked = clock()
        self._trial: dict[int, list[float]] = {}  # by number of threads: steps so far [s]
        self._idle = idle_processors if idle is None else idle
        # What the process was given, by OMP_NUM_THREADS or torch, is never exceeded.
        given, allowed = torch.get_num_threads(), allowed_processors()
        self._most = min(given, allowed)
        self._chooses = wanted == 0 and self._most > 1
        self.number = 0
        if self._chooses:
            self._choose('train.threads is 0')
        else:
            if not wanted and self._most < given:
                say(f'1 thread: this process may use {allowed} of the processors')
            self._set(wanted or self._most)

    def step(self) -> None:
        """Take note that a step ended; look at the processors again if there is reason to."""
        if not self._chooses:
            return
        now = self._clock()
        took, self._last = now - self._last, now
        if self._trial:
            self._try(took)
            return
        self._times.append(took)
        if len(self._times) <= USUAL:
            return
        usual, latest = median(self._times[:USUAL]), min(self._times[-IN_A_ROW:])
        del self._times[USUAL:-IN_A_ROW]
        waited = now - self._looked
        if latest > SLOW * usual and waited > PATIENCE and len(self._times) >= USUAL + IN_A_ROW:
            self._choose(f'steps take {latest:.2g} s instead of {usual:.2g} s')
        elif waited > HOPE and self.number < self._most:
            self._choose('looked again', more=True)

    def _begin(self) -> None:
        """Measure what is usual from now on."""
        self._times = []
        self._last = self._looked = self._clock()

    def _choose(self, why: str, more: bool = False) -> None:
        """Take all threads if all processors are idle, or try; with `more`, only if more are."""
        idle = self._idle()
        number = self._most if idle is None else max(1, min(self._most, int(idle + SPARE)))
        self._begin()
        if more and number <= self.number:
            return
        found = f'{"?" if idle is None else f"{idle:.1f}"} of {self._most} processors idle ({why})'
        if number == self._most:
            if number != self.number:
                self._say(f'{count_of(number, "thread")}: {found}')
            self._set(number)
        else:
            self._say(f'{found}: trying {number} and {count_of(self._most, "thread")}')
            self._trial = {number: [], self._most: []}
            self._set(number)

    def _try(self, took: float) -> None:
        """Note a step of the trial; go on with the other number, or with the faster one."""
        self._trial[self.number].append(took)
        (fewer, alone), (most, together) = self._trial.items()
        slow = len(together) > 1 and together[-1] > SLOW * alone[-1]
        if len(together) < TRIES and not slow:
            self._set(most if self.number == fewer else fewer)
            return
        seconds = {fewer: median(alone[1:]), most: median(together[1:])}
        faster, slower = sorted(seconds, key=seconds.__getitem__)
        self._say(
            f'{count_of(faster, "thread")}: a step takes {seconds[faster]:.2g} s, and '
            f'{seconds[slower]:.2g} s '
            f'with {slower}'
        )
        self._trial = {}
        self._set(faster)
        self._begin()

    def _set(self, number: int) -> None:
        """Go on with so many threads."""
        self.number = number
        torch.set_num_threads(number)


@contextmanager
def threads(wanted: int, say: Callable[[str], None]) -> Iterator[Threads]:
    """Choose the threads of what is done inside; leave torch as it was."""
    before = torch.get_num_threads()
    try:
        yield Threads(wanted, say)
    finally:
        torch.set_num_threads(before)


def allowed_processors(cgroup: Path = CGROUP) -> int:
    """Return how many processors this process may use at once, by its affinity and its quota."""
    if not hasattr(os, 'sched_getaffinity'):
        return os.cpu_count() or 1
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / 'cpu.max').read_text(encoding='ascii').split()
        return count if quota == 'max' else max(1, min(count, ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    try:  # the first version of cgroups
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
    """Watch the processors that this process may use; return how many did nothing, or None."""
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
    """Return the idle and the whole time of each processor of this process, from /proc/stat."""
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
