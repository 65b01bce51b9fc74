# SPDX-License-Identifier: Apache-2.0
"""
Goals of which a mask says what counts: from a picture and its mask to a latent metric.

The robot in a goal picture is somewhere, and where it ends may not matter. Recorded frames that
look like the picture inside the mask show the object near its place, with the robot anywhere. A
linear fit predicts the latents of these frames from their pixels inside the mask. What it leaves
over is what the mask does not show. The metric divides by the spread of these residuals, so a
difference counts little in the directions in which they vary, and much in the others.

Covariances of the matching frames alone would not do: few frames show the object exactly in its
place, so they differ in the object, too. The floor of the spread is the same in all directions.
Relative to the spread of all latents, directions that are nearly constant would count most, and
these are the ones that a model predicts worst.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import ConfigError
from smwm_ros.interfaces import Array
from smwm_ros.model import sidecar
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.regression import ridge
from smwm_ros.planning.drives import RecordedDrives
from smwm_ros.planning.frame_bank import decoded, to_jpeg
from smwm_ros.text import count_of
import torch
from torch import Tensor

NAME = 'frames'
LARGEST = 64  # side of a stored frame [px]
PIXELS = 300  # of a mask that are compared, at even intervals
MATCHES = 1000  # recorded frames that the fit is made from, at most
SHARE = 0.04  # of all frames, at most
FEWEST = 50  # frames of a fit
COMPONENTS = 32  # of the pixels inside the mask
RIDGE = 0.01  # of the mean variance of a component
FLOOR = 0.03  # of the mean variance of all latents: errors of the model are about as large
SAME = 20  # best matches, which count as being at the goal
NEAR = 2.0  # control periods: frames so far apart have the distance that the best matches have
LIKE = 0.8  # of the usual difference inside the mask: the best match must differ by less
LEAST = 2.0  # usual difference inside the mask below which nothing changes there [grey levels]
_CHUNK = 1000  # frames that are decoded at once


class RecordedFrames(NamedTuple):
    """Small recorded frames, and their latents as goals."""

    jpegs: tuple[bytes, ...]  # of N frames
    latents: Tensor  # (N, D)
    side: int  # [px]


class MaskedGoals:
    """Recorded frames with their latents, which turn a mask into a metric."""

    def __init__(self, frames: RecordedFrames, near: float | None, where: str) -> None:
        self._frames, self._where = frames, where
        self._near = near  # latent distance of frames NEAR apart, None if unknown

    def metric(self, pixels: Array, mask: Array) -> Array:
        """
        Return the metric (D, D) of a picture (S, S, 3) uint8 RGB and a mask (S, S) bool.

        The masked distance of latents is |(z - goal) @ metric|. Its scale is that of latents: the
        frames that match best are as far from each other as frames NEAR control periods apart.
        """
        wanted, seen = self._inside(pixels, mask)
        apart = np.concatenate(
            [_difference(part, wanted) for part in np.array_split(seen, len(seen) // _CHUNK + 1)]
        )
        self._check(apart)
        count = min(MATCHES, max(FEWEST, round(SHARE * len(apart))))
        rows = apart.argsort(kind='stable')[:count]
        latents = self._frames.latents.double().numpy()
        left = residuals(seen[rows].astype(np.float64), latents[rows])
        spread = left.T @ left / len(left)
        spread += FLOOR * latents.var(axis=0).mean() * np.eye(len(spread))
        values, vectors = np.linalg.eigh(spread)
        metric = (vectors / np.sqrt(values)) @ vectors.T
        same = latents[rows[:SAME]] @ metric
        usual = np.linalg.norm(same[:, None] - same, axis=2)[np.triu_indices(len(same), 1)]
        near = 1.0 if self._near is None else self._near
        scaled: Array = (metric * near / max(float(np.median(usual)), 1e-9)).astype(np.float32)
        return scaled

    def _inside(self, pixels: Array, mask: Array) -> tuple[Array, Array]:
        """Return what a picture shows inside a mask (M,), and what all frames show (N, M)."""
        side = self._frames.side
        small = cv2.resize(mask.astype(np.uint8) * 255, (side, side), interpolation=cv2.INTER_AREA)
        rows, columns = np.nonzero(small >= min(128, int(small.max())))
        chosen = evenly_spaced(np.arange(len(rows)), PIXELS)
        rows, columns = rows[chosen], columns[chosen]
        picture = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
        seen = [frame[rows, columns].reshape(-1) for frame in decoded(self._frames.jpegs)]
        return picture[rows, columns].reshape(-1), np.stack(seen)

    def _check(self, apart: Array) -> None:
        """Raise unless recorded frames differ inside the mask, and some are like the picture."""
        best, usual = float(apart.min()), float(np.median(apart))
        frames = f'{count_of(len(apart), "recorded frame")} of {self._where}'
        if len(apart) < FEWEST:
            raise ConfigError(
                f'mask: only {frames}, expected {FEWEST} or more; record more drives'
            )
        if best > LIKE * usual and usual > LEAST:
            raise ConfigError(
                f'mask: none of {frames} looks like the goal inside the mask: the best one '
                f'differs by {best:.0f} grey levels, a usual one by {usual:.0f}, expected at most '
                f'{LIKE * usual:.0f}; mask the object alone, or record drives with it there'
            )
        if usual <= LEAST:
            raise ConfigError(
                f'mask: {frames} look like the goal inside the mask, so it does not show where '
                'the object is; mask the object'
            )


def residuals(pixels: Array, latents: Array) -> Array:
    """Return what a linear fit of pixels (n, M) does not explain of latents (n, D)."""
    x, z = pixels - pixels.mean(axis=0), latents - latents.mean(axis=0)
    # The fewer of both: principal components of the pixels.
    parts = x @ np.linalg.eigh(x.T @ x)[1][:, -min(COMPONENTS, len(x) // 4) :]
    penalty = RIDGE * float(np.square(parts).sum(axis=0).mean())
    left: Array = z - parts @ ridge(parts, z, max(penalty, 1e-9))
    return left


def make(checkpoint: Checkpoint, dataset: TransitionDataset, drives: RecordedDrives) -> None:
    """Write the frames of drives beside the model that encoded them."""
    assert checkpoint.folder is not None
    assert drives.rows is not None
    side = min(LARGEST, checkpoint.image_size)
    rows = drives.rows.numpy()
    jpegs = list[bytes]()
    for start in range(0, len(rows), _CHUNK):
        for frame in dataset.pixels(rows[start : start + _CHUNK]):
            small = cv2.resize(frame[..., :3], (side, side), interpolation=cv2.INTER_AREA)
            jpegs.append(to_jpeg(small))
    data = [np.frombuffer(jpeg, np.uint8) for jpeg in jpegs]
    tensors = {
        'jpeg': torch.from_numpy(np.concatenate(data)),
        'ends': torch.from_numpy(np.cumsum([len(jpeg) for jpeg in jpegs])),
        'latents': drives.goals,
    }
    info = {'side': side, 'dataset': dataset.fingerprint}
    sidecar.save(checkpoint.folder, NAME, tensors, info)


def load(checkpoint: Checkpoint, near: float | None, needed_by: str) -> MaskedGoals:
    """Read the frames beside a model; `near` is the latent distance of frames NEAR apart."""
    sizes = {'jpeg': ('B',), 'ends': ('N',), 'latents': ('N', checkpoint.model.latent)}
    tensors, meta = sidecar.load(checkpoint.folder, NAME, needed_by, sizes, {'side': int})
    data, ends = tensors['jpeg'].numpy().tobytes(), tensors['ends'].long().tolist()
    jpegs = tuple(data[a:b] for a, b in zip([0, *ends], ends, strict=False))
    frames = RecordedFrames(jpegs, tensors['latents'].float(), meta['side'])
    return MaskedGoals(frames, near, str(checkpoint.folder))


def require_distance(settings: config.Planner) -> None:
    """Raise a ConfigError where plans do not go by the latent distance to the goal."""
    if settings.cost == 'time':
        raise ConfigError(
            'mask: needs a latent distance, not planner.cost=time: the learnt time leads to the '
            'whole picture; use planner.cost=nearest'
        )
    if settings.kind in ('roadmap', 'amortised', config.DIRECT):
        raise ConfigError(
            f'mask: needs a search, not planner.kind={settings.kind}, which heads for the whole '
            'picture; use planner.kind=cem'
        )


def _difference(seen: Array, wanted: Array) -> Array:
    """Return the root mean squared difference (n,) of pixels (n, M) from those of a goal (M,)."""
    apart: Array = np.sqrt(np.square(seen.astype(np.float32) - wanted).mean(axis=1))
    return apart
