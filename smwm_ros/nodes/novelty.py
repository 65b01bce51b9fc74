# SPDX-License-Identifier: Apache-2.0
"""Measure how much camera images differ from those of the training, and warn of other ones."""

from __future__ import annotations

import numpy as np
from smwm_ros.errors import CheckpointError
from smwm_ros.evaluation.fit_to_images import Novelty
from smwm_ros.evaluation.preflight import NOVEL
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
import torch

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
        self._novelty: Novelty | None = None
        self._recent: tuple[float, ...] = ()
        try:
            self._novelty = Novelty(checkpoint)
        except CheckpointError:
            return  # the display of plans logs it

    def update(self, latent: Array | None) -> None:
        """Measure the latent (D,) of an image; from any one thread."""
        novelty = self._novelty
        if latent is None or novelty is None or latent.shape != novelty.album.shape[1:]:
            return
        found = float(novelty.of(torch.from_numpy(latent)[None]))
        self._recent = (*self._recent[1 - RECENT :], found)

    def values(self) -> dict[str, float]:
        """Return the value for /diagnostics."""
        recent = self._recent
        return {'novelty': float(np.median(recent))} if recent else {}

    def problems(self) -> list[str]:
        """Return a warning while images are unlike those of the training."""
        recent = self._recent
        full = len(recent) == RECENT
        return [WARNING] if full and float(np.median(recent)) > NOVEL else []
