# SPDX-License-Identifier: Apache-2.0
"""What TensorBoard shows of a run, where TensorBoard is installed; nothing depends on it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any


class Diary:
    """Writes rows of curves as scalars; a context manager."""

    def __init__(self, folder: Path, first: int, wanted: bool = True) -> None:
        """Begin, or go on after step `first`: what was written later than that is forgotten."""
        self._writer: Any = None
        if not wanted:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._writer = SummaryWriter(str(folder), purge_step=first + 1)

    def __enter__(self) -> Diary:
        """Return the diary itself."""
        return self

    def write(self, row: dict[str, float]) -> None:
        """Note one row, which holds its step."""
        if self._writer:
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
            self._writer.close()
