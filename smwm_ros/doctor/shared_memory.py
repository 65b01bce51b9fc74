# SPDX-License-Identifier: Apache-2.0
"""Check the shared memory through which Fast DDS carries images, and what crashes left in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import shutil
import time
from typing import NamedTuple

from smwm_ros.doctor.findings import Finding, Machine, OK, PROBLEM, REMARK
from smwm_ros.text import count_of

SMALL = 64 << 20  # what Docker gives a container [bytes]
ROOMY = 256 << 20  # some nodes with 32 MiB each [bytes]
YOUNG = 10.0  # files of this age may belong to a process that just starts [s]
MANY = 1 << 30  # of memory that leftovers hold [bytes]
_LOCK = '_el'  # at the end of the name of the file that a living owner locks
Usage = Callable[[Path], tuple[int, int, int]]  # total, used and free [bytes]


class Leftovers(NamedTuple):
    """Segments whose process ended without removing them."""

    number: int
    size: int  # [bytes]


def check_shared_memory(
    machine: Machine, fast_dds: bool, usage: Usage = shutil.disk_usage
) -> Iterator[Finding]:
    """Check the size of /dev/shm, and find leftovers of ended processes."""
    folder = machine.root / 'dev/shm'
    worst = PROBLEM if fast_dds else REMARK  # other middleware does without
    if not folder.is_dir():
        yield Finding(
            'shared memory', worst, f'no {folder}', 'mount it: mount -t tmpfs tmpfs /dev/shm'
        )
        return
    total, _, free = usage(folder)
    what = f'{folder}: {_mib(free)} of {_mib(total)} free'
    if total <= SMALL:
        yield Finding(
            'shared memory',
            worst,
            f'{what}, expected at least {_mib(ROOMY)}: images get lost',
            'start the container with --ipc=host or --shm-size=1g',
        )
    elif free < SMALL:
        remedy = 'remove what is not used from it'
        yield Finding('shared memory', worst, f'{what}: images get lost', remedy)
    elif total < ROOMY:
        remedy = 'start the container with --ipc=host or --shm-size=1g'
        yield Finding('shared memory', REMARK, f'{what}: little for cameras', remedy)
    else:
        yield Finding('shared memory', OK, what)
    left = leftovers(machine)
    if left.number:
        held = count_of(left.number, 'segment')
        yield Finding(
            'leftovers',
            REMARK,
            f'{held} of ended processes hold {_mib(left.size)} of {folder}',
            f'fastdds shm clean; or, while no node runs: rm {folder}/fastdds_* '
            f'{folder}/sem.fastdds_*',
        )


def leftovers(machine: Machine) -> Leftovers:
    """Count the segments that no process of this machine locks."""
    locked = _locked(machine)
    number = size = 0
    for lock in (machine.root / 'dev/shm').glob(f'fast*_*{_LOCK}'):
        try:
            found = lock.stat()
            segment = lock.with_name(lock.name.removesuffix(_LOCK)).stat()
        except OSError:  # its process ended and removed it meanwhile
            continue
        if time.time() - segment.st_mtime < YOUNG or _key(found) in locked:
            continue
        number, size = number + 1, size + 512 * segment.st_blocks
    return Leftovers(number, size)


def _locked(machine: Machine) -> set[tuple[int, int, int]]:
    """Return device and inode of each file that a process locks, from /proc/locks."""
    found = set()
    for row in machine.text('proc/locks').splitlines():
        for word in row.split():
            major, _, rest = word.partition(':')
            minor, _, inode = rest.partition(':')
            if inode.isdecimal():
                found.add((int(major, 16), int(minor, 16), int(inode)))
    return found


def _key(found: os.stat_result) -> tuple[int, int, int]:
    """Return device and inode of a file, as /proc/locks has them."""
    return os.major(found.st_dev), os.minor(found.st_dev), found.st_ino


def _mib(size: int) -> str:
    """Return a size in MiB or GiB."""
    return f'{size / 2**30:.1f} GiB' if size >= 1 << 30 else f'{size / 2**20:.0f} MiB'
