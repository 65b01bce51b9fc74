# SPDX-License-Identifier: Apache-2.0
"""
Record bags in several processes. If one dies, another one records its bag again.

A bag appears when it is complete, and its configuration alone determines its content. So no
episode is lost or recorded twice.
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

_REPORT_EVERY = 0.1  # interval of the progress reports of a worker [s]


class CollectPool:
    """The workers, and the bags still to record."""

    def __init__(self, todo: Sequence[BagToRecord], progress: Callable[[int], None]) -> None:
        self._waiting = deque(todo)
        self._progress = progress
        self._workers: list[Worker] = []
        self._failures: Counter[Path] = Counter()

    def work(self, jobs: int, report: Callable[[str], None]) -> None:
        """Record all bags; report processes that died."""
        try:
            while self._waiting or self._workers:
                while self._waiting and len(self._workers) < jobs:
                    self._workers.append(Worker(serve))
                    self._workers[-1].begin(self._waiting.popleft())
                ready: list[Any] = wait([worker.pipe for worker in self._workers])
                for worker in [each for each in self._workers if each.pipe in ready]:
                    self._receive(worker, report)
        finally:
            for worker in self._workers:
                worker.stop()

    def _receive(self, worker: Worker, report: Callable[[str], None]) -> None:
        """Handle the next message of a worker: raw steps, a failure, or None when it is done."""
        message = worker.receive()
        if isinstance(message, int):
            worker.progress += message
            self._progress(message)
        elif message is None and self._waiting:
            worker.begin(self._waiting.popleft())
        else:
            self._workers.remove(worker)
            worker.stop()
            if message is not None:
                self._retry(worker, message, report)

    def _retry(self, worker: Worker, failure: Failure, report: Callable[[str], None]) -> None:
        """Queue the bag of a failed worker again; raise if that cannot help."""
        if failure.error:
            raise failure.error
        path, episodes = worker.item.path, worker.item.episodes
        for folder in path.parent.glob(f'{PARTIAL}*'):
            if (folder / path.name).exists():
                shutil.rmtree(folder)
        name = f'{path} (episodes {episodes[0]} to {episodes[-1]})'
        if path.exists():
            report(f'{name} is complete, but its process {failure.what}')
            return
        self._progress(-worker.progress)
        self._failures[path] += 1
        if self._failures[path] == ATTEMPTS:
            why = f'{name}: the process that records it {failure.what}, {ATTEMPTS} times'
            if failure.trace:
                raise RuntimeError(f'{why}\n{failure.trace}')
            raise BagError(f'{why}; run it again to resume, with fewer --jobs if memory is short')
        report(
            f'{name}: the process that recorded it {failure.what}; another process starts it again'
        )
        self._waiting.appendleft(worker.item)


def record_all(
    todo: Sequence[BagToRecord],
    jobs: int,
    progress: Callable[[int], None],
    report: Callable[[str], None],
) -> None:
    """Record all bags; `progress` receives numbers of raw steps, `report` processes that died."""
    if jobs == 1 or len(todo) == 1:
        for bag in todo:
            record(bag, lambda: progress(1))
    else:
        CollectPool(todo, progress).work(jobs, report)


def serve(pipe: Any) -> None:
    """Record bags in a worker process until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    # A closed pipe ends the loop normally, so that an unfinished bag is removed.
    with suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(_record(pipe.recv(), pipe))


def _record(bag: BagToRecord, pipe: Any) -> Failure | None:
    """Record one bag; send the number of raw steps every now and then."""
    done, reported = 0, time.monotonic()

    def tick() -> None:
        nonlocal done, reported
        done += 1
        if time.monotonic() - reported >= _REPORT_EVERY:
            pipe.send(done)
            done, reported = 0, time.monotonic()

    try:
        record(bag, tick)
        pipe.send(done)
    except SmwmError as error:
        return Failure('', error)
    except MemoryError:
        return Failure('ran out of memory (MemoryError)')
    except Exception as error:  # may be a bug: the parent reports it, and tries again
        return Failure(f'failed ({type(error).__name__}: {error})', trace=format_exc())
    return None
