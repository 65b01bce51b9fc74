# SPDX-License-Identifier: Apache-2.0
"""Pass the newest value from one thread to another."""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

T = TypeVar('T')


class Latest(Generic[T]):
    """Hold the newest value until another thread takes it; an older one is dropped."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._value: T | None = None
        self.closed = False

    def put(self, value: T) -> None:
        """Replace the value."""
        with self._changed:
            self._value = value
            self._changed.notify()

    def take(self) -> T | None:
        """Wait for a value and remove it; return None after close()."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self._value is not None)
            if self.closed:
                return None
            value, self._value = self._value, None
            return value

    def close(self) -> None:
        """Wake the thread that waits in take()."""
        with self._changed:
            self.closed = True
            self._changed.notify()
