# SPDX-License-Identifier: Apache-2.0
"""Read an HDF5 file in the layout of stable-worldmodel and LeWM, ours or another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from importlib.metadata import version
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.config import Config
from smwm_ros.data.shards import columns, safe_name
from smwm_ros.errors import DatasetError, one_line, SmwmError
from smwm_ros.exchange.layout import ABOUT, EPISODE, h5py, hdf5plugin, LAST_ACTION
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of

_CACHE = 64 * 1024 * 1024  # for chunks, so that none is decompressed twice [bytes]
_MAX_MEMBERS = 1000  # columns and groups of a file; ours have some 20


class Shard(NamedTuple):
    """Episodes of a file that become one shard."""

    name: str
    meta: Mapping[str, Any]  # entries of its meta.json that do not follow from the rows
    spans: list[tuple[int, int]]  # rows of each episode
    last: Array  # action of the last row of each episode (episodes, A), NaN if unknown


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open a file for reading; turn any exception about it into a DatasetError."""
    if not path.is_file():
        raise DatasetError(f'{path}: cannot be imported: no such file')
    try:
        with h5py.File(path, 'r', rdcc_nbytes=_CACHE) as file:
            _require_own_data(path, file)
            yield file
    except SmwmError:
        raise
    except Exception as error:  # a damaged file may raise anything
        reason = getattr(error, 'strerror', None) or one_line(error)
        if 'filter' in reason and hdf5plugin is None:
            reason += '; pip install hdf5plugin'
        raise DatasetError(f'{path}: cannot be imported: {reason}') from error


def _require_own_data(path: Path, file: Any) -> None:
    """Raise if a file refers to other files, which would be read from this machine."""
    ahead, count = [('', file)], 0
    while ahead:
        inside, group = ahead.pop()
        for name in group:
            where, kind, count = f'{inside}{name}', type(group.get(name, getlink=True)), count + 1
            if kind is not h5py.HardLink:
                raise DatasetError(
                    f'{path}: {where} is a link ({kind.__name__}); expected the data themselves'
                )
            if count > _MAX_MEMBERS:  # a group may contain itself
                raise DatasetError(
                    f'{path}: more columns and groups than expected, {_MAX_MEMBERS} at most'
                )
            item = group[name]
            if isinstance(item, h5py.Group):
                ahead.append((f'{where}/', item))
            elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                raise DatasetError(
                    f'{path}: {where} is stored in other files; expected all data in this one'
                )


def read_about(file: Any) -> dict[str, Any] | None:
    """Return the metadata of our export, or None."""
    text = file.attrs.get(ABOUT)
    return None if text is None else json.loads(text)


class Table:
    """The columns of an open file from which a dataset is made."""

    def __init__(self, path: Path, file: Any, config: Config, state: str) -> None:
        self.path, self.config = path, config
        self._file = file
        robot, dataset = config.robot, config.dataset
        self.shortest = max(dataset.min_length, dataset.action_block + 1)
        self.row = columns(
            dataset.image_size,
            len(expand(robot.command.fields)),
            len(expand(robot.state.fields)) if robot.state.topic else 0,
            dataset.jpeg_quality if dataset.pixels == 'jpeg' else None,
        )
        self.pixels = self._column('pixels', 4)
        self.rows = len(self.pixels)
        if self.pixels.dtype != np.uint8 or self.pixels.shape[3] != 3:
            raise DatasetError(
                f'{path}: pixels have shape {self.pixels.shape} {self.pixels.dtype}, '
                'expected (rows, height, width, 3) uint8'
            )
        width = self._column('action', 2).shape[1]
        self._check_width('action', width, robot.command.fields)
        self._states = state.split(',') if robot.state.topic else []
        if self._states:
            width = sum(self._column(name, 2).shape[1] for name in self._states)
            self._check_width(state, width, robot.state.fields)

    def shards(self) -> list[Shard]:
        """Return the shards that our export wrote, or one shard for another file."""
        spans = find_episodes(self._file, self.path, self.rows)
        about = read_about(self._file)
        if about is None:
            last = np.full((len(spans), *self.row['action'].shape), np.nan, np.float32)
            return [Shard(safe_name(self.path.stem), self._meta(), spans, last)]
        last = self._file['action'].attrs[LAST_ACTION]
        shards, first = [], 0
        for name, meta in about['metas'].items():
            part = slice(first, first + len(meta['episodes']))
            shards.append(Shard(name, meta, spans[part], last[part]))
            first = part.stop
        return shards

    def read(self, start: int, stop: int) -> dict[str, Array]:
        """Return the numbers of some rows: action (n, A), state (n, P) and stamp (n,)."""
        count, dt = stop - start, round(self.config.robot.dt * 1e9)
        states = [self._file[name][start:stop] for name in self._states]
        state = np.concatenate(states, axis=1) if states else np.zeros((count, 0))
        has_stamps = 'stamp' in self._file
        stamp = self._file['stamp'][start:stop] if has_stamps else np.arange(start, stop) * dt
        action = np.asarray(self._file['action'][start:stop], np.float32)
        return {'action': action, 'state': state, 'stamp': stamp}

    def _column(self, name: str, dimensions: int) -> Any:
        """Return a column, or raise an error that lists the columns."""
        found = ', '.join(sorted(self._file))
        if name not in self._file:
            raise DatasetError(f"{self.path}: no column '{name}'; columns in the file: {found}")
        column = self._file[name]
        if not isinstance(column, h5py.Dataset):
            raise DatasetError(f'{self.path}: {name} is a group; expected a column')
        rows = getattr(self, 'rows', None)
        if column.ndim != dimensions or rows not in (None, len(column)):
            raise DatasetError(
                f'{self.path}: column {name} has shape {column.shape}, expected '
                f'{count_of(dimensions, "dimension")}'
                + ('' if rows is None else f' and {count_of(rows, "row")}')
            )
        return column

    def _check_width(self, name: str, width: int, fields: tuple[str, ...]) -> None:
        """Raise if a row does not have one number for each field of the configuration."""
        names = expand(fields)
        if width != len(names):
            raise DatasetError(
                f'{self.path}: column {name} has {count_of(width, "number")} per row, '
                f'expected {len(names)} for the configured fields: {", ".join(names)}'
            )

    def _meta(self) -> dict[str, Any]:
        """Return the origin of the rows of a file that is not of our export."""
        timed = 'stamp' in self._file
        found = blake2b(digest_size=16)
        with self.path.open('rb') as file:
            while block := file.read(1 << 20):
                found.update(block)
        return {
            'source': {
                'files': [self.path.name],
                'bytes': self.path.stat().st_size,
                'fingerprint': found.hexdigest(),
            },
            'time': {
                'base': 'stamp' if timed else 'row',
                'why': 'as in the file' if timed else 'the file has no stamps',
            },
            'dropped': {},
            'counts': {},
            'notes': [],
            'faults': {},
            'frame_period': self.config.robot.dt,
            'versions': {name: version(name) for name in ('smwm_ros', 'numpy', 'h5py')},
        }


def find_episodes(file: Any, where: Path, rows: int) -> list[tuple[int, int]]:
    """Return the rows of each episode, by ep_len, an episode column, or step_idx."""
    label = next((name for name in EPISODE if name in file), None)
    if 'ep_len' in file:
        lengths = file['ep_len'][:].astype(np.int64)
        stops = np.cumsum(lengths)
        starts = file['ep_offset'][:] if 'ep_offset' in file else stops - lengths
        stops = starts + lengths
    elif label or 'step_idx' in file:
        values = file[label or 'step_idx'][:].reshape(-1)
        if len(values) != rows:
            raise DatasetError(
                f'{where}: {label or "step_idx"} has {count_of(len(values), "row")}, expected '
                f'{rows}'
            )
        steps = np.diff(values)
        cuts = np.flatnonzero(steps if label else steps != 1) + 1
        starts, stops = np.array([0, *cuts]), np.array([*cuts, rows])
    else:
        raise DatasetError(
            f'{where}: no column that separates the episodes; expected one of ep_len, step_idx, '
            f'{", ".join(EPISODE)}; columns in the file: {", ".join(sorted(file))}'
        )
    outside = (starts < 0) | (stops > rows) | (np.diff(stops, prepend=0) < stops - starts)
    if outside.any():
        number = int(np.flatnonzero(outside)[0])
        raise DatasetError(
            f'{where}: damaged: episode {number} has rows {starts[number]} to '
            f'{stops[number] - 1} of {rows}, or overlaps with the previous one'
        )
    return list(zip(starts.tolist(), stops.tolist(), strict=True))
