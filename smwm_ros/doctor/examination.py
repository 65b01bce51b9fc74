# SPDX-License-Identifier: Apache-2.0
"""Run all checks; one that fails is a finding and ends no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from smwm_ros.doctor import installation, libraries
from smwm_ros.doctor import machine as computer
from smwm_ros.doctor.findings import Finding, Machine, REMARK
from smwm_ros.doctor.middleware import check_middleware, uses_fast_dds
from smwm_ros.doctor.run_folder import check_run
from smwm_ros.doctor.shared_memory import check_shared_memory
from smwm_ros.errors import place
from smwm_ros.processors import idle_processors

Check = Callable[[], Iterator[Finding]]


def examine(machine: Machine, run: Path | None = None) -> Iterator[Finding]:
    """Yield the findings of all checks, and of a run folder if one is given."""
    idle = idle_processors()  # before the imports, which keep some busy
    yield from guarded('package', partial(installation.check_package, machine))
    yield from guarded('installation', partial(installation.check_installation, machine))
    reports = libraries.probe_libraries(machine)
    fast_dds = uses_fast_dds(reports)
    checks: dict[str, Check] = {
        'libraries': partial(libraries.check_libraries, machine, reports),
        'extras': partial(libraries.check_extras, machine, reports),
        'cv_bridge': partial(libraries.check_cv_bridge, reports),
        'middleware': partial(check_middleware, machine, reports),
        'shared memory': partial(check_shared_memory, machine, fast_dds),
        'processors': partial(computer.check_processors, machine, reports, idle),
        'governor': partial(computer.check_governor, machine),
        'real time': partial(computer.check_real_time, computer.real_time_limit),
        'clock': lambda: computer.check_clock(computer.is_synchronised()),
        'disk': partial(computer.check_disk, machine),
    }
    if run is not None:
        checks['model'] = partial(check_run, run, reports)
    for name, check in checks.items():
        yield from guarded(name, check)


def guarded(name: str, check: Check) -> Iterator[Finding]:
    """Yield the findings of a check, or that it failed."""
    try:
        yield from check()
    except Exception as error:  # of a machine that no one foresaw: the other checks still help
        yield Finding(name, REMARK, f'could not be checked: {place(error)}')
