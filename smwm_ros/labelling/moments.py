# SPDX-License-Identifier: Apache-2.0
"""Where a row of a dataset is, for people: the bag, and the time since its first tick."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import DatasetError, did_you_mean
from smwm_ros.interfaces import Array


class Moment(NamedTuple):
    """The start of a model step."""

    bag: str  # name of the shard
    start: float  # from the first tick of the shard [s]
    stamp: int  # [ns]


def shard_rows(data: TransitionDataset) -> dict[str, Array]:
    """Return the rows of each shard of a dataset."""
    ends = np.cumsum([meta['rows'] for meta in data.metas.values()])
    return dict(zip(data.metas, np.split(np.arange(len(data)), ends[:-1]), strict=True))


def moments_at(data: TransitionDataset, starts: Array) -> list[Moment]:
    """Return the moments that start at rows (n,)."""
    shards = shard_rows(data)
    firsts = np.array([rows[0] for rows in shards.values()])
    bags, found = list(shards), []
    for row, number in zip(starts, np.searchsorted(firsts, starts, side='right') - 1, strict=True):
        stamp = int(data.stamps[row])
        found.append(Moment(bags[number], (stamp - int(data.stamps[firsts[number]])) / 1e9, stamp))
    return found


def row_at(data: TransitionDataset, bag: str, start: float) -> int:
    """Return the row at which a moment starts, which has a frame a model step later."""
    shards = shard_rows(data)
    if bag not in shards:
        raise DatasetError(f"no bag '{bag}' in {data.folder}; {did_you_mean(bag, shards)}")
    rows = shards[bag]
    seconds = (data.stamps[rows] - data.stamps[rows[0]]) / 1e9
    place = int(np.abs(seconds - start).argmin())
    if abs(seconds[place] - start) > data.info.spec.dt / 2:
        raise DatasetError(
            f'{bag} has no tick at {start:g} s; expected a time from 0 to {seconds[-1]:.1f} s, '
            'outside of its gaps'
        )
    if rows[place] not in data.starts('all', unlabelled=True):
        raise DatasetError(
            f'{bag} has no frame a model step after {start:g} s; expected a moment that ends '
            'before the next gap'
        )
    return int(rows[place])
