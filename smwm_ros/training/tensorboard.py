# SPDX-License-Identifier: Apache-2.0
"""Write the curves of a run for TensorBoard, where that is installed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
import threading
from types import TracebackType
from typing import Any

from smwm_ros.errors import writing


class TensorBoardLog:
    """A context manager that writes rows of curves as scalars."""

    def __init__(self, folder: Path, first: int, wanted: bool = True) -> None:
        """Open the log; what was written after step `first` is hidden."""
        self._folder = folder
        self._writer: Any = None
        if not wanted:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        threading.excepthook = _report_unless_raised
        with writing(folder):
            self._writer = SummaryWriter(str(folder), purge_step=first + 1)

    def __enter__(self) -> TensorBoardLog:
        """Return the log itself."""
        return self

    def write(self, row: dict[str, float]) -> None:
        """Write one row, with its step."""
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
            with suppress(OSError):  # all rows were flushed before
                self._writer.close()


def _report_unless_raised(end: threading.ExceptHookArgs) -> None:
    """Report the error of a thread, except of TensorBoard's, which write() raises as well."""
    if type(end.thread).__name__ != '_AsyncWriterThread':
        threading.__excepthook__(end)
