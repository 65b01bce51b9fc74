# SPDX-License-Identifier: Apache-2.0
"""
Load the batches of a training so that a GPU does not wait for them.

The whole dataset is copied to the GPU if it fits. Otherwise a thread prepares batches ahead, in
pinned memory. Every kind of feed returns the same batches, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeAlias

import numpy as np
from smwm_ros.data.observations import first_rows
from smwm_ros.interfaces import Array, GoalAhead, Obs, Window
from smwm_ros.training.batches import Batches
from smwm_ros.training.goals import raw_steps_left
import torch
from torch import Tensor

Feed: TypeAlias = Callable[[int], Window]  # step -> batch; steps come in order

ROOM = 0.5  # share of the free GPU memory that frames may take
CHUNK = 4096  # rows copied to a device at once
AHEAD = 3  # batches prepared ahead
WAIT = 0.1  # period at which the thread checks whether to end [s]


@contextmanager
def open_feed(
    kind: str, batches: Batches, sampler: Callable[[int], Array], share: slice, steps: range
) -> Iterator[Feed]:
    """Open a feed of the batches of these steps, and close it at the end."""
    if kind == 'auto':
        kind = choose(batches)
    if kind == 'resident':
        dataset = Resident(batches, share)
        yield lambda step: dataset.at(sampler(step - 1))
    elif kind == 'direct':
        yield lambda step: batches.at(sampler(step - 1), share)
    else:
        host = batches._replace(device=torch.device('cpu'))
        thread = PrefetchThread(
            lambda step: host.at(sampler(step - 1), share), batches.device, steps
        )
        try:
            yield thread
        finally:
            thread.close()


def choose(batches: Batches) -> str:
    """Return the fastest kind of feed for this device and dataset."""
    if batches.device.type != 'cuda':
        return 'direct'  # a thread would compete with the training for the cores
    free, _ = torch.cuda.mem_get_info(batches.device)
    frames = len(batches.dataset) * batches.dataset.info.image_size**2 * 3
    return 'resident' if frames < ROOM * free else 'prefetch'


class Resident:
    """A dataset on the device, where batches are selected by index."""

    def __init__(self, batches: Batches, share: slice) -> None:
        dataset, self._device, self._share = batches.dataset, batches.device, share
        self._block, count = dataset.info.action_block, len(dataset)
        side = dataset.info.image_size
        self._pixels = torch.empty(count, side, side, 3, dtype=torch.uint8, device=self._device)
        for begin in range(0, count, CHUNK):
            rows = np.arange(begin, min(begin + CHUNK, count))
            self._pixels[begin : begin + len(rows)] = torch.from_numpy(dataset.pixels(rows))
        rows = np.arange(count)
        self._actions = torch.from_numpy(batches.normalised(rows)).to(self._device)
        self._states = torch.from_numpy(batches.states(rows)).to(self._device)
        self._confidence = (
            torch.from_numpy(dataset.confidence(rows)).to(self._device)
            if batches.weighted
            else None
        )
        self._steps = torch.arange(batches.steps + 1, device=self._device)[:, None]
        self._ticks = torch.arange(self._block, device=self._device)
        self._behind = torch.arange(batches.stack - 1, -1, -1, device=self._device)
        self._first = torch.from_numpy(first_rows(dataset, rows)).to(self._device)

    def at(self, starts: Array) -> Window:
        """Return the windows that start at these rows, with images for a share of them alone."""
        if starts.ndim == 2:  # starts and goals
            return self.at(starts[0])._replace(goal=self._goals(starts))
        first = torch.from_numpy(starts).to(self._device, non_blocking=True)
        rows = first + self._block * self._steps  # (T+1, B)
        mine = rows[:, self._share, None]
        images = torch.maximum(mine - self._behind, self._first[mine])  # (T+1, B, H)
        pixels = self._pixels.index_select(0, images.flatten()).unflatten(0, images.shape)  # type: ignore[no-untyped-call]
        ticks = rows[:-1, :, None] + self._ticks  # (T, B, K)
        confidence = self._confidence
        return Window(
            Obs(pixels.permute(0, 1, 2, 5, 3, 4).flatten(2, 3), self._states[rows]),
            self._actions[ticks].flatten(2),
            None if confidence is None else confidence[ticks].amin(dim=2),
        )

    def _goals(self, rows: Array) -> GoalAhead:
        """Return the goals at these rows, with images for a share of them alone."""
        left = torch.from_numpy(raw_steps_left(rows, len(self._steps) - 1, self._block))
        goals = torch.from_numpy(rows[1, self._share]).to(self._device, non_blocking=True)
        pixels = self._pixels.index_select(0, goals).permute(0, 3, 1, 2)
        stack = len(self._behind)
        return GoalAhead(pixels.repeat(1, stack, 1, 1), left.to(self._device, non_blocking=True))


class PrefetchThread:
    """A thread that prepares the batches of the next steps."""

    def __init__(
        self, prepare: Callable[[int], Window], device: torch.device, steps: range
    ) -> None:
        self._prepare, self._device, self._steps = prepare, device, steps
        self._ready: Queue[Window | Exception] = Queue(AHEAD)
        self._stop = Event()
        self._thread = Thread(target=self._run, name='batches', daemon=True)
        self._thread.start()

    def __call__(self, step: int) -> Window:
        """Return the batch of a step, on the device; steps are requested in order."""
        found = self._ready.get()
        if isinstance(found, Exception):
            raise found
        return _each(found, lambda part: part.to(self._device, non_blocking=True))

    def close(self) -> None:
        """Stop the thread, and wait for its end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for step in self._steps:
            found: Window | Exception
            try:
                found = self._prepare(step)
                if self._device.type == 'cuda':
                    found = _each(found, lambda part: part.pin_memory())
            except Exception as error:  # raised again where the batch is taken
                found = error
            if not self._put(found) or isinstance(found, Exception):
                return

    def _put(self, found: Window | Exception) -> bool:
        """Wait for room in the queue; return False if the feed is closed."""
        while not self._stop.is_set():
            try:
                self._ready.put(found, timeout=WAIT)
            except Full:
                continue
            return True
        return False


def _each(window: Window, change: Callable[[Tensor], Tensor]) -> Window:
    """Return a batch with a function applied to every tensor."""
    obs = Obs(*(change(part) for part in window.obs))
    weight = None if window.weight is None else change(window.weight)
    goal = window.goal and GoalAhead(*(change(part) for part in window.goal))
    return Window(obs, change(window.action), weight, goal)
