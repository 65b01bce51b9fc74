# SPDX-License-Identifier: Apache-2.0
"""Single keys from a terminal, without Enter; the terminal is restored afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from select import select
import sys
import termios
import tty


class Keyboard:
    """Reads keys without waiting."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal

    def read(self) -> str:
        """Return the keys pressed since the last call."""
        # A background process that reads from its terminal is halted by the system.
        if os.tcgetpgrp(self._terminal) != os.getpgrp():
            return ''
        if not select([self._terminal], [], [], 0)[0]:
            return ''
        return os.read(self._terminal, 64).decode(errors='ignore')


@contextmanager
def keyboard() -> Iterator[Keyboard | None]:
    """Yield the keyboard of this process, None if it has no terminal."""
    try:
        terminal = sys.stdin.fileno()
        attended = os.isatty(terminal) and os.tcgetpgrp(terminal) == os.getpgrp()
    except (AttributeError, OSError, ValueError):  # stdin is closed
        attended = False
    if not attended:
        yield None
        return
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)  # Ctrl-C still ends the process
        yield Keyboard(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
