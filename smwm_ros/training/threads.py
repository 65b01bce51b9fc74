# SPDX-License-Identifier: Apache-2.0
"""
Choose the number of threads: all if the processors are idle, else by a trial.

A training step ends when its last thread ends. If another program uses the processor of one
thread, all others wait for it: with spinning threads a step took many times as long as with one
thread. With sleeping threads many may still be faster, because many threads get a larger share of
a processor. So both numbers are tried in the first steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
import time

from smwm_ros.processors import allowed_processors, idle_processors
from smwm_ros.text import count_of
import torch

SPARE = 0.3  # share of a processor that others may use while it counts as idle
SLOW, IN_A_ROW = 3.0, 5  # so many steps that take so many times as long start a new choice
TRIES = 4  # steps of a trial with each number; the first is not counted
USUAL = 10  # steps whose median is the usual time of a step
PATIENCE = 10.0  # least time between two choices because of slow steps [s]
RECHECK = 60.0  # until idle processors are measured again, to use more threads [s]


class Threads:
    """The number of torch threads, chosen again when steps become much slower."""

    def __init__(
        self,
        wanted: int,  # 0 to choose
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        idle: Callable[[], float | None] | None = None,
    ) -> None:
        self._report, self._clock = report, clock
        self._times: list[float] = []  # the first few steps, then the latest ones [s]
        self._last = self._checked = clock()
        self._trial: dict[int, list[float]] = {}  # by number of threads: steps so far [s]
        self._idle = idle_processors if idle is None else idle
        # Never more than OMP_NUM_THREADS or torch allow.
        given, allowed = torch.get_num_threads(), allowed_processors()
        self._most = min(given, allowed)
        self._chooses = wanted == 0 and self._most > 1
        self.number = 0
        if self._chooses:
            self._choose('train.threads is 0')
        else:
            if not wanted and self._most < given:
                report(f'1 thread: this process may use {allowed} of the processors')
            self._set(wanted or self._most)

    def step(self) -> None:
        """Record that a step ended, and choose again if steps are slow or time has passed."""
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
        waited = now - self._checked
        if latest > SLOW * usual and waited > PATIENCE and len(self._times) >= USUAL + IN_A_ROW:
            self._choose(f'steps take {latest:.2g} s instead of {usual:.2g} s')
        elif waited > RECHECK and self.number < self._most:
            self._choose('checked again', more=True)

    def _begin(self) -> None:
        """Forget the times of steps, and measure the usual time anew."""
        self._times = []
        self._last = self._checked = self._clock()

    def _choose(self, why: str, more: bool = False) -> None:
        """Use all threads if all processors are idle, else try; with `more`, only to use more."""
        idle = self._idle()
        number = self._most if idle is None else max(1, min(self._most, int(idle + SPARE)))
        self._begin()
        if more and number <= self.number:
            return
        found = f'{"?" if idle is None else f"{idle:.1f}"} of {self._most} processors idle ({why})'
        if number == self._most:
            if number != self.number:
                self._report(f'{count_of(number, "thread")}: {found}')
            self._set(number)
        else:
            self._report(f'{found}: trying {number} and {count_of(self._most, "thread")}')
            self._trial = {number: [], self._most: []}
            self._set(number)

    def _try(self, took: float) -> None:
        """Record a step of the trial; switch to the other number, or end with the faster one."""
        self._trial[self.number].append(took)
        (fewer, alone), (most, together) = self._trial.items()
        slow = len(together) > 1 and together[-1] > SLOW * alone[-1]
        if len(together) < TRIES and not slow:
            self._set(most if self.number == fewer else fewer)
            return
        seconds = {fewer: median(alone[1:]), most: median(together[1:])}
        faster, slower = sorted(seconds, key=seconds.__getitem__)
        self._report(
            f'{count_of(faster, "thread")}: a step takes {seconds[faster]:.2g} s, and '
            f'{seconds[slower]:.2g} s with {slower}'
        )
        self._trial = {}
        self._set(faster)
        self._begin()

    def _set(self, number: int) -> None:
        """Set the number of torch threads."""
        self.number = number
        torch.set_num_threads(number)


@contextmanager
def threads(wanted: int, report: Callable[[str], None]) -> Iterator[Threads]:
    """Choose the number of torch threads inside, and restore it afterwards."""
    before = torch.get_num_threads()
    try:
        yield Threads(wanted, report)
    finally:
        torch.set_num_threads(before)
