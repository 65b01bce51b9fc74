# SPDX-License-Identifier: Apache-2.0
"""
One shard of a dataset on disk: a folder of .npy columns and a meta.json.

Rows are appended as raw bytes to files in a temporary folder beside the final one, so memory
stays constant; the .npy headers are written last, and a rename makes the shard whole at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
import json
import os
from pathlib import Path
import shutil
import struct
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from smwm_ros.core.blobs import BlobColumn, BlobWriter
from smwm_ros.core.interfaces import Array
from smwm_ros.errors import DatasetError

META = 'meta.json'
_LONGEST = 200  # bytes of a name; file systems take 255, and a temporary name is longer
_HEADER = 256  # bytes kept free for the .npy header; a multiple of 64, as memory maps like it


class Column(NamedTuple):
    """What one row of a column is."""

    shape: tuple[int, ...]
    dtype: str
    quality: int | None = None  # of JPEG, where rows are images that are stored as such

    @property
    def stored(self) -> Column:
        """Return what a row of the .npy file is: itself, or where its JPEG ends."""
        return self if self.quality is None else Column((), '<i8')


def columns(
    image_size: int, action_size: int, state_size: int, quality: int | None = None
) -> dict[str, Column]:
    """Return the columns of every shard, by name."""
    return {
        'pixels': Column((image_size, image_size, 3), '|u1', quality),
        'action': Column((action_size,), '<f4'),
        'state': Column((state_size,), '<f4'),
        'episode': Column((), '<i4'),  # counted from 0 within the shard
        'stamp': Column((), '<i8'),  # of the tick [ns]
    }


def safe_name(name: str) -> str:
    """Return what a shard of this name is called: one folder, not hidden, of printable letters."""
    safe = ''.join(letter if letter.isprintable() and letter != '/' else '_' for letter in name)
    rest = safe.lstrip('.')
    safe = '_' * (len(safe) - len(rest)) + rest or '_'
    data = safe.encode()
    if len(data) > _LONGEST:
        hashed = blake2b(data, digest_size=8).hexdigest()  # so that two long names stay two
        safe = f'{data[: _LONGEST - 17].decode(errors="ignore")}_{hashed}'
    return safe


def shard_folder(folder: Path, name: object) -> Path:
    """Return where a shard of a dataset lies; a name that leads elsewhere is refused."""
    if not isinstance(name, str) or name in ('', '..') or Path(name).name != name:
        raise DatasetError(
            f'{folder}: {str(name)[:_LONGEST]!r} is no name of a shard; expected the name of a '
            'folder in shards/'
        )
    return folder / 'shards' / name


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file whole or not at all; the same data gives the same bytes."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    temporary.write_text(json.dumps(data, indent=1, sort_keys=True) + '\n', encoding='utf-8')
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of ours, or say what is wrong with it."""
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise DatasetError(f'{path}: cannot be read: {error.strerror}') from None
    except ValueError:
        raise DatasetError(f'{path}: damaged: not valid JSON') from None
    if not isinstance(data, dict):
        raise DatasetError(f'{path}: damaged: expected an object, found a {type(data).__name__}')
    return data


class ShardWriter:
    """Streams rows into a shard; leaving the `with` block without publish() leaves nothing."""

    def __init__(self, folder: Path, row: Mapping[str, Column]) -> None:
        if safe_name(folder.name) != folder.name:
            raise DatasetError(f'{folder}: no name for a shard; expected {safe_name(folder.name)}')
        self.folder = folder
        self.rows = 0
        self._row = dict(row)
        self._temporary = folder.with_name(f'.{folder.name}.{os.getpid()}.tmp')
        self._temporary.mkdir(parents=True)
        self._files: dict[str, BinaryIO] = {}
        self._hashes = {name: blake2b(digest_size=16) for name in row}
        for name in row:
            file = (self._temporary / f'{name}.npy').open('wb')
            file.write(bytes(_HEADER))
            self._files[name] = file
        self._blobs = {
            name: BlobWriter(self._temporary / f'{name}.jpeg', column.quality)
            for name, column in self._row.items()
            if column.quality is not None
        }

    def append(self, **rows: Array) -> None:
        """Append n rows to every column: pixels (n, H, W, 3), action (n, A) and so on."""
        count = len(rows['stamp'])
        for name, column in self._row.items():
            values = np.ascontiguousarray(rows[name], dtype=column.dtype)
            if values.shape != (count, *column.shape):
                raise DatasetError(
                    f'{self.folder}: rows of {name} have shape {values.shape}, '
                    f'expected {(count, *column.shape)}'
                )
            if name in self._blobs:
                values = self._blobs[name].append(values)
            data = values.data.cast('B') if values.size else b''
            self._files[name].write(data)
            self._hashes[name].update(data)
        self.rows += count

    def attach(self, name: str, data: bytes) -> None:
        """Lay a further file beside the columns."""
        path = self._temporary / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    def publish(self, meta: Mapping[str, Any]) -> None:
        """Write headers and meta.json, and give the shard its name, replacing an older one."""
        for name, column in self._row.items():
            self._files[name].seek(0)
            self._files[name].write(_npy_header(column.stored, self.rows))
            self._files[name].close()
        for blobs in self._blobs.values():
            blobs.close()
        hashes = {name: hash_.hexdigest() for name, hash_ in self._hashes.items()}
        hashes |= {f'{name}.jpeg': blobs.hash.hexdigest() for name, blobs in self._blobs.items()}
        write_json(self._temporary / META, {**meta, 'rows': self.rows, 'hashes': hashes})
        if self.folder.exists():
            self._move_away()
        self._temporary.rename(self.folder)

    def _move_away(self) -> None:
        """Remove the shard that is replaced, and nothing that is none."""
        if not (self.folder / META).is_file():
            raise DatasetError(f'{self.folder}: is there already, and is no shard; remove it')
        # Renamed first: a folder that cannot be removed half-way is no shard any more.
        old = self._temporary.with_suffix('.old.tmp')
        self.folder.rename(old)
        shutil.rmtree(old)

    def __enter__(self) -> ShardWriter:
        """Start writing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files, and throw away what was not published."""
        try:
            for blobs in self._blobs.values():
                blobs.close()
            for file in self._files.values():
                file.close()  # fails too where the disk is full
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)


def _npy_header(column: Column, rows: int) -> bytes:
    """Return a .npy header (format 1.0) of a fixed length, whatever the number of rows."""
    form = {'descr': column.dtype, 'fortran_order': False, 'shape': (rows, *column.shape)}
    start = b'\x93NUMPY\x01\x00' + struct.pack('<H', _HEADER - 10)
    return (start + repr(form).encode('ascii')).ljust(_HEADER - 1) + b'\n'


def open_images(path: Path, row: Column, rows: int) -> Array | BlobColumn:
    """Memory-map a column of images, however they are stored."""
    if row.quality is None:
        return open_column(path, row, rows)
    ends = open_column(path, row.stored, rows)
    return BlobColumn(path.with_suffix('.jpeg'), ends, row.shape)


def open_column(path: Path, row: Column, rows: int) -> Array:
    """Memory-map one column, and check that it is what meta.json promises."""
    try:
        # A column without bytes (a robot without measured state) cannot be memory-mapped.
        empty = rows == 0 or 0 in row.shape
        array: Array = np.load(path, mmap_mode=None if empty else 'r', allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f'{path}: missing or damaged: {error}') from None
    if array.shape != (rows, *row.shape) or array.dtype != np.dtype(row.dtype):
        raise DatasetError(
            f'{path}: damaged: expected {(rows, *row.shape)} {row.dtype}, '
            f'found {array.shape} {array.dtype.str}'
        )
    return array
