# SPDX-License-Identifier: Apache-2.0
"""Several ways to compute the same: which of them this machine does fastest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import logging
from statistics import median
import time

import torch

ROUNDS = 9
MARGIN = 1.1  # by which another form must be faster than the usual one

_log = logging.getLogger(__name__)
_chosen: dict[str, str] = {}  # form by task, for as long as the process lives


def fastest(
    task: str,
    forms: Mapping[str, Callable[[], object]],
    clock: Callable[[], float] | None = None,
) -> str:
    """
    Return the name of the fastest form of a task, which is timed once in a process.

    The first form is the usual one. Another takes its place if it is clearly faster in the median
    of several rounds; within a round all forms see the same load of the machine.
    """
    if task not in _chosen:
        if clock is None:  # that of a single thread stands still while others have its processor
            clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
        for form in forms.values():
            form()  # allocates, and fills caches
        rounds = [
            {name: _time(form, clock) for name, form in forms.items()} for _ in range(ROUNDS)
        ]
        usual, *others = forms
        gains = {name: median(r[usual] / max(r[name], 1e-9) for r in rounds) for name in others}
        best = max(others, key=gains.__getitem__, default=usual)
        _chosen[task] = best if others and gains[best] > MARGIN else usual
        speeds = ', '.join(
            f'{name} {gain:.2f} times as fast as {usual}' for name, gain in gains.items()
        )
        _log.debug('%s: %s; took %s', task, speeds, _chosen[task])
    return _chosen[task]


def chosen() -> dict[str, str]:
    """Return the form of every task that was timed so far."""
    return dict(_chosen)


def choose(forms: Mapping[str, str]) -> None:
    """Take these forms without timing: a run that goes on computes as it did before."""
    _chosen.update(forms)


def _time(form: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return how long one call takes [s]."""
    begun = clock()
    form()
    return clock() - begun
