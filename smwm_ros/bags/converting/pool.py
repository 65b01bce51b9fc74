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
from smwm_ros.bags.converting.job import convert_bag, Progress, Report
from smwm_ros.bags.reading.find import Bag
from smwm_ros.config import Config
from smwm_ros.errors import BagError, one_line, SmwmError
from smwm_ros.reporting import ShowProgress
from smwm_ros.worker_processes import ATTEMPTS, end_with_parent, Failure, Worker

_log = logging.getLogger(__name__)

_WORTH = 64_000_000  # so much is read while a process begins [bytes]
_HOPELESS = 3  # bags that fail one after another before one is whole


class Work(NamedTuple):
    """What converting one bag takes, as it is sent to a worker."""

    bag: Bag
    folder: Path  # of its shard
    config: Config
    about: dict[str, Any]  # for meta.json: source and configuration


class Tally:
    """Which bags could not be converted; the patient try all, whatever becomes of the first."""

    def __init__(self, patient: bool) -> None:
        self.failed: dict[str, BagError] = {}
        self._patient = patient

    def note(self, work: Work, error: BagError | None) -> None:
        """Count a bag that was tried."""
        if error is None:
            self._patient = True
        else:
            self.failed[work.bag.name] = error

    @property
    def hopeless(self) -> bool:
        """Return whether none of the first few could be: what is wrong is wrong with all."""
        return not self._patient and len(self.failed) >= _HOPELESS


def attempt(work: Work, report: Report) -> BagError | None:
    """Convert a bag, or return why it cannot be; any other error is not of the bag alone."""
    try:
        convert_bag(*work, report)
    except BagError as error:
        return error
    return None


def run(
    todo: list[Work], jobs: int | None, runner: str, tally: Tally, progress: ShowProgress
) -> None:
    """Convert bags: here, or in so many processes, or on Ray."""
    if not todo:
        return
    with _reporting(progress) as report:
        if runner == 'ray':
            from smwm_ros.bags.converting.ray_pool import run_on_ray  # ray is an optional extra

            run_on_ray(todo, jobs, tally, report)
        elif (workers := _workers(todo, jobs)) == 1:
            for item in todo:
                if not tally.hopeless:
                    tally.note(item, attempt(item, report))
        else:
            _run_parallel(todo, workers, tally, report)


def _workers(todo: list[Work], jobs: int | None) -> int:
    """Return how many processes convert: unless given, one for each core, if there is enough."""
    if jobs is None:
        size = sum(work.about['source']['bytes'] for work in todo)
        jobs = min(len(os.sched_getaffinity(0)), 1 + size // _WORTH)
    return min(jobs, len(todo))


def _run_parallel(todo: list[Work], jobs: int, tally: Tally, report: Report) -> None:
    """Convert several bags at once; one whose process dies is begun again by another."""
    waiting, processes, deaths = deque(todo), list[Worker](), Counter[str]()
    try:
        while processes or (waiting and not tally.hopeless):
            while waiting and len(processes) < jobs and not tally.hopeless:
                processes.append(Worker(_serve))
                _begin(processes[-1], waiting.popleft())
            ready: list[Any] = wait([worker.pipe for worker in processes])
            for worker in [each for each in processes if each.pipe in ready]:
                news = worker.hear()
                if isinstance(news, Progress):
                    worker.progress.append(news)
                    report(news)
                    continue
                if isinstance(news, Failure):
                    processes.remove(worker)
                    worker.stop()
                    _bury(worker, news, waiting, deaths, tally, report)
                    continue
                tally.note(worker.item, news)
                if waiting and not tally.hopeless:
                    _begin(worker, waiting.popleft())
                else:
                    processes.remove(worker)
                    worker.stop()
    finally:
        for worker in processes:
            worker.stop()


def _begin(worker: Worker, work: Work) -> None:
    worker.begin(work)
    worker.progress = list[Progress]()


def _bury(
    worker: Worker,
    failure: Failure,
    waiting: deque[Work],
    deaths: Counter[str],
    tally: Tally,
    report: Report,
) -> None:
    """Let another worker begin the bag of one that died, unless that was tried often."""
    work: Work = worker.item
    if failure.error:
        raise failure.error
    if failure.trace:
        raise RuntimeError(f'{work.bag.name}: {failure.what}\n{failure.trace}')
    for left in work.folder.parent.glob(f'.{escape(work.folder.name)}.*.tmp'):
        shutil.rmtree(left, ignore_errors=True)
    report(
        Progress(*(-sum(part) for part in zip(*worker.progress, strict=True)))
        if worker.progress
        else Progress(0, 0, 0)
    )
    if work.folder.exists():  # it died after its work
        tally.note(work, None)
        return
    deaths[work.bag.name] += 1
    words = f'{work.bag.paths[0]}: the process that converted it {failure.what}'
    if deaths[work.bag.name] == ATTEMPTS:
        why = f'{words}, {ATTEMPTS} times; try fewer --jobs if memory is short'
        tally.note(work, BagError(why))
        return
    _log.warning('%s; another one begins it again', words)
    waiting.appendleft(work)


def _serve(pipe: Any) -> None:
    """Convert bags in a worker."""
    end_with_parent()
    cv2.setNumThreads(1)  # the workers themselves fill the cores
    with suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send(_attempt_in_worker(pipe.recv(), pipe))


def _attempt_in_worker(work: Work, pipe: Any) -> BagError | Failure | None:
    try:
        return attempt(work, pipe.send)
    except SmwmError as error:
        return Failure('', error)
    except Exception as error:  # a bug; the parent shows it
        return Failure(one_line(error), trace=format_exc())


@contextmanager
def _reporting(progress: ShowProgress) -> Iterator[Report]:
    """Show a bar of messages, with megabytes a second beside it."""
    size, begun = 0, monotonic()

    def report(news: Progress) -> None:
        nonlocal size
        size += news.size
        bar.total += news.expected
        rate = size / 1e6 / max(monotonic() - begun, 1e-9)
        bar.set_postfix_str(f'{rate:.0f} MB/s', refresh=False)
        bar.update(news.messages)

    with progress(total=0, unit=' messages', desc='converting', smoothing=0.1) as bar:
        yield report
