# SPDX-License-Identifier: Apache-2.0
"""
Make a dataset from an HDF5 file in the layout of stable-worldmodel and LeWM.

An episode ends where its action is NaN: that is how they mark the last frame, which has none. The
previous action is repeated there, because no transition begins at that row. A state of NaN was not
measured, and stays NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from smwm_ros.codec.images import fit
from smwm_ros.config import Config
from smwm_ros.data.dataset import TransitionDataset, UNMEASURED, write_index
from smwm_ros.data.shards import shard_folder, ShardWriter
from smwm_ros.errors import DatasetError
from smwm_ros.exchange.hdf5_table import open_hdf5, read_about, Shard, Table
from smwm_ros.exchange.layout import CHUNK
from smwm_ros.files import appearing
from smwm_ros.interfaces import Array
from smwm_ros.load import to_dict
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.text import count_of


def known_settings(path: Path) -> dict[str, Any] | None:
    """Return the configuration in a file of our export, or None for other files."""
    with open_hdf5(path) as file:
        about = read_about(file)
        if about is None:
            return None
        # Frames that were JPEG are stored raw: encoding them again would change them.
        return {'robot': about['robot'], 'dataset': {**about['dataset'], 'pixels': 'raw'}}


def import_hdf5(
    path: Path,
    out: Path,
    config: Config,
    state: str = 'state',
    progress: ShowProgress = NoProgress,
) -> TransitionDataset:
    """Write the episodes of a file as a dataset, which is renamed when it is complete."""
    with appearing(out) as part:
        with open_hdf5(path) as file:
            table = Table(path, file, config, state)
            shards = table.shards()
            with progress(total=table.rows, desc='importing', unit=' rows') as bar:
                written = [_write(table, item, part, bar) for item in shards]
        if not any(written):
            raise DatasetError(
                f'{path}: no episode has {count_of(table.shortest, "row")} or more; set smaller '
                'dataset.min_length or dataset.action_block'
            )
        names = [item.name for item in shards]
        sources = {'sources': {item.name: item.meta['source'] for item in shards}}
        write_index(part, to_dict(config.robot), to_dict(config.dataset), names, sources)
    return TransitionDataset.open(out)


def _write(table: Table, shard: Shard, folder: Path, bar: Any) -> int:
    """Write one shard; return its number of rows."""
    episodes: list[tuple[int, int]] = []
    held = unmeasured = 0
    with ShardWriter(shard_folder(folder, shard.name), table.row) as writer:
        for (start, stop), last in zip(shard.spans, shard.last, strict=True):
            values = table.read(start, stop)
            if np.isnan(values['action'][-1:]).any():
                values['action'][-1] = last
            for begin, end in _pieces(values['action'], table.shortest):
                piece = {name: value[begin:end] for name, value in values.items()}
                if not np.isfinite(piece['action'][-1]).all():
                    piece['action'][-1] = piece['action'][-2]
                    held += 1
                unmeasured += int((~np.isfinite(piece['state']).all(1)).sum())
                episodes.append((writer.rows, writer.rows + end - begin))
                _append(writer, table, start + begin, piece, len(episodes) - 1)
            bar.update(stop - start)
        lost = sum(stop - start for start, stop in shard.spans) - writer.rows
        # Shards without a task and an outcome do not store empty ones.
        meta = {key: value for key, value in shard.meta.items() if value != ''}
        if lost:
            reason = f'in a stretch of fewer than {table.shortest} ticks'
            meta['dropped'] = {**meta['dropped'], reason: lost}
        for what, count in (('actions held', held), (UNMEASURED, unmeasured)):
            if count:
                meta['counts'] = {**meta['counts'], what: count}
        settings = {name: to_dict(getattr(table.config, name)) for name in ('robot', 'dataset')}
        writer.publish({**meta, **settings, 'episodes': episodes})
        return writer.rows


def _pieces(action: Array, shortest: int) -> list[tuple[int, int]]:
    """Split an episode after rows without an action."""
    over = np.flatnonzero(~np.isfinite(action).all(1)) + 1
    cuts = sorted({0, len(action), *over.tolist()})
    return [(begin, end) for begin, end in pairwise(cuts) if end - begin >= shortest]


def _append(
    writer: ShardWriter, table: Table, first: int, values: Mapping[str, Array], episode: int
) -> None:
    """Append the rows from `first` on, with their frames, in blocks."""
    dataset = table.config.dataset
    for begin in range(0, len(values['stamp']), CHUNK):
        part = {name: value[begin : begin + CHUNK] for name, value in values.items()}
        count = len(part['stamp'])
        frames = table.pixels[first + begin : first + begin + count]
        squares = [fit(frame, dataset.image_size, dataset.resize) for frame in frames]
        writer.append(pixels=np.stack(squares), episode=np.full(count, episode), **part)
