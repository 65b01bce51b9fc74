# SPDX-License-Identifier: Apache-2.0
"""
Write one shard of a dataset: a folder of .npy columns and a meta.json.

Rows are appended as raw bytes to files in a temporary folder, so memory use is constant. The .npy
headers are written last, and then the folder is renamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
from smwm_ros.config import FAILURE, SUCCESS
from smwm_ros.data.jpeg_column import JpegColumn, JpegWriter
from smwm_ros.data.rows import Column, DATASET, Rows
from smwm_ros.data.stored import read_json, require
from smwm_ros.errors import DatasetError, writing
from smwm_ros.files import publish, write_atomic
from smwm_ros.interfaces import Array
from smwm_ros.text import brief, count_of

META = 'meta.json'
_LONGEST = 200  # bytes of a name; file systems allow 255, and a temporary name is longer
_HEADER = 256  # bytes reserved for the .npy header; a multiple of 64, for alignment
BINS = 40  # of a histogram of ages
_META = {
    'rows': int,
    'episodes': [(int, int)],
    'hashes': {str: str},
    'dropped?': {str: int},
    'counts?': {str: int},
    'notes?': [str],
    'faults?': {str: str},
    'outcome?': str,
    'task?': str,
    'versions?': {str: str},
    'frame_period?': float,
    'time?': {'base': str, 'why': str},
    'source?': {'files': [str], 'bytes': int, 'fingerprint': str},
    'robot?': {str: Any},
    'dataset?': {str: Any},
    'ages?': {
        str: {'counts': [int], 'beyond': int, 'limit': float, 'worst': [(int, float)]},
    },
    'lag?': {
        'ticks': int,
        'seconds': float,
        'r2': float,
        'r2_configured': float,
        'clear': bool,
        'why': str,
    },
}
# The entries of meta.json that older versions did not write.
_OLDEST = {
    'dropped': {},
    'counts': {},
    'notes': [],
    'faults': {},
    'outcome': '',
    'task': '',
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
    """Return a name as a folder name: not hidden, without slashes, of printable characters."""
    safe = ''.join(letter if letter.isprintable() and letter != '/' else '_' for letter in name)
    rest = safe.lstrip('.')
    safe = '_' * (len(safe) - len(rest)) + rest or '_'
    data = safe.encode()
    if len(data) > _LONGEST:
        hashed = blake2b(data, digest_size=8).hexdigest()  # keeps long names unique
        safe = f'{data[: _LONGEST - 17].decode(errors="ignore")}_{hashed}'
    return safe


def shard_folder(folder: Path, name: object) -> Path:
    """Return the folder of a shard; raise if its name is a path to another folder."""
    if not isinstance(name, str) or name in ('', '..') or Path(name).name != name:
        raise DatasetError(
            f'{folder}: {str(name)[:_LONGEST]!r} is not the name of a shard; expected the name of '
            'a folder in shards/'
        )
    return folder / 'shards' / name


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file atomically; equal data gives equal bytes."""
    write_atomic(path, (json.dumps(data, indent=1, sort_keys=True) + '\n').encode())


def read_meta(folder: Path) -> dict[str, Any]:
    """Read the meta.json of a shard."""
    path = folder / META
    meta = read_json(path, DATASET)
    require(meta, _META, path, DATASET)
    rows, end = meta['rows'], 0
    for start, stop in meta['episodes']:
        if not end <= start < stop <= rows:
            reason = f'episodes: {start} to {stop}, expected ascending row numbers up to {rows}'
            raise DATASET.damaged(path, reason)
        end = stop
    if (outcome := meta.get('outcome', '')) not in ('', SUCCESS, FAILURE):
        reason = f'outcome: {brief(outcome)}, expected {SUCCESS} or {FAILURE}'
        raise DATASET.damaged(path, reason)
    ages = meta.get('ages', {})
    for name, part in ages.items():
        inside = all(0 <= row < rows for row, _ in part['worst'])
        if not inside or min(part['counts'], default=0) < 0:
            raise DATASET.damaged(
                path, f'ages.{name}: expected row numbers below {rows}, and counts from 0 on'
            )
        if len(part['counts']) != BINS:
            raise DATASET.damaged(
                path, f'ages.{name}.counts: {len(part["counts"])} numbers, expected {BINS}'
            )
    return {**_OLDEST, **meta}


def explain(metas: Iterable[Mapping[str, Any]]) -> str:
    """Return how many ticks were kept, and how many were dropped for which reason."""
    kept, reasons = 0, dict[str, int]()
    for meta in metas:
        kept += meta['rows']
        for reason, count in meta.get('dropped', {}).items():
            reasons[reason] = reasons.get(reason, 0) + count
    words = [f'{count} dropped: {reason}' for reason, count in sorted(reasons.items()) if count]
    return '; '.join([f'{count_of(kept, "tick")} kept', *words])


def fingerprint(
    index: Mapping[str, Any], metas: Mapping[str, Mapping[str, Any]], labels: Mapping[str, Any]
) -> str:
    """Return a hash of the rows, the labels and the configuration."""
    hashes = [meta['hashes'] for meta in metas.values()]
    parts = [index['robot'], index['dataset'], hashes]
    if outcomes := {name: meta['outcome'] for name, meta in metas.items() if meta['outcome']}:
        parts.append(outcomes)  # the split depends on them
    if labels:
        parts.append({name: found.about['hashes'] for name, found in labels.items()})
    text = json.dumps(parts, sort_keys=True)
    return blake2b(text.encode(), digest_size=8).hexdigest()


class ShardWriter:
    """Write rows to a shard; without publish(), nothing is left at the end of the `with` block."""

    def __init__(self, folder: Path, row: Mapping[str, Column]) -> None:
        if safe_name(folder.name) != folder.name:
            raise DatasetError(
                f'{folder}: not a valid name of a shard, expected {safe_name(folder.name)}'
            )
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
        """Write a further file beside the columns."""
        path = self._temporary / name
        with writing(self.folder):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

    def publish(self, meta: Mapping[str, Any]) -> None:
        """Write headers and meta.json, and rename the folder, replacing an older shard."""
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
        """Remove the shard that is replaced, but no other folder."""
        if not (self.folder / META).is_file():
            raise DatasetError(f'{self.folder}: exists already and is not a shard; remove it')
        # Renamed first, so that an interruption does not leave a partial shard.
        old = self._temporary.with_suffix('.old.tmp')
        self.folder.rename(old)
        shutil.rmtree(old)

    def __enter__(self) -> ShardWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files, and remove them if they were not published."""
        self._end()

    def _end(self) -> None:
        files: list[JpegWriter | BinaryIO] = [*self._blobs.values(), *self._files.values()]
        for file in files:
            with suppress(
                OSError
            ):  # on a full disk this fails as well; published files are closed already
                file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)


def _npy_header(column: Column, rows: int) -> bytes:
    """Return a .npy header (format 1.0) of fixed length for any number of rows."""
    form = {'descr': column.dtype, 'fortran_order': False, 'shape': (rows, *column.shape)}
    start = b'\x93NUMPY\x01\x00' + struct.pack('<H', _HEADER - 10)
    return (start + repr(form).encode('ascii')).ljust(_HEADER - 1) + b'\n'


def open_images(path: Path, row: Column, rows: int) -> Rows | JpegColumn:
    """Open a column of images, however they are stored."""
    stored = Rows(path, row.stored, rows)
    if row.quality is None:
        return stored
    return JpegColumn(path.with_suffix('.jpeg'), stored.all(), row.shape)
