# SPDX-License-Identifier: Apache-2.0
"""A stop that outlasts activations and, with a file, the process."""

from __future__ import annotations

from pathlib import Path

from smwm_ros.control.reasons import Reason


class StopLatch:
    """
    Hold the stop that an operator requested, until an operator releases it.

    set() and release() never block; save() writes the file and may wait for the disk. All methods
    may be called from any thread.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._reason: Reason | None = None
        if file is not None and file.exists():  # an earlier process was stopped
            self._reason = Reason.STOPPED

    @property
    def reason(self) -> Reason | None:
        """Return why the robot may not move, or None if it may."""
        return self._reason

    def set(self, reason: Reason) -> None:
        """Forbid motion."""
        self._reason = reason

    def release(self) -> None:
        """Allow motion."""
        self._reason = None

    def save(self) -> str:
        """Write or remove the file; return a warning if that fails, else an empty text."""
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
                f'a restarted node will not restore this: {self._file}: cannot be written: '
                f'{error.strerror}'
            )
        return ''
