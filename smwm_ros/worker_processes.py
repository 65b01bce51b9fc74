# SPDX-License-Identifier: Apache-2.0
"""Worker processes: each talks over a pipe, and ends when the parent process ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import multiprocessing
from multiprocessing.connection import wait
import os
import signal
from threading import Thread
from typing import Any, NamedTuple

from smwm_ros.errors import SmwmError

ATTEMPTS = 3  # per item, each in a new process


class Failure(NamedTuple):
    """Why a worker failed on an item."""

    what: str  # 'was killed by SIGKILL'
    error: SmwmError | None = None  # a user error: retrying is useless
    trace: str = ''  # traceback of a bug


class Worker:
    """A process that handles one item after the other."""

    def __init__(self, serve: Callable[[Any], None]) -> None:
        # spawn: a forked child would share locks and file positions with its parent.
        context = multiprocessing.get_context('spawn')
        self.pipe, end = context.Pipe()
        self._process = context.Process(target=serve, args=(end,), daemon=True)
        self._process.start()
        end.close()  # so that the pipe breaks when the process dies

    def begin(self, item: Any) -> None:
        """Send the next item."""
        self.item = item
        self.progress: Any = 0  # counted by the code that reads the pipe
        with suppress(OSError):  # it is dead: receive() returns how it ended
            self.pipe.send(item)

    def receive(self) -> Any:
        """Return the next message of the worker, or the Failure that ended it."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            return Failure(self._death())

    def stop(self) -> None:
        """Terminate the process."""
        self._process.terminate()
        self._process.join()
        self.pipe.close()

    def _death(self) -> str:
        """Join the process, and describe how it ended."""
        self._process.join()
        code = self._process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return f'was killed by {name}{" (out of memory?)" if name == "SIGKILL" else ""}'
        return f'ended with exit code {code}'


def end_with_parent() -> None:
    """In a worker: exit when the parent process ends, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)  # no cleanup: nothing reads the results any more

    Thread(target=watch, daemon=True).start()
