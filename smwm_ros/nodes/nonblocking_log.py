# SPDX-License-Identifier: Apache-2.0
"""
A log that cannot stop a robot from being stopped.

rclpy holds Python's lock while it writes a line. Where the line goes to a full disk, a disk that
is slow, or a pipe that nobody reads, the whole process would stand still until it is written, and
the robot would go on as it was told last. So lines go into a pipe that is never waited for, and
another process takes them to where they belong. Lines that do not fit are lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import fcntl
import os
from pathlib import Path
import shutil
import subprocess
import sys
import time

from rclpy.logging import get_logging_directory

_ROOM = 1 << 20  # of the pipe [bytes]: some ten thousand lines
_PATIENCE = 2.0  # at the end, until the last lines are written [s]
_RESIZE = getattr(fcntl, 'F_SETPIPE_SZ', 0)  # Linux alone has it


@contextmanager
def patient_log(name: str) -> Iterator[None]:
    """Write what this process says on stderr, and a log file, without ever waiting for either."""
    tee = shutil.which('tee')
    if tee is None:
        yield
        return
    ear, output = os.pipe()
    if _RESIZE:
        with suppress(OSError):  # more than this user may have
            fcntl.fcntl(output, _RESIZE, _ROOM)
    os.set_blocking(output, False)
    told = os.dup(2)
    # Ctrl-C is for the node; whoever writes its last words ends with it.
    recorder = subprocess.Popen(
        [tee, '-a', *_file(name)], stdin=ear, stdout=told, start_new_session=True
    )
    os.close(ear)
    os.dup2(output, 2)
    os.close(output)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(told, 2)
        os.close(told)
        with suppress(subprocess.TimeoutExpired):
            recorder.wait(_PATIENCE)


def _file(name: str) -> list[str]:
    """Return the log file, if there is a place for it."""
    folder = Path(get_logging_directory())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return []
    return [str(folder / f'{name}_{os.getpid()}_{time.time_ns() // 10**6}.log')]
