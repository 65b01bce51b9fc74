# SPDX-License-Identifier: Apache-2.0
"""
Convert bags on a Ray cluster: that of RAY_ADDRESS, or a local one on this machine's cores.

All machines need bags and dataset at the same paths, and this package installed. The shards are
identical, byte for byte, to those that one machine writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from smwm_ros.bags.converting.job import Report
from smwm_ros.bags.converting.pool import BagTask, Results, try_convert
from smwm_ros.errors import BagError, missing_extra

try:
    import ray
    from ray.exceptions import RayTaskError
    from ray.util.queue import Queue
except ImportError:
    raise missing_extra('--runner ray', 'ray', 'ray') from None

_POLL_PERIOD = 0.2  # of the progress of workers [s]


def run_on_ray(todo: list[BagTask], jobs: int | None, results: Results, report: Report) -> None:
    """Convert bags on as many CPUs as the cluster has, or on no more than jobs."""
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level='WARNING')
    try:
        cores = int(ray.cluster_resources().get('CPU', 1))
        _run_tasks(todo, cores if jobs is None else min(jobs, cores), results, report)
    finally:
        if started:
            ray.shutdown()


def _run_tasks(todo: list[BagTask], jobs: int, results: Results, report: Report) -> None:
    """Convert `jobs` bags at a time; after an error, start no more and wait for the others."""
    reports = Queue(actor_options={'num_cpus': 0})
    convert: Any = ray.remote(num_cpus=1, max_retries=0)(_convert_in_worker)
    waiting, running = (
        [_with_absolute_paths(item) for item in reversed(todo)],
        dict[Any, BagTask](),
    )
    failed: BaseException | None = None
    while running or waiting:
        while waiting and len(running) < jobs:
            task = waiting.pop()
            running[convert.remote(task, reports)] = task
        for item in ray.wait(list(running), timeout=_POLL_PERIOD)[0]:
            task = running.pop(item)
            try:
                results.add(task, ray.get(item))
            except RayTaskError as error:
                failed = failed or error.cause
        if failed is not None or results.should_stop:
            waiting.clear()
        for progress in reports.get_nowait_batch(reports.qsize()):
            report(progress)
    reports.shutdown()
    if failed is not None:
        raise failed


def _with_absolute_paths(task: BagTask) -> BagTask:
    """Return a task whose paths do not depend on the working directory of a worker."""
    paths = tuple(Path(path).absolute() for path in task.bag.paths)
    return task._replace(bag=task.bag._replace(paths=paths), folder=task.folder.absolute())


def _convert_in_worker(task: BagTask, reports: Any) -> BagError | None:
    """Convert one bag, in a worker."""
    cv2.setNumThreads(1)  # the workers themselves fill the cores
    return try_convert(task, reports.put)
