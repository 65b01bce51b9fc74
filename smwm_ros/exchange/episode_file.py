# SPDX-License-Identifier: Apache-2.0
"""Write and read episodes in an HDF5 file in the layout of stable-worldmodel, all columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from smwm_ros.errors import DatasetError, writing
from smwm_ros.exchange.hdf5_table import find_episodes, open_hdf5
from smwm_ros.exchange.layout import h5py
from smwm_ros.exchange.to_hdf5 import create_columns, Disk, FORM, PAGE
from smwm_ros.files import appearing
from smwm_ros.interfaces import Array
from smwm_ros.text import count_of


class EpisodeFile:
    """A file that episodes are appended to."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk
        self.lengths: list[int] = []

    @property
    def rows(self) -> int:
        """Return the number of rows so far."""
        return sum(self.lengths)

    def append(self, columns: Mapping[str, Array]) -> None:
        """Append one episode: all its columns, with a row for each instant."""
        begin, count = self.rows, len(columns['pixels'])
        index = np.full(count, len(self.lengths), np.int32)
        columns = {**columns, 'ep_idx': index}
        if not self.lengths:
            create_columns(self._file, columns, 0)
        for name, values in columns.items():
            self._file[name].resize(begin + count, axis=0)
            self._file[name][begin:] = values
        self._disk.require_written()
        self.lengths.append(count)

    def finish(self) -> None:
        """Write the index of the episodes."""
        lengths = np.array(self.lengths, np.int64)
        self._file.create_dataset('ep_len', data=lengths.astype(np.int32), maxshape=(None,))
        offsets = np.cumsum(lengths) - lengths
        self._file.create_dataset('ep_offset', data=offsets, maxshape=(None,))


@contextmanager
def writing_episodes(out: Path) -> Iterator[EpisodeFile]:
    """Open a new file for episodes, which is renamed when it is complete."""
    with (
        appearing(out) as part,
        writing(out),
        Disk(part) as disk,
        h5py.File(disk, 'w', fs_page_size=PAGE, **FORM) as file,
    ):
        episodes = EpisodeFile(file, disk)
        yield episodes
        episodes.finish()


class RecordedFile:
    """An open file with recorded episodes."""

    def __init__(self, path: Path, file: Any, columns: Sequence[str]) -> None:
        self._file = file
        self.columns = sorted(file)
        missing = [name for name in ('pixels', *columns) if name not in file]
        if missing:
            raise DatasetError(
                f'{path}: lacks {count_of(len(missing), "column")}: {", ".join(missing)}; '
                f'columns in the file: {", ".join(self.columns)}'
            )
        self._spans = find_episodes(file, path, len(file['pixels']))
        self.lengths = [stop - start for start, stop in self._spans]
        self.image_size = int(file['pixels'].shape[1])
        self.action_size = int(file['action'].shape[1]) if 'action' in file else 0

    def row(self, episode: int, step: int, columns: Sequence[str]) -> dict[str, Array]:
        """Return some columns of one row."""
        at = self._spans[episode][0] + step
        return {name: np.asarray(self._file[name][at]) for name in columns}


@contextmanager
def read_episodes(path: Path, columns: Sequence[str]) -> Iterator[RecordedFile]:
    """Open a file that must have some columns beside its pixels."""
    with open_hdf5(path) as file:
        yield RecordedFile(path, file, columns)
