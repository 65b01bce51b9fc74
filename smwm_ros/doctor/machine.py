# SPDX-License-Identifier: Apache-2.0
"""Check processors, threads, real-time limits, clock and disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import ctypes
import os
from pathlib import Path
import shutil

from smwm_ros.doctor.findings import Finding, Machine, OK, PROBLEM, REMARK
from smwm_ros.doctor.libraries import Reports
from smwm_ros.doctor.shared_memory import Usage
from smwm_ros.processors import allowed_processors
from smwm_ros.text import count_of

BUSY = 0.5  # share of the processors from which on others leave too few
DYNAMIC = ('intel_pstate', 'amd-pstate-epp')  # drivers whose powersave raises the clock, too
_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex
_TIMEX = 512  # bytes, more than struct timex has
LEAST_DISK, GOOD_DISK = 1 << 30, 10 << 30  # [bytes]


def check_processors(machine: Machine, reports: Reports, idle: float | None) -> Iterator[Finding]:
    """Check how many processors there are, how many are idle, and how many threads use them."""
    allowed = allowed_processors(machine.root / 'sys/fs/cgroup')
    what = f'{count_of(allowed, "processor")} for this process'
    what += '' if idle is None else f', {idle:.1f} idle'
    if idle is not None and idle < (1 - BUSY) * allowed:
        remedy = 'end other programs before the robot drives: plans take longer meanwhile'
        yield Finding('processors', REMARK, what, remedy)
    else:
        yield Finding('processors', OK, what)
    word = machine.variables.get('OMP_NUM_THREADS', '')
    threads = int(reports.get('torch', {}).get('threads', 0))
    if threads > allowed:
        source = f'OMP_NUM_THREADS={word}' if word else 'OMP_NUM_THREADS is unset'
        yield Finding(
            'threads',
            REMARK,
            f'torch starts {threads} threads on {count_of(allowed, "processor")} ({source}): they '
            'wait for each other',
            f'export OMP_NUM_THREADS={allowed}',
        )
    elif threads:
        yield Finding('threads', OK, f'torch starts {count_of(threads, "thread")}')


def check_governor(machine: Machine) -> Iterator[Finding]:
    """Check whether the processors are kept at a low frequency."""
    folder = machine.root / 'sys/devices/system/cpu'
    names = sorted(path.parent for path in folder.glob('cpu[0-9]*/cpufreq/scaling_governor'))
    found = {}
    for path in names:
        place = path.relative_to(machine.root)
        driver = machine.text(f'{place}/scaling_driver')
        found[machine.text(f'{place}/scaling_governor')] = driver
    if not found:
        return  # a virtual machine
    what = ', '.join(sorted(found))
    if 'powersave' in found and found['powersave'] not in DYNAMIC:
        yield Finding(
            'governor',
            REMARK,
            f'the frequency governor is {what}: processors stay slow',
            'sudo cpupower frequency-set -g performance (or schedutil)',
        )
    else:
        yield Finding('governor', OK, f'the frequency governor is {what}')


def check_real_time(limit: Callable[[], int]) -> Iterator[Finding]:
    """Name the highest real-time priority that is permitted."""
    most = limit()
    what = f'permitted up to priority {most}' if most else 'not permitted'
    yield Finding('real time', OK, f'{what}; the nodes need none')


def real_time_limit() -> int:
    """Return the highest real-time priority that this process may have."""
    import resource

    if not hasattr(resource, 'RLIMIT_RTPRIO'):
        return 0
    soft, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
    return 99 if soft == resource.RLIM_INFINITY else soft


def check_clock(synchronised: bool | None) -> Iterator[Finding]:
    """Check whether the clock is synchronised; stamps of another machine are compared with it."""
    simulated = 'for a simulator that publishes /clock, set use_sim_time on all nodes'
    if synchronised is None:
        yield Finding('clock', OK, f'unknown whether it is synchronised; {simulated}')
    elif synchronised:
        yield Finding('clock', OK, f'synchronised (NTP or PTP); {simulated}')
    else:
        yield Finding(
            'clock',
            REMARK,
            'the kernel does not know the clock to be synchronised; stamps of a camera on another '
            f'machine would be wrong by the difference; {simulated}',
            'sudo timedatectl set-ntp true, or install chrony on all machines',
        )


def is_synchronised() -> bool | None:
    """Return whether the kernel knows its clock to be synchronised; None if it does not say."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX))  # reads alone
    except (AttributeError, OSError, TypeError):  # not on Linux
        return None
    return None if state < 0 else state != _UNSYNCHRONISED


def check_disk(machine: Machine, usage: Usage = shutil.disk_usage) -> Iterator[Finding]:
    """Check whether datasets and runs have space in the working folder."""
    folder: Path = machine.folder.resolve()
    free = usage(folder)[2]
    what = f'{free / 1e9:.1f} GB free in {folder}'
    if not os.access(folder, os.W_OK):
        yield Finding('disk', REMARK, f'{folder} cannot be written', 'work in another folder')
    elif free < LEAST_DISK:
        yield Finding('disk', PROBLEM, what, 'free some space, or work in another folder')
    elif free < GOOD_DISK:
        remedy = 'an hour of recording and its dataset may need more'
        yield Finding('disk', REMARK, what, remedy)
    else:
        yield Finding('disk', OK, what)
