# SPDX-License-Identifier: Apache-2.0
"""A stop that outlives activations, and with a file also the process."""

from __future__ import annotations

from pathlib import Path

from smwm_ros.control.reasons import Reason


class StopLatch:
    """
    Holds the stop that a person asked for, until a person releases it.

    Setting and releasing never wait; save(), which writes the file, may wait for the disk. Safe
    to use from any thread.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._reason: Reason | None = None
        if file is not None and file.exists():  # an earlier process was stopped
            self._reason = Reason.STOPPED

    @property
    def reason(self) -> Reason | None:
        """Return why the robot may not move, None where it may."""
        return self._reason

    def set(self, reason: Reason) -> None:
        """Forbid motion."""
        self._reason = reason

    def release(self) -> None:
        """Allow motion."""
        self._reason = None

    def save(self) -> str:
        """Make the file agree; return what is to be said where that fails, else an empty text."""
        if self._file is None:
            return ''
        try:
            if self._reason is None:
                self._file.unlink(missing_ok=True)
            else:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._file.write_text(f'{self._reason.value}\n', encoding='utf-8')
        except OSError as error:
            return (
                f'a restarted node will not know of this: {self._file}: cannot be changed: '
                f'{error.strerror}'
            )
        return ''
