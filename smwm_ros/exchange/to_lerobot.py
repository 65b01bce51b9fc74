# SPDX-License-Identifier: Apache-2.0
"""
Write a dataset as a LeRobotDataset v3, with the lerobot package.

Frames are stored as images, which are lossless and need no video encoder. LeRobot's statistics do
not support missing numbers, so episodes are split at ticks without an action or a measured
state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.config import SUCCESS
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.split import Drive, stretches
from smwm_ros.errors import DatasetError, missing_extra, writing
from smwm_ros.fieldpath import expand
from smwm_ros.files import appearing
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.text import count_of

try:
    from datasets import disable_progress_bars
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
except ImportError:
    raise missing_extra('LeRobot', 'lerobot', 'lerobot') from None

CAMERA, STATE, ACTION = 'observation.images.camera', 'observation.state', 'action'
SUCCESS_COLUMN = 'next.success'
_BLOCK = 100  # frames in memory at once


class WrittenDataset(NamedTuple):
    """The result of an export."""

    episodes: int
    rows: int
    without_outcome: int  # episodes


def write_lerobot(
    data: TransitionDataset, out: Path, task: str, progress: ShowProgress = NoProgress
) -> WrittenDataset:
    """
    Write a dataset to a folder, which is renamed when it is complete.

    task: of the episodes that were recorded without one.
    """
    rate = 1 / data.info.spec.dt
    if abs(rate - round(rate)) > 1e-6:
        raise DatasetError(
            f'{data.folder}: {rate:g} ticks per second, expected a whole number as LeRobot '
            'requires it; convert again with robot.dt=1/n'
        )
    pieces = _pieces(data)
    if not pieces:
        raise DatasetError(
            f'{data.folder}: none of its {count_of(len(data), "tick")} has a known action and a '
            'measured state; label it (smwm label), or convert again with commands, or without '
            'robot.state.topic'
        )
    ends = _successes(pieces)
    disable_progress_bars()  # those of lerobot, one per episode
    with appearing(out) as part, writing(out):
        writer = LeRobotDataset.create(
            repo_id=f'local/{out.name}',
            fps=round(rate),
            features=_features(data, ends is not None),
            root=part,
            use_videos=False,
        )
        rows = sum(piece.stop - piece.start for piece in pieces)
        with progress(total=rows, desc='exporting', unit=' frames') as bar:
            for piece in pieces:
                _add(writer, data, piece, piece.task or task, ends, bar)
                writer.save_episode()
        writer.finalize()
    return WrittenDataset(len(pieces), rows, sum(not piece.outcome for piece in pieces))


def _pieces(data: TransitionDataset) -> list[Drive]:
    """Return each part of an episode with action and state at every tick."""
    rows = np.arange(len(data))
    complete = data.measured(rows) & (data.confidence(rows) > 0)
    return stretches(data.drives, complete)


def _successes(pieces: Sequence[Drive]) -> set[int] | None:
    """Return the end of each recording that succeeded; None if one has no outcome."""
    if not all(piece.outcome for piece in pieces):
        return None
    # A recording that was cut succeeded at the end of its last piece.
    last = {piece.name.rpartition('/')[0]: piece for piece in pieces}
    return {piece.stop for piece in last.values() if piece.outcome == SUCCESS}


def _features(data: TransitionDataset, judged: bool) -> dict[str, dict[str, Any]]:
    """Return the features of a row, as LeRobot describes them."""
    info = data.info
    shape = data.pixels(np.arange(1)).shape[1:]
    features: dict[str, dict[str, Any]] = {
        CAMERA: {'dtype': 'image', 'shape': shape, 'names': ['height', 'width', 'channels']},
        ACTION: {'dtype': 'float32', 'shape': (info.spec.size,), 'names': list(info.spec.fields)},
    }
    if info.state_size:
        names = list(expand(info.robot['state']['fields']))
        features[STATE] = {'dtype': 'float32', 'shape': (info.state_size,), 'names': names}
    if judged:
        features[SUCCESS_COLUMN] = {'dtype': 'bool', 'shape': (1,), 'names': None}
    return features


def _add(
    writer: Any, data: TransitionDataset, piece: Drive, task: str, ends: set[int] | None, bar: Any
) -> None:
    """Add the rows of one episode; the row before an end has succeeded."""
    for begin in range(piece.start, piece.stop, _BLOCK):
        block = np.arange(begin, min(begin + _BLOCK, piece.stop))
        pixels, actions, states = data.pixels(block), data.actions(block), data.states(block)
        for n, frame, action, state in zip(block, pixels, actions, states, strict=True):
            row = {CAMERA: frame, ACTION: action, 'task': task}
            row |= {STATE: state} if data.info.state_size else {}
            row |= {SUCCESS_COLUMN: np.array([n + 1 in ends])} if ends is not None else {}
            writer.add_frame(row)
        bar.update(len(block))
