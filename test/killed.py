# SPDX-License-Identifier: Apache-2.0
"""
Kill processes of conversions at random moments, and check the result.

`python test/killed.py --count 50` tries many. It exits with 1 if a conversion hangs, prints a
traceback, leaves processes or shared memory behind, or if the same command run again does not
write the dataset of an undisturbed conversion.
"""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import suppress
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import tempfile
import time

from recordings import contents, TinyBag
from rosbags.rosbag2 import StoragePlugin
from test_collect_crash import workers

PATIENCE = 600  # for a conversion that takes seconds on a machine that is idle [s]
MARK = 'SMWM_CONVERSION'  # by this variable all processes of one are found
SHARED = Path('/dev/shm')  # semaphores and shared memory of all processes


def start(bags: Path, out: Path) -> subprocess.Popen[str]:
    """Start a conversion by two workers."""
    words = ['convert', str(bags), f'--out={out}', '--jobs=2', 'dataset.image_size=16']
    return subprocess.Popen(
        [sys.executable, '-m', 'smwm_ros.cli', *words],
        env={**os.environ, MARK: str(out)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def until_both_work(process: subprocess.Popen[str]) -> list[int]:
    """Wait until there are two workers."""
    deadline = time.monotonic() + PATIENCE
    while len(processes := workers(process)) < 2:
        assert process.poll() is None, 'it ended before there were two workers'
        assert time.monotonic() < deadline, 'no workers were started'
        time.sleep(0.01)
    return processes


def gone(out: Path) -> bool:
    """Wait until no process of a conversion is left."""
    deadline = time.monotonic() + PATIENCE
    while processes_of(out):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def processes_of(out: Path) -> list[int]:
    """Return the processes that a conversion has started, orphans included."""
    mark, found = f'{MARK}={out}'.encode(), list[int]()
    for folder in Path('/proc').iterdir():
        with suppress(OSError):  # it has just ended
            if folder.name.isdigit() and mark in (folder / 'environ').read_bytes().split(b'\0'):
                found.append(int(folder.name))
    return found


def shared() -> set[str]:
    """Return the names in shared memory, without those of other programs' ROS nodes."""
    names = {path.name for path in SHARED.iterdir()} if SHARED.is_dir() else set[str]()
    return {name for name in names if 'fastdds' not in name}


def kill(bags: Path, out: Path, parent: bool, rng: random.Random) -> str:
    """Kill a worker or the parent of a conversion at a random moment; return what is wrong."""
    before, process = shared(), start(bags, out)
    processes = until_both_work(process)
    time.sleep(rng.uniform(0, 1.5))
    how = rng.choice(['SIGTERM', 'SIGHUP', 'SIGKILL']) if parent else 'SIGKILL'
    target = process.pid if parent else rng.choice(processes)
    with suppress(ProcessLookupError):  # the conversion was faster
        os.kill(target, signal.Signals[how])
    try:
        _, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return 'hang'
    if 'Traceback' in errors:
        return f'traceback: {errors[-400:]}'
    if not parent and process.returncode:
        return f'code {process.returncode}: {errors[-400:]}'
    if not gone(out):
        return 'orphan'
    if left := shared() - before:
        return f'shared memory: {sorted(left)}'
    return ''


def main() -> int:
    """Kill the requested number of workers and of parents."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=50, help='kills of workers, and of parents')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    rng, found = random.Random(args.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(6):
            bag = TinyBag(folder / 'bags' / f'bag{number}', StoragePlugin.MCAP)
            for tick in range(600):
                bag.frame(tick)
                bag.command(tick)
            bag.close()
        assert start(folder / 'bags', folder / 'whole').wait(PATIENCE) == 0
        whole = contents(folder / 'whole')
        for number in range(2 * args.count):
            parent, out = number % 2 == 1, folder / f'out{number}'
            wrong = kill(folder / 'bags', out, parent, rng)
            if not wrong and (code := start(folder / 'bags', out).wait(PATIENCE)):
                wrong = f'the same command again ends with {code}'
            if not wrong and contents(out) != whole:
                wrong = 'another dataset'
            found[f'{"parent" if parent else "worker"}: {wrong or "fine"}'] += 1
    for what, count in sorted(found.items()):
        print(f'{count} times {what}')
    return int(any(not what.endswith(': fine') for what in found))


if __name__ == '__main__':
    sys.exit(main())
