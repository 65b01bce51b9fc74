# SPDX-License-Identifier: Apache-2.0
"""
Log without blocking, so that a full disk cannot keep a stop command from being published.

rclpy holds Python's global lock while it writes a line. A full or slow disk, or a pipe without a
reader, would block the whole process while the robot follows its last command. So lines go to a
non-blocking pipe, and another process writes them to the console and a file. Lines that do not fit
into the pipe are lost.
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

_CAPACITY = 1 << 20  # of the pipe [bytes]: some ten thousand lines
_TIMEOUT = 2.0  # at the end, until the last lines are written [s]
_RESIZE = getattr(fcntl, 'F_SETPIPE_SZ', 0)  # Linux only


@contextmanager
def nonblocking_log(name: str) -> Iterator[None]:
    """Copy stderr of this process to its former target and to a log file, without blocking."""
    tee = shutil.which('tee')
    if tee is None:
        yield
        return
    reader, writer = os.pipe()
    if _RESIZE:
        with suppress(OSError):  # more than the limit of this user
            fcntl.fcntl(writer, _RESIZE, _CAPACITY)
    os.set_blocking(writer, False)
    stderr = os.dup(2)
    # In a session of its own Ctrl-C does not end it before the last lines are written.
    copier = subprocess.Popen(
        [tee, '-a', *_file(name)], stdin=reader, stdout=stderr, start_new_session=True
    )
    os.close(reader)
    os.dup2(writer, 2)
    os.close(writer)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        with suppress(subprocess.TimeoutExpired):
            copier.wait(_TIMEOUT)


def _file(name: str) -> list[str]:
    """Return the path of the log file, or nothing if its folder cannot be made."""
    folder = Path(get_logging_directory())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return []
    return [str(folder / f'{name}_{os.getpid()}_{time.time_ns() // 10**6}.log')]
