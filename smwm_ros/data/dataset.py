# SPDX-License-Identifier: Apache-2.0
"""
Read a dataset of transitions: a folder of shards, one for each bag.

Rows are ticks of the control period: row t has the frame o_t, the raw action a_t commanded from
t to t + dt, and the measured state at t, NaN if none was received in time. A transition is the
frames of rows t and t + K with the K actions between them. It never crosses the end of a drive,
which is a span of rows without a gap. Drives are held out as a whole, or split into episodes.

    dataset.json                                   configuration, provenance, names of the shards
    shards/NAME/{pixels,action,state,episode,stamp}.npy    columns, readable with NumPy alone
    shards/NAME/pixels.jpeg                        with dataset.pixels=jpeg: the frames; pixels.npy
                                                   has the end of each of them
    shards/NAME/meta.json                          episodes, source, dropped ticks with reasons
    shards/NAME/camera/*.jpg                       for people: a few larger frames
    shards/NAME/labels/                            actions where none was recorded (labels.py)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros import config
from smwm_ros.codec.fields import action_spec
from smwm_ros.config import EVERY
from smwm_ros.data.actions import fill
from smwm_ros.data.jpeg_column import JpegColumn
from smwm_ros.data.labels import Labels, read_labels, require_whole
from smwm_ros.data.outcomes import choose, left_out
from smwm_ros.data.rows import Column, DATASET, Rows
from smwm_ros.data.shards import (
    columns,
    explain,
    fingerprint,
    open_images,
    read_meta,
    shard_folder,
    write_json,
)
from smwm_ros.data.split import Drive, gap_of, hold_out_each, rows_of
from smwm_ros.data.stored import read_json, require, section
from smwm_ros.errors import DatasetError
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import ActionScaler, ActionSpec, Array

FORMAT = 1
INDEX = 'dataset.json'
UNMEASURED = 'ticks without a measured state'  # in the counts of a shard; they are kept
SPLITS = ('train', 'val', 'all')
_INDEX = {'format': int, 'robot': {str: Any}, 'dataset': {str: Any}, 'shards': [str]}


class DatasetInfo(NamedTuple):
    """The configuration of a dataset."""

    robot: dict[str, Any]  # plain data of config.Robot
    dataset: dict[str, Any]  # plain data of config.Dataset
    spec: ActionSpec
    action_block: int  # K
    image_size: int  # [px]
    state_size: int  # P


class Sequence(NamedTuple):
    """Frames K ticks apart, and the actions between them."""

    pixels: Array  # (n, steps+1, H, W, 3) uint8
    states: Array  # (n, steps+1, P) float32
    actions: Array  # (n, steps, K*A) float32, physical


def write_index(
    folder: Path,
    robot: Mapping[str, Any],
    dataset: Mapping[str, Any],
    shards: Iterable[str],
    provenance: Mapping[str, Any],
) -> None:
    """Write dataset.json, which makes a folder of shards a dataset."""
    data = {
        'format': FORMAT,
        'robot': robot,
        'dataset': dataset,
        'shards': list(shards),
        'provenance': provenance,
    }
    write_json(folder / INDEX, data)


class TransitionDataset:
    """A dataset on disk; the small columns are in memory, the pixels are read on demand."""

    def __init__(self, folder: Path, certain: bool = False, outcomes: str = EVERY) -> None:
        self.folder = folder
        self.index = read_index(folder)
        self.metas = {name: read_meta(shard_folder(folder, name)) for name in self.index['shards']}
        self.info = _info(self.index, folder / INDEX)
        self.labels = self._labels(certain)
        self.fingerprint = fingerprint(self.index, self.metas, self.labels)
        row = columns(
            self.info.image_size, self.info.spec.size, self.info.state_size, _quality(self.info)
        )
        self._pixels: list[Array | Rows | JpegColumn] = [
            open_images(shard_folder(folder, name) / 'pixels.npy', row['pixels'], meta['rows'])
            for name, meta in self.metas.items()
        ]
        self._offsets = np.cumsum([0, *(len(part) for part in self._pixels)])
        actions = self._column('action', row['action'])
        require_whole(folder, actions)
        begins = dict(zip(self.metas, self._offsets.tolist(), strict=False))
        self._actions = fill(actions, {begins[name]: part for name, part in self.labels.items()})
        self._states = self._column('state', row['state'])
        self.stamps = self._column('stamp', row['stamp'])  # (rows,) int64 [ns]
        self.drives = self._drives()
        knobs = self.info.dataset
        gap = gap_of(self.info.action_block, self.info.spec.dt)
        acted = [bool(self._actions.recorded[d.start : d.stop].any()) for d in self.drives]
        parts = hold_out_each(self.drives, acted, knobs['val_share'], knobs['seed'], gap)
        self.left_out = left_out(self.drives, outcomes)  # as text
        # After the split, which is therefore the same with all outcomes.
        self.drives, self.episodes = choose(self.drives, parts, outcomes, folder)
        if not len(self.starts('all', unlabelled=True)):
            raise DatasetError(f'{folder}: no transitions; {explain(self.metas.values())}')

    @classmethod
    def open(
        cls, path: str | Path, certain: bool = False, outcomes: str = EVERY
    ) -> TransitionDataset:
        """
        Open a dataset folder for reading.

        certain: without labels that were inferred; outcomes: of the episodes, as train.outcomes.
        """
        return cls(Path(path), certain, outcomes)

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._offsets[-1])

    def starts(self, split: str, ticks: int | None = None, unlabelled: bool = False) -> Array:
        """
        Return the rows t with t..t+ticks in one episode of a split; ticks is K by default.

        All raw actions t..t+ticks-1 are known, unless `unlabelled` windows are wanted as well.
        """
        if split not in SPLITS:
            raise DatasetError(f"split '{split}': valid: {', '.join(SPLITS)}")
        reach = self.info.action_block if ticks is None else ticks
        mine = [episode for episode in self.episodes if episode.split == split]
        runs = [
            np.arange(span.start, span.stop - reach)
            for span in (self.drives if split == 'all' else mine)
        ]
        rows: Array = np.concatenate([np.zeros(0, np.int64), *runs])
        if unlabelled or not self.unknown:
            return rows
        return rows[self._actions.known(rows, reach)]

    def pixels(self, rows: Array) -> Array:
        """Return frames (n, H, W, 3) uint8 of any rows, in their order."""
        rows = np.asarray(rows)
        if len(self._pixels) == 1:
            frames: Array = self._pixels[0][rows]
            return frames
        size = self.info.image_size
        frames = np.empty((len(rows), size, size, 3), np.uint8)
        shard = np.searchsorted(self._offsets, rows, side='right') - 1
        for number in np.unique(shard):
            here = shard == number
            frames[here] = self._pixels[number][rows[here] - self._offsets[number]]
        return frames

    def actions(self, rows: Array) -> Array:
        """Return raw actions (n, A) float32, recorded or labelled, in physical units; else NaN."""
        actions: Array = self._actions.values[rows]
        return actions

    @property
    def unknown(self) -> int:
        """Return the number of rows whose action is unknown."""
        return int(self._actions.unknown_before[-1])

    def recorded(self, rows: Array) -> Array:
        """Return which rows have a recorded action (n,) bool."""
        recorded: Array = self._actions.recorded[rows]
        return recorded

    def confidence(self, rows: Array) -> Array:
        """Return the confidence in actions (n,) float32: 1 recorded, 0 to 1 labels, 0 unknown."""
        confidence: Array = self._actions.confidence[rows]
        return confidence

    def states(self, rows: Array) -> Array:
        """Return measured states (n, P) float32, NaN where none was received in time."""
        states: Array = self._states[rows]
        return states

    def measured(self, rows: Array) -> Array:
        """Return which rows have a complete measured state (n,) bool."""
        known: Array = np.asarray(np.isfinite(self._states[rows]).all(axis=-1))
        return known

    def sequence(self, starts: Array, steps: int) -> Sequence:
        """Return frames at rows start, start+K, ..., start+steps*K, and the actions between."""
        block = self.info.action_block
        rows = np.asarray(starts)[:, None] + block * np.arange(steps + 1)  # (n, steps+1)
        ticks = np.asarray(starts)[:, None] + np.arange(steps * block)  # (n, steps*K)
        size, count = self.info.image_size, len(rows)
        pixels = self.pixels(rows.ravel()).reshape(count, steps + 1, size, size, 3)
        actions = self.actions(ticks).reshape(count, steps, block * self.info.spec.size)
        return Sequence(pixels, self._states[rows], actions)

    def action_scaler(self) -> ActionScaler:
        """Return mean and standard deviation of the known raw actions of training rows."""
        return self._actions.scaler(rows_of(self.episodes, 'train'), self.info.spec)

    def load_pixels(self) -> None:
        """Read all frames into memory, for faster training."""
        size = self.info.image_size
        everything = [
            part if isinstance(part, np.ndarray) else part[np.arange(len(part))]
            for part in self._pixels
        ]
        self._pixels = [_join(everything, Column((size, size, 3), '|u1'))]
        self._offsets = np.array([0, len(self._pixels[0])])

    def _column(self, name: str, row: Column) -> Array:
        """Read a small column of all shards into memory."""
        parts = [
            Rows(shard_folder(self.folder, shard) / f'{name}.npy', row, meta['rows']).all()
            for shard, meta in self.metas.items()
        ]
        return _join(parts, row)

    def _labels(self, certain: bool) -> dict[str, Labels]:
        """Read the labels of all shards that have some."""
        size = self.info.spec.size
        found = {
            name: read_labels(self.folder, name, meta['rows'], size, certain)
            for name, meta in self.metas.items()
        }
        return {name: labels for name, labels in found.items() if labels}

    def _drives(self) -> tuple[Drive, ...]:
        """Return the spans of rows without a gap."""
        return tuple(
            Drive(begin + start, begin + stop, f'{name}/{n}', meta['outcome'], meta['task'])
            for begin, (name, meta) in zip(
                self._offsets.tolist(), self.metas.items(), strict=False
            )
            for n, (start, stop) in enumerate(meta['episodes'])
        )


def read_index(folder: Path) -> dict[str, Any]:
    """Read dataset.json, or raise an error that says what the folder is instead."""
    if not folder.is_dir():
        raise DatasetError(f'{folder}: no such dataset; make one: smwm convert BAG --out {folder}')
    if not (folder / INDEX).is_file():
        begun = (folder / 'shards').is_dir()
        found = 'its conversion was interrupted' if begun else f'it has no {INDEX}'
        again = 'run smwm convert again' if begun else 'make one: smwm convert BAG --out FOLDER'
        raise DatasetError(f'{folder}: not a dataset: {found}; {again}')
    index = read_json(folder / INDEX, DATASET, FORMAT)
    require(index, _INDEX, folder / INDEX, DATASET)
    return index


def _info(index: Mapping[str, Any], path: Path) -> DatasetInfo:
    """Return the configuration of a dataset."""
    try:  # unknown knobs of newer versions do not change the columns
        robot = section(config.Robot, index['robot'], 'robot', known=False)
        dataset = section(config.Dataset, index['dataset'], 'dataset', known=False)
    except ValueError as error:
        raise DATASET.damaged(path, str(error)) from None
    size = len(expand(robot.state.fields)) if robot.state.topic else 0
    plain = json.loads(json.dumps([asdict(robot), asdict(dataset)]))  # with lists for tuples
    block, side = dataset.action_block, dataset.image_size
    return DatasetInfo(plain[0], plain[1], action_spec(robot), block, side, size)


def _quality(info: DatasetInfo) -> int | None:
    """Return the JPEG quality of the frames, None if they are raw."""
    jpeg = info.dataset['pixels'] == 'jpeg'
    return int(info.dataset['jpeg_quality']) if jpeg else None


def _join(parts: Iterable[Array], row: Column) -> Array:
    """Concatenate the parts of a column."""
    return np.concatenate([np.empty((0, *row.shape), row.dtype), *parts])
