# SPDX-License-Identifier: Apache-2.0
"""
Labels: pseudo-actions for ticks whose action was not recorded, each with a confidence.

They lie beside the columns of a shard, which they never change. A label counts where the recorded
action is NaN and the confidence is above 0.

    shards/NAME/labels/action.npy       (rows, A) float32, physical; NaN where there is no label
    shards/NAME/labels/confidence.npy   (rows,) float32, 0 to 1
    shards/NAME/labels/labels.json      the run that labelled, its R2, hashes of the columns
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
import shutil
from typing import Any, NamedTuple

import numpy as np
from smwm_ros.data.rows import Column, DATASET, Rows
from smwm_ros.data.shards import shard_folder, write_json
from smwm_ros.data.stored import Kind, read_json, require
from smwm_ros.errors import DatasetError, writing
from smwm_ros.files import publish, remove
from smwm_ros.interfaces import Array
from smwm_ros.lock import hidden, hold_name
from smwm_ros.text import count_of

FOLDER, ABOUT = 'labels', 'labels.json'
LABELS = Kind(
    DatasetError,
    'write the labels again (smwm label) or remove them (smwm label DATASET --clear)',
)
_ABOUT = {'run': str, 'r2': float, 'hashes': {str: str}}


class Labels(NamedTuple):
    """The labels of a shard."""

    action: Array  # (rows, A) float32, physical
    confidence: Array  # (rows,) float32, 0 to 1
    about: dict[str, Any]  # labels.json


def write_labels(
    folder: Path, name: str, action: Array, confidence: Array, about: Mapping[str, Any]
) -> None:
    """
    Write labels for a shard of a dataset: `action` (rows, A), NaN where none, and `confidence`.

    They replace older labels. `about` names the run that labelled, and the held-out R2 of its
    labels: {'run': str, 'r2': float, ...}.
    """
    path = shard_folder(folder, name) / FOLDER
    parts = {
        'action': np.ascontiguousarray(action, '<f4'),
        'confidence': np.ascontiguousarray(confidence, '<f4'),
    }
    _require_sound(path, parts['action'], parts['confidence'])
    about = {**about, 'hashes': _hashes(parts)}
    require(about, _ABOUT, path / ABOUT, LABELS)
    with hold_name(path), writing(path):
        part = hidden(path, 'part')
        remove(part)
        part.mkdir()
        for key, values in parts.items():
            np.save(part / f'{key}.npy', values)
        write_json(part / ABOUT, about)
        _move_away(path)
        publish(part, path)


def read_labels(
    folder: Path, name: str, rows: int, size: int, certain: bool = False
) -> Labels | None:
    """
    Read the labels of a shard with `rows` rows and `size` action fields; None without any.

    With `certain`, only those that a person entered count.
    """
    path = shard_folder(folder, name) / FOLDER
    if not path.exists():
        return None
    about = read_json(path / ABOUT, LABELS)
    require(about, _ABOUT, path / ABOUT, LABELS)
    action = Rows(path / 'action.npy', Column((size,), '<f4'), rows, LABELS).all()
    confidence = Rows(path / 'confidence.npy', Column((), '<f4'), rows, LABELS).all()
    _require_sound(path, action, confidence)
    labels = Labels(action, confidence, about)
    return _only_certain(labels) if certain else labels


def _only_certain(labels: Labels) -> Labels | None:
    """Return the labels with confidence 1, which a person entered; None without any."""
    certain = labels.confidence == 1
    if not certain.any():
        return None
    action = np.where(certain[:, None], labels.action, np.float32(np.nan))
    confidence = certain.astype(np.float32)
    hashes = _hashes({'action': action, 'confidence': confidence})
    return Labels(action, confidence, {**labels.about, 'hashes': hashes})


def clear_labels(folder: Path) -> int:
    """Remove the labels of all shards of a dataset; return from how many."""
    paths = sorted((folder / 'shards').glob(f'*/{FOLDER}'))
    for path in paths:
        with hold_name(path), writing(path):
            _move_away(path)
    return len(paths)


def require_whole(path: Path, actions: Array, kind: Kind = DATASET) -> None:
    """Raise unless each raw action (rows, A) is finite in all of its fields, or NaN in all."""
    bad = ~(np.isfinite(actions).all(axis=1) | np.isnan(actions).all(axis=1))
    if bad.any():
        raise kind.error(
            f'{path}: {count_of(int(bad.sum()), "action")} not finite, first in row '
            f'{bad.argmax()}; expected finite numbers, or NaN in all fields where it is unknown; '
            f'{kind.remedy}'
        )


def _hashes(parts: Mapping[str, Array]) -> dict[str, str]:
    """Return a hash of each column."""
    return {
        key: blake2b(part.tobytes(), digest_size=16).hexdigest() for key, part in parts.items()
    }


def _require_sound(path: Path, action: Array, confidence: Array) -> None:
    """Raise unless actions are whole or NaN, and confidences are from 0 to 1."""
    require_whole(path / 'action.npy', action, LABELS)
    bad = ~((confidence >= 0) & (confidence <= 1))
    if bad.any():
        reason = f'{confidence[bad][0]:g} in row {bad.argmax()}, expected 0 to 1'
        raise LABELS.damaged(path / 'confidence.npy', reason)


def _move_away(path: Path) -> None:
    """Remove a folder; it is renamed first, so that an interruption leaves no part of it."""
    old = hidden(path, 'old')
    remove(old)
    if path.exists():
        path.rename(old)
        shutil.rmtree(old)
