# SPDX-License-Identifier: Apache-2.0
"""What TensorBoard shows of a run, where TensorBoard is installed; nothing depends on it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
import threading
from types import TracebackType
from typing import Any

from smwm_ros.errors import writing


class TensorBoardLog:
    """Writes rows of curves as scalars; a context manager."""

    def __init__(self, folder: Path, first: int, wanted: bool = True) -> None:
        """Begin, or go on after step `first`: what was written later than that is forgotten."""
        self._folder = folder
        self._writer: Any = None
        if not wanted:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        threading.excepthook = _say_unless_heard
        with writing(folder):
            self._writer = SummaryWriter(str(folder), purge_step=first + 1)

    def __enter__(self) -> TensorBoardLog:
        """Return the log itself."""
        return self

    def write(self, row: dict[str, float]) -> None:
        """Note one row, which holds its step."""
        if self._writer:
            with writing(self._folder):
                for name, value in row.items():
                    self._writer.add_scalar(name, value, int(row['step']))
                self._writer.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._writer:
            with suppress(OSError):  # all that was written is on its way to the disk
                self._writer.close()


def _say_unless_heard(end: threading.ExceptHookArgs) -> None:
    """Show what ended a thread, but not what TensorBoard's thread hands on to us as well."""
    if type(end.thread).__name__ != '_AsyncWriterThread':
        threading.__excepthook__(end)
