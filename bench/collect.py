# SPDX-License-Identifier: Apache-2.0
"""
Measure how fast each arena records bags, beside the simulator alone.

The peer repeats the same pybullet calls in a bare loop with prepared arguments: motors, physics,
poses, camera. The difference is the cost of the arena, the collection policy, the messages, the
serialisation and the bag. Both run in one thread and are timed in processor time, so that load
from other programs does not distort the ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
import os
from pathlib import Path
import shutil
from tempfile import TemporaryDirectory
import time
from typing import Any

from common import interleaved, main, paired_ratio, Row
import numpy as np
from smwm_ros.arenas import ARENA_NAMES, make_arena
from smwm_ros.collect.pool import record_all
from smwm_ros.collect.record import (
    bags_to_record,
    BagToRecord,
    begin_episode,
    EPISODES_PER_BAG,
    record,
)
from smwm_ros.config import Config
from smwm_ros.load import load_config

LENGTH = 100  # raw steps in an episode
KNOBS = ['arena.image_size=64', f'arena.length={LENGTH}', 'arena.policy=mixed']
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class CallRecorder:
    """Wraps pybullet and records every call."""

    def __init__(self, bullet: Any) -> None:
        self._bullet = bullet
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Any:
        """Return a recorded function of pybullet, or a constant."""
        part = getattr(self._bullet, name)
        if not callable(part):
            return part

        def call(*args: Any, **options: Any) -> Any:
            self.calls.append((part, args, options))
            return part(*args, **options)

        return call


def measure(quick: bool) -> Iterator[Row]:
    """Compare raw steps per second."""
    for name in ARENA_NAMES:
        yield one_process(name, quick)
    yield processes(quick)


def one_process(name: str, quick: bool) -> Row:
    """Record an arena beside the bare simulator."""
    episodes = range(10 if quick else EPISODES_PER_BAG)
    config = load_config(name, KNOBS)
    calls = recorded_calls(config, episodes)
    steps = len(episodes) * LENGTH
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'bag'

        def ours() -> float:
            begun = time.process_time()
            record(BagToRecord(path, config, episodes), lambda: None)
            rate = steps / (time.process_time() - begun)
            shutil.rmtree(path)
            return rate

        ours()  # loads what is loaded only once
        parts = {'bare': lambda: steps / bare(config, calls), 'ours': ours}
        figures = interleaved(parts, 2 if quick else 7)
    return Row(
        f'collect.{name}',
        float(np.median(figures['ours'])),
        'raw steps per CPU second',
        peer='the same calls of pybullet alone',
        peer_value=float(np.median(figures['bare'])),
        ratio=paired_ratio(figures['ours'], figures['bare']),
    )


def recorded_calls(config: Config, episodes: range) -> list[Call]:
    """Run episodes, and return their pybullet calls."""
    arena: Any = make_arena(config.arena.name, config.arena.image_size)
    recorder = arena.world.bullet = CallRecorder(arena.world.bullet)
    for episode in episodes:
        _, actions = begin_episode(config.arena, arena, episode)
        for action in islice(actions, LENGTH):
            arena.step(action)
    arena.close()
    recorder.calls.pop()  # that closed it
    return recorder.calls


def bare(config: Config, calls: list[Call]) -> float:
    """Repeat the calls in another client; return the time they take [s]."""
    arena: Any = make_arena(config.arena.name, config.arena.image_size)
    client = arena.world.client
    ready = [
        (function, args, {**options, 'physicsClientId': client})
        for function, args, options in calls
    ]
    begun = time.process_time()
    for function, args, options in ready:
        function(*args, **options)
    seconds = time.process_time() - begun
    arena.close()
    return seconds


def processes(quick: bool) -> Row:
    """Record with as many processes as cores, beside one process."""
    jobs = len(os.sched_getaffinity(0))
    bags = 2 * jobs if quick else 4 * jobs
    config = load_config('two_room', [*KNOBS, f'arena.episodes={bags * EPISODES_PER_BAG}'])

    def rate(count: int) -> float:
        with TemporaryDirectory() as folder:
            begun = time.perf_counter()
            record_all(bags_to_record(Path(folder), config), count, lambda _: None, print)
            return bags * EPISODES_PER_BAG * LENGTH / (time.perf_counter() - begun)

    parts = {'one': lambda: rate(1), 'all': lambda: rate(jobs)}
    figures = interleaved(parts, 1 if quick else 3)
    return Row(
        'collect.processes',
        float(np.median(figures['all'])),
        f'raw steps per second by {jobs} processes, their start included',
        peer='one process',
        peer_value=float(np.median(figures['one'])),
        ratio=paired_ratio(figures['all'], figures['one']),
    )


if __name__ == '__main__':
    main(measure, __doc__)
