# SPDX-License-Identifier: Apache-2.0
"""
Convert bags on a Ray cluster: the one that RAY_ADDRESS names, or one of this machine's cores.

All machines must see bags and dataset under the same paths, and have this package installed. The
shards are the same, byte for byte, as those that one machine writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from smwm_ros.bags.converting.job import Report
from smwm_ros.bags.converting.pool import attempt, Tally, Work
from smwm_ros.errors import BagError, missing_extra

try:
    import ray
    from ray.exceptions import RayTaskError
    from ray.util.queue import Queue
except ImportError:
    raise missing_extra('--runner ray', 'ray', 'ray') from None

_LOOK_EVERY = 0.2  # for progress of workers [s]


def run_on_ray(todo: list[Work], jobs: int | None, tally: Tally, report: Report) -> None:
    """Convert bags on as many CPUs as the cluster has, or on no more than jobs."""
    begun = not ray.is_initialized()
    if begun:
        ray.init(log_to_driver=False, logging_level='WARNING')
    try:
        cores = int(ray.cluster_resources().get('CPU', 1))
        _spread(todo, cores if jobs is None else min(jobs, cores), tally, report)
    finally:
        if begun:
            ray.shutdown()


def _spread(todo: list[Work], jobs: int, tally: Tally, report: Report) -> None:
    """Keep so many bags being converted; after an error none is begun, and the others may end."""
    reports = Queue(actor_options={'num_cpus': 0})
    convert: Any = ray.remote(num_cpus=1, max_retries=0)(_attempt)
    waiting, running = [_everywhere(item) for item in reversed(todo)], dict[Any, Work]()
    failed: BaseException | None = None
    while running or waiting:
        while waiting and len(running) < jobs:
            work = waiting.pop()
            running[convert.remote(work, reports)] = work
        for item in ray.wait(list(running), timeout=_LOOK_EVERY)[0]:
            work = running.pop(item)
            try:
                tally.note(work, ray.get(item))
            except RayTaskError as error:
                failed = failed or error.cause
        if failed is not None or tally.hopeless:
            waiting.clear()
        for news in reports.get_nowait_batch(reports.qsize()):
            report(news)
    reports.shutdown()
    if failed is not None:
        raise failed


def _everywhere(work: Work) -> Work:
    """Return work that means the same wherever a worker was started."""
    paths = tuple(Path(path).absolute() for path in work.bag.paths)
    return work._replace(bag=work.bag._replace(paths=paths), folder=work.folder.absolute())


def _attempt(work: Work, reports: Any) -> BagError | None:
    """Convert one bag, in a worker."""
    cv2.setNumThreads(1)  # the workers themselves fill the cores
    return attempt(work, reports.put)
