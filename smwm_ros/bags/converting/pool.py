# SPDX-License-Identifier: Apache-2.0
"""Convert bags one after another, in several processes, or on a cluster, and show how it goes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
import logging
from multiprocessing.connection import wait
import os
from pathlib import Path
import shutil
from time import monotonic
from traceback import format_exc
from typing import Any, NamedTuple

import cv2
from smwm_ros.bags.converting.job import ConversionProgress, convert_bag, Report
from smwm_ros.bags.reading.find import Bag
from smwm_ros.config import Config
from smwm_ros.errors import BagError, one_line, SmwmError
from smwm_ros.reporting import ShowProgress
from smwm_ros.worker_processes import ATTEMPTS, end_with_parent, Failure, Worker

_log = logging.getLogger(__name__)

_BYTES_PER_WORKER = 64_000_000  # data that one process reads while another starts [bytes]
_MAX_FIRST_FAILURES = 3  # bags that fail before any succeeds, after which conversion stops


class BagTask(NamedTuple):
    """The conversion of one bag, as it is sent to a worker."""

    bag: Bag
    folder: Path  # of its shard
    config: Config
    about: dict[str, Any]  # for meta.json: source and configuration


class Results:
    """The bags that could not be converted, and whether to go on; keep_going: never stop."""

    def __init__(self, keep_going: bool) -> None:
        self.failed: dict[str, BagError] = {}
        self._keep_going = keep_going

    def add(self, task: BagTask, error: BagError | None) -> None:
        """Add the result of a bag: an error, or None."""
        if error is None:
            self._keep_going = True
        else:
            self.failed[task.bag.name] = error

    @property
    def should_stop(self) -> bool:
        """Return whether the first bags all failed: the rest probably fails, too."""
        return not self._keep_going and len(self.failed) >= _MAX_FIRST_FAILURES


def try_convert(task: BagTask, report: Report) -> BagError | None:
    """Convert a bag; return its BagError, raise any other error."""
    try:
        convert_bag(*task, report)
    except BagError as error:
        return error
    return None


def run(
    todo: list[BagTask], jobs: int | None, runner: str, results: Results, progress: ShowProgress
) -> None:
    """Convert bags: in this process, in `jobs` processes, or on Ray."""
    if not todo:
        return
    with _reporting(progress) as report:
        if runner == 'ray':
            from smwm_ros.bags.converting.ray_pool import run_on_ray  # ray is an optional extra

            run_on_ray(todo, jobs, results, report)
        elif (workers := _workers(todo, jobs)) == 1:
            for item in todo:
                if not results.should_stop:
                    results.add(item, try_convert(item, report))
        else:
            _run_parallel(todo, workers, results, report)


def _workers(todo: list[BagTask], jobs: int | None) -> int:
    """Return the number of processes: jobs, or by default up to one per core for enough data."""
    if jobs is None:
        size = sum(task.about['source']['bytes'] for task in todo)
        jobs = min(len(os.sched_getaffinity(0)), 1 + size // _BYTES_PER_WORKER)
    return min(jobs, len(todo))


def _run_parallel(todo: list[BagTask], jobs: int, results: Results, report: Report) -> None:
    """Convert bags in several processes; if a process dies, another one restarts its bag."""
    waiting, processes, crashes = deque(todo), list[Worker](), Counter[str]()
    try:
        while processes or (waiting and not results.should_stop):
            while waiting and len(processes) < jobs and not results.should_stop:
                processes.append(Worker(_run_worker))
                _start(processes[-1], waiting.popleft())
            ready: list[Any] = wait([worker.pipe for worker in processes])
            for worker in [each for each in processes if each.pipe in ready]:
                result = worker.receive()
                if isinstance(result, ConversionProgress):
                    worker.progress.append(result)
                    report(result)
                    continue
                if isinstance(result, Failure):
                    processes.remove(worker)
                    worker.stop()
                    _retry(worker, result, waiting, crashes, results, report)
                    continue
                results.add(worker.item, result)
                if waiting and not results.should_stop:
                    _start(worker, waiting.popleft())
                else:
                    processes.remove(worker)
                    worker.stop()
    finally:
        for worker in processes:
            worker.stop()


def _start(worker: Worker, task: BagTask) -> None:
    worker.begin(task)
    worker.progress = list[ConversionProgress]()


def _retry(
    worker: Worker,
    failure: Failure,
    waiting: deque[BagTask],
    crashes: Counter[str],
    results: Results,
    report: Report,
) -> None:
    """Queue the bag of a worker that died again, or give it up after several attempts."""
    task: BagTask = worker.item
    if failure.error:
        raise failure.error
    if failure.trace:
        raise RuntimeError(f'{task.bag.name}: {failure.what}\n{failure.trace}')
    for left in task.folder.parent.glob(f'.{escape(task.folder.name)}.*.tmp'):
        shutil.rmtree(left, ignore_errors=True)
    report(
        ConversionProgress(*(-sum(part) for part in zip(*worker.progress, strict=True)))
        if worker.progress
        else ConversionProgress(0, 0, 0)
    )
    if task.folder.exists():  # it died after the conversion
        results.add(task, None)
        return
    crashes[task.bag.name] += 1
    words = f'{task.bag.paths[0]}: its worker process {failure.what}'
    if crashes[task.bag.name] == ATTEMPTS:
        why = f'{words}, {ATTEMPTS} times; try fewer --jobs if memory is short'
        results.add(task, BagError(why))
        return
    _log.warning('%s; another process starts it again', words)
    waiting.appendleft(task)


def _run_worker(pipe: Any) -> None:
    """Convert bags in a worker process."""
    end_with_parent()
    cv2.setNumThreads(1)  # the workers themselves fill the cores
    with suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(_convert_in_worker(pipe.recv(), pipe))


def _convert_in_worker(task: BagTask, pipe: Any) -> BagError | Failure | None:
    try:
        return try_convert(task, pipe.send)
    except SmwmError as error:
        return Failure('', error)
    except Exception as error:  # a bug; the parent shows it
        return Failure(one_line(error), trace=format_exc())


@contextmanager
def _reporting(progress: ShowProgress) -> Iterator[Report]:
    """Show a bar of messages, with megabytes a second beside it."""
    size, begun = 0, monotonic()

    def report(result: ConversionProgress) -> None:
        nonlocal size
        size += result.size
        bar.total += result.expected
        rate = size / 1e6 / max(monotonic() - begun, 1e-9)
        bar.set_postfix_str(f'{rate:.0f} MB/s', refresh=False)
        bar.update(result.messages)

    with progress(total=0, unit=' messages', desc='converting', smoothing=0.1) as bar:
        yield report
