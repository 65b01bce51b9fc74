# SPDX-License-Identifier: Apache-2.0
"""
Write a dataset as one HDF5 file in the layout of stable-worldmodel and LeWM.

What their layout lacks (configuration, provenance, the action of the last row of an episode) is
written as attributes, so that our import gives the same dataset again. NaN would end an episode
there, so ticks with an unknown action are left out, and split an episode in two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import FileIO
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.split import Drive, stretches
from smwm_ros.errors import DatasetError, writing
from smwm_ros.exchange.layout import ABOUT, CHUNK, h5py, hdf5plugin, LAST_ACTION, STATE
from smwm_ros.files import appearing
from smwm_ros.interfaces import Array
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.text import count_of

_CHUNK_SMALL = 1000  # rows of numbers in a chunk
PAGE = 4 * 1024 * 1024  # of the file space [bytes]
# Version 1.10 of the format is the first with the single-writer mode that their reader uses;
# older readers could not open a newer one.
FORM: dict[str, Any] = {'libver': ('v110', 'v110'), 'fs_strategy': 'page'}


class WrittenFile(NamedTuple):
    """The result of an export."""

    episodes: int
    rows: int
    compression: str


def write_hdf5(
    data: TransitionDataset, out: Path, progress: ShowProgress = NoProgress
) -> WrittenFile:
    """Write the known actions of a dataset to a file, which is renamed when it is complete."""
    pieces = stretches(data.drives, data.confidence(np.arange(len(data))) > 0)
    if not pieces:
        raise DatasetError(
            f'{data.folder}: none of its {count_of(len(data), "tick")} has a known action; label '
            'it (smwm label), or convert again with commands'
        )
    with (
        appearing(out) as part,
        writing(out),
        Disk(part) as disk,
        h5py.File(disk, 'w', fs_page_size=PAGE, **FORM) as file,
    ):
        _fill(file, data, pieces, disk, progress)
    return WrittenFile(len(pieces), sum(_lengths(pieces)), _compression()[0])


class Disk(FileIO):
    """
    A file that keeps the first write error for later, and ignores all writes after it.

    On a write error, HDF5 prints 100 kB of text, and may then end the process by SIGSEGV.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, 'w+')
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes, unless there was an error before."""
        rest = memoryview(data)
        size = rest.nbytes
        try:
            while rest and self._error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the size, unless there was an error before."""
        try:
            if self._error is None:
                super().truncate(size)
        except OSError as error:
            self._error = error
        return size or 0

    def require_written(self) -> None:
        """Raise the first error."""
        if self._error is not None:
            raise self._error

    def __exit__(self, *error: object) -> None:
        """Close the file; raise the first write error instead of errors that followed from it."""
        self.close()
        self.require_written()


def _fill(
    file: Any,
    data: TransitionDataset,
    pieces: Sequence[Drive],
    disk: Disk,
    progress: ShowProgress,
) -> None:
    """Write all columns of an open file, in blocks of rows."""
    lengths = np.array(_lengths(pieces), np.int64)
    offsets = np.cumsum(lengths) - lengths
    rows = np.concatenate([np.arange(item.start, item.stop) for item in pieces])
    episode = np.repeat(np.arange(len(lengths)), lengths)
    step = np.arange(len(rows)) - offsets[episode]
    is_last = step == lengths[episode] - 1
    with progress(total=len(rows), desc='exporting', unit=' frames') as bar:
        for begin in range(0, len(rows), CHUNK):
            block = slice(begin, begin + CHUNK)
            values = _columns(data, rows[block], episode[block], step[block], is_last[block])
            if not begin:
                create_columns(file, values, len(rows))
            for name, value in values.items():
                file[name][block] = value
            disk.require_written()
            bar.update(len(rows[block]))
    file.create_dataset('ep_len', data=lengths.astype(np.int32), maxshape=(None,))
    file.create_dataset('ep_offset', data=offsets, maxshape=(None,))
    file['action'].attrs[LAST_ACTION] = data.actions(rows[is_last])
    file.attrs[ABOUT] = json.dumps(_about(data, pieces), sort_keys=True)


def _columns(
    data: TransitionDataset, rows: Array, episode: Array, step: Array, is_last: Array
) -> dict[str, Array]:
    """Return some rows of every column, with the names and types of their recorder."""
    action = data.actions(rows).astype(np.float32)
    action[is_last] = np.nan
    columns = {
        'pixels': data.pixels(rows),
        'action': action,
        'reward': np.full(len(rows), np.nan),  # bags have no rewards
        'terminated': np.zeros(len(rows), bool),
        'truncated': is_last,  # an episode ends at a gap or the end of a bag, not with a task
        'step_idx': step,
        'id': episode,
        'ep_idx': episode.astype(np.int32),
        'stamp': data.stamps[rows],  # of the tick [ns]
    }
    if data.info.state_size:
        columns |= dict.fromkeys(STATE, data.states(rows))
    return columns


def create_columns(file: Any, first: Mapping[str, Array], rows: int) -> None:
    """Create the columns by the shape and type of their first rows."""
    options = _compression()[1]
    for name, value in first.items():
        is_image = value.ndim > 2
        file.create_dataset(
            name,
            shape=(rows, *value.shape[1:]),
            maxshape=(None, *value.shape[1:]),
            dtype=value.dtype,
            chunks=(CHUNK if is_image else _CHUNK_SMALL, *value.shape[1:]),
            **(options if is_image else {}),
        )


def _compression() -> tuple[str, dict[str, Any]]:
    """Return the compression of frames: Blosc as in their files, or gzip without hdf5plugin."""
    if hdf5plugin is None:
        return 'gzip', {'compression': 'gzip', 'compression_opts': 1, 'shuffle': True}
    blosc = hdf5plugin.Blosc
    return 'Blosc', dict(blosc(cname='lz4', clevel=5, shuffle=blosc.SHUFFLE))


def _lengths(pieces: Sequence[Drive]) -> list[int]:
    """Return the number of rows of each episode."""
    return [piece.stop - piece.start for piece in pieces]


def _about(data: TransitionDataset, pieces: Sequence[Drive]) -> dict[str, Any]:
    """Return the index of the dataset, and the metadata of its shards."""
    metas = data.metas
    if data.unknown:
        metas = {name: _of_pieces(name, meta, pieces) for name, meta in metas.items()}
        metas = {name: meta for name, meta in metas.items() if meta['episodes']}
    return {**data.index, 'metas': metas}


def _of_pieces(name: str, meta: Mapping[str, Any], pieces: Sequence[Drive]) -> dict[str, Any]:
    """Return the metadata of a shard of which only some pieces are written."""
    mine = [piece[:2] for piece in pieces if piece.name.rpartition('/')[0] == name]
    lost = sum(stop - start for start, stop in meta['episodes']) - sum(
        stop - start for start, stop in mine
    )
    kept = {key: value for key, value in meta.items() if key != 'ages'}  # refers to all rows
    return {**kept, 'episodes': mine, 'dropped': {**meta['dropped'], 'unknown action': lost}}
