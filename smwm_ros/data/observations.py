# SPDX-License-Identifier: Apache-2.0
"""Observations of several images, the oldest first, from the rows of a dataset."""

from __future__ import annotations

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.interfaces import Array


def first_rows(dataset: TransitionDataset, rows: Array) -> Array:
    """Return the first row of the drive of each row."""
    begins = np.array([drive.start for drive in dataset.drives])
    found: Array = begins[np.searchsorted(begins, rows, side='right') - 1]
    return found


def image_rows(dataset: TransitionDataset, rows: Array, count: int) -> Array:
    """
    Return the rows (..., H) of the images that make the observation of each row.

    Before the start of a drive they are its first row, as if the robot had been at rest.
    """
    if count == 1:
        return rows[..., None]
    behind = rows[..., None] - np.arange(count - 1, -1, -1)
    return np.maximum(behind, first_rows(dataset, rows)[..., None])


def observations(dataset: TransitionDataset, rows: Array, count: int) -> Array:
    """Return the observations (n, S, S, 3*H) uint8 of rows (n,), of H images each."""
    if count == 1:
        return dataset.pixels(rows)
    wanted = image_rows(dataset, rows, count)
    frames = dataset.pixels(wanted.ravel())
    size = dataset.info.image_size
    apart = frames.reshape(len(rows), count, size, size, 3).transpose(0, 2, 3, 1, 4)
    found: Array = apart.reshape(len(rows), size, size, 3 * count)
    return found
