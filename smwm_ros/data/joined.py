# SPDX-License-Identifier: Apache-2.0
"""Several datasets of one robot as one, to train on new and old recordings together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from smwm_ros.data.actions import Actions
from smwm_ros.data.dataset import DatasetInfo, TransitionDataset
from smwm_ros.data.split import Drive, Episode
from smwm_ros.errors import DatasetError
from smwm_ros.interfaces import Array

SpanT = TypeVar('SpanT', Drive, Episode)


class JoinedDataset(TransitionDataset):
    """
    The rows of several datasets, those of the first one first.

    Each part keeps its held-out episodes. Folder, robot and fingerprint are those of the first.
    """

    def __init__(self, parts: Sequence[TransitionDataset]) -> None:
        first = parts[0]
        for other in parts[1:]:
            wanted = first.info
            if 0 in (other.info.state_size, wanted.state_size):  # one was recorded without
                wanted = wanted._replace(state_size=other.info.state_size)
            require_same_robot(other, wanted, str(first.folder))
        self.folder, self.index, self.info = first.folder, first.index, first.info
        self.fingerprint = first.fingerprint
        self.metas, self.labels, self.left_out = {}, {}, ''
        for number, part in enumerate(parts):
            self.metas |= {f'{number}/{name}': meta for name, meta in part.metas.items()}
            self.labels |= {f'{number}/{name}': found for name, found in part.labels.items()}
        self._pixels = [column for part in parts for column in part._pixels]
        self._offsets = np.cumsum([0, *(len(column) for column in self._pixels)])
        actions = [part._actions for part in parts]
        unknown = np.concatenate([np.diff(one.unknown_before) for one in actions])
        self._actions = Actions(
            np.concatenate([one.values for one in actions]),
            np.concatenate([one.recorded for one in actions]),
            np.concatenate([one.confidence for one in actions]),
            np.append(0, np.cumsum(unknown)),
        )
        self._states = np.concatenate([_states(part, first.info.state_size) for part in parts])
        self.stamps = np.concatenate([part.stamps for part in parts])
        self.begins = np.cumsum([0, *map(len, parts)])[:-1]  # first row of each part
        placed = list(zip(parts, self.begins.tolist(), strict=True))
        self.drives = tuple(_later(one, begin) for part, begin in placed for one in part.drives)
        self.episodes = tuple(
            _later(one, begin) for part, begin in placed for one in part.episodes
        )


def _later(span: SpanT, rows: int) -> SpanT:
    """Return a span that begins so many rows later."""
    return span._replace(start=span.start + rows, stop=span.stop + rows)


def _states(part: TransitionDataset, size: int) -> Array:
    """Return the measured states (rows, size) of a dataset, NaN if it has none."""
    if part.info.state_size == size:
        return part._states
    return np.full((len(part), size), np.nan, np.float32)


def require_same_robot(dataset: TransitionDataset, wanted: DatasetInfo, where: str) -> None:
    """Raise a DatasetError if a dataset differs from another in what a model depends on."""
    mistakes = [
        f'{name} is {now}, and {then} in {where}'
        for name, now, then in (
            ('robot.command.fields', *(info.spec.fields for info in (dataset.info, wanted))),
            ('robot.dt', dataset.info.spec.dt, wanted.spec.dt),
            ('dataset.action_block', dataset.info.action_block, wanted.action_block),
            ('dataset.image_size', dataset.info.image_size, wanted.image_size),
            ('size of robot.state.fields', dataset.info.state_size, wanted.state_size),
        )
        if now != then
    ]
    if mistakes:
        raise DatasetError(
            f'{dataset.folder}: is of another robot: {"; ".join(mistakes)}; convert it with the '
            'configuration of that robot, or train a new model'
        )
