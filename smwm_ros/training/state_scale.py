# SPDX-License-Identifier: Apache-2.0
"""What is read off latents beside the measured state, and on which scale."""

from __future__ import annotations

import numpy as np
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.split import rows_of
from smwm_ros.errors import DatasetError
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.model.alignment import StateHead
from smwm_ros.model.goal_fields import read_columns, shows_motion, velocity_columns


def derived(settings: config.Model, dataset: TransitionDataset) -> tuple[int, ...]:
    """Return the columns of the measured state whose velocity a model reads off latents."""
    if not settings.aligns_state:
        return ()
    return tuple(velocity_columns(settings, _fields(dataset)))


def with_velocities(dataset: TransitionDataset, rows: Array, columns: tuple[int, ...]) -> Array:
    """Return measured states (..., P), then the velocities of some columns, NaN where unknown."""
    states = dataset.states(rows)
    if not columns:
        return states
    before = dataset.states(np.maximum(rows - 1, 0))
    change = (states - before)[..., list(columns)] / dataset.info.spec.dt
    change[np.isin(rows, [drive.start for drive in dataset.drives])] = np.nan
    both: Array = np.concatenate([states, change.astype(states.dtype)], axis=-1)
    return both


def fit(head: StateHead, settings: config.Model, dataset: TransitionDataset) -> None:
    """Set which fields a head reads, and their scale in the training episodes."""
    fields = _fields(dataset)
    columns = read_columns(settings, fields)
    velocities = derived(settings, dataset)
    rows, where = rows_of(dataset.episodes, 'train'), dataset.folder
    states = with_velocities(dataset, rows, velocities)
    never: Array = np.logical_not(np.isfinite(states).any(axis=0))
    for column in columns:
        if never[column]:
            raise DatasetError(
                f"{where}: no training tick has a measured '{fields[column]}'; name others in "
                'model.state_fields, or convert again'
            )
    head.fit(*statistics(np.concatenate([states[:, columns], states[:, len(fields) :]], axis=1)))
    if never[len(fields) :].any():
        raise DatasetError(
            f'{where}: model.velocity_fields: no velocity can be derived, because no two '
            'successive ticks have a measured state; set model.velocity_fields=[]'
        )
    moving = np.array(
        [shows_motion(fields[column]) for column in columns] + [True] * len(velocities)
    )
    starts = dataset.starts('train', unlabelled=True)
    changes = dataset.states(starts + dataset.info.action_block) - dataset.states(starts)
    changes = changes[:, columns]
    if settings.state_change_weight and not np.isfinite(changes).all(axis=1).any():
        raise DatasetError(
            f'{where}: model.state_change_weight: no training transition has a measured state at '
            'both of its frames; set it to 0'
        )
    head.choose(columns, moving, statistics(changes)[1])


def statistics(values: Array) -> tuple[Array, Array]:
    """Return mean (P,) and standard deviation (P,) of the known numbers of (n, P)."""
    values = values.astype(np.float64)
    known = np.isfinite(values)
    values, count = np.where(known, values, 0.0), np.maximum(known.sum(0), 1)
    mean = values.sum(0) / count
    std = np.sqrt((np.square(values - mean) * known).sum(0) / count)
    # The scale of a constant number does not matter: its mean predicts it.
    return mean, np.where(std > 1e-9 * np.abs(values).max(0), std, 1.0)


def _fields(dataset: TransitionDataset) -> tuple[str, ...]:
    """Return the fields of the measured state of a dataset."""
    return expand(dataset.info.robot['state']['fields'])
