# SPDX-License-Identifier: Apache-2.0
"""Standard streams whose failure ends no run: output is dropped, and the work continues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
import os
import sys
from typing import Any


class Stream:
    """Forwards to a stream until writing fails, then drops all output."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None  # the first one

    def write(self, text: str) -> int:
        """Write, if the stream still works."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Flush, if the stream still works."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def __getattr__(self, name: str) -> Any:
        """Forward everything else to the stream."""
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        """Redirect the descriptor to /dev/null, for libraries and child processes too."""
        self.error = self.error or error
        with suppress(OSError, ValueError):
            _send_nowhere(self._stream.fileno())


@contextmanager
def lasting_streams() -> Iterator[Stream]:
    """Protect stdout and stderr; yield stdout."""
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
    """Reopen a closed standard stream; otherwise the next file would get its descriptor."""
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
