# SPDX-License-Identifier: Apache-2.0
"""Processes that work for this one: each is heard by a pipe, and ends when this one does."""

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

ATTEMPTS = 3  # to make something, by one process after the other


class Failure(NamedTuple):
    """Why a worker could not make something."""

    what: str  # 'was killed by SIGKILL'
    error: SmwmError | None = None  # by the user's hand: no use to try again
    trace: str = ''  # of a bug


class Worker:
    """A process that makes one thing after the other."""

    def __init__(self, serve: Callable[[Any], None]) -> None:
        # spawn: a forked child would share locks and file positions that it does not know of.
        context = multiprocessing.get_context('spawn')
        self.pipe, end = context.Pipe()
        self._process = context.Process(target=serve, args=(end,), daemon=True)
        self._process.start()
        end.close()  # so that the pipe breaks when the process dies

    def begin(self, item: Any) -> None:
        """Give it something to make."""
        self.item = item
        self.progress: Any = 0  # counted by the code that reads the pipe
        with suppress(OSError):  # it is dead, and hear() returns how it died
            self.pipe.send(item)

    def hear(self) -> Any:
        """Return what it sends next, or how it died."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            return Failure(self._death())

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._process.terminate()
        self._process.join()
        self.pipe.close()

    def _death(self) -> str:
        """Wait until the process is gone, and say how it went."""
        self._process.join()
        code = self._process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return f'was killed by {name}{" (out of memory?)" if name == "SIGKILL" else ""}'
        return f'ended with exit code {code}'


def end_with_parent() -> None:
    """In a worker: end when the parent does, however that dies, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)  # nobody is left to hear of anything

    Thread(target=watch, daemon=True).start()
