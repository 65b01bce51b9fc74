# SPDX-License-Identifier: Apache-2.0
"""Measure how much camera images differ from those of the training, and warn of other ones."""

from __future__ import annotations

import numpy as np
from smwm_ros.config import Goal
from smwm_ros.errors import CheckpointError
from smwm_ros.evaluation.preflight import NOVEL
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.planning.frame_bank import load
from smwm_ros.training.latent_scale import distance_of

RECENT = 10  # plans, whose median novelty counts: a robot passes through rare places
WARNING = (
    'the camera images are unlike those of the training, so plans cannot be trusted; record a '
    'minute of driving, then see smwm check and smwm adapt'
)


class NoveltyMonitor:
    """
    Compares the latents of images with the album of a run.

    Planning does not depend on it. Without an album nothing is measured.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._album: Array | None = None  # (N, D)
        self._unit = distance_of(checkpoint.info, Goal.near)
        self._recent: tuple[float, ...] = ()
        if self._unit:
            try:
                self._album = load(checkpoint.folder, 'the novelty of images').latents.numpy()
            except CheckpointError:
                return  # the display of plans logs it

    def update(self, latent: Array | None) -> None:
        """Measure the latent (D,) of an image; from any one thread."""
        album, unit = self._album, self._unit
        if latent is None or album is None or not unit or latent.shape != album.shape[1:]:
            return
        nearest = float(np.linalg.norm(album - latent, axis=1).min())
        self._recent = (*self._recent[1 - RECENT :], nearest / unit)

    def values(self) -> dict[str, float]:
        """Return the value for /diagnostics."""
        recent = self._recent
        return {'novelty': float(np.median(recent))} if recent else {}

    def problems(self) -> list[str]:
        """Return a warning while images are unlike those of the training."""
        recent = self._recent
        full = len(recent) == RECENT
        return [WARNING] if full and float(np.median(recent)) > NOVEL else []
