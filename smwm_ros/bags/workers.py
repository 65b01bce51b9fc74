# SPDX-License-Identifier: Apache-2.0
"""Convert bags one after another, in several processes, or on a cluster, and show how it goes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import as_completed, ProcessPoolExecutor
from contextlib import contextmanager
import multiprocessing
import os
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, NamedTuple

import cv2
from smwm_ros.bags.find import Bag
from smwm_ros.bags.shard import convert_bag, Progress, Tell
from smwm_ros.config import Config
from smwm_ros.errors import BagError
from smwm_ros.progress import show_progress

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
        """Tell whether none of the first few could be: what is wrong is wrong with all."""
        return not self._patient and len(self.failed) >= _HOPELESS


def attempt(work: Work, tell: Tell) -> BagError | None:
    """Convert a bag, or return why it cannot be; any other error is not of the bag alone."""
    try:
        convert_bag(*work, tell)
    except BagError as error:
        return error
    return None


def run(todo: list[Work], jobs: int | None, runner: str, tally: Tally) -> None:
    """Convert bags: here, or in so many processes, or on Ray."""
    if not todo:
        return
    with _progress() as tell:
        if runner == 'ray':
            from smwm_ros.bags.cluster import run_on_ray  # ray is an optional extra

            run_on_ray(todo, jobs, tally, tell)
        elif (workers := _workers(todo, jobs)) == 1:
            for item in todo:
                if not tally.hopeless:
                    tally.note(item, attempt(item, tell))
        else:
            _run_parallel(todo, workers, tally, tell)


def _workers(todo: list[Work], jobs: int | None) -> int:
    """Return how many processes convert: unless told, one for each core, if there is enough."""
    if jobs is None:
        size = sum(work.about['source']['bytes'] for work in todo)
        jobs = min(len(os.sched_getaffinity(0)), 1 + size // _WORTH)
    return min(jobs, len(todo))


def _run_parallel(todo: list[Work], jobs: int, tally: Tally, tell: Tell) -> None:
    """Convert several bags at once."""
    context = multiprocessing.get_context('spawn')  # threads of numpy and cv2 do not fork well
    told: Any = context.Queue()
    listener = Thread(target=_listen, args=(told, tell))
    listener.start()
    try:
        with ProcessPoolExecutor(jobs, context, _set_up_worker, (told,)) as pool:
            futures = {pool.submit(_attempt_in_worker, item): item for item in todo}
            try:
                for future in as_completed(futures):
                    tally.note(futures[future], future.result())
                    if tally.hopeless:
                        break
            finally:
                pool.shutdown(cancel_futures=True)  # what has begun may end
    finally:
        told.put(None)
        listener.join()


def _listen(told: SimpleQueue[Progress | None], tell: Tell) -> None:
    """Pass on what workers tell until there is nothing more."""
    while (news := told.get()) is not None:
        tell(news)


_told: Any = None  # in a worker: the queue to the process that shows progress


def _set_up_worker(told: Any) -> None:
    global _told
    _told = told
    cv2.setNumThreads(1)  # the workers themselves fill the cores


def _attempt_in_worker(work: Work) -> BagError | None:
    return attempt(work, _told.put)


@contextmanager
def _progress() -> Iterator[Tell]:
    """Show a bar of messages, with megabytes a second beside it."""
    size, begun = 0, monotonic()

    def tell(news: Progress) -> None:
        nonlocal size
        size += news.size
        bar.total += news.expected
        rate = size / 1e6 / max(monotonic() - begun, 1e-9)
        bar.set_postfix_str(f'{rate:.0f} MB/s', refresh=False)
        bar.update(news.messages)

    with show_progress(total=0, unit=' messages', desc='converting', smoothing=0.1) as bar:
        yield tell
