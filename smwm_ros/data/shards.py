# SPDX-License-Identifier: Apache-2.0
"""
One shard of a dataset on disk: a folder of .npy columns and a meta.json.

Rows are appended as raw bytes to files in a temporary folder beside the final one, so memory
stays constant; the .npy headers are written last, and a rename makes the shard whole at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
import json
import os
from pathlib import Path
import shutil
import struct
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from smwm_ros.data.jpeg_column import JpegColumn, JpegWriter
from smwm_ros.data.rows import Column, DATASET, Rows
from smwm_ros.data.stored import read_json, require
from smwm_ros.errors import DatasetError, writing
from smwm_ros.files import publish, write_atomic
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of

META = 'meta.json'
_LONGEST = 200  # bytes of a name; file systems take 255, and a temporary name is longer
_HEADER = 256  # bytes kept free for the .npy header; a multiple of 64, as memory maps like it
BINS = 40  # of a histogram of ages
_META = {
    'rows': int,
    'episodes': [(int, int)],
    'hashes': {str: str},
    'dropped?': {str: int},
    'counts?': {str: int},
    'notes?': [str],
    'faults?': {str: str},
    'versions?': {str: str},
    'frame_period?': float,
    'time?': {'base': str, 'why': str},
    'source?': {'files': [str], 'bytes': int, 'fingerprint': str},
    'robot?': {str: Any},
    'dataset?': {str: Any},
    'ages?': {
        str: {'counts': [int], 'beyond': int, 'limit': float, 'worst': [(int, float)]},
    },
}
# What a shard is that says nothing of itself but its rows.
_OLDEST = {
    'dropped': {},
    'counts': {},
    'notes': [],
    'faults': {},
    'versions': {},
    'time': {'base': 'unknown', 'why': 'not recorded'},
    'source': {'files': [], 'bytes': 0, 'fingerprint': ''},
}


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
    write_atomic(path, (json.dumps(data, indent=1, sort_keys=True) + '\n').encode())


def read_meta(folder: Path) -> dict[str, Any]:
    """Read the meta.json of a shard."""
    path = folder / META
    meta = read_json(path, DATASET)
    require(meta, _META, path, DATASET)
    rows, end = meta['rows'], 0
    for start, stop in meta['episodes']:
        if not end <= start < stop <= rows:
            reason = f'episodes: {start} to {stop}; expected rows of {rows}, in order'
            raise DATASET.damaged(path, reason)
        end = stop
    ages = meta.get('ages', {})
    for name, part in ages.items():
        inside = all(0 <= row < rows for row, _ in part['worst'])
        if not inside or min(part['counts'], default=0) < 0:
            raise DATASET.damaged(
                path, f'ages.{name}: expected rows and counts of {count_of(rows, "row")}'
            )
        if len(part['counts']) != BINS:
            raise DATASET.damaged(path, f'ages.{name}.counts: expected {BINS} of them')
    return {**_OLDEST, **meta}


class ShardWriter:
    """Streams rows into a shard; leaving the `with` block without publish() leaves nothing."""

    def __init__(self, folder: Path, row: Mapping[str, Column]) -> None:
        if safe_name(folder.name) != folder.name:
            raise DatasetError(f'{folder}: no name for a shard; expected {safe_name(folder.name)}')
        self.folder = folder
        self.rows = 0
        self._row = dict(row)
        self._temporary = folder.with_name(f'.{folder.name}.{os.getpid()}.tmp')
        self._files: dict[str, BinaryIO] = {}
        self._blobs: dict[str, JpegWriter] = {}
        self._hashes = {name: blake2b(digest_size=16) for name in row}
        try:
            with writing(folder):
                self._begin()
        except BaseException:
            self._end()
            raise

    def _begin(self) -> None:
        """Open the files."""
        self._temporary.mkdir(parents=True)
        for name, column in self._row.items():
            self._files[name] = (self._temporary / f'{name}.npy').open('wb')
            self._files[name].write(bytes(_HEADER))
            if column.quality is not None:
                path = self._temporary / f'{name}.jpeg'
                self._blobs[name] = JpegWriter(path, column.quality)

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
            with writing(self.folder):
                if name in self._blobs:
                    values = self._blobs[name].append(values)
                data = values.data.cast('B') if values.size else b''
                self._files[name].write(data)
            self._hashes[name].update(data)
        self.rows += count

    def attach(self, name: str, data: bytes) -> None:
        """Lay a further file beside the columns."""
        path = self._temporary / name
        with writing(self.folder):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

    def publish(self, meta: Mapping[str, Any]) -> None:
        """Write headers and meta.json, and give the shard its name, replacing an older one."""
        with writing(self.folder):
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
            with writing(self.folder):
                self._move_away()
        publish(self._temporary, self.folder)

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
        self._end()

    def _end(self) -> None:
        files: list[JpegWriter | BinaryIO] = [*self._blobs.values(), *self._files.values()]
        for file in files:
            with suppress(
                OSError
            ):  # a full disk is full for this too; what was published is closed
                file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)


def _npy_header(column: Column, rows: int) -> bytes:
    """Return a .npy header (format 1.0) of a fixed length, whatever the number of rows."""
    form = {'descr': column.dtype, 'fortran_order': False, 'shape': (rows, *column.shape)}
    start = b'\x93NUMPY\x01\x00' + struct.pack('<H', _HEADER - 10)
    return (start + repr(form).encode('ascii')).ljust(_HEADER - 1) + b'\n'


def open_images(path: Path, row: Column, rows: int) -> Rows | JpegColumn:
    """Open a column of images, however they are stored."""
    stored = Rows(path, row.stored, rows)
    if row.quality is None:
        return stored
    return JpegColumn(path.with_suffix('.jpeg'), stored.all(), row.shape)
