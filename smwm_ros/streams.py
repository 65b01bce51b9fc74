# SPDX-License-Identifier: Apache-2.0
"""Standard streams that end no run: what cannot be said any more is lost, and the work goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
import os
import sys
from typing import Any


class Stream:
    """Passes on to a stream what is written, until that fails."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None  # the first one

    def write(self, text: str) -> int:
        """Write, if anybody reads it."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Flush, if anybody reads it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def __getattr__(self, name: str) -> Any:
        """Do anything else as the stream does it."""
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        """Send all that follows nowhere, also what libraries and other processes say."""
        self.error = self.error or error
        with suppress(OSError, ValueError):
            _send_nowhere(self._stream.fileno())


@contextmanager
def lasting_streams() -> Iterator[Stream]:
    """Make the standard streams last; return that of what a run prints."""
    for descriptor, name in enumerate(('stdin', 'stdout', 'stderr')):
        if getattr(sys, name) is None:  # it was closed
            setattr(sys, name, _open_nowhere(descriptor))
    out, errors = Stream(sys.stdout), Stream(sys.stderr)
    streams: Any = (out, errors)
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        try:
            yield out
        finally:
            out.flush()
            errors.flush()


def _open_nowhere(descriptor: int) -> Any:
    """Open a standard stream that was closed; else the next file would get its number."""
    try:
        os.fstat(descriptor)
    except OSError:
        _send_nowhere(descriptor)
        return open(descriptor, 'w' if descriptor else 'r', closefd=False)
    return open(os.devnull, 'w' if descriptor else 'r')


def _send_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    else:
        os.set_inheritable(descriptor, True)
