# SPDX-License-Identifier: Apache-2.0
"""Choose the fastest of several implementations of one computation, by timing them here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import logging
from statistics import median
import time

import torch

ROUNDS = 9
MARGIN = 1.1  # speed-up from which another form replaces the usual one

_log = logging.getLogger(__name__)
_chosen: dict[str, str] = {}  # form by task, for the lifetime of the process


def fastest(
    task: str,
    forms: Mapping[str, Callable[[], object]],
    clock: Callable[[], float] | None = None,
) -> str:
    """
    Return the name of the fastest form of a task; a task is timed once in a process.

    The first form is the usual one. Another replaces it if the median of several rounds is clearly
    faster. A round times all forms in turn, so that all run under the same load.
    """
    if task not in _chosen:
        if clock is None:  # the time of one thread excludes time given to other processes
            clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
        for form in forms.values():
            form()  # warm-up: allocates, fills caches
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
    """Return the form of every task timed so far."""
    return dict(_chosen)


def choose(forms: Mapping[str, str]) -> None:
    """Use these forms without timing, so that a resumed run computes as before."""
    _chosen.update(forms)


def _time(form: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return how long one call takes [s]."""
    begun = clock()
    form()
    return clock() - begun
