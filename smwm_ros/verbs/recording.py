# SPDX-License-Identifier: Apache-2.0
"""Record the episodes of an arena into rosbags, several processes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
import multiprocessing
from pathlib import Path
import signal
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.arenas import make_arena, require_fit
from smwm_ros.arenas.drivers import driver
from smwm_ros.bags.write import BagWriter, PARTIAL
from smwm_ros.config import Arena as ArenaConfig
from smwm_ros.config import Robot
from smwm_ros.core.actions import action_spec
from smwm_ros.core.interfaces import Arena, Array, Frame
from smwm_ros.errors import BagError

EPISODES_PER_BAG = 20
PAUSE = 5.0  # between two episodes of a bag, as when a person resets the robot [s]
EPOCH = 1_700_000_000 * 10**9  # simulated time begins here, so that a seed gives the same bytes


class Recording(NamedTuple):
    """One bag to be made."""

    path: Path
    arena: ArenaConfig
    robot: Robot
    episodes: range


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The parent asked a worker to stop."""


def recordings(folder: Path, arena: ArenaConfig, robot: Robot) -> list[Recording]:
    """Share the episodes out over bags."""
    every = range(0, arena.episodes, EPISODES_PER_BAG)
    return [
        Recording(
            folder / f'{arena.name}_{number:04d}',
            arena,
            robot,
            range(first, min(first + EPISODES_PER_BAG, arena.episodes)),
        )
        for number, first in enumerate(every)
    ]


def record(recording: Recording, tick: Callable[[], None]) -> None:
    """Drive the episodes of one bag and write it; call tick after every raw step."""
    arena = make_arena(recording.arena.name, recording.arena.image_size)
    try:
        require_fit(arena, recording.robot)
        with BagWriter(recording.path, recording.robot) as bag:
            for episode in recording.episodes:
                _record_episode(recording, arena, bag, episode, tick)
    finally:
        arena.close()


def begin_episode(
    config: ArenaConfig, arena: Arena, episode: int
) -> tuple[Frame, Iterator[Array]]:
    """Place the robot as an episode begins; return what is seen, and the stream of actions."""
    rng = np.random.default_rng((config.seed, episode))
    frame = arena.reset(int(rng.integers(2**31)))
    return frame, driver(config.policy, arena, episode, rng)


def _record_episode(
    recording: Recording, arena: Arena, bag: BagWriter, episode: int, tick: Callable[[], None]
) -> None:
    """Drive and write one episode: a frame and a command for each raw step, and a last frame."""
    length = recording.arena.length
    limits = action_spec(recording.robot)
    period = round(arena.spec.dt * 1e9)
    start = EPOCH + episode * (length * period + round(PAUSE * 1e9))
    frame, actions = begin_episode(recording.arena, arena, episode)
    for step in range(length):
        action = limits.clip(next(actions))
        bag.write(frame, action, start + step * period)
        frame = arena.step(action)
        tick()
    bag.write(frame, None, start + length * period)


def record_all(todo: Sequence[Recording], jobs: int, progress: Callable[[int], None]) -> None:
    """Make all bags; progress is told of raw steps as they are done."""
    if jobs == 1 or len(todo) == 1:
        for recording in todo:
            record(recording, lambda: progress(1))
        return
    # spawn: a forked child would share locks and file positions that it does not know of.
    context = multiprocessing.get_context('spawn')
    steps, stop = context.Value('q', 0), context.Event()
    with ProcessPoolExecutor(
        min(jobs, len(todo)), context, initializer=_begin_worker, initargs=(steps, stop)
    ) as pool:
        futures = {pool.submit(_work, recording): recording for recording in todo}
        try:
            for done in _watch(futures, steps, progress):
                _raise_clearly(done, futures[done].path)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _watch(
    futures: dict[Future[None], Recording], steps: Any, progress: Callable[[int], None]
) -> Iterator[Future[None]]:
    """Yield futures as they end, and tell of progress while they run."""
    pending, told = set(futures), 0
    while pending:
        done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
        count = steps.value
        progress(count - told)
        told = count
        yield from done


def _raise_clearly(future: Future[None], path: Path) -> None:
    """Raise what went wrong in a worker, and name the bag."""
    try:
        future.result()
    except BrokenProcessPool:
        begun = sorted(item.name for item in path.parent.glob(f'{PARTIAL}*/*'))
        raise BagError(
            f'{path.parent}: a process that recorded one of {", ".join(begun)} died (killed, or '
            'out of memory?); run it again to go on'
        ) from None
    except OSError as error:
        raise BagError(f'{path}: cannot be written: {error}') from error


_steps: Any = None  # set in each worker, which works for one parent only
_stop: Any = None


def _begin_worker(steps: Any, stop: Any) -> None:
    """Let the parent alone answer Ctrl-C: it tells the workers."""
    global _steps, _stop
    _steps, _stop = steps, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(recording: Recording) -> None:
    """Make one bag in a worker."""
    record(recording, _tick)


def _tick() -> None:
    """Count one raw step, and heed the parent."""
    with _steps.get_lock():
        _steps.value += 1
    if _stop.is_set():
        raise Interrupted
