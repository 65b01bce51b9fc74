# SPDX-License-Identifier: Apache-2.0
"""Images of stable-worldmodel, in the size and form of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from smwm_ros.codec.images import fit
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint, load


def checkpoint_of(run: Checkpoint | Path | str) -> Checkpoint:
    """Return a checkpoint, loaded if it is a folder."""
    return run if isinstance(run, Checkpoint) else load(Path(run))


def images_of(values: Any, checkpoint: Checkpoint) -> Array:
    """
    Return the images of the last instant, (N, S, S, 3) uint8, in the size of a run.

    `values` are those of an info dict: (N, T, H, W, 3), (N, T, 3, H, W) or (N, H, W, 3) uint8.
    """
    pixels = np.asarray(values)
    if pixels.ndim == 5:
        pixels = pixels[:, -1]
    if pixels.ndim == 4 and pixels.shape[1] == 3 != pixels.shape[3]:
        pixels = pixels.transpose(0, 2, 3, 1)
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
        raise ArenaError(
            f'images of stable-worldmodel: expected (environments, time, height, width, 3) '
            f'uint8, found {np.shape(values)} {pixels.dtype}; do not transform pixels and goal: '
            'the run has its own transformation'
        )
    size = checkpoint.image_size
    if pixels.shape[1] < size or pixels.shape[2] < size:
        raise ArenaError(
            f'images of {pixels.shape[2]}x{pixels.shape[1]} px are smaller than those of the run, '
            f'{size} px; use World(image_shape=({size}, {size})) or larger'
        )
    resize = checkpoint.dataset.resize
    return np.stack([fit(np.ascontiguousarray(image), size, resize) for image in pixels])
