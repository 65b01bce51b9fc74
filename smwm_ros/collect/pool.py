# SPDX-License-Identifier: Apache-2.0
"""
Record bags in several processes; one that dies is named, and its bag is begun again by another.

A bag appears when it is whole and follows from its recipe alone, so none is lost or doubled.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
import shutil
import signal
import time
from traceback import format_exc
from typing import Any

from smwm_ros.bags.writing.writer import PARTIAL
from smwm_ros.collect.record import BagToRecord, record
from smwm_ros.errors import BagError, SmwmError
from smwm_ros.worker_processes import ATTEMPTS, Failure, Worker

_TELL_EVERY = 0.1  # a worker tells how far it is this often [s]


class CollectPool:
    """The workers, and what is to be done."""

    def __init__(self, todo: Sequence[BagToRecord], progress: Callable[[int], None]) -> None:
        self._waiting = deque(todo)
        self._progress = progress
        self._workers: list[Worker] = []
        self._failures: Counter[Path] = Counter()

    def work(self, jobs: int, tell: Callable[[str], None]) -> None:
        """Make all bags."""
        try:
            while self._waiting or self._workers:
                while self._waiting and len(self._workers) < jobs:
                    self._workers.append(Worker(serve))
                    self._workers[-1].begin(self._waiting.popleft())
                ready: list[Any] = wait([worker.pipe for worker in self._workers])
                for worker in [each for each in self._workers if each.pipe in ready]:
                    self._hear(worker, tell)
        finally:
            for worker in self._workers:
                worker.stop()

    def _hear(self, worker: Worker, tell: Callable[[str], None]) -> None:
        """Take the next news of a worker."""
        news = worker.hear()
        if isinstance(news, int):
            worker.progress += news
            self._progress(news)
        elif news is None and self._waiting:
            worker.begin(self._waiting.popleft())
        else:
            self._workers.remove(worker)
            worker.stop()
            if news is not None:
                self._fail(worker, news, tell)

    def _fail(self, worker: Worker, failure: Failure, tell: Callable[[str], None]) -> None:
        """Let another worker begin a bag again, unless that is no use."""
        if failure.error:
            raise failure.error
        path, episodes = worker.item.path, worker.item.episodes
        for folder in path.parent.glob(f'{PARTIAL}*'):
            if (folder / path.name).exists():
                shutil.rmtree(folder)
        name = f'{path} (episodes {episodes[0]} to {episodes[-1]})'
        if path.exists():
            tell(f'{name} is whole, but its process {failure.what}')
            return
        self._progress(-worker.progress)
        self._failures[path] += 1
        if self._failures[path] == ATTEMPTS:
            why = f'{name}: the process that records it {failure.what}, {ATTEMPTS} times'
            if failure.trace:
                raise RuntimeError(f'{why}\n{failure.trace}')
            raise BagError(f'{why}; run it again to go on, with fewer --jobs if memory is short')
        tell(f'{name}: the process that recorded it {failure.what}; another one begins it again')
        self._waiting.appendleft(worker.item)


def record_all(
    todo: Sequence[BagToRecord],
    jobs: int,
    progress: Callable[[int], None],
    tell: Callable[[str], None],
) -> None:
    """Make all bags; progress is told of raw steps, and tell of processes that died."""
    if jobs == 1 or len(todo) == 1:
        for recording in todo:
            record(recording, lambda: progress(1))
    else:
        CollectPool(todo, progress).work(jobs, tell)


def serve(pipe: Any) -> None:
    """Make bags in a worker, until there is nobody any more to make them for."""
    # It ends when the pipe breaks, and so removes what it has half-written.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone answers Ctrl-C
    with suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(_make(pipe.recv(), pipe))


def _make(recording: BagToRecord, pipe: Any) -> Failure | None:
    """Make one bag."""
    done, told = 0, time.monotonic()

    def tick() -> None:
        nonlocal done, told
        done += 1
        if time.monotonic() - told >= _TELL_EVERY:
            pipe.send(done)
            done, told = 0, time.monotonic()

    try:
        record(recording, tick)
        pipe.send(done)
    except SmwmError as error:
        return Failure('', error)
    except MemoryError:
        return Failure('ran out of memory (MemoryError)')
    except Exception as error:  # a bug, maybe; the parent tells of it, and tries again
        return Failure(f'failed ({type(error).__name__}: {error})', trace=format_exc())
    return None
