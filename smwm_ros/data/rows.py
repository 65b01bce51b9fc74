# SPDX-License-Identifier: Apache-2.0
"""
Columns of a shard on disk, whose rows are read on demand.

They are read, not mapped into memory: if a mapped file becomes shorter, the next access ends the
process by SIGBUS, while a read returns an error. The difference in speed is small compared with a
training step.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
import weakref

import numpy as np
from smwm_ros.data.stored import Kind
from smwm_ros.errors import DatasetError, one_line
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of

DATASET = Kind(DatasetError, 'convert it again')


class Column(NamedTuple):
    """Shape and type of one row of a column."""

    shape: tuple[int, ...]
    dtype: str
    quality: int | None = None  # of JPEG, if rows are images that are stored as JPEG

    @property
    def stored(self) -> Column:
        """Return the column in the .npy file: the rows, or the ends of their JPEG images."""
        return self if self.quality is None else Column((), '<i8')


class Bytes:
    """A file that is read in pieces, from any thread."""

    def __init__(self, path: Path, kind: Kind = DATASET) -> None:
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DatasetError(
                f'{path}: missing or damaged: {error.strerror}; {kind.remedy}'
            ) from None
        weakref.finalize(self, os.close, self._file)
        self.path, self._kind = path, kind

    @property
    def size(self) -> int:
        """Return the current number of bytes."""
        return os.fstat(self._file).st_size

    def read(self, begin: int, into: Array) -> None:
        """Fill a contiguous array of bytes from a position in the file."""
        view = into.data
        try:
            while view and (count := os.preadv(self._file, [view], begin)):
                view, begin = view[count:], begin + count
        except OSError as error:
            raise DatasetError(f'{self.path}: cannot be read: {error.strerror}') from None
        if view:
            raise DatasetError(
                f'{self.path}: became shorter while it was in use: '
                f'{count_of(self.size, "byte")}, expected {len(view)} more; '
                f'{self._kind.remedy}'
            )


class Rows:
    """Rows of a .npy file."""

    def __init__(self, path: Path, column: Column, count: int, kind: Kind = DATASET) -> None:
        self._bytes, self._count = Bytes(path, kind), count
        self._shape, self._dtype = column.shape, np.dtype(column.dtype)
        self._width = int(np.prod(column.shape)) * self._dtype.itemsize  # bytes of a row
        self._begin = _check_header(path, (count, *column.shape), column.dtype, kind)
        expected = self._begin + count * self._width
        if self._bytes.size != expected:
            raise DatasetError(
                f'{path}: missing or damaged: {count_of(self._bytes.size, "byte")}, expected '
                f'{expected}; {kind.remedy}'
            )

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._count

    def __getitem__(self, rows: Array) -> Array:
        """Return any rows, in their order."""
        rows = np.asarray(rows)
        found: Array = np.empty((len(rows), *self._shape), self._dtype)
        if not found.size:
            return found
        flat = found.reshape(-1).view(np.uint8)
        # Consecutive rows are read together.
        starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1).tolist()
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
            part = flat[start * self._width : stop * self._width]
            self._bytes.read(self._begin + int(rows[start]) * self._width, part)
        return found

    def all(self) -> Array:
        """Return all rows."""
        return self[np.arange(self._count)]


def _check_header(path: Path, shape: tuple[int, ...], dtype: str, kind: Kind) -> int:
    """Check shape and type in the header of a .npy file; return the offset of its data."""
    try:
        with path.open('rb') as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            found, by_columns, stored = read(file)
            begin = file.tell()
    except Exception as error:  # NumPy parses the header as Python: damage may raise anything
        raise DatasetError(
            f'{path}: missing or damaged: no .npy header: {one_line(error)}; {kind.remedy}'
        ) from None
    if found != shape or stored != np.dtype(dtype) or (by_columns and len(shape) > 1):
        raise kind.damaged(path, f'expected {shape} {dtype}, found {found} {stored.str}')
    return begin
